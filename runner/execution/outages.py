"""The outage of a run: what is watched for an answer, and what a person is told where none comes.

Owns   the words: where the API was looked for, and the cure.
Knows  the run's address and settings. Nothing of what is sent.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from runner.engines.outage import Outage
from runner.execution.api import SIMULATOR, Api
from runner.execution.under_way import Advance


def outage_of(run: Advance) -> Outage:
    """One for all that this process sends for the run in this sitting."""
    return Outage(
        run.clock,
        run.observer,
        patience_s=run.settings.unreachable_after_s,
        place=place_of(run.api),
        cure=_cure(run.api),
    )


def place_of(api: Api) -> str:
    """Where an API is, as a person may read it: the scheme, the host and the port, without what may be secret."""
    if api.address == SIMULATOR:
        return "the stand-in"
    prefix = "" if api.is_own else f"{api.served_by.name}+"
    parts = urlsplit(api.address.removeprefix(prefix))
    if not parts.netloc:
        return f"the API's address ({api.address})"  # a profile, which is named instead of it
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _cure(api: Api) -> str:
    if api.is_own:
        return "check the network, the proxy if there is one, and ANTHROPIC_BASE_URL"
    return f"check the network, the proxy if there is one, and the address of the provider `{api.served_by.name}`"
