"""A user's own price file: exact numbers in, every mistake named."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.catalog.price_overrides import load_overrides
from runner.catalog.prices import Rates
from runner.errors import SpecError


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "prices.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_rates_are_dollars_per_million_tokens_with_the_usual_cache_and_batch_factors(tmp_path: Path) -> None:
    price = load_overrides(written(tmp_path, '["my-model"]\ninput = 0.10\noutput = 0.50\n'))["my-model"]
    assert price.parallel[0].rates == Rates(100_000, 500_000, 10_000, 125_000, 200_000)
    assert price.batch[0].rates == Rates(50_000, 250_000, 5_000, 62_500, 100_000)


def test_every_rate_and_the_discount_can_be_set(tmp_path: Path) -> None:
    rates = "input = 1\noutput = 5\ncache_read = 0.05\ncache_write_5m = 1.5\ncache_write_1h = 3\n"
    text = f"[m]\n{rates}batch_discount = 0.25\n"
    price = load_overrides(written(tmp_path, text))["m"]
    assert price.parallel[0].rates == Rates(1_000_000, 5_000_000, 50_000, 1_500_000, 3_000_000)
    assert price.batch[0].rates == Rates(750_000, 3_750_000, 37_500, 1_125_000, 2_250_000)


def test_long_prompts_can_be_dearer(tmp_path: Path) -> None:
    text = "[m]\ninput = 0.1\noutput = 0.5\n[[m.above]]\ntokens = 100_000\ninput = 0.5\noutput = 2.5\n"
    price = load_overrides(written(tmp_path, text))["m"]
    assert [tier.above for tier in price.parallel] == [0, 100_000]
    assert price.parallel[1].rates.output == 2_500_000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[m]\noutput = 1\n", "m: `input` is missing"),
        ("[m]\ninput = '1'\noutput = 1\n", "m: `input` must be a number, not '1'"),
        ("[m]\ninput = true\noutput = 1\n", "m: `input` must be a number, not True"),
        ("[m]\ninput = -1\noutput = 1\n", "m: `input` must be zero or more, not -1"),
        ("[m]\ninput = nan\noutput = 1\n", "m: `input` must be zero or more, not NaN"),
        ("[m]\ninput = 1\noutput = 1\ncached = 1\n", "m: unknown key 'cached'"),
        ("[m]\ninput = 1\noutput = 1\nbatch_discount = 50\n", "m: `batch_discount` is a share"),
        ("[m]\ninput = 0.0000001\noutput = 1\n", "m: 1E-7 USD per million tokens is no whole number"),
        ("[m]\ninput = 1\noutput = 1\n[[m.above]]\ninput = 1\noutput = 1\n", "m: each `above` table needs `tokens`"),
        ("m = 1\n", "m: expected a table"),
        ("[m\n", "is not TOML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_overrides(written(tmp_path, text))
    assert message in caught.value.problems[0].message
    assert caught.value.problems[0].code == "price-file"


def test_all_models_problems_come_at_once(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        load_overrides(written(tmp_path, "[a]\ninput = 1\n[b]\noutput = 1\n"))
    assert [problem.message.split(":")[0] for problem in caught.value.problems] == ["a", "b"]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        load_overrides(tmp_path / "none.toml")
    assert "cannot be read" in caught.value.message
    assert str(tmp_path / "none.toml") in str(caught.value.where)
