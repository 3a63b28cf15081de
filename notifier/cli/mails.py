"""`notifier mails`: list mails, show one, and decide what happens to it."""

import sys
from typing import Annotated, Literal

import typer

from notifier.cli.connect import send_command
from notifier.cli.options import AsJson, check_encodable
from notifier.domain.mail import Kind, Status
from notifier.feed.protocol import BadFrame, read_filter

mails = typer.Typer(help="List and show mails, and decide what happens to them.", no_args_is_help=True)

MailId = Annotated[str, typer.Argument(metavar="ID", help="The mail's id, as `mails list` shows it.")]


@mails.command("list")
def list_(
    *,
    status: Annotated[list[Status] | None, typer.Option(help="Only this status; can be repeated.")] = None,
    kind: Annotated[list[Kind] | None, typer.Option(help="Only this kind; can be repeated.")] = None,
    booking: Annotated[list[str] | None, typer.Option(help="Only this booking; can be repeated.")] = None,
    since: Annotated[str | None, typer.Option(help="Only mails created since this RFC 3339 time.")] = None,
    before: Annotated[int | None, typer.Option(min=0, max=2**63 - 1, help="Continue an earlier list.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many mails at most.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List mails, newest first."""
    wanted = {"status": status, "kind": kind, "booking": booking, "since": since}
    try:
        read_filter(wanted)
    except BadFrame as error:
        raise typer.BadParameter(str(error)) from error
    args = {"filter": {name: value for name, value in wanted.items() if value}, "before": before, "limit": limit}
    send_command("mail.list", args, as_json=as_json)


@mails.command()
def show(id_: MailId, *, as_json: AsJson = False) -> None:
    """Show one mail: its history, its headers, and its text."""
    send_command("mail.show", {"id": id_}, as_json=as_json)


@mails.command()
def retry(id_: MailId, *, as_json: AsJson = False) -> None:
    """Send a failed mail again, immediately."""
    send_command("mail.retry", {"id": id_}, as_json=as_json)


@mails.command()
def cancel(id_: MailId, *, as_json: AsJson = False) -> None:
    """Cancel a mail that has not been sent."""
    send_command("mail.cancel", {"id": id_}, as_json=as_json)


@mails.command()
def resolve(
    id_: MailId,
    *,
    answer: Annotated[
        Literal["sent", "resend"], typer.Option("--as", help="Whether it was sent, or must be sent again.")
    ],
    as_json: AsJson = False,
) -> None:
    """Decide about a mail whose outcome is unknown (`uncertain`)."""
    send_command("mail.resolve", {"id": id_, "as": answer}, as_json=as_json)


@mails.command()
def erase(
    address: Annotated[
        str,
        typer.Argument(
            metavar="ADDRESS|-", help="- reads it from stdin; an argument can be seen in ps and the shell's history."
        ),
    ],
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    as_json: AsJson = False,
) -> None:
    """Erase an address: cancel its unsent mails, and delete recipient and content from all of its mails."""
    if address == "-":
        address = _read_line()
    check_encodable(address)
    if not yes:
        typer.confirm(f"Erase {address}? Its unsent mails are cancelled; this cannot be undone", abort=True, err=True)
    send_command("address.erase", {"email": address}, as_json=as_json)


def _read_line() -> str:
    try:
        return sys.stdin.readline().strip()
    except UnicodeDecodeError as error:
        raise typer.BadParameter(f"the address on stdin is not UTF-8: {error}") from error
