"""LiteLLM: its router, in a loop with a semaphore, with two retries as the SDK has them."""

from __future__ import annotations

import asyncio
import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # it would fetch its prices at every start

# It reads it when it is imported.
from litellm import Router
from openai import OpenAIError

from benchmarks.bodies import MAX_TOKENS, MODEL
from benchmarks.peers.rows import Work


async def answers(work: Work) -> dict[str, str]:
    parameters = {
        "model": f"anthropic/{MODEL}",
        "api_key": os.environ["ANTHROPIC_API_KEY"],
        "api_base": os.environ["ANTHROPIC_BASE_URL"],
    }
    router = Router(model_list=[{"model_name": "bench", "litellm_params": parameters}], num_retries=2)
    slots = asyncio.Semaphore(work.in_flight)
    shared = [{"type": "text", "text": work.shared, "cache_control": {"type": "ephemeral"}}]

    async def ask(row: dict[str, str]) -> tuple[str, str | None]:
        async with slots:
            messages = [{"role": "system", "content": shared}, {"role": "user", "content": row["text"]}]
            try:
                reply = await router.acompletion(model="bench", messages=messages, max_tokens=MAX_TOKENS)
            except OpenAIError:
                return row["id"], None
        return row["id"], reply.choices[0].message.content

    found = await asyncio.gather(*map(ask, work.rows))
    return {key: output for key, output in found if output is not None}


if __name__ == "__main__":
    task = Work.from_arguments()
    task.finish(asyncio.run(answers(task)))
