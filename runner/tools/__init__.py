"""Tools: what a model may call while it answers. This module holds the nouns that the folder shares.

Owns   `Tool`, one tool of a job as requests and the run need it; `ToolCall` and `ToolResult`, what the model asks for
       and what it is given.
Knows  the API's words. Nothing of jobs, ledgers or engines; nothing here runs anything: `functions` finds
       them, `calling` runs them, `results` is what they gave as a text for the model.

A *server tool* is run by the API. A *client tool* is a Python function of the project, which this process runs: it has
a `python` reference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict

from runner.types import CacheTtl

DEFAULT_TIMEOUT_S = 60.0
"""How long one call of a function may take, unless the job says otherwise. A guess: longer than a slow web service
needs, short enough that a row that hangs is noticed."""
DEFAULT_MAX_BYTES = 100_000
"""How long a result may be, in bytes of UTF-8. All results of a row are sent again in each later round of it, so this
bounds what a row costs: about 30,000 tokens a result."""


class ToolError(Exception):
    """A tool that a job cannot have. `hint` says what to do."""

    def __init__(self, code: str, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint


class Tool(Struct, frozen=True):
    """`definition` is the object that the API gets, without a cache mark; the rest is about running it. `whole_schema`
    is the schema of the input where what is sent of it is less."""

    definition: Mapping[str, Any]
    cache: bool | CacheTtl | None = None
    python: str | None = None
    timeout_s: float = DEFAULT_TIMEOUT_S
    max_bytes: int = DEFAULT_MAX_BYTES
    whole_schema: Mapping[str, Any] | None = None

    @property
    def name(self) -> str:
        return str(self.definition["name"])

    @property
    def input_schema(self) -> Mapping[str, Any]:
        """What an input is checked against here."""
        schema: Mapping[str, Any] = self.whole_schema or self.definition.get("input_schema", {})
        return schema

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Tool:
        return cls(**values)


def client_tools(tools: Sequence[Tool]) -> dict[str, Tool]:
    """Those that this process runs, by name."""
    return {tool.name: tool for tool in tools if tool.python is not None}


class ToolCall(Struct, frozen=True):
    """One `tool_use` block of a reply."""

    id: str
    name: str
    input: Any


class ToolResult(Struct, frozen=True):
    """What a call came to: the text that the model gets, and whether it is about an error."""

    id: str
    content: str
    is_error: bool = False

    def block(self) -> dict[str, Any]:
        """The `tool_result` block. Content is left out where it is empty, as the API has it."""
        block: dict[str, Any] = {"type": "tool_result", "tool_use_id": self.id}
        if self.content:
            block["content"] = self.content
        if self.is_error:
            block["is_error"] = True
        return block


def calls_of(content: Sequence[Mapping[str, Any]]) -> list[ToolCall]:
    """The calls that a reply's content asks for, in their order."""
    return [
        ToolCall(str(block.get("id", "")), str(block.get("name", "")), block.get("input"))
        for block in content
        if block.get("type") == "tool_use"
    ]
