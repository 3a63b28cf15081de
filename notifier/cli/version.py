"""`notifier version`."""

import typer

from notifier import __version__


def version() -> None:
    """Print the version."""
    typer.echo(__version__)
