"""`notifier doctor`: the options of the command; the checks are in the room `doctor`."""

import os
from typing import Annotated

import typer
import uvloop

from notifier.cli.options import AsJson
from notifier.doctor import command
from notifier.observability import logs
from notifier.settings import load


def doctor(
    *,
    send_to: Annotated[
        str | None, typer.Option(help="Also send a test mail to this address, and show the SMTP dialogue.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check everything that mail delivery depends on and explain how to fix problems; exit 1 if there is a fault."""
    settings = load(os.environ)
    logs.configure(settings.log)
    uvloop.run(command.doctor(settings, send_to, as_json=as_json))
