"""Use the feed from a terminal: submit a message, run a command, watch. Data goes to stdout, messages to stderr."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
import typer

from notifier import clock
from notifier.domain.mail import FINISHED
from notifier.domain.timestamps import timestamp
from notifier.errors import NotifierError, Unreachable
from notifier.feed.client import FeedClient, Lost, ReconnectingClient, Rejected
from notifier.feed.protocol import COMMANDS, MAX_MAILS, EventsFrame, FilterFields, PublicMail, ResultFrame, ServerFrame
from notifier.feed.protocol.commands import ErasedAddress, ListArgs, Pausing, Submitted
from notifier.feed.protocol.mails import MailList, WholeMail
from notifier.feed.replica import Replica
from notifier.settings import FeedSettings

_Value = TypeVar("_Value", bound=msgspec.Struct)
_ENDED = {str(status) for status in FINISHED} | {"uncertain"}


async def submit(settings: FeedSettings, message: Mapping[str, Any], *, wait: bool, as_json: bool) -> None:
    """Submit one message and print what was stored; with `wait`, follow the mails that are due now until they finish.

    Raises NotifierError if the message is rejected. Exits 1 if one of the mails that it waited for was not sent.
    """
    async with FeedClient.connect(settings, snapshot=0) as client:
        ids = await _store(client, message, as_json=as_json)
        if wait:
            await _follow_to_end(client, ids, as_json=as_json)


async def _store(client: FeedClient, message: Mapping[str, Any], *, as_json: bool) -> list[str]:
    raw = await _result(client, await client.command("submit", {"message": message}))
    result = _read(raw, Submitted)
    if as_json:
        _print_json(raw)
    else:
        typer.echo(f"{'already handled' if result.repeated else 'stored'}: {len(result.mails)} mails", err=True)
    return result.mails


async def _follow_to_end(client: FeedClient, ids: Sequence[str], *, as_json: bool) -> None:
    """Print each mail's changes until all that are due now are finished; exit 1 if one of them was not sent."""
    mails: dict[str, PublicMail] = {}
    wanted = frozenset(ids)
    for first in range(0, len(ids), MAX_MAILS):
        await _fetch(client, ids[first : first + MAX_MAILS], wanted, mails)
    now = timestamp(clock.now()) or ""
    for mail in mails.values():
        _show(mail, as_json=as_json)
    while any(mail.status not in _ENDED and mail.send_at <= now for mail in mails.values()):
        for mail in _newer(await client.frame(), wanted, mails):
            _show(mail, as_json=as_json)
    if any(mail.status in _ENDED - {"sent"} for mail in mails.values()):
        raise typer.Exit(1)


async def _fetch(client: FeedClient, ids: Sequence[str], wanted: frozenset[str], mails: dict[str, PublicMail]) -> None:
    """Add the current state of the mails `ids` to `mails`.

    Events about any wanted mail can arrive before the list does; they are applied as well.
    """
    wanted_now = msgspec.Raw(msgspec.json.encode(FilterFields(mail=list(ids))))
    id_ = await client.command("mail.list", ListArgs(filter=wanted_now, limit=MAX_MAILS))
    async for frame in client:
        list(_newer(frame, wanted, mails))
        if isinstance(frame, ResultFrame) and frame.id == id_:
            for mail in _read(_value(frame), MailList).mails:
                _keep(mail, mails)
            return


def _newer(frame: ServerFrame, wanted: frozenset[str], mails: dict[str, PublicMail]) -> Iterator[PublicMail]:
    """Keep the wanted mails whose newer state is in a frame, and yield them."""
    for event in frame.events if isinstance(frame, EventsFrame) else ():
        mail = event.data.mail
        if mail.id in wanted and _keep(mail, mails):
            yield mail


def _keep(mail: PublicMail, mails: dict[str, PublicMail]) -> bool:
    """Keep a mail unless a newer state of it is known; return whether it was kept."""
    is_newer = mail.id not in mails or mail.rev > mails[mail.id].rev
    if is_newer:
        mails[mail.id] = mail
    return is_newer


async def run_command(settings: FeedSettings, name: str, args: Mapping[str, Any], *, as_json: bool) -> None:
    """Send one command to the running service and print its result. Raises NotifierError if it is rejected."""
    async with FeedClient.connect(settings, snapshot=0) as client:
        raw = await _result(client, await client.command(name, args))
    if as_json:
        _print_json(raw)
        if name == "address.erase":
            _require_complete(_read(raw, ErasedAddress))
        return
    match value := _read(raw, COMMANDS[name].value):
        case MailList():
            for mail in value.mails:
                _show(mail, as_json=False, with_id=True)
            if value.next:
                typer.echo(f"notifier: there are more mails; continue with --before {value.next}", err=True)
        case ErasedAddress():
            _show_erased(value)
        case WholeMail():
            _show_complete(value)
        case PublicMail():
            _show(value, as_json=False, with_id=True)
        case Pausing():
            typer.echo(f"sending is {'paused' if value.paused else 'running'}", err=True)


def _show_erased(value: ErasedAddress) -> None:
    """Print how much was erased."""
    typer.echo(
        f"erased: {value.mails} mails ({value.cancelled} of them cancelled), {value.bookings} bookings",
        err=True,
    )
    _require_complete(value)


def _require_complete(value: ErasedAddress) -> None:
    """Raise NotifierError if mails remain that could not be erased because they are being sent."""
    if value.remaining:
        raise NotifierError(
            f"{value.remaining} mails could not be erased because they are being sent; "
            "erase the address again in a minute"
        )


async def watch(settings: FeedSettings, *, as_json: bool) -> None:
    """Print the latest mails and then every change until cancelled; reconnect when the connection is lost."""
    replica = Replica()
    async for frame in ReconnectingClient(settings, snapshot=20):
        for mail in replica.apply(frame):
            _show(mail, as_json=as_json)
        if isinstance(frame, Lost):
            typer.echo(f"notifier: {frame.reason}; reconnecting", err=True)


async def _result(client: FeedClient, id_: str) -> msgspec.Raw:
    async for frame in client:
        if isinstance(frame, ResultFrame) and frame.id == id_:
            return _value(frame)
    raise Unreachable("the service closed the connection before it answered")


def _value(result: ResultFrame) -> msgspec.Raw:
    if result.error:
        raise NotifierError(f"{result.error.code}: {result.error.message}")
    return result.value or msgspec.Raw(b"null")


def _read(value: msgspec.Raw, type_: type[_Value]) -> _Value:
    """Decode the value of a result. Raises Rejected."""
    try:
        return msgspec.json.decode(value, type=type_)
    except msgspec.DecodeError as error:
        raise Rejected(f"the service sent a result that this version cannot read: {error}") from error


def _print_json(value: msgspec.Raw) -> None:
    typer.echo(json.dumps(msgspec.json.decode(value)))


def _show_complete(mail: WholeMail) -> None:
    """Print a mail's history, its headers and its text."""
    for step in mail.timeline:
        smtp = f"  {step.smtp.code} {step.smtp.text}" if step.smtp else ""
        later = f"  next attempt at {step.next_attempt_at}" if step.next_attempt_at else ""
        error = f"  {step.error}" if step.error else ""
        typer.echo(_printable(f"{step.at}  {step.type:<15} attempt {step.attempt}{later}{smtp}{error}"))
    typer.echo()
    for name, value in mail.headers:
        typer.echo(_printable(f"{name}: {value}"))
    typer.echo()
    for line in (mail.text or "").splitlines():
        typer.echo(_printable(line))


def _show(mail: PublicMail, *, as_json: bool, with_id: bool = False) -> None:
    if as_json:
        typer.echo(json.dumps(msgspec.to_builtins(mail)))
        return
    smtp = f"  {mail.smtp.code} {mail.smtp.text}" if mail.smtp else ""
    error = f"  {mail.error}" if mail.error else ""
    later = f"  at {mail.next_attempt_at or mail.send_at}" if mail.status == "pending" else ""
    line = f"{mail.status:<10} {mail.kind:<21} {mail.to:<24} {mail.subject}{later}{smtp}{error}"
    typer.echo(_printable(f"{mail.id}  {line}" if with_id else line))


def _printable(line: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in line)
