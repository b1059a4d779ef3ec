"""What a name can stand for while a template is analysed, and which names are bound where.

Owns   the values that the analysis follows (a variable as a whole, macros, modules, blocks) and `Scope`.
Knows  nothing of the walk that fills them.
"""

from __future__ import annotations

from jinja2 import nodes
from msgspec import Struct, field


class Whole(Struct, frozen=True):
    """A variable from outside, as a whole."""

    variable: str


class Macro(Struct, frozen=True):
    template: str
    node: nodes.Macro
    scope: Scope


class Module(Struct, frozen=True, eq=False):
    template: str
    exports: dict[str, Value]


class Block(Struct, frozen=True):
    """The block `name` at a depth of inheritance: 0 is the template that was asked for."""

    name: str
    depth: int


class Self(Struct, frozen=True):
    """`self`: its items are the blocks."""


Value = Whole | Macro | Module | Block | Self | None
"""None stands for a value that is not followed."""


class Scope(Struct, eq=False):
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
