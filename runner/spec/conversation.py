"""The conversation of a job: who speaks first and last, what stands for messages that a row holds, who votes on what.

Owns   the checks of `messages` as a sequence, and of `vote` among `samples`, that need no row.
Knows  the tree (for places), and from the catalog which models take a last message of the assistant.

Source: the Messages API reference. The first message is the user's; messages of one role may follow one another; the
last one is the assistant's (prefill) only where the model takes it, and never with structured output.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from runner.catalog.models import snapshot_facts
from runner.errors import Problem
from runner.spec.hints import choice_hint
from runner.spec.node import ListNode, MapNode, Node, ScalarNode, find, plain
from runner.spec.output_checks import INSTEAD, is_structured
from runner.templating import Expression

WHOLE: Final = "output"
"""Names all of the output as what is voted on."""
_SAY_FIELDS: Final = ("fields", "labels", "schema", "extract")


def check_conversation(tree: MapNode, schema: Mapping[str, Any] | None) -> Iterator[Problem]:
    """All problems of this kind."""
    yield from _messages(tree)
    yield from _vote(tree, schema)


def _messages(tree: MapNode) -> Iterator[Problem]:
    messages = tree.get("messages")
    items = [item for item in messages.items if isinstance(item, MapNode)] if isinstance(messages, ListNode) else []
    if not items or not isinstance(messages, ListNode) or len(items) < len(messages.items):
        return  # what is no mapping has been told
    yield from _beginning(items[0])
    for item in items:
        yield from _expansion(item)
    yield from _end(tree, items[-1])


def _beginning(first: MapNode) -> Iterator[Problem]:
    if _role(first) == "assistant":
        found = "the first message must be the user's: the API takes no conversation that the assistant begins"
        yield Problem("first-message", found, _at_role(first).span.location(), "put a message of the user before it")


def _expansion(message: MapNode) -> Iterator[Problem]:
    node = message.get("expand")
    if not isinstance(node, ScalarNode) or not isinstance(node.value, str):
        return
    if Expression.whole(node.value) is None:
        found = "`expand` takes one value, `{{ … }}` and nothing beside it: a list of {role, content}"
        hint = 'name the column that holds the conversation: expand: "{{ row.history }}"'
        yield Problem("not-a-value", found, node.span.location(), hint)
    if message.get("role") is not None:
        found = "`role` does not go with `expand`, whose messages bring their own"
        yield Problem("one-of", found, _at_role(message).span.location(), "take `role` out")


def _end(tree: MapNode, last: MapNode) -> Iterator[Problem]:
    if _role(last) != "assistant":
        return
    model = tree.get("model")
    name = plain(model) if model is not None else None
    facts = snapshot_facts(name) if isinstance(name, str) else None
    where = _at_role(last).span.location()
    if facts is not None and facts.prefill is False:
        found = f"{facts.id} refuses a last message of the assistant"
        hint = "let the messages end with the user's; a form for the reply is `output: {fields: …}`"
        yield Problem("no-prefill", found, where, hint)
    elif is_structured(tree) and tree.get("turns") is None:  # only the last turn asks for it
        found = "structured output and a last message of the assistant exclude one another"
        yield Problem("no-prefill", found, where, f"let the messages end with the user's, {INSTEAD}")


def _vote(tree: MapNode, schema: Mapping[str, Any] | None) -> Iterator[Problem]:
    vote = find(tree, ("output", "vote"))
    if not isinstance(vote, MapNode):
        return
    samples = tree.get("samples")
    if samples is None or plain(samples) == 1:
        found = "a vote needs several samples, and this job has one"
        yield Problem("no-effect", found, vote.span.location(), "write `samples: 5`, or take `vote` out")
    field = vote.get("field")
    name = plain(field) if field is not None else None
    if field is None or not isinstance(name, str) or name == WHOLE:
        return
    fields = (schema or {}).get("properties")
    if isinstance(fields, Mapping) and name not in fields:
        hint = choice_hint(name, fields, "Fields of the output")
        yield Problem("unknown-field", f"`output` has no field `{name}`", field.span.location(), hint)
    elif schema is None and not any(find(tree, ("output", key)) is not None for key in _SAY_FIELDS):
        found = f"`{name}` is no field: without a schema the output is a text"
        hint = "say what a reply must look like (`fields`), or vote on all of it: `vote: output`"
        yield Problem("unknown-field", found, field.span.location(), hint)


def _role(message: MapNode) -> object:
    node = message.get("role")
    return plain(node) if node is not None and message.get("expand") is None else None


def _at_role(message: MapNode) -> Node:
    return message.get("role") or message
