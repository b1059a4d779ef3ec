"""A tool of a job as JSON Schema, for editors, and as a table of the reference page.

Owns   what `spec.tools` takes, said twice: for machines and for people.
"""

from __future__ import annotations

from typing import Any

from runner.catalog.server_tools import SERVER_TOOLS
from runner.tools import DEFAULT_MAX_BYTES, DEFAULT_TIMEOUT_S

_CACHE: dict[str, Any] = {
    "enum": [True, False, "5m", "1h"],
    "description": "Puts a cache breakpoint after this tool. It counts among the four, before those of `system`.",
}
_FUNCTION: dict[str, dict[str, Any]] = {
    "python": {
        "type": "string",
        "pattern": "^[^:]+:[^:]+$",
        "description": "The module and the function in it, found from the project's root; `def` or `async def`.",
    },
    "name": {"type": "string", "pattern": "^[a-zA-Z0-9_-]{1,128}$", "description": "Default: the function's name."},
    "description": {"type": "string", "description": "What the model is told of it. Default: the docstring."},
    "input_schema": {
        "type": "object",
        "description": "JSON Schema of its input, an object. Default: made of the parameters' annotations.",
    },
    "strict": {"type": "boolean", "description": "The API guarantees inputs that fit the schema's part that it knows."},
    "cache": _CACHE,
    "timeout": {
        "type": "string",
        "pattern": "^([0-9]+(?:\\.[0-9]+)?)(ms|s|m|h|d)$",
        "description": f"How long one call may take. Default: {DEFAULT_TIMEOUT_S:g}s.",
    },
    "max_result_bytes": {
        "type": "integer",
        "minimum": 1,
        "maximum": 10_000_000,
        "description": f"How long a result may be. Default: {DEFAULT_MAX_BYTES:,}.",
    },
    "defer_loading": {"type": "boolean", "description": "Not shown to the model until a tool search finds it."},
    "input_examples": {
        "type": "array",
        "items": {"type": "object"},
        "description": "Inputs that the model is shown.",
    },
}


def tool_schema() -> dict[str, Any]:
    """Draft-07, as the rest of the job's schema."""
    function = {
        "type": "object",
        "description": "A function of the project, which this process runs.",
        "properties": _FUNCTION,
        "required": ["python"],
        "additionalProperties": False,
    }
    return {
        "description": "A tool that the API runs, or a function.",
        "anyOf": [{"type": "string", "pattern": "^[^:]+:[^:]+$"}, function, *map(_server_tool, SERVER_TOOLS)],
    }


def _server_tool(kind: str) -> dict[str, Any]:
    tool = SERVER_TOOLS[kind]
    keys = {name: shape.json_schema() for name, shape in tool.keys.items()}
    properties = {"type": {"const": kind}, "name": {"const": tool.name}, **keys, "cache": _CACHE}
    return {"type": "object", "properties": properties, "required": ["type"], "additionalProperties": False}


_ABOUT = """A tool is a function, `{python: module:function}` or just `module:function`, or one that the API runs, by
its type. [Tools](tools.md) says how they go together with modes, caps and resuming."""


def tools_reference() -> list[str]:
    """Lines of markdown."""
    lines = [
        _ABOUT,
        "",
        "| key of a function | meaning |",
        "|---|---|",
    ]
    lines += [
        f"| `{name}`{' (required)' if name == 'python' else ''} | {schema['description']} |"
        for name, schema in _FUNCTION.items()
    ]
    lines += ["", "| `type` of a tool that the API runs | further keys |", "|---|---|"]
    lines += [
        f"| `{kind}` | {', '.join(f'`{name}`' for name in (*tool.keys, 'cache'))} |"
        for kind, tool in SERVER_TOOLS.items()
    ]
    return lines
