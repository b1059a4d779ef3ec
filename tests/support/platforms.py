"""The platforms against the stand-in: what environment and options lead there, with credentials that are none.

for name in NAMES: Platform(name, api).connect()
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runner.plugins import find_provider
from support.api import SimulatedApi

if TYPE_CHECKING:
    from runner.providers.platforms import PlatformProvider

NAMES = ("bedrock", "vertex", "foundry", "aws", "google_cloud")

PATHS = {
    "bedrock": "",
    "vertex": "/v1",
    "foundry": "/anthropic",
    "aws": "",
    "google_cloud": "/v1/projects/p/locations/global/workspaces/w/invoke",
}
OPTIONS: Mapping[str, Mapping[str, str]] = {
    "bedrock": {"aws_region": "eu-west-1"},
    "vertex": {"region": "global", "project_id": "p"},
    "foundry": {},
    "aws": {"aws_region": "eu-west-1", "workspace_id": "wrkspc_1"},
    "google_cloud": {"project": "p", "workspace_id": "w"},
}
SECRET = "wJalrXUtnFEMI-K7MDENG-canary"


@dataclass(frozen=True, slots=True)
class Platform:
    """One platform, served by the stand-in. `environ` has credentials in the platform's own places."""

    name: str
    api: SimulatedApi

    @property
    def environ(self) -> dict[str, str]:
        key = self.api.api_key
        return {
            "bedrock": {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_SESSION_TOKEN": SECRET},
            "vertex": {"ANTHROPIC_CUSTOM_HEADERS": f"Authorization: Bearer {key}"},
            "foundry": {"ANTHROPIC_FOUNDRY_API_KEY": key},
            "aws": {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": SECRET},
            "google_cloud": {"ANTHROPIC_CUSTOM_HEADERS": f"Authorization: Bearer {key}"},
        }[self.name]

    @property
    def options(self) -> dict[str, str]:
        return {**OPTIONS[self.name], "base_url": self.api.base_url + PATHS[self.name]}

    def model(self, model: str = "claude-haiku-5-5") -> str:
        """The platform's name for a model."""
        return {"bedrock": f"global.anthropic.{model}", "vertex": f"{model}@default"}.get(self.name, model)

    def connect(self, **changes: Any) -> PlatformProvider:
        """The provider, on the running loop."""
        plugin = find_provider(self.name)
        options = plugin.options()(**self.options)
        made: PlatformProvider = plugin.load().connect_with(self.environ, options, max_concurrency=4, **changes)
        return made
