"""What is asked next: each kind of trouble has its own cure, and each cure an end."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from runner.replies.asking import NEVER, Asking, repair_text
from runner.rounds import CallTools, GoOn, Longer, OtherModel, Repair, Rounds
from runner.types import Failure, Reply, Step, Usage

KINDS = ("schema_mismatch", "truncated", "refusal", "unexpected_reply")
STOPS = {"truncated": "max_tokens", "refusal": "refusal"}

askings = st.builds(
    Asking,
    repairs=st.integers(0, 4),
    limits=st.lists(st.integers(1, 9), max_size=4).map(tuple),
    models=st.lists(st.sampled_from(["a", "b"]), max_size=3).map(tuple),
)


def reply(stop_reason: str = "end_turn") -> Reply:
    return Reply("msg_1", None, "m", stop_reason, [{"type": "text", "text": "x"}], Usage())


def failure(kind: str) -> Failure:
    return Failure(kind, "no")


@given(askings, st.lists(st.sampled_from(KINDS), min_size=20, max_size=40))
def test_whatever_goes_wrong_asking_ends_and_every_step_is_new(asking: Asking, troubles: list[str]) -> None:
    """As a machine: any order of troubles leads from step to step, each later than the last, and comes to an end."""
    step, asked = Step(7, 1, 2), 0
    for kind in troubles:
        following = asking.after(step, reply(STOPS.get(kind, "end_turn")), failure(kind), ["no"])
        if following is None:
            continue
        assert following.step > step
        assert (following.step.row, following.step.turn, following.step.sample) == (7, 1, 2)
        rounds = Rounds.of(following.step.round)
        match following.why:
            case Repair():
                assert kind == "schema_mismatch", "truncation wins over repair"
            case Longer(max_tokens):
                assert kind == "truncated"
                assert max_tokens == asking.limits[rounds.longer - 1]
            case OtherModel(model):
                assert kind == "refusal"
                assert model == asking.other_model_of(following.step)
        step, asked = following.step, asked + 1
    assert asked <= asking.repairs + len(asking.limits) + len(asking.models)


@given(askings, st.sampled_from(KINDS), st.integers(0, 3))
def test_the_same_reply_to_the_same_step_has_the_same_consequence(asking: Asking, kind: str, repairs: int) -> None:
    step = Step(1, round=repairs)
    said = [asking.after(step, reply(STOPS.get(kind, "end_turn")), failure(kind), ["no"]) for _ in range(2)]
    assert said[0] == said[1]


def test_a_larger_limit_does_not_help_at_the_end_of_the_context_window() -> None:
    asking = Asking(limits=(10,))
    assert asking.after(Step(0), reply("model_context_window_exceeded"), failure("truncated"), ()) is None
    assert asking.after(Step(0), reply("max_tokens"), failure("truncated"), ()) is not None


def test_by_default_nothing_is_asked_again_or_kept() -> None:
    for kind in KINDS:
        assert NEVER.after(Step(0), reply(STOPS.get(kind, "end_turn")), failure(kind), ["no"]) is None
        assert not NEVER.keeps(failure(kind))


def test_what_is_kept_is_kept_by_its_kind() -> None:
    kept = Asking(keeps_truncated=True)
    assert [kind for kind in KINDS if kept.keeps(failure(kind))] == ["truncated"]
    kept = Asking(keeps_refused=True)
    assert [kind for kind in KINDS if kept.keeps(failure(kind))] == ["refusal"]


def test_a_model_is_told_all_that_is_wrong() -> None:
    """A golden text: other words are other requests, which nobody has paid for yet."""
    assert repair_text(["/label: 'x' is not one of ['a']", "/score: 1 is too small"]) == (
        "Your reply cannot be used:\n"
        "- /label: 'x' is not one of ['a']\n"
        "- /score: 1 is too small\n"
        "Answer again with the whole reply, corrected, and nothing else."
    )


def calling() -> Reply:
    block = {"type": "tool_use", "id": "toolu_1", "name": "find", "input": {}}
    return Reply("msg", None, "m", "tool_use", [block], Usage())


def paused() -> Reply:
    return Reply(
        "msg", None, "m", "pause_turn", [{"type": "server_tool_use", "id": "s", "name": "web_search"}], Usage()
    )


UNEXPECTED = Failure("unexpected_reply", "the model asks for a tool instead of answering")


def test_calls_and_pauses_are_followed_up_within_the_bound_that_they_share() -> None:
    asking = Asking(goes_on=True, calls=True, tool_rounds=3)
    step, whys = Step(7), list[type]()
    for reply_of in (calling(), paused(), calling()):
        asked = asking.after(step, reply_of, UNEXPECTED, ())
        assert asked is not None
        whys.append(type(asked.why))
        step = asked.step
    assert whys == [CallTools, GoOn, CallTools]
    assert Rounds.of(step.round) == Rounds(tools=2, continued=1)
    assert asking.after(step, calling(), UNEXPECTED, ()) is None
    assert "limits.max_tool_rounds" in asking.in_the_end(calling(), UNEXPECTED).message


def test_only_what_the_job_has_is_followed_up() -> None:
    for asking, reply_of in (
        (Asking(calls=True, tool_rounds=3), paused()),
        (Asking(goes_on=True, tool_rounds=3), calling()),
        (Asking(), calling()),
        (Asking(calls=True, tool_rounds=3), Reply("msg", None, "m", "tool_use", [], Usage())),
    ):
        assert asking.after(Step(0), reply_of, UNEXPECTED, ()) is None
        assert asking.in_the_end(reply_of, UNEXPECTED) == UNEXPECTED


def test_a_repair_does_not_use_up_rounds_of_tools() -> None:
    asking = Asking(repairs=1, calls=True, tool_rounds=1)
    mended = asking.after(Step(0), reply(), failure("schema_mismatch"), ["/: wrong"])
    assert mended is not None
    called = asking.after(mended.step, calling(), UNEXPECTED, ())
    assert called is not None
    assert Rounds.of(called.step.round) == Rounds(repairs=1, tools=1)
