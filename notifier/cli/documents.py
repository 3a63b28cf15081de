"""Print the settings in effect, the AsyncAPI document, and the version."""

import json
import os

import typer

from notifier import __version__
from notifier.asyncapi.document import document, written
from notifier.cli.options import AsJson
from notifier.settings import load


def settings(*, as_json: AsJson = False) -> None:
    """Print the effective settings, with secrets hidden."""
    shown = load(os.environ).shown()
    if as_json:
        typer.echo(json.dumps(shown))
        return
    for name, value in shown.items():
        typer.echo(f"{name}={'' if value is None else value}")


def contract(*, as_json: AsJson = False) -> None:
    """Print the AsyncAPI 3 document of all messages and frames, as YAML or JSON."""
    typer.echo(json.dumps(document()) if as_json else written(), nl=as_json)


def version() -> None:
    """Print the version."""
    typer.echo(__version__)
