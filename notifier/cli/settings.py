"""`notifier settings`: the settings in effect."""

import json
import os

import typer

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
