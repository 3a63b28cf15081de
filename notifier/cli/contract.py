"""`notifier contract`: the AsyncAPI document."""

import json

import typer

from notifier.asyncapi.document import document, written
from notifier.cli.options import AsJson


def contract(*, as_json: AsJson = False) -> None:
    """Print the AsyncAPI 3 document of all messages and frames, as YAML or JSON."""
    typer.echo(json.dumps(document()) if as_json else written(), nl=as_json)
