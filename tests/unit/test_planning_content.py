"""What content costs at most, whoever is asked."""

from __future__ import annotations

from base64 import b64encode

import pytest

from runner.catalog.models import snapshot_facts
from runner.media.content import Content, Unsendable
from runner.media.tokens import HIGH, STANDARD
from runner.planning.content import Sight, Weight, held_weight, media_block, url_block
from support.media import pdf, picture


def test_an_older_model_sees_less_and_reads_less() -> None:
    old, new = (Sight.of(snapshot_facts(model)) for model in ("claude-haiku-4-5", "claude-haiku-5-5"))
    assert (old.resolution, old.context, old.max_media) == (STANDARD, 200_000, 100)
    assert (new.resolution, new.context, new.max_media) == (HIGH, 1_000_000, 600)


def test_the_bound_holds_for_another_model_that_is_asked_instead() -> None:
    sight = Sight.of(snapshot_facts("claude-haiku-4-5"))
    photo = Content.of(picture(3_000, 2_000), "a photo", "image")
    weight = media_block("image", photo, {}, sight, images=1, resize=None).weight
    assert weight.tokens <= STANDARD.tokens < (weight.bound or 0) <= HIGH.tokens
    assert sight.bound(None) == 200_000
    assert sight.of_model("claude-sonnet-5-5").bound(None) == 1_000_000
    assert sight.of_model("claude-of-tomorrow").bound(None) is None


def test_a_bound_is_never_more_than_the_context() -> None:
    assert [Sight(context=100).bound(tokens) for tokens in (7, 700, None)] == [7, 100, 100]
    assert [Sight().bound(tokens) for tokens in (7, 700, None)] == [7, 700, None]


@pytest.mark.parametrize("further", [{}, {"citations": {"enabled": True}}])
def test_a_text_is_bounded_alike_within_the_body_and_uploaded(further: dict[str, object]) -> None:
    text = Content.of(b"One. Two. Three. " * 100, "a text", "document")
    within, uploaded = (
        media_block("document", text, further, Sight(), images=0, resize=None, upload=upload)
        for upload in (None, lambda: text.data)
    )
    added = within.weight.bound or 0  # beside the body, of which some bytes are no text
    assert 0 <= len(text.data) + added - (uploaded.weight.bound or 0) < 32


def test_weights_add_up_and_what_is_not_bounded_stays_so() -> None:
    image = url_block("image", "https://example.org/a", {}, Sight()).weight
    document = url_block("document", "https://example.org/b", {}, Sight()).weight
    assert (image + image).images == 2
    assert (image + document).bound is None
    assert image + Weight() == image


@pytest.mark.parametrize(
    ("block", "told"),
    [
        ({"type": "image"}, "has no `source` that the API takes"),
        ({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "?"}}, "is not base64"),
        (
            {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "iVBORw0KGgo="}},
            "is a PNG image, not 'image/jpeg' as it says",
        ),
        ({"type": "image", "source": {"type": "text", "media_type": "text/plain", "data": "x"}}, "no `source`"),
    ],
)
def test_what_a_row_holds_in_the_words_of_the_api_is_looked_at_too(block: dict[str, object], told: str) -> None:
    with pytest.raises(Unsendable) as refused:
        held_weight(block, Sight())
    assert told in refused.value.message


def test_pages_that_a_row_holds_are_counted() -> None:
    source = {"type": "base64", "media_type": "application/pdf", "data": b64encode(pdf(4)).decode()}
    inner = {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "document", "source": source}]}
    assert held_weight(inner, Sight()).pages == 4
