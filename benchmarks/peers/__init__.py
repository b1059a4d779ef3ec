"""Public runners, each in an environment of its own, sending the rows that runner sends.

Owns   which they are, in which version, and how each is driven: a module a peer, called as

           python -m benchmarks.peers.NAME ROWS.csv SYSTEM.md OUT.jsonl IN_FLIGHT

       that prints {"lost": n}. They are used as their own documents say, told the model, the longest reply, the shared
       block (marked as cached where they have a way to) and how many may be in flight; all else is their default.
Knows  nothing of runner: the modules run where it is not installed, and import the standard library, the peer and
       `benchmarks.bodies`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Peer:
    """`requirements` are what pip installs, `distribution` the one whose version the table shows."""

    module: str
    distribution: str
    requirements: Sequence[str]
    rows: int = 1_000
    """How many it gets; fewer for slow ones."""


PEERS = (
    Peer("inspect_tasks", "inspect-ai", ("inspect-ai==0.3.285", "anthropic>=2.12,<3"), rows=500),
    Peer("curator_llm", "bespokelabs-curator", ("bespokelabs-curator==0.1.31",)),
    Peer("accrue_pipeline", "accrue", ("accrue==1.5.2", "anthropic>=2.12,<3")),
    Peer("litellm_router", "litellm", ("litellm==1.110.2",)),
)
