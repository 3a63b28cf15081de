"""`notifier demo`: the options of the command; what it runs is in the room `demo`."""

from typing import Annotated

import typer

from notifier.errors import NotifierError


def demo(
    *,
    once: Annotated[bool, typer.Option(help="Stop when the last mail is sent, and print the ledger.")] = False,
    bookings: Annotated[int, typer.Option(help="How many bookings to publish with --once.", min=1)] = 600,
    rate: Annotated[float, typer.Option(help="Bookings published per second.", min=0)] = 100,
    send_rate: Annotated[float, typer.Option(help="Mails sent per second; 0 means no limit.", min=0)] = 20,
) -> None:
    """Run the service with a broker, a publisher and a local inbox, and show the dashboard live."""
    try:
        from notifier.demo import command  # noqa: PLC0415 - its inbox needs packages of the extra 'dev'
    except ModuleNotFoundError as error:
        raise NotifierError(f"the demo needs {error.name}: install notifier with its extra 'dev'") from error
    command.demo(once=once, bookings=bookings, rate=rate, send_rate=send_rate)
