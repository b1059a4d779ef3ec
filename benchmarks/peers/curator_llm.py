"""Curator: `LLM` over a dataset, through its LiteLLM backend, which has no way to mark a cached block. (Its own
Anthropic backend asks a retired model for the limits first and ends with that model's 404.)"""

from __future__ import annotations

import os

os.environ["CURATOR_DISABLE_CACHE"] = "1"
os.environ["TELEMETRY_ENABLED"] = "0"
os.environ["HOSTED_CURATOR_VIEWER"] = "0"
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # it would fetch its prices at every start

# It reads them when it is imported.
from bespokelabs import curator
from datasets import Dataset

from benchmarks.bodies import MAX_TOKENS, MODEL
from benchmarks.peers.rows import Work


def main() -> None:
    work = Work.from_arguments()

    class Answer(curator.LLM):  # type: ignore[misc]  # the peer is not here when types are checked
        def prompt(self, row: dict[str, str]) -> str:
            return row["text"]

        def parse(self, row: dict[str, str], response: str) -> dict[str, str]:
            return {"id": row["id"], "output": response}

    llm = Answer(
        model_name=f"anthropic/{MODEL}",
        backend="litellm",
        system_prompt=work.shared,
        generation_params={"max_tokens": MAX_TOKENS},
        backend_params={"max_concurrent_requests": work.in_flight, "require_all_responses": False},
    )
    answers = llm(Dataset.from_list(work.rows))
    answers = getattr(answers, "dataset", answers)
    work.finish({row["id"]: row["output"] for row in answers if row["output"]})


if __name__ == "__main__":
    main()
