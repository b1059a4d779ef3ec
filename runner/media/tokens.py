"""How many input tokens an image or a page comes to: the API's published formulas, expected and at most.

Owns   the formulas and their constants.
Source: vision guide ("Evaluate image size", as of autumn 2026): an image is seen in patches of 28 by 28 pixels and
        costs ceil(width / 28) x ceil(height / 28) tokens; one that is larger than a model's native resolution is scaled
        down first, keeping its shape. Native are a long edge of 1,568 pixels and 1,568 tokens; models from 4.7 on
        (high resolution) see 2,576 pixels and 4,784 tokens. PDF guide ("Estimate your costs"): each page costs 1,500 to
        3,000 tokens of text, typically, and what its image costs.
"""

from __future__ import annotations

from math import ceil

from msgspec import Struct

PATCH_PIXELS = 28


class Resolution(Struct, frozen=True):
    """The largest image that a model sees as it is: its longer edge in pixels, and its tokens."""

    edge: int
    tokens: int


STANDARD = Resolution(1_568, 1_568)
HIGH = Resolution(2_576, 4_784)

PAGE_TEXT_TOKENS = 2_250
"""The middle of what the guide names for the text of a page."""
PAGE_TEXT_AT_MOST = 6_000
"""Twice the most that the guide names, since that is "typically": a guess that is generous, not a proof. A whole
request is bounded by the model's context besides."""
PAGE_PIXELS = (1_275, 1_650)
"""A letter page at 150 dots an inch. How the API draws pages is not documented; this is what a page's image is taken to
be for the expected figure, while the bound takes the largest image there is."""


def image_tokens(size: tuple[int, int] | None, resolution: Resolution) -> int:
    """Tokens of an image of that size; of one whose size is not known, the most there can be."""
    if size is None:
        return resolution.tokens
    width, height = size
    scale = min(1.0, resolution.edge / max(width, height, 1))
    tokens = _patches(width * scale) * _patches(height * scale)
    return max(1, min(tokens, resolution.tokens))


def page_tokens(resolution: Resolution) -> int:
    """Tokens of a page as expected: its image, and an ordinary text."""
    return image_tokens(PAGE_PIXELS, resolution) + PAGE_TEXT_TOKENS


def page_tokens_at_most(resolution: Resolution) -> int:
    return resolution.tokens + PAGE_TEXT_AT_MOST


def _patches(pixels: float) -> int:
    return max(1, ceil(pixels / PATCH_PIXELS))
