"""Python functions as tools: found by name, described by what they say of themselves.

Owns   the way from `module:function` to a function of the project, and from its signature, annotations and docstring to
       the name, the description and the JSON Schema that the model is given.
Knows  Python and pydantic. Nothing of jobs or of the API's requests.

Finding a function imports its module, which runs the author's code: only commands that read a job do so. Modules are
looked for in the project's root first, so that a project's `tools.py` is the one that is meant, whatever is installed
under that name; the root is also put at the end of `sys.path`, for what the module itself imports.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from msgspec import Struct
from pydantic import TypeAdapter
from pydantic.errors import PydanticUserError

from runner.errors import closest
from runner.tools import ToolError

Function = Callable[..., Any]

REFERENCE = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")
"""`module:function`, either of them dotted."""


class Described(Struct, frozen=True):
    """What a function says of itself. `problem` is why it says too little for a schema, where it does."""

    name: str
    description: str | None
    input_schema: dict[str, Any] | None
    problem: ToolError | None = None


def find_function(reference: str, root: Path) -> Function:
    """Import the function that a reference names, from the project at `root`.

    Raises:
        ToolError: there is no such module or function, or importing it failed.
    """
    if not REFERENCE.fullmatch(reference):
        form = "write the module and the function in it: `python: lookups:find_customer`"
        raise ToolError("bad-function", f"{reference!r} names no Python function", form)
    module_name, _, names = reference.partition(":")
    found: Any = _module(module_name, root)
    for part in names.split("."):
        if not hasattr(found, part):
            functions = [key for key, value in vars(found).items() if inspect.isfunction(value)]
            close = closest(part, functions)
            hint = f"did you mean `{close}`?" if close else None
            raise ToolError("no-function", f"the module `{module_name}` has no `{part}`", hint)
        found = getattr(found, part)
    if not callable(found) or inspect.isclass(found):
        wanted = "name a function: `def` or `async def`"
        raise ToolError("no-function", f"`{reference}` is no function: its type is {type(found).__name__}", wanted)
    return found  # type: ignore[no-any-return]  # what is callable


def _module(name: str, root: Path) -> ModuleType:
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names:
        hint = f"rename the file, and write its new name: {top}_tools.py"
        raise ToolError("no-module", f"`{top}` is a module of Python itself", hint)
    at_root = importlib.machinery.PathFinder.find_spec(top, [str(root)])
    if at_root is not None:
        _forget_another(top, at_root)
    if str(root) not in sys.path:
        sys.path.append(str(root))
    importlib.invalidate_caches()
    try:
        if at_root is not None and top not in sys.modules:
            _load(top, at_root)
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            hint = "modules are looked for in the project's root, then among what is installed"
            raise ToolError("no-module", f"there is no module `{name}`", hint) from error
        raise ToolError("import-failed", f"importing `{name}` failed: {error}", "install it") from error
    except (Exception, SystemExit) as error:
        raise ToolError("import-failed", f"importing `{name}` failed: {_line_of(error)}") from error


_of_projects: set[str] = set()
"""Names of modules that were imported for tools."""


def _load(top: str, spec: importlib.machinery.ModuleSpec) -> None:
    module = importlib.util.module_from_spec(spec)
    sys.modules[top] = module
    _of_projects.add(top)
    try:
        if spec.loader is not None:  # a folder without __init__.py has none
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[top]
        raise


def _forget_another(top: str, spec: importlib.machinery.ModuleSpec) -> None:
    """Another project's module of that name, which this process has imported before, is not the one that is meant. A
    library's of that name cannot be replaced: others hold on to it."""
    known = sys.modules.get(top)
    if known is None or getattr(known.__spec__, "origin", None) == spec.origin:
        return
    if top not in _of_projects:
        hint = f"rename the file, and write its new name: {top}_tools.py"
        raise ToolError("no-module", f"`{top}` is a module that runner itself uses", hint)
    for module in [module for module in sys.modules if module == top or module.startswith(f"{top}.")]:
        del sys.modules[module]


def _line_of(error: BaseException) -> str:
    """An error of the author's code in one line, with its place in it."""
    frames = inspect.getinnerframes(error.__traceback__) if error.__traceback__ is not None else []
    where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}".splitlines()[0] + where


def describe(function: Function) -> Described:
    """Read a function's signature, annotations and docstring."""
    name = getattr(function, "__name__", type(function).__name__)
    text, about = split_docstring(inspect.getdoc(function) or "")
    try:
        schema = _schema_of(function, about)
    except ToolError as problem:
        return Described(name, text or None, None, problem)
    return Described(name, text or None, schema)


def _schema_of(function: Function, about: Mapping[str, str]) -> dict[str, Any]:
    cure = "write `input_schema:`, or annotate it with a type such as `str`"
    for parameter in _parameters(function):
        if parameter.annotation is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD:
            raise ToolError("no-schema", f"the parameter `{parameter.name}` has no annotation", cure)
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(function)  # type: ignore[arg-type]  # pydantic takes functions too
        schema = adapter.json_schema()
    except (PydanticUserError, NameError, TypeError) as error:
        message = f"its annotations give no JSON Schema: {str(error).splitlines()[0]}"
        raise ToolError("no-schema", message, cure) from error
    schema = _untitled(schema)
    schema.setdefault("properties", {})
    for name, words in about.items():
        if isinstance(schema["properties"].get(name), dict):
            schema["properties"][name] = {"description": words, **schema["properties"][name]}
    return {"type": "object", **schema}


def _parameters(function: Function) -> list[inspect.Parameter]:
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError) as error:
        hint = "write a function of your own around it"
        raise ToolError("no-schema", "its signature cannot be read", hint) from error
    for parameter in parameters:
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL):
            message = f"the parameter `{parameter.name}` can only be given by its place, and a model gives names"
            raise ToolError("no-schema", message, "take it by name")
    return parameters


def check_takes(function: Function, schema: Mapping[str, Any]) -> None:
    """Raise ToolError where the inputs that a schema of the author's own allows are none that the function takes."""
    parameters = _parameters(function)
    properties = schema.get("properties") or {}
    required = schema.get("required") or ()
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    known = {parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_KEYWORD}
    for name in properties:
        if name not in known and not takes_any:
            close = closest(str(name), known)
            hint = f"did you mean `{close}`?" if close else f"its parameters: {', '.join(sorted(known)) or 'none'}"
            raise ToolError("input-mismatch", f"the function has no parameter `{name}`", hint)
    for parameter in parameters:
        needed = parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD
        if needed and parameter.name not in required:
            hint = "list it under `required`, or give the parameter a default"
            message = f"the function needs `{parameter.name}`, which the schema does not require"
            raise ToolError("input-mismatch", message, hint)


_SECTION = re.compile(r"^(Args|Arguments|Parameters|Returns|Return|Raises|Yields|Examples?|Notes?):\s*$", re.MULTILINE)
_ARGUMENT = re.compile(r"^(\w+)\s*(?:\([^)]*\))?:\s*(.*)$")


def split_docstring(text: str) -> tuple[str, dict[str, str]]:
    """The text before the first section, and what `Args:` says of each parameter (the style of this project, which
    is Google's)."""
    first = _SECTION.search(text)
    if first is None:
        return text.strip(), {}
    about: dict[str, str] = {}
    sections = list(_SECTION.finditer(text))
    for section, following in zip(sections, [*sections[1:], None], strict=True):
        if section.group(1) in ("Args", "Arguments", "Parameters"):
            body = text[section.end() : following.start() if following is not None else None]
            about |= _arguments(textwrap.dedent(body.strip("\n")))
    return text[: first.start()].strip(), about


def _arguments(body: str) -> dict[str, str]:
    about: dict[str, str] = {}
    name = None
    for line in body.splitlines():
        begun = _ARGUMENT.match(line)
        if begun is not None:
            name = begun.group(1)
            about[name] = begun.group(2).strip()
        elif name is not None and line.strip():
            about[name] = f"{about[name]} {line.strip()}".strip()
    return about


def _untitled(schema: Any, *, names: bool = False) -> Any:
    """A schema without the titles that pydantic makes of names; `names`: the keys here are names, not keywords."""
    if isinstance(schema, list):
        return [_untitled(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: value if key in ("default", "const", "enum", "examples") and not names
        else _untitled(value, names=not names and key in ("properties", "$defs"))
        for key, value in schema.items()
        if names or key != "title"
    }  # fmt: skip
