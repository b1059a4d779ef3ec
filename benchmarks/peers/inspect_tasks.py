"""inspect_ai: a task of one generation a sample. It asks for thinking with a beta that the stand-in does not have, so
thinking is off."""

from __future__ import annotations

import tempfile

from inspect_ai import Task, eval  # noqa: A004 - its name
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import GenerateConfig
from inspect_ai.solver import generate, system_message

from benchmarks.bodies import MAX_TOKENS, MODEL
from benchmarks.peers.rows import Work


def main() -> None:
    work = Work.from_arguments()
    task = Task(
        dataset=MemoryDataset([Sample(id=row["id"], input=row["text"]) for row in work.rows]),
        solver=[system_message(work.shared), generate()],
        config=GenerateConfig(max_tokens=MAX_TOKENS, cache_prompt=True, reasoning_effort="none"),
    )
    with tempfile.TemporaryDirectory() as logs:
        (log,) = eval(
            task,
            model=f"anthropic/{MODEL}",
            max_connections=work.in_flight,
            max_samples=work.in_flight,
            fail_on_error=False,
            display="none",
            log_dir=logs,
            score=False,
        )
        samples = log.samples or []
    work.finish({str(one.id): one.output.completion for one in samples if one.error is None and one.output.completion})


if __name__ == "__main__":
    main()
