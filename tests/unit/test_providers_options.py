"""What a job may set of each provider, and what is missing on a machine."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import ClassVar

import pytest

from runner.errors import SetupError
from runner.plugins import PROVIDERS, find_provider
from runner.providers.options import DISTRIBUTION, AnthropicOptions, ProviderOptions, require
from runner.providers.platform_options import (
    AwsOptions,
    BedrockOptions,
    FoundryOptions,
    GoogleCloudOptions,
    VertexOptions,
)
from runner.spec.job import ProviderSpec

ROOT = Path(__file__).parents[2]
NOWHERE = {"HOME": "/nonexistent"}


def test_every_built_in_provider_has_options_that_a_job_can_set() -> None:
    for name in PROVIDERS:
        options = find_provider(name).options()
        assert issubclass(options, ProviderOptions)
        assert options.model_fields.keys() <= ProviderSpec.model_fields.keys()


def test_an_extra_of_this_distribution_stands_behind_every_need() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["name"] == DISTRIBUTION
    for name in PROVIDERS:
        options = find_provider(name).options()
        assert issubclass(options, ProviderOptions)
        if options.needs:
            assert options.extra in project["optional-dependencies"]


@pytest.mark.parametrize(
    ("options", "environ", "address"),
    [
        (AnthropicOptions(), {}, "https://api.anthropic.com"),
        (AnthropicOptions(), {"ANTHROPIC_BASE_URL": "https://g.example/"}, "https://g.example"),
        (BedrockOptions(aws_region="eu-west-1"), {}, "https://bedrock-runtime.eu-west-1.amazonaws.com"),
        (BedrockOptions(), {"AWS_REGION": "us-east-1"}, "https://bedrock-runtime.us-east-1.amazonaws.com"),
        (BedrockOptions(), {"ANTHROPIC_BEDROCK_BASE_URL": "https://b.example"}, "https://b.example"),
        (VertexOptions(region="global"), {}, "https://aiplatform.googleapis.com/v1"),
        (VertexOptions(), {"CLOUD_ML_REGION": "eu"}, "https://aiplatform.eu.rep.googleapis.com/v1"),
        (VertexOptions(region="us-east5"), {}, "https://us-east5-aiplatform.googleapis.com/v1"),
        (FoundryOptions(resource="r"), {}, "https://r.services.ai.azure.com/anthropic"),
        (FoundryOptions(), {"ANTHROPIC_FOUNDRY_RESOURCE": "r"}, "https://r.services.ai.azure.com/anthropic"),
        (FoundryOptions(base_url="https://f.example/anthropic/"), {}, "https://f.example/anthropic"),
        (AwsOptions(aws_region="us-west-2"), {}, "https://aws-external-anthropic.us-west-2.api.aws"),
        (
            GoogleCloudOptions(project="p", workspace_id="w"),
            {},
            "https://claude.googleapis.com/v1/projects/p/locations/global/workspaces/w/invoke",
        ),
    ],
)
def test_the_address_is_the_one_that_the_sdk_makes(
    options: ProviderOptions, environ: dict[str, str], address: str
) -> None:
    assert options.address(environ) == address


@pytest.mark.parametrize(
    "options", [BedrockOptions(), VertexOptions(), FoundryOptions(), AwsOptions(), GoogleCloudOptions()]
)
def test_a_place_that_is_not_named_is_told_with_its_key_and_its_variable(options: ProviderOptions) -> None:
    with pytest.raises(SetupError) as raised:
        options.address({})
    assert raised.value.hint is not None
    assert "`provider." in raised.value.hint


def test_an_address_in_the_clear_is_refused() -> None:
    with pytest.raises(SetupError, match="https"):
        BedrockOptions(base_url="http://gateway.example").address({})


def codes(options: ProviderOptions, **environ: str) -> list[str]:
    return [missing.code for missing in options.missing({**NOWHERE, **environ})]


def test_what_is_missing_is_told_all_at_once() -> None:
    assert codes(BedrockOptions()) == ["no-region", "no-credentials"]
    assert codes(BedrockOptions(aws_region="r"), AWS_ACCESS_KEY_ID="k") == []
    assert codes(BedrockOptions(aws_region="r"), AWS_BEARER_TOKEN_BEDROCK="t") == []
    assert codes(BedrockOptions(aws_region="r", aws_profile="p")) == []
    assert codes(VertexOptions()) == ["no-region", "no-project"]
    assert codes(FoundryOptions()) == ["no-resource", "no-credentials"]
    assert codes(AwsOptions(aws_region="r"), ANTHROPIC_AWS_API_KEY="k") == ["no-workspace"]
    assert codes(AwsOptions(workspace_id="w"), AWS_PROFILE="p") == ["no-region"]
    assert codes(GoogleCloudOptions(project="p")) == ["no-workspace"]
    assert codes(AnthropicOptions()) == ["no-credentials"]
    assert codes(AnthropicOptions(), ANTHROPIC_API_KEY="k") == []


class Absent(BedrockOptions):
    needs: ClassVar[tuple[str, ...]] = ("no_such_library", "no_such.other")


def test_an_extra_that_is_not_installed_comes_with_the_command_to_install_it() -> None:
    absent = Absent(aws_region="r", aws_profile="p")
    (missing,) = absent.missing(NOWHERE)
    assert missing.code == "missing-extra"
    assert missing.what == "Amazon Bedrock needs no_such_library and no_such.other, not installed here"
    assert missing.hint == 'pip install "rowrunner[bedrock]"'
    with pytest.raises(SetupError) as raised:
        require(absent, NOWHERE)
    assert raised.value.code == "missing-extra"


def test_limits_are_those_of_a_credential() -> None:
    options = BedrockOptions(aws_region="r")
    one = options.owner({"AWS_ACCESS_KEY_ID": "a"})
    assert one != options.owner({"AWS_ACCESS_KEY_ID": "b"})
    assert one != options.owner({"AWS_PROFILE": "a"})
    assert VertexOptions(region="r", project_id="p").owner({}) == ("p", "r")


def test_a_region_of_vertex_costs_a_tenth_more() -> None:
    assert VertexOptions(region="global").price_factor({}) == (1, 1)
    assert VertexOptions(region="us-east5").price_factor({}) == (11, 10)
