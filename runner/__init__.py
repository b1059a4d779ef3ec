"""runner: a declarative job runner for the Anthropic API."""
