"""The `notifier` command: what each subcommand does, what it prints where, and how it exits.

Data goes to stdout, everything else to stderr. Exit codes: 0 done, 1 failed, 2 bad
usage or settings, 3 the store is unusable, 4 the service cannot be reached.
"""

import asyncio
import errno
import json
import os
import resource
import signal
import sys
import uuid
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import msgspec
import structlog
import typer
import uvloop
from websockets.asyncio.server import Server

from notifier import __version__, clock, service
from notifier import settings as configuration
from notifier.asyncapi.document import document, written
from notifier.cli import preview as previewing
from notifier.cli import terminal, token_file
from notifier.cli import topology as exchanges_and_queues
from notifier.composing.templates import KINDS, MailTemplates
from notifier.doctor import command
from notifier.domain.events import timestamp
from notifier.domain.mail import Kind, Status
from notifier.errors import Misconfigured, NotifierError, StoreUnusable, Unreachable
from notifier.feed.client import reachable, readiness
from notifier.feed.protocol import BadFrame, read_filter
from notifier.observability import logs

log = structlog.get_logger(__name__)
app = typer.Typer(
    help="A reminder and notification mailer for services that talk over RabbitMQ.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

_EXIT_CODES: Mapping[type[NotifierError], int] = {Misconfigured: 2, StoreUnusable: 3, Unreachable: 4}

_WRITE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""What can be wrong with a redirected stdout. The store and the gateways raise their own errors."""

OPEN_FILES = 8192
"""Enough for the most clients that the feed takes, with and without their hello; a shell's usual limit is 1,024."""

AsJson = Annotated[bool, typer.Option("--json", help="Print data as JSON.")]


def main() -> None:
    """Run the command line; every known error is one line and an exit code."""
    _open_standard_streams()
    try:
        app()
    except NotifierError as error:
        fail(error)
    except OSError as error:
        if error.errno not in _WRITE_ERRORS:
            raise
        # What it still holds would be written at exit, and fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        fail(NotifierError(f"the output cannot be written: {error}"))
    except KeyboardInterrupt:
        sys.exit(130)


def _open_standard_streams() -> None:
    """Open /dev/null in place of each standard stream that is closed.

    The descriptors 0 to 2 are taken in order. Without this the event loop gets them, and aborts when it is closed.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: PTH123, SIM115 - as long as the process


def fail(error: NotifierError) -> NoReturn:
    """Say on stderr what is wrong and exit with the code that belongs to it."""
    for line in str(error).splitlines():
        typer.echo(f"notifier: {line}", err=True)
    sys.exit(next((code for kind, code in _EXIT_CODES.items() if isinstance(error, kind)), 1))


@app.command()
def serve() -> None:
    """Run the service until SIGTERM or SIGINT; a second signal ends it at once."""
    settings = configuration.load(os.environ)
    logs.configure(settings.log)
    for name in configuration.unknown(os.environ):
        log.warning("not a setting of this version, ignored", name=name)
    with logs.STDERR.from_a_thread():
        _run(_serve(settings._replace(feed=token_file.given(settings.feed))))


@app.command()
def send(
    file: Annotated[str | None, typer.Argument(help="File with one message as JSON; - is stdin.")] = None,
    *,
    to: Annotated[list[str] | None, typer.Option(help="Address; may be repeated.")] = None,
    subject: Annotated[str | None, typer.Option()] = None,
    text: Annotated[str | None, typer.Option()] = None,
    html: Annotated[str | None, typer.Option()] = None,
    send_at: Annotated[str | None, typer.Option(help="RFC 3339 time with offset; default: now.")] = None,
    example: Annotated[bool, typer.Option(help="Submit an example booking.")] = False,
    wait: Annotated[bool, typer.Option(help="Follow the mails that are due now to their end.")] = False,
    as_json: AsJson = False,
) -> None:
    """Submit one message to the running service: from a file, from flags, or an example."""
    if sum((file is not None, to is not None, example)) != 1:
        raise typer.BadParameter("give a file, or --to with --subject and --text, or --example")
    if to is not None and not (subject and text):
        raise typer.BadParameter("--to needs --subject and --text")
    fields = {"to": to, "subject": subject, "text": text, "html": html, "send_at": send_at}
    if file is not None:
        message = _read_message(file)
    elif example:
        message = _example_booking(clock.now())
    else:
        message = _event("notification.requested", {name: value for name, value in fields.items() if value})
    _check_encodable(message)
    _run(terminal.submit(_feed(), message, wait=wait, as_json=as_json))


@app.command()
def watch(*, as_json: AsJson = False) -> None:
    """Show every change of every mail as it happens, until Ctrl-C."""
    _run(terminal.watch(_feed(), as_json=as_json))


mails = typer.Typer(help="Look at mails, and decide about them.", no_args_is_help=True)
app.add_typer(mails, name="mails")

MailId = Annotated[str, typer.Argument(metavar="ID", help="The mail's id, as `mails list` shows it.")]


@mails.command("list")
def mails_list(
    *,
    status: Annotated[list[Status] | None, typer.Option(help="May be repeated, like the next two.")] = None,
    kind: Annotated[list[Kind] | None, typer.Option()] = None,
    booking: Annotated[list[str] | None, typer.Option()] = None,
    since: Annotated[str | None, typer.Option(help="Created since this RFC 3339 time.")] = None,
    before: Annotated[int | None, typer.Option(min=0, max=2**63 - 1, help="Go on behind an earlier list.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=500)] = 50,
    as_json: AsJson = False,
) -> None:
    """List mails, newest first."""
    wanted = {"status": status, "kind": kind, "booking": booking, "since": since}
    try:
        read_filter(wanted)
    except BadFrame as error:
        raise typer.BadParameter(str(error)) from error
    args = {"filter": {name: value for name, value in wanted.items() if value}, "before": before, "limit": limit}
    _order("mail.list", args, as_json=as_json)


@mails.command("show")
def mails_show(id_: MailId, *, as_json: AsJson = False) -> None:
    """Show one mail with all that has happened to it, and what it says."""
    _order("mail.show", {"id": id_}, as_json=as_json)


@mails.command("retry")
def mails_retry(id_: MailId, *, as_json: AsJson = False) -> None:
    """Give a failed mail another chance, at once."""
    _order("mail.retry", {"id": id_}, as_json=as_json)


@mails.command("cancel")
def mails_cancel(id_: MailId, *, as_json: AsJson = False) -> None:
    """Withdraw a mail that waits."""
    _order("mail.cancel", {"id": id_}, as_json=as_json)


@mails.command("resolve")
def mails_resolve(
    id_: MailId,
    *,
    answer: Annotated[Literal["sent", "resend"], typer.Option("--as", help="What is known of it now.")],
    as_json: AsJson = False,
) -> None:
    """Say what became of an uncertain mail."""
    _order("mail.resolve", {"id": id_, "as": answer}, as_json=as_json)


@mails.command("erase")
def mails_erase(
    address: Annotated[
        str,
        typer.Argument(
            metavar="ADDRESS|-", help="- reads it from stdin: an argument stays in ps and the shell's history."
        ),
    ],
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Forget an address: its unsent mails are cancelled, and all mails lose whom they were for and what they said."""
    if address == "-":
        address = _read_line()
    _check_encodable(address)
    if not yes:
        typer.confirm(f"Erase {address}? Its unsent mails are cancelled; this cannot be undone", abort=True, err=True)
    _order("address.erase", {"email": address}, as_json=as_json)


@app.command()
def pause(*, as_json: AsJson = False) -> None:
    """Begin no mail until `resume`, also after a restart."""
    _order("send.pause", {}, as_json=as_json)


@app.command()
def resume(*, as_json: AsJson = False) -> None:
    """Go on sending."""
    _order("send.resume", {}, as_json=as_json)


@app.command()
def health(*, as_json: AsJson = False) -> None:
    """Ask the running service how it is; exit 0 if it is ready to work. Without a token it tells states only."""
    feed = configuration.load_feed(os.environ)
    # A kept token may not be for this user to read; states are enough to tell whether the service is ready.
    with suppress(Misconfigured):
        feed = token_file.given(feed)
    ready, parts = readiness(feed)
    if as_json:
        typer.echo(json.dumps(parts))
    else:
        actors = ", ".join(f"{name} {each['state']}" for name, each in parts["actors"].items())
        typer.echo(f"{parts['status']}: store {parts['store']['state']}, {actors}")
    sys.exit(0 if ready else 1)


@app.command()
def preview(
    kind: Annotated[str, typer.Argument(help=f"One of {', '.join(KINDS)}.")],
    *,
    locale: Annotated[str, typer.Option(help="The reader's language.")] = "en",
    out: Annotated[Path, typer.Option(help="Folder for the files.")] = Path(),
) -> None:
    """Write a sample mail as HTML, text, .eml and .ics, with your own templates where NOTIFIER_TEMPLATES names some."""
    if kind not in KINDS:
        raise typer.BadParameter(f"{kind!r} is none of {', '.join(KINDS)}")
    look = configuration.load_look(os.environ)
    wording = MailTemplates(look.templates)
    for path in previewing.preview(Kind(kind), locale, wording, look.sender, out):
        typer.echo(path)


@app.command()
def doctor(
    *,
    send_to: Annotated[str | None, typer.Option(help="Send one test mail there, and show the dialogue.")] = None,
    as_json: AsJson = False,
) -> None:
    """Look at what must be right for mail to arrive, and say how to mend what is not; exit 1 at a fault."""
    found = configuration.load(os.environ)
    logs.configure(found.log)
    _run(command.doctor(found, send_to, as_json=as_json))


@app.command()
def topology(
    action: Annotated[Literal["declare", "check"], typer.Argument(help="Make what is missing, or only look.")],
) -> None:
    """Show the exchanges and queues on the broker; `check` makes nothing and exits 1 where one is not as wanted."""
    _run(exchanges_and_queues.topology(configuration.load_amqp(os.environ), make=action == "declare"))


@app.command()
def settings(*, as_json: AsJson = False) -> None:
    """Print the effective settings, secrets hidden."""
    shown = configuration.load(os.environ).shown()
    if as_json:
        typer.echo(json.dumps(shown))
        return
    for name, value in shown.items():
        typer.echo(f"{name}={'' if value is None else value}")


@app.command()
def demo(
    *,
    once: Annotated[bool, typer.Option(help="Stop when the last mail is sent, and print the ledger.")] = False,
    bookings: Annotated[int, typer.Option(help="How many, with --once.", min=1)] = 600,
    rate: Annotated[float, typer.Option(help="Bookings published a second.", min=0)] = 100,
    send_rate: Annotated[float, typer.Option(help="Mails sent a second; 0 is no limit.", min=0)] = 20,
) -> None:
    """Run everything on real parts, with a local inbox, and show it live."""
    try:
        from notifier.demo.command import demo  # noqa: PLC0415 - its inbox is no part of an installed service
    except ModuleNotFoundError as error:
        raise NotifierError(f"the demo needs {error.name}: install notifier with its extra 'dev'") from error
    demo(once=once, bookings=bookings, rate=rate, send_rate=send_rate)


@app.command()
def contract(*, as_json: AsJson = False) -> None:
    """Print the AsyncAPI 3 document of all messages and frames, as YAML or JSON."""
    typer.echo(json.dumps(document()) if as_json else written(), nl=as_json)


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


async def _serve(settings: configuration.Settings) -> None:
    _allow_open_files()
    makes_token = settings.feed.lacks_token
    if makes_token:
        settings = settings._replace(feed=token_file.made(settings.feed))
    stop = asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            os._exit(1)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)
    async with service.running(settings) as server:
        log.info("notifier is running", version=__version__, feed=_address(server))
        if makes_token:
            token_file.keep(settings.feed)
            _tell_token(settings.feed, _address(server))
        await stop.wait()
        log.info("stopping")
    log.info("stopped")


def _allow_open_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _tell_token(feed: configuration.FeedSettings, address: str) -> None:
    """Show the one secret that nobody else knows, once, and not as a log line: logs hold no secrets."""
    typer.echo(f"notifier: open {address} with the token {feed.operator_token} (kept in {feed.make_token})", err=True)


def _read_message(file: str) -> Any:
    try:
        content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return json.loads(content, parse_constant=_refuse_constant)
    except (OSError, ValueError, RecursionError) as error:
        raise typer.BadParameter(f"{file}: {error}") from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _read_line() -> str:
    try:
        return sys.stdin.readline().strip()
    except UnicodeDecodeError as error:
        raise typer.BadParameter(f"-: {error}") from error


def _check_encodable(given: Any) -> None:
    """Raise BadParameter if a value cannot be sent: bytes of an argument that are not UTF-8, or surrogates in JSON."""
    try:
        msgspec.json.encode(given)
    except (UnicodeEncodeError, RecursionError) as error:
        raise typer.BadParameter(str(error)) from error


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


def _address(server: Server) -> str:
    """Give an address that works in a browser on this machine."""
    host, port = server.sockets[0].getsockname()[:2]
    host = reachable(host)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _feed() -> configuration.FeedSettings:
    """Find out how to reach the running service, and with which token."""
    return token_file.given(configuration.load_feed(os.environ))


def _order(name: str, args: Mapping[str, Any], *, as_json: bool) -> None:
    _check_encodable(args)
    _run(terminal.order(_feed(), name, args, as_json=as_json))


def _run(work: Coroutine[Any, Any, None]) -> None:
    uvloop.run(work)
