"""What every request of the benchmarks has, and what servers note. Light: programs whose start-up counts import it."""

MODEL = "claude-haiku-5-5"
MAX_TOKENS = 200
LAP = 10_000
"""Replies between two times that the lean server notes."""
