"""Where a person is told that nothing answers: the host, and nothing that may be secret."""

from __future__ import annotations

import pytest

from runner.execution.api import SIMULATOR, Api
from runner.execution.outages import place_of
from runner.spec.job import ProviderSpec


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("https://api.anthropic.com", "https://api.anthropic.com"),
        ("https://gateway.example:8443/team/s3cret?key=s3cret", "https://gateway.example:8443"),
        ("https://me:s3cret@gateway.example/v1", "https://gateway.example"),
        ("http://127.0.0.1:9", "http://127.0.0.1:9"),
        ("http://[::1]:8080/x", "http://[::1]:8080"),
        ("http://[::1]", "http://[::1]"),
        ("https://host:99999", "https://host:99999"),
        ("profile work", "the API's address (profile work)"),
        (SIMULATOR, "the stand-in"),
    ],
)
def test_an_address_is_told_without_what_may_be_secret(address: str, place: str) -> None:
    assert place_of(Api(address, False, {})) == place


def test_a_platforms_address_is_told_without_its_mark() -> None:
    served_by = ProviderSpec(name="bedrock")
    api = Api("bedrock+https://bedrock-runtime.eu-west-1.amazonaws.com", False, {}, served_by=served_by)
    assert place_of(api) == "https://bedrock-runtime.eu-west-1.amazonaws.com"
