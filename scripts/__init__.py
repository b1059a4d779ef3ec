"""Commands for developers, behind the make targets."""
