"""Settings of the machine and the project, and the environment as runner sees it; each value knows where it came from.

Owns   the root's discovery, `runner.toml` (or `[tool.runner]` in `pyproject.toml`), `.env`, `RUNNER_*`, and their
       precedence: flag > environment > `.env` > file > default. `[defaults]`, `[profiles.P]` and `[connections]` are
       read here, and applied to jobs by `spec.load`.
Knows  nothing of jobs. A setting never changes what a request holds: what does is the job's, where it is reviewed.

The root's `.env` never overrides the environment. It never gives an API address to a credential that it did not
bring itself: a cloned project could otherwise have the user's own key sent to any host.

Unknown names in the file are errors. In the environment they are not: CI systems set `RUNNER_OS`, `RUNNER_TEMP`
and others for purposes of their own (GitHub Actions, "Default environment variables").
"""

from __future__ import annotations

import io
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from dotenv.parser import parse_stream
from msgspec import Struct

from runner.connections import NAME as CONNECTION_NAME
from runner.errors import Location, Problem, SpecError, closest

_CREDENTIALS = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN")
"""The static credentials that the SDK takes from the environment (anthropic 2.12, `_client.py`)."""
_ADDRESS = "ANTHROPIC_BASE_URL"
MAX_WORKERS = 64
"""More would be a slip: the process that holds the run keeps up with about as many as a large machine has cores."""
_PROJECT_TABLES = ("defaults", "profiles", "connections")
_CONNECTION_KEYS = ("url", "options")
_PROFILE_TABLES = ("defaults", "set")


@dataclass(frozen=True, slots=True)
class Settings:
    """What holds for every job of a project. Paths are absolute.

    `origins` says for each setting where its value came from; `environment` is the process's environment with what
    `.env` adds to it, for `${NAME}` and the SDK's credentials. It holds secrets: it is neither printed nor stored.
    """

    root: Path
    state_dir: Path
    template_dirs: tuple[Path, ...]
    data_dirs: tuple[Path, ...] = ()
    confirm_above_usd: Decimal = Decimal(10)
    batch_min_rows: int = 1000
    batch_max_requests: int = 95_000
    batch_max_bytes: int = 230_000_000
    batch_queue_requests: int = 200_000
    batch_poll_first_s: float = 1.0
    batch_poll_longest_s: float = 60.0
    batch_resend_rows: int = 100
    tool_concurrency: int = 16
    upload_days: int = 30
    models_max_age_s: float = 86_400.0
    """How old what the Models API said may be before it is asked again. Models come and go by the month; a day is short
    enough to hear of a retirement in time."""
    unreachable_after_s: float = 300.0
    """How long nothing may answer before a run stops. It is shorter before the first answer (`engines.outage`)."""
    limits_dir: Path | None = None
    workers: int | Literal["auto"] = 1
    prices: Path | None = None
    profile: str | None = None
    transport: str = "auto"
    origins: Mapping[str, str] = field(default_factory=dict)
    project: ProjectFile | None = None
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)


class ProjectFile(Struct, frozen=True):
    """`runner.toml`, or the `[tool.runner]` of a `pyproject.toml`."""

    path: Path
    shown: str
    """The path as messages show it."""
    table: Mapping[str, Any]
    prefix: tuple[str, ...]
    lines: tuple[str, ...]
    positions: Mapping[tuple[str, ...], tuple[int, int]]
    """0-based line and column of each key, by its full path; keys inside inline tables are missing."""

    @property
    def profiles(self) -> Mapping[str, Any]:
        return _table(self.table.get("profiles"))

    @property
    def connections(self) -> Mapping[str, Any]:
        """What jobs may call by name: a URL, or a table with `url` and `options`, with `${NAME}` unreplaced."""
        return _table(self.table.get("connections"))

    def defaults(self, profile: str | None = None) -> Mapping[str, Any]:
        """Job keys that hold for every job, or those that a profile adds."""
        if profile is None:
            return _table(self.table.get("defaults"))
        return _table(_table(self.profiles.get(profile)).get("defaults"))

    def overrides(self, profile: str) -> Mapping[str, Any]:
        """Job keys with which a profile overrides every job."""
        return _table(_table(self.profiles.get(profile)).get("set"))

    def locate(self, *keys: str) -> Location:
        """Where a key stands, or the nearest table above it that has a line of its own."""
        path = (*self.prefix, *keys)
        for end in range(len(path), 0, -1):
            if path[:end] in self.positions:
                line, column = self.positions[path[:end]]
                # Who writes a password into a connection is told so, without it on the screen.
                source = None if keys[:1] == ("connections",) else self.lines[line]
                return Location(self.shown, line + 1, column + 1, len(path[end - 1]), source)
        return Location(self.shown)


def find_root(path: Path) -> Path:
    """The root of the project that a job file, or a folder, belongs to; absolute.

    The nearest folder above with a `runner.toml`, or a `pyproject.toml` that has `[tool.runner]`; else the parent
    of the nearest folder named `jobs`; else the folder itself.
    """
    folder = absolute(path if path.is_dir() else path.parent)
    above = (folder, *folder.parents)
    for candidate in above:
        if (candidate / "runner.toml").is_file() or _has_tool_table(candidate / "pyproject.toml"):
            return candidate
    for candidate in above:
        if candidate.name == "jobs":
            return candidate.parent
    return folder


def shown_path(path: Path) -> str:
    """A path as messages show it: from the working directory where it is below it, so that editors can open it."""
    full = absolute(path)
    try:
        return full.relative_to(Path.cwd()).as_posix()
    except ValueError:
        return full.as_posix()


def absolute(path: Path) -> Path:
    """The path from `/`, without `..`; links stay, so that a linked project is the folder the user is in."""
    # `resolve` would follow links, and `absolute` keeps `..`.
    return Path(os.path.abspath(path))  # noqa: PTH100


def load_settings(
    root: Path, environ: Mapping[str, str] | None = None, *, flags: Mapping[str, str] | None = None
) -> Settings:
    """Read the settings of the project at `root`.

    Args:
        environ: the process's environment; default `os.environ`.
        flags: settings given on the command line, by name, as text. They are the strongest.
    Raises:
        SpecError: the settings file, `.env` or a `RUNNER_*` variable is wrong.
    """
    root = absolute(root)
    reader = _Reader(root)
    process = dict(os.environ if environ is None else environ)
    dotenv = reader.dotenv()
    project = reader.project()
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for name, setting in _SETTINGS.items():
        variable = f"RUNNER_{name.upper()}"
        if flags and name in flags:
            origin, where, raw = f"--{name.replace('_', '-')}", Location(f"<--{name}>"), flags[name]
        elif variable in process:
            origin, where, raw = variable, Location(f"<{variable}>"), process[variable]
        elif variable in dotenv:
            origin, where, raw = ".env", Location(shown_path(root / ".env")), dotenv[variable]
        elif project is not None and name in project.table:
            where = project.locate(name)
            origin, raw = str(where), project.table[name]
        else:
            origins[name] = "default"
            continue
        origins[name] = origin
        try:
            values[name] = setting.parse(raw, root)
        except ValueError:
            reader.problems.append(Problem("bad-setting", f"`{name}` is {raw!r}; expected {setting.expected}", where))
    if reader.problems:
        raise SpecError(reader.problems)
    settings = Settings(
        root=root,
        state_dir=root / ".runner",
        template_dirs=(root / "templates",),
        origins=MappingProxyType(origins),
        project=project,
        environment=MappingProxyType(merged_environment(process, dotenv)),
    )
    return replace(settings, **values)


def merged_environment(process: Mapping[str, str], dotenv: Mapping[str, str]) -> dict[str, str]:
    """The process's environment, with what `.env` may add to it."""
    added = {name: value for name, value in dotenv.items() if name not in process}
    own_credential = any(name in added for name in _CREDENTIALS)
    foreign_credential = any(name in process for name in _CREDENTIALS)
    if foreign_credential or not own_credential:
        added.pop(_ADDRESS, None)
    return {**added, **process}


class _Reader:
    """Reads the files of a root; what is wrong with them is collected in `problems`."""

    def __init__(self, root: Path) -> None:
        self.problems: list[Problem] = []
        self._root = root

    def dotenv(self) -> dict[str, str]:
        """The variables of `.env`, taken literally: nothing in them is expanded."""
        path = self._root / ".env"
        if not path.is_file():
            return {}
        try:
            text = path.read_text("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            self.problems.append(_unreadable(error, shown_path(path)))
            return {}
        values: dict[str, str] = {}
        for binding in parse_stream(io.StringIO(text)):
            if binding.error:
                line = binding.original.line
                where = Location(shown_path(path), line, 1)
                # The line's own text may be a secret, so it is not shown.
                self.problems.append(Problem("bad-dotenv", "this line is no `NAME=value`", where))
            elif binding.key is not None:
                values[binding.key] = binding.value or ""
        return values

    def project(self) -> ProjectFile | None:
        for name, prefix in (("runner.toml", ()), ("pyproject.toml", ("tool", "runner"))):
            path = self._root / name
            if path.is_file() and (not prefix or _has_tool_table(path)):
                return self._read_project(path, prefix)
        return None

    def _read_project(self, path: Path, prefix: tuple[str, ...]) -> ProjectFile | None:
        shown = shown_path(path)
        try:
            text = path.read_text("utf-8-sig")
            table: Any = tomllib.loads(text)
        except (OSError, UnicodeDecodeError) as error:
            self.problems.append(_unreadable(error, shown))
            return None
        except tomllib.TOMLDecodeError as error:
            self.problems.append(_toml_problem(error, shown, path))
            return None
        for part in prefix:
            table = table[part]
        lines = tuple(text.splitlines())
        project = ProjectFile(path, shown, table, prefix, lines, _key_positions(lines))
        self._check_names(project)
        return project

    def _check_names(self, project: ProjectFile) -> None:
        self._refuse_unknown(project, (), project.table, (*_SETTINGS, *_PROJECT_TABLES), "setting")
        for name in _PROJECT_TABLES:
            self._expect_table(project, (name,), project.table.get(name, {}))
        for profile, table in project.profiles.items():
            if self._expect_table(project, ("profiles", profile), table):
                self._refuse_unknown(project, ("profiles", profile), table, _PROFILE_TABLES, "table of a profile")
                for name in _PROFILE_TABLES:
                    self._expect_table(project, ("profiles", profile, name), table.get(name, {}))
        for connection, value in project.connections.items():
            self._check_connection(project, connection, value)

    def _check_connection(self, project: ProjectFile, name: str, value: Any) -> None:
        """Its form; the URL is read for a job that uses it. No value is shown: it may be a secret."""
        path = ("connections", name)
        where = project.locate(*path)
        if not CONNECTION_NAME.fullmatch(name):
            found = f"`{name}` cannot be the name of a connection"
            self.problems.append(Problem("bad-setting", found, where, "letters, digits, `_` and `-`"))
        if isinstance(value, str):
            return
        if not isinstance(value, Mapping):
            hint = f'{name} = "${{NAME}}", or a table with `url` and `options`'
            self.problems.append(Problem("bad-setting", f"the connection `{name}` is no URL", where, hint))
            return
        self._refuse_unknown(project, path, value, _CONNECTION_KEYS, "key of a connection")
        if not isinstance(value.get("url"), str):
            found = f"the connection `{name}` has no `url`"
            self.problems.append(Problem("bad-setting", found, where, 'url = "${NAME}"'))
        self._expect_table(project, (*path, "options"), value.get("options", {}))

    def _refuse_unknown(
        self, project: ProjectFile, path: tuple[str, ...], table: Mapping[str, Any], known: tuple[str, ...], noun: str
    ) -> None:
        for name in table:
            if name not in known:
                close = closest(name, known)
                guess = f"did you mean `{close}`? " if close else ""
                hint = f"{guess}Names here: {', '.join(known)}"
                self.problems.append(
                    Problem("unknown-setting", f"`{name}` is no {noun}", project.locate(*path, name), hint)
                )

    def _expect_table(self, project: ProjectFile, path: tuple[str, ...], value: Any) -> bool:
        if isinstance(value, Mapping):
            return True
        found = f"`{'.'.join(path)}` must be a table"
        self.problems.append(Problem("bad-setting", found, project.locate(*path), f"[{'.'.join(path)}]"))
        return False


class _Setting(Struct, frozen=True):
    parse: Callable[[Any, Path], Any]
    expected: str


def _folder(value: Any, root: Path) -> Path:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(value)
    return absolute(root / Path(value).expanduser())


def _folder_or_off(value: Any, root: Path) -> Path:
    return Path("/off") if value == "off" else _folder(value, root)


def _folders(value: Any, root: Path) -> tuple[Path, ...]:
    """A list in the file; in a variable, paths joined as in PATH."""
    parts = value.split(os.pathsep) if isinstance(value, str) else value
    if not isinstance(parts, list) or not parts:
        raise ValueError(value)
    return tuple(_folder(part, root) for part in parts)


def _dollars(value: Any, _root: Path) -> Decimal:
    try:
        dollars = Decimal(str(value))
    except InvalidOperation as error:
        raise ValueError(value) from error
    if isinstance(value, bool) or not dollars.is_finite() or dollars < 0:
        raise ValueError(value)
    return dollars


def _count(value: Any, _root: Path) -> int:
    count = int(str(value))
    if isinstance(value, bool) or count < 0:
        raise ValueError(value)
    return count


def _upto(most: int, least: int = 1) -> Callable[[Any, Path], int]:
    def count(value: Any, root: Path) -> int:
        number = _count(value, root)
        if not least <= number <= most:
            raise ValueError(value)
        return number

    return count


def _workers(value: Any, root: Path) -> int | Literal["auto"]:
    return "auto" if value == "auto" else _upto(MAX_WORKERS)(value, root)


def _seconds(value: Any, _root: Path) -> float:
    seconds = float(str(value))
    if isinstance(value, bool) or not 0 < seconds < float("inf"):
        raise ValueError(value)
    return seconds


def _text(value: Any, _root: Path) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(value)
    return value


def _one_of(*names: str) -> Callable[[Any, Path], str]:
    def name(value: Any, _root: Path) -> str:
        if value not in names:
            raise ValueError(value)
        return str(value)

    return name


# The bounds of a batch are the API's (`catalog.api`), which settings may not import: a test holds the two together.
_SETTINGS: Mapping[str, _Setting] = {
    "state_dir": _Setting(_folder, "a folder"),
    "template_dirs": _Setting(_folders, "a list of folders"),
    "data_dirs": _Setting(_folders, "a list of folders"),
    "confirm_above_usd": _Setting(_dollars, "a number of dollars, 0 or more"),
    "batch_min_rows": _Setting(_count, "a number of rows, 0 or more"),
    "batch_max_requests": _Setting(_upto(100_000), "a number of requests, from 1 to 100,000"),
    "batch_max_bytes": _Setting(_upto(256_000_000), "a number of bytes, from 1 to 256,000,000"),
    "batch_queue_requests": _Setting(_upto(10**9), "a number of requests, 1 or more"),
    "batch_poll_first_s": _Setting(_seconds, "a number of seconds, more than 0"),
    "batch_poll_longest_s": _Setting(_seconds, "a number of seconds, more than 0"),
    "batch_resend_rows": _Setting(_count, "a number of rows, 0 or more"),
    "tool_concurrency": _Setting(_upto(1_000), "a number of calls, from 1 to 1,000"),
    "upload_days": _Setting(_upto(90, 2), "a number of days, from 2 to 90"),
    "models_max_age_s": _Setting(_seconds, "a number of seconds, more than 0"),
    "unreachable_after_s": _Setting(_seconds, "a number of seconds, more than 0"),
    "limits_dir": _Setting(_folder_or_off, "a folder, or `off`"),
    "workers": _Setting(_workers, f"a number of processes, from 1 to {MAX_WORKERS}, or `auto`"),
    "prices": _Setting(_folder, "the path of a file"),
    "profile": _Setting(_text, "the name of a profile"),
    "transport": _Setting(_one_of("auto", "sdk", "wire"), "auto, sdk or wire"),
}


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _has_tool_table(path: Path) -> bool:
    """Whether a `pyproject.toml` has `[tool.runner]`; one that cannot be read has not."""
    try:
        with path.open("rb") as file:
            return isinstance(_table(tomllib.load(file).get("tool")).get("runner"), Mapping)
    except (OSError, ValueError):
        return False


def _unreadable(error: OSError | UnicodeDecodeError, shown: str) -> Problem:
    if isinstance(error, OSError):
        return Problem("unreadable-file", f"cannot read `{shown}`: {error.strerror}", Location(shown))
    # The bytes around it may be a secret, so the line is not shown.
    line = error.object.count(b"\n", 0, error.start) + 1
    found = f"byte 0x{error.object[error.start]:02x} is not UTF-8"
    return Problem("not-utf8", found, Location(shown, line), "save the file as UTF-8")


def _toml_problem(error: tomllib.TOMLDecodeError, shown: str, path: Path) -> Problem:
    # Before Python 3.14 the place is in the message only: "Invalid value (at line 3, column 7)".
    match = re.search(r"\(at line (\d+), column (\d+)\)", str(error))
    message = re.sub(r" \(at .*\)$", "", str(error))
    if not match:
        return Problem("toml-syntax", message, Location(shown))
    line, column = int(match.group(1)), int(match.group(2))
    lines = path.read_text("utf-8-sig").splitlines()
    source = lines[line - 1] if line <= len(lines) else None
    return Problem("toml-syntax", message, Location(shown, line, column, 1, source))


_BARE_OR_QUOTED = r"""(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')"""
_DOTTED = rf"{_BARE_OR_QUOTED}(?:\s*\.\s*{_BARE_OR_QUOTED})*"
_HEADER = re.compile(rf"\s*\[\s*({_DOTTED})\s*\]")
_ASSIGNMENT = re.compile(rf"\s*({_DOTTED})\s*=")
_LONG_QUOTE = re.compile(r'"""|\'\'\'')


def _key_positions(lines: tuple[str, ...]) -> dict[tuple[str, ...], tuple[int, int]]:
    """Where each key of a valid TOML text stands; `tomllib` keeps no positions. The first mention of a table counts."""
    positions: dict[tuple[str, ...], tuple[int, int]] = {}
    table: tuple[str, ...] = ()
    inside_text = False
    for number, line in enumerate(lines):
        if not inside_text:
            header, assignment = _HEADER.match(line), _ASSIGNMENT.match(line)
            if header:
                table = _split_dotted(header.group(1))
                positions.setdefault(table, (number, header.start(1)))
            elif assignment:
                key = table + _split_dotted(assignment.group(1))
                positions.setdefault(key, (number, assignment.start(1)))
        if len(_LONG_QUOTE.findall(line)) % 2:
            inside_text = not inside_text
    return positions


def _split_dotted(text: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in re.findall(_BARE_OR_QUOTED, text))
