"""Modules that are loaded when they are first used, for starts that mostly do without them.

Owns   `deferred`, and `kept_from_loading` for what a package of others loads without need.
Why    each millisecond of the start is paid by every command, and by the smallest run; what only some runs need (batch
       mode, the stand-in, the checker of schemas, a second HTTP client) was a fifth of all that was loaded.

For a module that is used by its name (`batching.drain`); a type checker is shown the plain import:

    if TYPE_CHECKING:
        from runner.execution import batching
    else:
        batching = deferred("runner.execution.batching")

The standard library's `LazyLoader` is not of use here: an `import` of the same module by anybody loads it at once.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any


def deferred(name: str) -> ModuleType:
    """Stands for the module of that name, which is imported when something of it is first asked for."""
    stand_in = ModuleType(name)

    def find(attribute: str) -> Any:
        return getattr(importlib.import_module(name), attribute)

    stand_in.__dict__["__getattr__"] = find
    return stand_in


@contextmanager
def kept_from_loading(name: str) -> Iterator[None]:
    """Modules that are imported meanwhile get a deferred one where they import this; all others, and all later, get
    the module itself."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = stand_in = deferred(name)
    try:
        yield
    finally:
        if sys.modules.get(name) is stand_in:
            del sys.modules[name]
