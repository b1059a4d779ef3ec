"""Whether an expression occurs in a text, in a time that is the product of both lengths and never more.

Owns   `Automaton`: all places of an expression that the text read so far may have led to are carried along the text
       together, so no character is read twice (Thompson's construction). Sets of places that were met before are
       looked up.
Knows  the tree that Python's own parser makes of an expression, so an expression means what it means to `re`; a
       property test holds the two against each other.

Why not `re`: it tries one way after the other, and a text of forty characters can have more ways than there is time for
(`^(a+)+$`). Why not RE2, as `spec.regexes` has it: it is an extra, and it has no look-around, which schemas use. What
makes both unnecessary is that nobody asks here where an expression matches, only whether it does.
Source: K. Thompson, "Regular expression search algorithm", CACM 11(6), 1968; R. Cox, "Regular expression matching can
be simple and fast", 2007.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from msgspec import Struct, field

MAX_PLACES = 5_000
"""Places of one expression, each repetition counted as often as it may occur: what one character of a text may cost.
A text of 10,000 characters and the largest expression take 20 seconds at worst (measured, November 2026)."""
MAX_KNOWN = 200_000
"""What is remembered of one expression: steps that were taken, and places in the states that they led to; some tens of
megabytes at most. Of an expression of the usual size that is every step that there is."""

_BEYOND = 0x110000
_CATEGORIES: dict[str, tuple[tuple[int, int], ...]] = {
    "DIGIT": ((48, 58),),
    "SPACE": ((9, 14), (32, 33)),
    "WORD": ((48, 58), (65, 91), (95, 96), (97, 123)),
}
"""Ranges of ASCII characters, each with the first that is no more inside: what `re.ASCII` makes of the categories."""

FLAGS, NO_FLAGS = "it sets flags (`(?i)`), which patterns do not have", "write both letters: `[Aa]`"

Positions = Callable[[str], Iterable[int]]
"""Where in a text, from 0 to its length, something holds."""


class Unbounded(ValueError):
    """An expression that needs more than an automaton; the message says why, `hint` what to do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class _Place(Struct, eq=False):
    """A place in an expression. `chars`: what is read there, as sorted bounds (inside from the first to before the
    second, …); None where nothing is read. `needs`: the bit of what must hold there; 0 for nothing."""

    chars: tuple[int, ...] | None = None
    needs: int = 0
    follow: list[_Place] = field(default_factory=list)


class _State(Struct, eq=False):
    """The places that read the next character. `following`: the states behind characters that were met, each with what
    holds behind it."""

    places: tuple[_Place, ...]
    accepts: bool
    following: dict[tuple[str, int], _State] = field(default_factory=dict)


class Automaton:
    """`backwards`: texts are read from their end, and the expression too."""

    def __init__(self, tree: Any, *, backwards: bool = False, budget: _Budget | None = None) -> None:
        """`tree` is what Python's parser makes of an expression. Raises Unbounded."""
        build = _Build(budget or _Budget(), backwards=backwards)
        self._start = build.sequence(tree, _FINAL)
        self._conditions = build.conditions
        self._backwards = backwards
        self._states: dict[frozenset[_Place], _State] = {}
        self._known = 0

    def occurs(self, text: str) -> bool:
        """Whether some part of the text matches."""
        return next(self.ends(text), None) is not None

    def ends(self, text: str) -> Iterator[int]:
        """The positions where a match ends that began anywhere before; read backwards, those where one begins."""
        last = len(text)
        holds = [0] * (last + 1)
        for number, positions in enumerate(self._conditions):
            for position in positions(text):
                holds[position] |= 1 << number
        at, step = (last, -1) if self._backwards else (0, 1)
        state = self._state((), holds[at])
        if state.accepts:
            yield at
        for char in reversed(text) if self._backwards else text:
            at += step
            known = state.following.get((char, holds[at]))
            state = self._step(state, char, holds[at]) if known is None else known
            if state.accepts:
                yield at

    def _step(self, state: _State, char: str, holds: int) -> _State:
        if self._known >= MAX_KNOWN:
            for other in list(self._states.values()):  # another thread may search as well
                other.following.clear()
            self._states.clear()
            self._known = 0
        point = ord(char)
        read = [place for place in state.places if bisect_right(place.chars or (), point) % 2]
        following = self._state([behind for place in read for behind in place.follow], holds)
        state.following[char, holds] = following
        self._known += 1
        return following

    def _state(self, places: Iterable[_Place], holds: int) -> _State:
        """The state of these places and of the start, for a match may begin anywhere."""
        reached: set[_Place] = set()
        seen: set[_Place] = set()
        pending = [self._start, *places]
        while pending:
            place = pending.pop()
            if place in seen:
                continue
            seen.add(place)
            if place.chars is not None or place is _FINAL:
                reached.add(place)
            elif not place.needs & ~holds:
                pending.extend(place.follow)
        key = frozenset(reached)
        state = self._states.get(key)
        if state is None:
            reading = tuple(place for place in reached if place is not _FINAL)
            state = self._states[key] = _State(reading, _FINAL in reached)
            self._known += len(reading)
        return state


_FINAL = _Place()


class _Budget:
    """Counts the places of an expression and of all that it looks around for."""

    def __init__(self) -> None:
        self._left = MAX_PLACES

    def spend(self, places: int) -> None:
        """Raises Unbounded."""
        self._left -= places
        if self._left < 0:
            found = f"with its repetitions it is longer than {MAX_PLACES:,} characters"
            raise Unbounded(found, "bound the length of a text by `minLength` and `maxLength`")


class _Build:
    """Makes the places of an expression from its end to its beginning: each is given what follows on it."""

    def __init__(self, budget: _Budget, *, backwards: bool) -> None:
        self.conditions: list[Positions] = []
        self._bits: dict[object, int] = {}
        self._budget = budget
        self._backwards = backwards

    def sequence(self, tree: Any, behind: _Place) -> _Place:
        """The first place of a sequence that goes on at `behind`."""
        parts = list(tree)
        self._budget.spend(max(1, len(parts)))
        for kind, value in parts if self._backwards else reversed(parts):
            behind = self._part(str(kind), value, behind)
        return behind

    def _part(self, kind: str, value: Any, behind: _Place) -> _Place:
        match kind:
            case "LITERAL":
                return _Place(_bounds([(value, value + 1)]), follow=[behind])
            case "NOT_LITERAL":
                return _Place(_others(_bounds([(value, value + 1)])), follow=[behind])
            case "IN":
                return _Place(_set(value), follow=[behind])
            case "BRANCH":
                return _Place(follow=[self.sequence(way, behind) for way in value[1]])
            case "SUBPATTERN" if not value[1] and not value[2]:
                return self.sequence(value[3], behind)
            case "SUBPATTERN":
                raise Unbounded(FLAGS, NO_FLAGS)
            case "MAX_REPEAT" | "MIN_REPEAT":
                least, most, tree = value
                return self._repeated(least, most, tree, behind)
            case "AT":
                return self._where(value, lambda: _ANCHORS[str(value)], behind)
            case "ASSERT" | "ASSERT_NOT":
                direction, tree = value
                looks = kind == "ASSERT"
                return self._where((looks, direction, id(tree)), lambda: self._look(direction, tree, looks), behind)
            case "FAILURE":
                return _Place()
            case "GROUPREF":
                found = "it refers back to a group (`\\1`), and no search for that has a bound of time"
                raise Unbounded(found, "write out what may stand there: `(a.*a|b.*b)`")
        raise Unbounded("it has a form that is Python's own", "write it as ECMA-262 has it")

    def _repeated(self, least: int, most: Any, tree: Any, behind: _Place) -> _Place:
        if str(most) == "MAXREPEAT":
            start = _Place()
            start.follow = [self.sequence(tree, start), behind]
        else:
            start = behind
            for _ in range(most - least):
                start = _Place(follow=[self.sequence(tree, start), behind])
        for _ in range(least):
            start = self.sequence(tree, start)
        return start

    def _where(self, name: object, make: Callable[[], Positions], behind: _Place) -> _Place:
        if name not in self._bits:
            self._bits[name] = 1 << len(self.conditions)
            self.conditions.append(make())
        return _Place(needs=self._bits[name], follow=[behind])

    def _look(self, direction: int, tree: Any, looks: bool) -> Positions:
        """Where what is ahead begins is found in one pass from the text's end, where what is behind ends in one from
        its beginning."""
        inner = Automaton(tree, backwards=direction > 0, budget=self._budget)
        if looks:
            return inner.ends
        return lambda text: set(range(len(text) + 1)).difference(inner.ends(text))


# -- characters and positions ------------------------------------------------------------------------------------------


def _set(items: Any) -> tuple[int, ...]:
    ranges: list[tuple[int, int]] = []
    negated = False
    for kind, value in items:
        match str(kind):
            case "NEGATE":
                negated = True
            case "LITERAL":
                ranges.append((value, value + 1))
            case "RANGE":
                ranges.append((value[0], value[1] + 1))
            case _:
                ranges.extend(_category(str(value)))
    bounds = _bounds(ranges)
    return _others(bounds) if negated else bounds


def _category(name: str) -> list[tuple[int, int]]:
    """Of a name such as CATEGORY_NOT_DIGIT."""
    *negated, name = name.removeprefix("CATEGORY_").rsplit("_", 1)
    bounds = _bounds(_CATEGORIES[name])
    if negated:
        bounds = _others(bounds)
    return list(zip(bounds[::2], bounds[1::2], strict=True))


def _bounds(ranges: Iterable[tuple[int, int]]) -> tuple[int, ...]:
    """Sorted bounds of ranges that may overlap."""
    bounds: list[int] = []
    for first, end in sorted(ranges):
        if bounds and first <= bounds[-1]:
            bounds[-1] = max(bounds[-1], end)
        else:
            bounds += [first, end]
    return tuple(bounds)


def _others(bounds: tuple[int, ...]) -> tuple[int, ...]:
    """All other characters."""
    start = bounds[1:] if bounds[:1] == (0,) else (0, *bounds)
    return start[:-1] if start[-1:] == (_BEYOND,) else (*start, _BEYOND)


def _boundaries(text: str) -> Iterator[int]:
    """Between a character of a word and what is none."""
    before = False
    for position, char in enumerate(text):
        after = char.isascii() and (char.isalnum() or char == "_")
        if after != before:
            yield position
        before = after
    if before:
        yield len(text)


_ANCHORS: dict[str, Positions] = {
    "AT_BEGINNING": lambda _: (0,),
    "AT_END_STRING": lambda text: (len(text),),
    "AT_BOUNDARY": _boundaries,
    "AT_NON_BOUNDARY": lambda text: set(range(len(text) + 1)).difference(_boundaries(text)),
}
"""Where the anchors hold that are left of a translated expression (`spec.patterns`)."""
