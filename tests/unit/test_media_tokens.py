"""The formulas of the vision guide."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.media.tokens import HIGH, STANDARD, Resolution, image_tokens, page_tokens, page_tokens_at_most


@pytest.mark.parametrize(
    ("size", "resolution", "tokens"),
    [
        ((28, 28), STANDARD, 1),
        ((29, 28), STANDARD, 2),
        ((1_000, 1_000), STANDARD, 36 * 36),
        ((1_092, 1_092), STANDARD, 39 * 39),
        ((4_000, 4_000), STANDARD, 1_568),
        ((4_000, 400), STANDARD, 56 * 6),
        ((2_000, 1_500), HIGH, 72 * 54),
        ((9_000, 9_000), HIGH, 4_784),
        (None, HIGH, 4_784),
    ],
)
def test_images_cost_a_token_for_each_patch(size: tuple[int, int] | None, resolution: Resolution, tokens: int) -> None:
    assert image_tokens(size, resolution) == tokens


@given(st.tuples(st.integers(1, 9_000), st.integers(1, 9_000)), st.sampled_from([STANDARD, HIGH]))
def test_no_image_costs_more_than_the_largest(size: tuple[int, int], resolution: Resolution) -> None:
    assert 1 <= image_tokens(size, resolution) <= image_tokens(None, resolution)


def test_a_page_is_expected_to_cost_less_than_at_most() -> None:
    for resolution in (STANDARD, HIGH):
        assert page_tokens(resolution) < page_tokens_at_most(resolution)
