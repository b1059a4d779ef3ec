"""What a name can stand for while a template is analysed, and which names are bound where.

Owns   the values that the analysis follows (a variable as a whole, macros, modules, blocks) and `Scope`.
Knows  nothing of the walk that fills them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from jinja2 import nodes


@dataclass(frozen=True, slots=True)
class Whole:
    """A variable from outside, as a whole."""

    variable: str


@dataclass(frozen=True, slots=True)
class Macro:
    template: str
    node: nodes.Macro
    scope: Scope


@dataclass(frozen=True, slots=True, eq=False)
class Module:
    template: str
    exports: dict[str, Value]


@dataclass(frozen=True, slots=True)
class Block:
    """The block `name` at a depth of inheritance: 0 is the template that was asked for."""

    name: str
    depth: int


@dataclass(frozen=True, slots=True)
class Self:
    """`self`: its items are the blocks."""


Value = Whole | Macro | Module | Block | Self | None
"""None stands for a value that is not followed."""


@dataclass(slots=True, eq=False)
class Scope:
    """Names bound so far. A scope without parent and `hidden` does not see the caller's variables."""

    parent: Scope | None
    hidden: bool = False
    names: dict[str, Value] = field(default_factory=dict)

    def find(self, name: str) -> tuple[bool, Value]:
        scope: Scope | None = self
        while scope is not None:
            if name in scope.names:
                return True, scope.names[name]
            scope = scope.parent
        return False, None

    def is_hidden(self) -> bool:
        scope: Scope = self
        while scope.parent is not None:
            scope = scope.parent
        return scope.hidden

    def bindings(self) -> frozenset[tuple[str, Whole | None]]:
        """What is bound, as a key: two walks with equal bindings find the same. Only whole variables are told apart, so
        that there are finitely many keys and a template that includes itself is walked once.
        """
        found: dict[str, Whole | None] = {}
        scope: Scope | None = self
        while scope is not None:
            for name, value in scope.names.items():
                found.setdefault(name, whole_only(value))
            scope = scope.parent
        return frozenset(found.items())


def whole_only(value: Value) -> Whole | None:
    return value if isinstance(value, Whole) else None
