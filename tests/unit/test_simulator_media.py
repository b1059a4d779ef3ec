"""What the stand-in refuses of images and documents, as the API does, and what they cost there."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest

from runner.simulator.media import image_tokens, measured, page_tokens
from runner.simulator.models import card_of
from runner.simulator.refusal import Refused
from runner.simulator.validation import NEWER_VERSION, check_count, check_create
from support.media import pdf, picture

PNG = picture(60, 40)


def base64(data: bytes, kind: str) -> dict[str, Any]:
    return {"type": "base64", "media_type": kind, "data": b64encode(data).decode()}


def image(data: bytes = PNG, kind: str = "image/png") -> dict[str, Any]:
    return {"type": "image", "source": base64(data, kind)}


def document(source: dict[str, Any], **further: Any) -> dict[str, Any]:
    return {"type": "document", "source": source, **further}


def body(*blocks: dict[str, Any], model: str = "claude-haiku-5-5", **further: Any) -> dict[str, Any]:
    content = [*blocks, {"type": "text", "text": "What is it?"}]
    return {"model": model, "max_tokens": 10, "messages": [{"role": "user", "content": content}], **further}


TEXT = {"type": "text", "media_type": "text/plain", "data": "A text."}
FOUND = {"type": "search_result", "source": "shop", "title": "A shop", "content": [{"type": "text", "text": "Open."}]}


@pytest.mark.parametrize("block", [image(), document(base64(pdf(2), "application/pdf")), document(TEXT), FOUND])
def test_what_the_api_takes_is_taken(block: dict[str, Any]) -> None:
    check_create(body(block), NEWER_VERSION, "")


@pytest.mark.parametrize(
    ("block", "told"),
    [
        (image(b"no image"), "Could not process image"),
        (image(PNG, "image/jpeg"), "using the image/jpeg media type, but the image appears to be a image/png image"),
        (image(PNG, "image/tiff"), "base64.media_type: Input should be 'image/jpeg'"),
        ({"type": "image", "source": {**base64(PNG, "image/png"), "data": "?"}}, "invalid base64 data"),
        ({"type": "image", "source": {"type": "url", "url": "http://example.org/a.png"}}, "Only HTTPS"),
        (document(base64(PNG, "application/pdf")), "The PDF specified was not valid"),
        (document(base64(PNG, "image/png")), "Input should be 'application/pdf'"),
        (document({**TEXT, "media_type": "text/html"}), "Input should be 'text/plain'"),
        (document({**TEXT, "data": " "}), "must be non-empty"),
        ({**FOUND, "content": []}, "at least one text block is required"),
        ({**FOUND, "title": ""}, "search_result.title"),
        (document(base64(pdf(2) + b"/Encrypt 5 0 R", "application/pdf")), "password protected"),
    ],
)
def test_what_the_api_refuses_is_refused_with_its_place(block: dict[str, Any], told: str) -> None:
    for check in (check_create, check_count):
        asked = body(block) if check is check_create else {**body(block)}
        if check is check_count:
            del asked["max_tokens"]
        with pytest.raises(Refused, match=r"messages\.0\.content\.0") as refused:
            check(asked, NEWER_VERSION, "")
        assert told in refused.value.message


def test_an_edge_may_be_shorter_where_there_are_many_images() -> None:
    wide = image(picture(2_400, 40))
    check_create(body(wide), NEWER_VERSION, "")
    with pytest.raises(Refused) as refused:
        check_create(body(*[wide] * 21), NEWER_VERSION, "")
    error = refused.value.error()
    assert error["details"]["error_code"] == "image_dimensions_too_large"
    assert error["details"]["max_side_length_pixels"] == 2_000
    assert error["details"]["paths"][:2] == ["messages.0.content.0", "messages.0.content.1"]


def test_a_model_of_a_short_context_takes_fewer_images_and_pages() -> None:
    for blocks in ([image(picture(8, 8))] * 101, [document(base64(pdf(101, lines=1), "application/pdf"))]):
        check_create(body(*blocks), NEWER_VERSION, "")
        with pytest.raises(Refused, match="100"):
            check_create(body(*blocks, model="claude-haiku-4-5"), NEWER_VERSION, "")


def test_citations_are_on_for_all_documents_or_none() -> None:
    cited = document(TEXT, citations={"enabled": True})
    check_create(body(cited, {**FOUND, "citations": {"enabled": True}}), NEWER_VERSION, "")
    with pytest.raises(Refused, match="all or none"):
        check_create(body(cited, FOUND), NEWER_VERSION, "")


@pytest.mark.parametrize(
    ("size", "model", "tokens"),
    [
        ((280, 280), "claude-haiku-5-5", 100),
        ((281, 280), "claude-haiku-5-5", 110),
        ((1_000, 1_000), "claude-haiku-4-5", 1_296),
        ((3_000, 3_000), "claude-haiku-4-5", 1_568),
        ((2_000, 1_500), "claude-haiku-5-5", 3_888),
    ],
)
def test_images_cost_what_the_vision_guide_says(size: tuple[int, int], model: str, tokens: int) -> None:
    assert image_tokens(measured("image/png", picture(*size)), card_of(model)) == tokens


def test_pages_cost_their_image_and_their_text() -> None:
    card = card_of("claude-haiku-5-5")
    assert [measured("application/pdf", pdf(pages))["pages"] for pages in (1, 3)] == [1, 3]
    assert page_tokens(card) == 46 * 59 + 2_250
