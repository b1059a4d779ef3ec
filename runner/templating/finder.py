"""Where templates are looked for, and which files can never be one.

Owns   the rule of places: the template folders in order, then the project's root; names are relative, with `/`, and
       stay inside. Links are resolved first. Dotfiles, anything below a dot-folder and the state folder are never
       templates.
Knows  files; nothing of Jinja. Called while a job is loaded, never while it renders.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from runner.templating.failure import TemplateFailure, TemplateNotFound, did_you_mean

MAX_TEMPLATE_BYTES = 2**20
"""A template is written by people: a mebibyte is a thick book. Long documents belong in `file:` blocks or in rows."""
_MAX_LISTED = 2_000
"""Files looked at for "did you mean"."""


class TemplateFinder:
    """Finds templates by name. `folders` come first, in order, then `root`; `forbidden` folders hold no template."""

    def __init__(self, folders: Sequence[Path], root: Path, forbidden: Sequence[Path] = ()) -> None:
        self.places = tuple(dict.fromkeys((*folders, root)))
        self._root = root
        self._inside = tuple(place.resolve() for place in self.places)
        self._forbidden = tuple(folder.resolve() for folder in forbidden)

    def find(self, name: str) -> tuple[Path, str]:
        """The file and text of a template.

        Raises TemplateNotFound naming every place that was looked in, or TemplateFailure for a file that cannot be one.
        """
        self._check_name(name)
        for place in self.places:
            path = place / name
            if os.path.lexists(path) and not path.is_dir():
                return path, self._read(name, path)
        looked = "\n".join(f"looked for {self._shown(place / name)}" for place in self.places)
        near = did_you_mean(name, self._names(), what="Templates")
        raise TemplateNotFound(name, f"there is no template {name!r}", f"{looked}\n{near}" if near else looked)

    def _check_name(self, name: str) -> None:
        parts = name.split("/")
        if not name or "\0" in name or "\\" in name or name.startswith("/") or Path(name).is_absolute():
            raise TemplateNotFound(
                name, f"{name!r} is no name of a template", "names are relative, with `/`: `parts/rubric.md.j2`"
            )
        if ".." in parts or "." in parts or "" in parts:
            raise TemplateNotFound(
                name,
                f"the template name {name!r} has empty, `.` or `..` parts",
                "names start at a template folder or at the root",
            )
        if any(part.startswith(".") for part in parts):
            raise TemplateNotFound(
                name, f"{name!r} is hidden; dotfiles are never templates", "rename it without the dot"
            )

    def _read(self, name: str, path: Path) -> str:
        real = self._real(name, path)
        try:
            # The resolved path has no link left; one put there since then is refused.
            handle = os.open(real, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        except OSError as error:
            raise TemplateFailure(
                name, None, f"the template {name!r} cannot be read: {error.strerror}", self._shown(path)
            ) from error
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise TemplateFailure(name, None, f"the template {name!r} is not a regular file", self._shown(path))
            data = file.read(MAX_TEMPLATE_BYTES + 1)
        if len(data) > MAX_TEMPLATE_BYTES:
            raise TemplateFailure(
                name,
                None,
                f"the template {name!r} is larger than {MAX_TEMPLATE_BYTES:,} bytes",
                "use `{file: …}` for a long document that needs no rendering",
            )
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            found = f"the template {name!r} is not UTF-8 text: byte 0x{data[error.start]:02x} in line {line}"
            raise TemplateFailure(name, line, found, "save the file as UTF-8", code="not-utf8") from error

    def _real(self, name: str, path: Path) -> Path:
        try:
            real = path.resolve(strict=True)
        except (OSError, RuntimeError) as error:
            raise TemplateNotFound(
                name, f"the template {name!r} is a link that leads nowhere", self._shown(path)
            ) from error
        inside = [place for place in self._inside if real.is_relative_to(place)]
        if not inside:
            raise TemplateNotFound(
                name,
                f"the template {name!r} is a link that leaves the template folders",
                "copy the file into a template folder",
            )
        if any(real.is_relative_to(folder) for folder in self._forbidden):
            raise TemplateNotFound(name, f"{name!r} lies in the state folder, which holds no templates", None)
        if all(any(part.startswith(".") for part in real.relative_to(place).parts) for place in inside):
            raise TemplateNotFound(
                name, f"the template {name!r} is a link to a hidden file", "rename the file without the dot"
            )
        return real

    def _shown(self, path: Path) -> str:
        try:
            return str(path.relative_to(self._root))
        except ValueError:
            return str(path)

    def _names(self) -> list[str]:
        """Names of templates there are, for a message; the root itself is not searched."""
        return sorted({name for folder in self.places if folder != self._root for name in _templates_in(folder)})


def _templates_in(folder: Path) -> Iterator[str]:
    seen = 0
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for file in sorted(files):
            seen += 1
            if seen > _MAX_LISTED:
                return
            if file.endswith(".j2") and not file.startswith("."):
                yield (Path(parent) / file).relative_to(folder).as_posix()
