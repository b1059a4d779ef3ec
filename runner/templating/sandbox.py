"""The sandbox: Jinja with item access only, closed tables, and every growth counted.

Owns   `Sandbox`, the Jinja environment of one template set, and the code generator that routes what plain Jinja would
       run by itself (`for`, `~`, slices, printing) through bounded functions.
Knows  Jinja's internals of the 3.1 series; the tests of the payloads hold what is relied on here.

Invariants
  * No Python attribute of a value is ever read for a template: on data `a.b` is the item `b`; dates and times have
    their numbers as items, and Jinja's own objects (`loop`, `self`, modules, namespaces) answer to a closed list of
    names.
  * Only macros, blocks, `loop` and three functions can be called.
  * A name is looked up in the closed set of templates; nothing here can open a file.
  * Nothing is evaluated while a template is compiled (`optimized=False`, no constant printing).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from types import MethodType
from typing import Any

import jinja2
from jinja2 import Undefined, nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.runtime import BlockReference, Context, LoopContext, Macro, TemplateReference
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from runner.templating import operators
from runner.templating.bounds import CALL_STEPS, active, bounded_join, counted
from runner.templating.failure import Refusal, word_for
from runner.templating.filters import FILTERS, TESTS
from runner.templating.list_filters import Group
from runner.templating.missing import Missing
from runner.templating.printing import text_of


def bounded_range(*bounds: int) -> range:
    """`range` of at most so many items as the bounds allow."""
    for bound in bounds:
        if isinstance(bound, bool) or not isinstance(bound, int):
            raise Refusal(f"`range` takes whole numbers, not {word_for(type(bound))}", "`range(n | int)`")
    if not 1 <= len(bounds) <= 3 or bounds[2:] == (0,):
        raise Refusal("`range` takes a stop, or a start, a stop and a step that is not 0")
    items = range(*bounds)
    limit = active.get().bounds.range_items
    # `len` of a range fails beyond 2**63; emptiness of the item at the limit does not.
    if items[limit:]:
        raise Refusal(f"`range` gives more than {limit:,} items", None, "template-bounds")
    return items


def make_mapping(*pairs: Any, **named: Any) -> dict[Any, Any]:
    made = dict(*pairs, **named)
    active.get().step(len(made))
    return made


def make_namespace(*pairs: Any, **named: Any) -> Namespace:
    return Namespace(make_mapping(*pairs, **named))


GLOBALS: Mapping[str, Any] = {"range": bounded_range, "dict": make_mapping, "namespace": make_namespace}
"""The functions that templates have. Jinja's `lipsum`, `cycler` and `joiner` are left out."""

_LOOP_NAMES = frozenset({
    "index", "index0", "revindex", "revindex0", "first", "last", "length", "depth", "depth0", "previtem", "nextitem",
    "cycle", "changed",
})  # fmt: skip


_CLOCK = frozenset({"hour", "minute", "second", "microsecond"})
_DAY = frozenset({"year", "month", "day"})
_MOMENTS: Mapping[type, frozenset[str]] = {dt.date: _DAY, dt.datetime: _DAY | _CLOCK, dt.time: _CLOCK}
"""The items that dates and times have: `row.opened.year`."""


class BoundedCode(CodeGenerator):
    """Jinja's code generator, with calls into the sandbox where plain Jinja has Python do it.

    The names of the methods, and parameters that are not used, are Jinja's.
    """

    def _make_finalize(self) -> CodeGenerator._FinalizeInfo:
        # No function for constants: they are printed when the template runs, by the same rules and the same counter.
        return self._FinalizeInfo(None, "environment.printed(")

    def _output_child_pre(self, *_: object) -> None:
        self.write("environment.printed(")

    def _output_child_post(self, *_: object) -> None:
        self.write(")")

    def visit_For(self, node: nodes.For, frame: Frame) -> None:  # noqa: N802
        count = nodes.EnvironmentAttribute("counted", lineno=node.lineno)
        items = nodes.Call(count, [node.iter], [], None, None, lineno=node.lineno)
        loop = nodes.For(node.target, items, node.body, node.else_, node.test, node.recursive, lineno=node.lineno)
        super().visit_For(loop, frame)

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:  # noqa: N802
        self.write("environment.joined((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")

    def visit_Getitem(self, node: nodes.Getitem, frame: Frame) -> None:  # noqa: N802
        if not isinstance(node.arg, nodes.Slice):
            super().visit_Getitem(node, frame)
            return
        self.write("environment.sliced(")
        self.visit(node.node, frame)
        self.write(", slice(")
        for part in (node.arg.start, node.arg.stop, node.arg.step):
            if part is None:
                self.write("None")
            else:
                self.visit(part, frame)
            self.write(", ")
        self.write("))")

    def visit_Include(self, node: nodes.Include, frame: Frame) -> None:  # noqa: N802
        # Jinja generates a `yield` here, which turns a macro into a generator that prints as an object.
        if not node.with_context and frame.buffer is not None:
            self.fail("`include … without context` does not work inside a macro, call or set block", node.lineno)
        super().visit_Include(node, frame)


class CompiledTemplate(jinja2.Template):
    """A compiled template whose module is made anew for every render.

    Jinja keeps one for all renders, and with it what the macros of an imported template remember of earlier rows.
    """

    def _get_default_module(self, *_: object) -> Any:
        modules = active.get().modules
        name = self.name or ""
        module = modules.get(name)
        if module is None:
            module = modules[name] = self.make_module()
        return module


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment of one closed set of templates. `closed` maps their names to what was compiled."""

    intercepted_binops = frozenset(operators.BINARY)
    code_generator_class = BoundedCode
    template_class = CompiledTemplate
    concat = staticmethod(bounded_join)
    printed = staticmethod(text_of)
    counted = staticmethod(counted)
    joined = staticmethod(operators.joined)
    sliced = staticmethod(operators.sliced)

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
            undefined=Missing,
            autoescape=False,
            optimized=False,
            loader=None,
            cache_size=0,
        )
        self.filters = dict(FILTERS)
        self.tests = dict(TESTS)
        self.globals = dict(GLOBALS)
        self.binop_table.update(operators.BINARY)
        self.closed: dict[str, jinja2.Template] = {}

    # -- Names of templates

    def get_template(self, name: Any, *_: object, **__: object) -> jinja2.Template:
        """Find a template of the set; includes, imports and extends of compiled templates come here."""
        active.get().step(CALL_STEPS)
        found = self.closed.get(name) if isinstance(name, str) else None
        if found is None:
            raise jinja2.TemplateNotFound(name if isinstance(name, str) else None)
        return found

    def select_template(self, names: Any, *_: object, **__: object) -> jinja2.Template:
        candidates: Iterable[Any] = names if isinstance(names, list | tuple) else (names,)
        for name in candidates:
            if isinstance(name, str) and name in self.closed:
                return self.get_template(name)
        raise jinja2.TemplatesNotFound([name for name in candidates if isinstance(name, str)])

    def get_or_select_template(self, template_name_or_list: Any, *_: object, **__: object) -> jinja2.Template:
        return self.select_template(template_name_or_list)

    # -- Data

    def getattr(self, obj: Any, attribute: str) -> Any:
        """`a.b`: the item `b` of a mapping, or a name of one of Jinja's own objects."""
        if type(obj) is dict:
            try:
                return obj[attribute]
            except KeyError:
                return Missing(obj=obj, name=attribute)
        if isinstance(obj, Mapping):
            return obj[attribute] if attribute in obj else Missing(obj=obj, name=attribute)
        if obj is None and active.get().null_safe:
            return None
        if isinstance(obj, Undefined):
            _refuse_undefined(obj)
        return self._own(obj, attribute)

    def _own(self, obj: Any, name: str) -> Any:
        """A name of one of Jinja's own objects; a missing one for anything else."""
        kind = type(obj)
        if kind is Namespace:
            names: dict[str, Any] = obj._Namespace__attrs  # noqa: SLF001 - the class offers no other way to read it
            return names[name] if name in names else Missing(f"this namespace has no `{name}`")
        if kind is LoopContext and name in _LOOP_NAMES:
            return getattr(obj, name)
        if kind is Group and name in Group._fields:
            return getattr(obj, name)
        if kind is BlockReference and name == "super":
            return obj.super
        if isinstance(obj, jinja2.environment.TemplateModule):
            exported = {key: value for key, value in vars(obj).items() if not key.startswith("_")}
            if name in exported:
                return exported[name]
            return Missing(f"the imported template {obj.__name__!r} has no macro or variable `{name}`")
        if kind is TemplateReference:
            try:
                return obj[name]
            except KeyError:
                return Missing(f"there is no block `{name}`")
        if kind in _MOMENTS and name in _MOMENTS[kind]:
            return getattr(obj, name)
        if callable(obj):
            return Missing(f"a macro or function has no item `{name}`")
        return Missing(obj=obj, name=name)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """`a[b]`: the same as `a.b` for a name; an item of a list or a character of a text for a whole number."""
        if isinstance(argument, Undefined):
            _refuse_undefined(argument)
        if isinstance(obj, Mapping):
            try:
                return obj[argument]
            except KeyError:
                return Missing(obj=obj, name=argument)
        if isinstance(obj, str | list | tuple | range) and isinstance(argument, int):
            try:
                return obj[argument]
            except IndexError:
                return None if active.get().null_safe else Missing(obj=obj, name=argument)
        if isinstance(argument, str):
            return self.getattr(obj, argument)
        if obj is None and active.get().null_safe:
            return None
        if isinstance(obj, Undefined):
            _refuse_undefined(obj)
        return Missing(obj=obj, name=argument)

    # -- Calls

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call one of the few things that can be called."""
        if obj is counted:
            return counted(*args)
        active.get().step(CALL_STEPS)
        if type(obj) is LoopContext:
            args = (counted(args[0]), *args[1:]) if args else args
        elif not self.is_safe_callable(obj):
            if isinstance(obj, Undefined):
                _refuse_undefined(obj)
            raise Refusal(
                f"{word_for(type(obj))} cannot be called",
                "columns and values are used without brackets: `{{ row.x }}`",
            )
        return context.call(obj, *args, **kwargs)

    def is_safe_callable(self, obj: Any) -> bool:
        """Macros, blocks, `loop.cycle`, `loop.changed` and our own functions."""
        if isinstance(obj, Macro | BlockReference):
            return True
        if isinstance(obj, MethodType):
            return isinstance(obj.__self__, LoopContext)
        return any(obj is function for function in GLOBALS.values())


def _refuse_undefined(value: Undefined) -> None:
    """Raise what is wrong with a missing name; an inline `if` without `else` counts as null."""
    if isinstance(value, Missing):
        value.refuse()
    raise Refusal("an inline `if` without `else` gave nothing here", "add `else` and a value")
