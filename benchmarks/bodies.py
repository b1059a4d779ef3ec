"""What every request of the benchmarks has. Light: programs whose start-up is measured import it."""

MODEL = "claude-haiku-5-5"
MAX_TOKENS = 200
