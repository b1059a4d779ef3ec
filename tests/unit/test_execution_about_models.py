"""What `runner doctor --model` says."""

from __future__ import annotations

from datetime import UTC, datetime

from runner.catalog.models import Catalog
from runner.execution.about_models import about_model

AT = datetime(2026, 11, 22, tzinfo=UTC)


def test_a_model_of_the_snapshot_says_what_is_known_and_what_is_not() -> None:
    found = about_model(Catalog(), "claude-haiku-5-5")
    assert (found.status, found.hint) == ("ok", None)
    assert found.message.splitlines()[1:] == [
        "reads 1,000,000 tokens, writes 128,000 tokens (300,000 in batches, with a beta)",
        "thinking: adaptive, disabled, enabled not; thinks without being asked",
        "effort: low, medium, high, xhigh, max; fast mode: no",
        (
            "batches: not known; structured outputs: not known; images: not known; PDF: not known; "
            "citations: not known; prefill: no; web search: not known; code execution: not known; inference_geo: yes"
        ),
        "edits of the context: not known; shortest cached prefix: 512 tokens",
    ]


def test_what_the_api_said_stands_above_it_with_its_day() -> None:
    catalog = Catalog()
    capabilities = {"batch": {"supported": True}, "pdf_input": {"supported": False}}
    catalog.update([{"id": "claude-haiku-5-5", "display_name": "Haiku", "capabilities": capabilities}], at=AT)
    message = about_model(catalog, "claude-haiku-5-5").message
    assert message.startswith("claude-haiku-5-5: Haiku, active (Models API, 2026-11-22)\n")
    assert "batches: yes" in message
    assert "PDF: no" in message


def test_a_model_that_is_retired_or_soon_will_be_names_another() -> None:
    soon, gone = (about_model(Catalog(), name) for name in ("claude-sonnet-4-5", "claude-opus-4-0"))
    assert (soon.status, soon.hint) == ("warning", "move to `claude-sonnet-5-5`")
    assert "to be retired on 2026-11-30" in soon.message
    assert (gone.status, gone.hint) == ("error", "move to `claude-opus-5-5`")


def test_a_model_that_nobody_knows_has_a_neighbour() -> None:
    found = about_model(Catalog(), "claude-haiku-55")
    assert (found.status, found.hint) == ("warning", "did you mean `claude-haiku-5-5`?")
