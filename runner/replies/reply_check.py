"""Everything that a job asks of a reply's text: take the output out of it, hold it to the schema, ask the rules.

Owns   `ReplyCheck`, made once a run (`execution.reply_checks` makes it, from a loaded job or from a run's folder), and
       the order of its questions: rules are asked of outputs that fit the schema only.
Knows  the three parts. Whether a reply is whole, and what follows from a problem, is `replies.judge`'s and above.

Pure: the same reply and row have the same problems today and after a restart, which is what lets stored replies be
judged again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from runner.encoding import decode
from runner.replies.extract import Answer, text_of
from runner.replies.passages import NotFound, Passage
from runner.types import Reply, Row

if TYPE_CHECKING:
    from runner.replies.rules import Rules
    from runner.replies.schema import Check


class ReplyCheck:
    """The check of one job's replies; at least one of its parts is there."""

    def __init__(self, schema: Check | None = None, passage: Passage | None = None, rules: Rules | None = None) -> None:
        self.schema = schema
        self._passage = passage
        self._rules = rules

    @property
    def structured(self) -> bool:
        """Whether the output is something else than the reply's text."""
        return self.schema is not None or self._passage is not None

    @property
    def needs_row(self) -> bool:
        """Whether `problems` needs the row; it is looked up for such a job only."""
        return self._rules is not None and self._rules.needs_row

    @property
    def warns(self) -> bool:
        """Whether there are rules that warn."""
        return self._rules is not None and self._rules.warns

    def problems(self, reply: Reply, row: Row | None = None) -> list[str]:
        """What is wrong with a whole reply, as short messages; none where it is what the job asks for."""
        text = text_of(reply.content)
        try:
            output = self._taken(text)
        except NotFound as missing:
            return [str(missing)]
        problems = self.schema.problems(output) if self.schema is not None else []
        if not problems and self._rules is not None:
            problems = list(self._rules.problems(output, text, reply, row))
        return problems

    def answer(self, content: Sequence[Mapping[str, Any]]) -> Answer:
        """The output in a reply and its raw text. The output is None where there is none to take."""
        text = text_of(content)
        try:
            return Answer(self._taken(text), text)
        except NotFound:
            return Answer(None, text)

    def warnings(self, answer: Answer, reply: Reply, row: Row) -> list[tuple[str, str]]:
        """The rules that warn and do not hold: each rule's text, and what is wrong."""
        return [] if self._rules is None else list(self._rules.warnings(answer.output, answer.text, reply, row))

    def _taken(self, text: str) -> Any:
        if self._passage is not None:
            return self._passage.take(text)
        if self.schema is None:
            return text
        try:
            return decode(text)
        except (ValueError, RecursionError) as error:
            raise NotFound(f"the reply is not JSON: {error}") from error
