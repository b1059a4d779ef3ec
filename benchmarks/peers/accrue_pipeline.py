"""accrue: a pipeline of one LLM step. It always asks for structured output and marks the system prompt as cached."""

from __future__ import annotations

from accrue import EnrichmentConfig, LLMStep, Pipeline
from accrue.providers import AnthropicClient

from benchmarks.bodies import MAX_TOKENS, MODEL
from benchmarks.peers.rows import Work


def main() -> None:
    work = Work.from_arguments()
    step = LLMStep(
        "answer",
        fields={"output": "Answer the text."},
        model=MODEL,
        client=AnthropicClient(),
        max_tokens=MAX_TOKENS,
        system_prompt=work.shared,
    )
    config = EnrichmentConfig(max_tokens=MAX_TOKENS, max_workers=work.in_flight, enable_progress_bar=False)
    result = Pipeline([step]).run(work.rows, config)
    work.finish({row["id"]: str(row["output"]) for row in result.data if row.get("output")})


if __name__ == "__main__":
    main()
