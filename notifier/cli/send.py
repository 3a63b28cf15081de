"""`notifier send`: one message from a file, from flags, or an example."""

import json
import sys
import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from notifier import clock
from notifier.cli import terminal
from notifier.cli.connect import feed_settings, run
from notifier.cli.options import AsJson, check_encodable
from notifier.domain.timestamps import timestamp


def send(
    file: Annotated[str | None, typer.Argument(help="File with one message as JSON; - reads stdin.")] = None,
    *,
    to: Annotated[list[str] | None, typer.Option(help="Address of a recipient; can be repeated.")] = None,
    subject: Annotated[str | None, typer.Option(help="Subject of the mail.")] = None,
    text: Annotated[str | None, typer.Option(help="Plain text of the mail.")] = None,
    html: Annotated[str | None, typer.Option(help="The same as HTML.")] = None,
    send_at: Annotated[str | None, typer.Option(help="RFC 3339 time with an offset; default: now.")] = None,
    example: Annotated[bool, typer.Option(help="Submit an example booking.")] = False,
    wait: Annotated[bool, typer.Option(help="Follow the mails that are due now until they are finished.")] = False,
    as_json: AsJson = False,
) -> None:
    """Submit one message to the running service: from a file, from flags, or an example."""
    if sum((file is not None, to is not None, example)) != 1:
        raise typer.BadParameter("use exactly one of these: a FILE; --to with --subject and --text; --example")
    if to is not None and not (subject and text):
        raise typer.BadParameter("--to also needs --subject and --text")
    fields = {"to": to, "subject": subject, "text": text, "html": html, "send_at": send_at}
    if file is not None:
        message = _read_message(file)
    elif example:
        message = _example_booking(clock.now())
    else:
        message = _event("notification.requested", {name: value for name, value in fields.items() if value})
    check_encodable(message)
    run(terminal.submit(feed_settings(), message, wait=wait, as_json=as_json))


def _read_message(file: str) -> Any:
    try:
        content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return json.loads(content, parse_constant=_reject_constant)
    except OSError as error:
        raise typer.BadParameter(f"{file} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise typer.BadParameter(f"{file} does not contain one message as JSON: {error}") from error


def _reject_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _event(type_: str, data: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": str(uuid.uuid4()),
        "source": "/notifier-cli",
        "type": type_,
        "time": timestamp(clock.now()),
        "data": data,
    }


def _example_booking(now: datetime) -> dict[str, Any]:
    departs = (now + timedelta(days=2)).replace(hour=4, minute=0)
    flight = {
        "number": "AI101",
        "from": "DEL",
        "to": "BLR",
        "departs_at": timestamp(departs),
        "arrives_at": timestamp(departs + timedelta(hours=2, minutes=50)),
        "seat": "12A",
        "gate": "4",
    }
    return _event(
        "booking.confirmed",
        {
            "booking": uuid.uuid4().hex[:6].upper(),
            "version": 1,
            "passengers": [{"name": "Asha Rao", "email": "asha@example.com", "locale": "en"}],
            "flights": [flight],
            "price": {"amount": "5400.00", "currency": "INR"},
        },
    )
