"""Templating: text from templates and values, within bounds. The public names of the package."""
