"""Is this machine ready? What `runner doctor` looks at, each with a cure.

Owns   the list of checks. None of them costs anything: the only request is for the list of models.
"""

from __future__ import annotations

import asyncio
import platform
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version

import apsw

from runner.catalog.models import Catalog
from runner.catalog.snapshot import MODELS
from runner.clock import Clock
from runner.engines.shared_pool import Remembered, remembered
from runner.errors import RunnerError
from runner.execution.about_models import about_model
from runner.execution.api import Api, address_of, options_of
from runner.execution.facts import ask_models
from runner.execution.findings import Finding
from runner.execution.folders import StateFolder
from runner.execution.limiting import folder_of, line_of, scope_of
from runner.providers.credentials import find_credentials
from runner.providers.transport import choose
from runner.settings import Settings
from runner.spec.job import ProviderSpec
from runner.types import Failure

LITTLE_SPACE = 2**30
"""A gibibyte: a hundred thousand rows with their replies, measured generously."""


def examine(
    settings: Settings,
    clock: Clock,
    *,
    offline: bool = False,
    models: Sequence[str] = (),
    providers: Sequence[str] = (),
) -> list[Finding]:
    """Look at the machine, the settings, the state folder, the credential and, unless offline, the API; then at what is
    known of `models`, and at what `providers` lack here. Raises SpecError for a provider that there is not."""
    credential = _credential(settings)
    findings = [_python(), *_libraries(), _settings(settings), _state(settings), *credential]
    is_usable = all(finding.status == "ok" for finding in credential)
    if is_usable:
        findings.extend(_limits(settings, clock))
    if is_usable and not offline:
        findings.append(_api(settings, clock))
    catalog = Catalog(StateFolder(settings.state_dir).catalog_path(address_of(settings.environment)))
    findings.extend(about_model(catalog, model) for model in models)
    for name in providers:
        findings.extend(_provider(name, settings))
    return findings


def _provider(name: str, settings: Settings) -> Iterator[Finding]:
    """What a job without options for it would find of this provider."""
    options = options_of(ProviderSpec(name=name))
    missing = list(options.missing(settings.environment))
    for found in missing:
        yield Finding(name, "error", f"{options.label}: {found.what}", found.hint)
    if not missing:
        yield Finding(name, "ok", f"{options.label}: {options.address(settings.environment)}")


def _python() -> Finding:
    found = f"Python {platform.python_version()} on {platform.system()}"
    if sys.platform == "win32":
        return Finding("python", "warning", found, "runs need Linux or macOS; use WSL on Windows")
    return Finding("python", "ok", found)


def _libraries() -> Iterator[Finding]:
    yield Finding("sdk", "ok", f"anthropic {version('anthropic')}")
    yield Finding("sqlite", "ok", f"SQLite {apsw.sqlite_lib_version()} (apsw {version('apsw')})")


def _settings(settings: Settings) -> Finding:
    own = [f"{name} ({origin})" for name, origin in settings.origins.items() if origin != "default"]
    return Finding("settings", "ok", f"root {settings.root}" + (f"; set: {', '.join(own)}" if own else ""))


def _state(settings: Settings) -> Finding:
    state = StateFolder(settings.state_dir)
    try:
        state.create()
        runs = state.runs()
    except (OSError, RunnerError) as error:
        hint = (
            error.hint if isinstance(error, RunnerError) else None
        ) or "make the folder writable, or set `state_dir`"
        return Finding("state", "error", f"{state.path}: {error}", hint)
    free = shutil.disk_usage(state.path).free
    message = f"{state.path}: {_counted(len(runs), 'run')}, {free / 2**30:.1f} GiB free"
    if free < LITTLE_SPACE:
        return Finding("state", "warning", message, "free some space before a large run, or set `state_dir`")
    return Finding("state", "ok", message)


def _credential(settings: Settings) -> list[Finding]:
    """Where it comes from, and never what it is; and what carries the requests with it."""
    try:
        found = find_credentials(settings.environment)
    except RunnerError as error:
        return [Finding("credential", "error", error.message, error.hint)]
    credential = Finding("credential", "ok", _CREDENTIALS[found.kind])
    try:
        choice = choose(found, settings.transport)
    except RunnerError as error:
        return [credential, Finding("transport", "error", error.message, error.hint)]
    return [credential, Finding("transport", "ok", f"{_TRANSPORTS[choice.transport]}, since {choice.why}")]


_TRANSPORTS = {"wire": "wire: connections of our own", "sdk": "sdk: the SDK's client"}


_CREDENTIALS = {
    "api_key": "ANTHROPIC_API_KEY",
    "auth_token": "ANTHROPIC_AUTH_TOKEN",
    "profile": "a profile of the SDK",
    "federation": "workload identity (ANTHROPIC_FEDERATION_RULE_ID)",
    "headers": "ANTHROPIC_CUSTOM_HEADERS",
}


def _limits(settings: Settings, clock: Clock) -> Iterator[Finding]:
    """What runs of the last day have learned of this key's limits."""
    folder = folder_of(settings)
    if folder is None:
        yield Finding("limits", "ok", "runs on this machine do not share what they learn (`limits_dir` is off)")
        return
    api = Api(address_of(settings.environment), False, settings.environment)
    for line in sorted({line_of(model.id) for model in MODELS}):
        scope = scope_of(api, line)
        known = remembered(folder, scope, clock) if scope is not None else None
        if known is not None:
            yield Finding("limits", "ok", f"{line}: {_known(known)}")


def _known(known: Remembered) -> str:
    names = ("requests", "input tokens", "output tokens")
    limits = [f"{limit:,} {name}" for limit, name in zip(known.limits, names, strict=True) if limit]
    parts = [f"{', '.join(limits)} a minute"] if limits else []
    if known.width is not None:
        parts.append(f"{known.width:,} requests at a time were healthy")
    when = f"{known.age_s / 60:,.0f} minutes ago" if known.age_s < 7_200 else f"{known.age_s / 3_600:,.0f} hours ago"
    return f"{'; '.join(parts)} (as of {when})"


def _api(settings: Settings, clock: Clock) -> Finding:
    environ: Mapping[str, str] = settings.environment
    api = Api(address_of(environ), False, environ, settings.transport)
    try:
        models = asyncio.run(ask_models(api, clock))
    except RunnerError as error:
        return Finding("api", "error", error.message, error.hint)
    if isinstance(models, Failure):
        if models.http_status == 404:
            return Finding(
                "api", "warning", f"{api.address} has no Models API", "facts of models come from the snapshot"
            )
        return Finding(
            "api", "error", f"{api.address}: {models.kind}: {models.message}", "check the credential and the address"
        )
    Catalog(StateFolder(settings.state_dir).catalog_path(api.address)).update(models, at=clock.now())
    return Finding("api", "ok", f"{api.address}: {_counted(len(models), 'model')}")


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
