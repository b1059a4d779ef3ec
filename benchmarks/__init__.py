"""Measurements: numbers to look at, with the command that gave them. Nothing here passes or fails."""
