"""What a job may set of the platforms, what each of them offers, and what a run would need. Light: no SDK.

Owns   the options of Bedrock, Vertex AI, Foundry, Claude Platform on AWS and Claude Models on Google Cloud, by the
       SDK's own names, and where each finds its place and its credential.
Knows  the environment by names. It reads no credential but to see that there is one, and imports no client.

Source: SDK 2.12 `lib/bedrock/_client.py`, `lib/vertex/_client.py`, `lib/foundry.py`, `lib/aws/_client.py`,
`lib/aws/_credentials.py`, `lib/google_cloud/_client.py` (arguments, variables, addresses, what they raise); what
platforms take besides: platform.claude.com manage-claude/data-residency, build-with-claude/fast-mode,
about-claude/pricing and the pages of the platforms, read November 2026.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from runner.errors import SetupError
from runner.providers.credentials import check_address, parse_custom_headers
from runner.providers.options import Missing, Offers, ProviderOptions

_PLACED = {"inference_geo": "where the model runs is decided by the region of the request"}


class BedrockOptions(ProviderOptions):
    """Amazon Bedrock, by `InvokeModel`."""

    label: ClassVar[str] = "Amazon Bedrock"
    offers: ClassVar[Offers] = Offers(
        batches=False,
        count_tokens=False,
        models=False,
        files=False,
        urls=False,
        refused_params={
            **_PLACED,
            "service_tier": "Bedrock has tiers of its own",
            "speed": "Bedrock has no fast mode",
        },
        prices="aws",
    )
    extra: ClassVar[str | None] = "bedrock"
    needs: ClassVar[tuple[str, ...]] = ("boto3", "botocore")

    aws_region: str | None = Field(None, min_length=1, description="Default: `AWS_REGION` or `AWS_DEFAULT_REGION`.")
    aws_profile: str | None = Field(None, min_length=1, description="A profile of the AWS configuration.")

    @classmethod
    def naming(cls, model: str) -> str | None:
        return f"for instance `global.anthropic.{model}`" if model.startswith("claude-") else None

    def region(self, environ: Mapping[str, str]) -> str | None:
        return self.aws_region or _first(environ, "AWS_REGION", "AWS_DEFAULT_REGION")

    def address(self, environ: Mapping[str, str]) -> str:
        own = self.base_url or _first(environ, "ANTHROPIC_BEDROCK_BASE_URL")
        if own is not None:
            return _checked(own)
        region = self.region(environ)
        if region is None:
            raise _no_region("provider.aws_region", "AWS_REGION")
        return f"https://bedrock-runtime.{region}.amazonaws.com"

    def missing(self, environ: Mapping[str, str]) -> Iterator[Missing]:
        yield from self._missing_extra()
        if self.region(environ) is None:
            yield Missing("no-region", "no AWS region is named", "set `provider.aws_region`, or AWS_REGION")
        yield from _missing_aws(environ, self.aws_profile, "AWS_BEARER_TOKEN_BEDROCK")

    def owner(self, environ: Mapping[str, str]) -> tuple[str, ...] | None:
        return _aws_owner(environ, self.aws_profile, "AWS_BEARER_TOKEN_BEDROCK")


class VertexOptions(ProviderOptions):
    """Google Cloud's Vertex AI."""

    label: ClassVar[str] = "Vertex AI"
    offers: ClassVar[Offers] = Offers(
        batches=False,
        models=False,
        files=False,
        urls=False,
        refused_params={**_PLACED, "service_tier": "Vertex AI has tiers of its own"},
        prices="google",
    )
    extra: ClassVar[str | None] = "vertex"
    needs: ClassVar[tuple[str, ...]] = ("google.auth", "requests")

    region: str | None = Field(None, min_length=1, description="Default: `CLOUD_ML_REGION`.", examples=["global"])
    project_id: str | None = Field(None, min_length=1, description="Default: `ANTHROPIC_VERTEX_PROJECT_ID`.")

    def region_in(self, environ: Mapping[str, str]) -> str | None:
        return self.region or _first(environ, "CLOUD_ML_REGION")

    def project_in(self, environ: Mapping[str, str]) -> str | None:
        return self.project_id or _first(environ, "ANTHROPIC_VERTEX_PROJECT_ID")

    def address(self, environ: Mapping[str, str]) -> str:
        own = self.base_url or _first(environ, "ANTHROPIC_VERTEX_BASE_URL")
        if own is not None:
            return _checked(own)
        region = self.region_in(environ)
        if region is None:
            raise _no_region("provider.region", "CLOUD_ML_REGION")
        if region == "global":
            return "https://aiplatform.googleapis.com/v1"
        if region in ("us", "eu"):
            return f"https://aiplatform.{region}.rep.googleapis.com/v1"
        return f"https://{region}-aiplatform.googleapis.com/v1"

    def missing(self, environ: Mapping[str, str]) -> Iterator[Missing]:
        if self.region_in(environ) is None:
            yield Missing("no-region", "no region of Vertex AI is named", "set `provider.region`, or CLOUD_ML_REGION")
        if self.project_in(environ) is None:
            hint = "set `provider.project_id`, or ANTHROPIC_VERTEX_PROJECT_ID"
            yield Missing("no-project", "no Google Cloud project is named", hint)
        if not _has_own_authorization(environ):
            yield from self._missing_extra()

    def owner(self, environ: Mapping[str, str]) -> tuple[str, ...] | None:
        return (self.project_in(environ) or "", self.region_in(environ) or "")

    def price_factor(self, environ: Mapping[str, str]) -> tuple[int, int]:
        """Regional endpoints cost a tenth more than the global one (pricing page, "Cloud platform pricing"): said of
        models from 4.5 on, and for the others an upper bound."""
        return (1, 1) if self.region_in(environ) == "global" else (11, 10)


class FoundryOptions(ProviderOptions):
    """Microsoft Foundry."""

    label: ClassVar[str] = "Microsoft Foundry"
    offers: ClassVar[Offers] = Offers(
        batches=False,
        models=False,
        refused_params={
            **_PLACED,
            "speed": "a deployment has its own speed: name the deployment of the fast model as `model`",
        },
    )

    resource: str | None = Field(None, min_length=1, description="Default: `ANTHROPIC_FOUNDRY_RESOURCE`.")

    def address(self, environ: Mapping[str, str]) -> str:
        own = self.base_url or (None if self.resource else _first(environ, "ANTHROPIC_FOUNDRY_BASE_URL"))
        if own is not None:
            return _checked(own)
        resource = self.resource or _first(environ, "ANTHROPIC_FOUNDRY_RESOURCE")
        if resource is None:
            raise SetupError(
                "no resource of Microsoft Foundry is named",
                code="no-resource",
                hint="set `provider.resource`, or ANTHROPIC_FOUNDRY_RESOURCE",
            )
        return f"https://{resource}.services.ai.azure.com/anthropic"

    def missing(self, environ: Mapping[str, str]) -> Iterator[Missing]:
        try:
            self.address(environ)
        except SetupError as error:
            yield Missing(error.code, error.message, error.hint or "")
        if _first(environ, "ANTHROPIC_FOUNDRY_API_KEY") is None:
            yield Missing(
                "no-credentials", "no credential for Microsoft Foundry was found", "set ANTHROPIC_FOUNDRY_API_KEY"
            )

    def owner(self, environ: Mapping[str, str]) -> tuple[str, ...] | None:
        return (environ.get("ANTHROPIC_FOUNDRY_API_KEY", ""),)


class AwsOptions(ProviderOptions):
    """Claude Platform on AWS: Anthropic's API, with AWS's credentials and bill."""

    label: ClassVar[str] = "Claude Platform on AWS"
    offers: ClassVar[Offers] = Offers()
    extra: ClassVar[str | None] = "aws"
    needs: ClassVar[tuple[str, ...]] = ("boto3", "botocore")

    aws_region: str | None = Field(None, min_length=1, description="Default: `AWS_REGION` or `AWS_DEFAULT_REGION`.")
    aws_profile: str | None = Field(None, min_length=1, description="A profile of the AWS configuration.")
    workspace_id: str | None = Field(None, min_length=1, description="Default: `ANTHROPIC_AWS_WORKSPACE_ID`.")

    def region(self, environ: Mapping[str, str]) -> str | None:
        return self.aws_region or _first(environ, "AWS_REGION", "AWS_DEFAULT_REGION")

    def workspace_in(self, environ: Mapping[str, str]) -> str | None:
        return self.workspace_id or _first(environ, "ANTHROPIC_AWS_WORKSPACE_ID")

    def uses_key(self, environ: Mapping[str, str]) -> bool:
        """Whether an API key of the platform signs the requests, rather than AWS's signature."""
        return self.aws_profile is None and _first(environ, "ANTHROPIC_AWS_API_KEY") is not None

    def address(self, environ: Mapping[str, str]) -> str:
        own = self.base_url or _first(environ, "ANTHROPIC_AWS_BASE_URL")
        if own is not None:
            return _checked(own)
        region = self.region(environ)
        if region is None:
            raise _no_region("provider.aws_region", "AWS_REGION")
        return f"https://aws-external-anthropic.{region}.api.aws"

    def missing(self, environ: Mapping[str, str]) -> Iterator[Missing]:
        if self.workspace_in(environ) is None:
            hint = "set `provider.workspace_id`, or ANTHROPIC_AWS_WORKSPACE_ID"
            yield Missing("no-workspace", "no workspace is named", hint)
        if self.uses_key(environ):
            return
        yield from self._missing_extra()
        if self.region(environ) is None:
            yield Missing("no-region", "no AWS region is named", "set `provider.aws_region`, or AWS_REGION")
        yield from _missing_aws(environ, self.aws_profile, "ANTHROPIC_AWS_API_KEY")

    def owner(self, environ: Mapping[str, str]) -> tuple[str, ...] | None:
        who = _aws_owner(environ, self.aws_profile, "ANTHROPIC_AWS_API_KEY")
        return None if who is None else (*who, self.workspace_in(environ) or "")


class GoogleCloudOptions(ProviderOptions):
    """Claude Models on Google Cloud: Anthropic's API, with Google's credentials and bill."""

    label: ClassVar[str] = "Claude Models on Google Cloud"
    offers: ClassVar[Offers] = Offers()
    extra: ClassVar[str | None] = "google_cloud"
    needs: ClassVar[tuple[str, ...]] = ("google.auth", "requests")

    project: str | None = Field(
        None, min_length=1, description="Default: `ANTHROPIC_GOOGLE_CLOUD_PROJECT` or `GOOGLE_CLOUD_PROJECT`."
    )
    location: str | None = Field(
        None, min_length=1, description="Default: `ANTHROPIC_GOOGLE_CLOUD_LOCATION`, else `global`."
    )
    workspace_id: str | None = Field(None, min_length=1, description="Default: `ANTHROPIC_GOOGLE_CLOUD_WORKSPACE_ID`.")

    def project_in(self, environ: Mapping[str, str]) -> str | None:
        return self.project or _first(environ, "ANTHROPIC_GOOGLE_CLOUD_PROJECT", "GOOGLE_CLOUD_PROJECT")

    def location_in(self, environ: Mapping[str, str]) -> str:
        return self.location or _first(environ, "ANTHROPIC_GOOGLE_CLOUD_LOCATION") or "global"

    def workspace_in(self, environ: Mapping[str, str]) -> str | None:
        return self.workspace_id or _first(environ, "ANTHROPIC_GOOGLE_CLOUD_WORKSPACE_ID")

    def address(self, environ: Mapping[str, str]) -> str:
        own = self.base_url or _first(environ, "ANTHROPIC_GOOGLE_CLOUD_BASE_URL")
        if own is not None:
            return _checked(own)
        project, workspace = self.project_in(environ), self.workspace_in(environ)
        if project is None or workspace is None:
            what, key, name = (
                ("project", "project", "ANTHROPIC_GOOGLE_CLOUD_PROJECT")
                if project is None
                else ("workspace", "workspace_id", "ANTHROPIC_GOOGLE_CLOUD_WORKSPACE_ID")
            )
            raise SetupError(
                f"no {what} of Google Cloud is named", code=f"no-{what}", hint=f"set `provider.{key}`, or {name}"
            )
        place = f"projects/{project}/locations/{self.location_in(environ)}/workspaces/{workspace}"
        return f"https://claude.googleapis.com/v1/{place}/invoke"

    def missing(self, environ: Mapping[str, str]) -> Iterator[Missing]:
        try:
            self.address(environ)
        except SetupError as error:
            yield Missing(error.code, error.message, error.hint or "")
        if not _has_own_authorization(environ):
            yield from self._missing_extra()

    def owner(self, environ: Mapping[str, str]) -> tuple[str, ...] | None:
        return (self.project_in(environ) or "", self.workspace_in(environ) or "")


def _first(environ: Mapping[str, str], *names: str) -> str | None:
    return next((environ[name] for name in names if environ.get(name, "").strip()), None)


def _checked(address: str) -> str:
    check_address(address)
    return address.rstrip("/")


def _no_region(key: str, name: str) -> SetupError:
    return SetupError("no region is named", code="no-region", hint=f"set `{key}`, or {name}")


def _has_own_authorization(environ: Mapping[str, str]) -> bool:
    """A header of one's own that is a credential: the SDK's clients for Google then ask for no other."""
    headers = parse_custom_headers(environ.get("ANTHROPIC_CUSTOM_HEADERS", ""))
    return any(name.lower() == "authorization" for name in headers)


_AWS_SOURCES = (
    "AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)  # fmt: skip
"""Variables that say where AWS credentials come from (botocore's chain)."""


def _missing_aws(environ: Mapping[str, str], profile: str | None, key: str) -> Iterator[Missing]:
    """Whether some credential may be found; an instance's own role cannot be seen from here, so a machine of EC2 has
    to say `AWS_PROFILE` or have a configuration file."""
    if profile is not None or _first(environ, key, *_AWS_SOURCES) is not None:
        return
    home = Path(environ.get("HOME", "~")).expanduser() / ".aws"
    if not any((home / name).is_file() for name in ("credentials", "config")) and not _may_be_ec2():
        hint = f"set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE or {key}"
        yield Missing("no-credentials", "no AWS credential was found", hint)


def _may_be_ec2() -> bool:
    """A machine of Amazon's may have a role; its firmware says whose it is."""
    try:
        return Path("/sys/class/dmi/id/sys_vendor").read_text(encoding="utf-8").startswith("Amazon")
    except (OSError, UnicodeDecodeError):
        return False


def _aws_owner(environ: Mapping[str, str], profile: str | None, key: str) -> tuple[str, ...] | None:
    if profile is not None:
        return ("profile", profile)
    for name in (key, *_AWS_SOURCES):
        value = _first(environ, name)
        if value is not None:
            return (name, value)
    return ("machine",)
