"""The feed's commands: what viewers and operators can ask the service to do."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec
import structlog
from msgspec import UNSET, Struct
from msgspec.structs import asdict

from notifier import clock
from notifier.composing.message import DecodedMessage, decoded_message
from notifier.domain.addresses import identity, normalised
from notifier.domain.events import MailFilter, StoredEvent
from notifier.domain.mail import Mail, Status, cancelled, found_sent, retried, retried_now
from notifier.domain.messages import Message, Origin, decode
from notifier.errors import Refused
from notifier.feed.protocol import (
    COMMANDS,
    BadFrame,
    CommandError,
    CommandSpec,
    PublicEvent,
    PublicMail,
    Role,
    public_mail,
    read_filter,
)
from notifier.feed.protocol.commands import (
    EraseArgs,
    ErasedAddress,
    ListArgs,
    MailArgs,
    NoArgs,
    Pausing,
    ResolveArgs,
    ShowArgs,
    SubmitArgs,
    Submitted,
)
from notifier.feed.protocol.mails import CalendarFile, TimelineStep, WholeMail
from notifier.feed.protocol.mismatch import mismatch
from notifier.storage.store import Added, Store

log = structlog.get_logger(__name__)

CHANGE_ATTEMPTS = 3
"""Attempts to change a mail that others change at the same moment, before the command fails."""
ERASE_TIMEOUT = 10.0
"""Seconds that `address.erase` waits for mails that are being handed over; an SMTP dialogue rarely takes one second."""

_ERASED = DecodedMessage([], None, None, [])
"""What is left of the content of a mail whose address was erased."""

Take = Callable[[Sequence[Message]], Awaitable[list[Added]]]
"""Stores messages."""
Write = Callable[[Mail], bytes]
"""Composes a mail."""
Offer = Callable[[str], str]
"""Serves a mail's HTML once, under the path that it returns."""
Change = Callable[[Mail], Mail]
"""What a command makes of a mail in a certain status."""
_read_event = msgspec.json.Decoder(PublicEvent).decode
_Run = Callable[[Any, Role], Awaitable[Struct | msgspec.Raw]]
"""Runs a command with its decoded arguments, of the type that `COMMANDS` names."""


class CommandHandler(NamedTuple):
    """A command as the service carries it out: the lowest role that may use it, and what runs it.

    `run` gets the arguments, not decoded yet, and the role of the client. It raises CommandError.
    """

    role: Role
    run: Callable[[msgspec.Raw, Role], Awaitable[Struct | msgspec.Raw]]


def commands(store: Store, take: Take, write: Write, offer: Offer) -> dict[str, CommandHandler]:
    """Return the handler of every command, by its name."""

    async def submit(args: SubmitArgs, _: Role) -> Submitted:
        return await _submit(take, args)

    async def mail_list(args: ListArgs, role: Role) -> msgspec.Raw:
        return await _mail_list(store, args, role)

    async def mail_show(args: ShowArgs, _: Role) -> WholeMail:
        return await _mail_show(store, write, offer, args)

    async def mail_retry(args: MailArgs, _: Role) -> PublicMail:
        return await _change(store, args.id, {Status.FAILED: retried, Status.PENDING: _retried_now})

    async def mail_cancel(args: MailArgs, _: Role) -> PublicMail:
        return await _change(store, args.id, {Status.PENDING: lambda mail: cancelled(mail, "cancelled by an operator")})

    async def mail_resolve(args: ResolveArgs, _: Role) -> PublicMail:
        changes: Mapping[str, Change] = {"sent": lambda mail: found_sent(mail, clock.now()), "resend": retried}
        return await _change(store, args.id, {Status.UNCERTAIN: changes[args.outcome]})

    async def address_erase(args: EraseArgs, _: Role) -> ErasedAddress:
        return await _erase(store, args)

    async def send_pause(_: NoArgs, __: Role) -> Pausing:
        return await _pause(store, paused=True)

    async def send_resume(_: NoArgs, __: Role) -> Pausing:
        return await _pause(store, paused=False)

    handlers: Mapping[str, _Run] = {
        "submit": submit,
        "mail.list": mail_list,
        "mail.show": mail_show,
        "mail.retry": mail_retry,
        "mail.cancel": mail_cancel,
        "mail.resolve": mail_resolve,
        "address.erase": address_erase,
        "send.pause": send_pause,
        "send.resume": send_resume,
    }
    return {name: _handler(COMMANDS[name], run) for name, run in handlers.items()}


def _handler(spec: CommandSpec, run: _Run) -> CommandHandler:
    """Decode the arguments of a command before it is run; null stands for no arguments."""

    async def decoded(args: msgspec.Raw, role: Role) -> Struct | msgspec.Raw:
        given = b"{}" if bytes(args) == b"null" else args
        try:
            found = msgspec.json.decode(given, type=spec.args)
        except (msgspec.DecodeError, RecursionError) as error:
            raise CommandError("invalid", mismatch(error, spec.args, "args")) from None
        return await run(found, role)

    return CommandHandler(spec.role, decoded)


async def _submit(take: Take, args: SubmitArgs) -> Submitted:
    """Take one message in, the same JSON as from the broker; return once it is stored durably."""
    try:
        message = msgspec.json.decode(args.message, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError) as error:
        raise CommandError("invalid", mismatch(error, dict[str, Any], "args.message")) from None
    try:
        decoded = decode(msgspec.json.encode(message), Origin(received_at=clock.now()))
    except Refused as reason:
        raise CommandError(reason.code, reason.detail) from reason
    (added,) = await take([decoded])
    return Submitted(mails=list(added.mails), repeated=added.repeated)


async def _change(store: Store, id_: str, changes: Mapping[Status, Change]) -> PublicMail:
    """Change one mail that has one of the named statuses; return it as everyone may see it.

    If someone else changes it between the two trips to the store, this starts again, CHANGE_ATTEMPTS times in all.
    """
    for _ in range(CHANGE_ATTEMPTS):
        mail = await _named(store, id_)
        if mail.status not in changes:
            raise CommandError("conflict", f"the mail is {mail.status}; {' or '.join(changes)} is expected")
        changed = changes[mail.status](mail)
        if not mail.to and changed.status is Status.PENDING:
            raise CommandError("conflict", "its address was erased, so it cannot be sent")
        # Another mail's event can follow, see `Store.record`.
        appended = [event for event in await store.record([changed], clock.now()) if event.mail == mail.id]
        if appended:
            return _changed_to(changed.status, appended[-1])
    raise CommandError("conflict", f"the mail changes all the time and is {mail.status} by now")


def _changed_to(wanted: Status, event: StoredEvent) -> PublicMail:
    """Return the mail after its last event; a conflict if its booking had withdrawn it when it was to be sent again."""
    mail = _read_event(event.body).data.mail
    if wanted is Status.PENDING and event.status is Status.CANCELLED:
        raise CommandError("conflict", f"the mail cannot be sent any more: {mail.error}")
    return mail


async def _named(store: Store, id_: str) -> Mail:
    mail = await store.get(id_)
    if mail is None:
        raise CommandError("not_found", f"there is no mail {id_[:40]!r}")
    return mail


def _retried_now(mail: Mail) -> Mail:
    if mail.next_attempt_at is None:
        raise CommandError("conflict", "the mail waits for its time, not for another attempt")
    return retried_now(mail)


async def _mail_show(store: Store, write: Write, offer: Offer, args: ShowArgs) -> WholeMail:
    """Show a whole mail: unmasked, with its history, and with the content that it has or would have.

    With `preview` also the path under which its HTML can be read, once.
    """
    mail = await _named(store, args.id)
    content = decoded_message(write(mail)) if mail.to else _ERASED
    return WholeMail(
        **asdict(public_mail(mail)) | {"to": mail.to},
        timeline=[_step(event) for event in await store.history(mail.id)],
        headers=content.headers,
        text=content.text,
        html=content.html,
        calendars=[CalendarFile(name=name, text=text) for name, text in content.calendars],
        preview=offer(content.html) if args.preview and content.html is not None else UNSET,
    )


def _step(event: StoredEvent) -> TimelineStep:
    body = _read_event(event.body)
    mail = body.data.mail
    return TimelineStep(
        at=body.time,
        type=body.type,
        status=mail.status,
        attempt=mail.attempt,
        next_attempt_at=mail.next_attempt_at,
        smtp=mail.smtp,
        error=mail.error,
    )


async def _erase(store: Store, args: EraseArgs) -> ErasedAddress:
    """Forget an address; mails to it that are being handed over are waited for, for at most ERASE_TIMEOUT."""
    email = args.email.strip()
    if not email:
        raise CommandError("invalid", "args.email: an address is expected")
    with suppress(ValueError):
        email = normalised(email)
    erased = await store.erase(email, clock.now())
    if erased.remaining:
        await _handed_over(store, email)
        before, erased = erased, await store.erase(email, clock.now())
        erased = erased._replace(
            mails=before.mails + erased.mails,
            cancelled=before.cancelled + erased.cancelled,
            bookings=before.bookings + erased.bookings,
        )
    return ErasedAddress(**erased._asdict())


async def _handed_over(store: Store, email: str) -> None:
    """Wait until no mail to the address is being handed over, for at most ERASE_TIMEOUT."""
    with suppress(TimeoutError):
        async with asyncio.timeout(ERASE_TIMEOUT):
            while True:
                # Read first: every outcome that `sending` does not show yet is behind it.
                head = (await store.span()).head
                if not any(identity(mail.to) == identity(email) for mail in await store.sending()):
                    return
                await store.beyond(head)


async def _pause(store: Store, *, paused: bool) -> Pausing:
    """Stop or resume claiming mail, also across restarts. Mails that are being handed over are finished."""
    await store.pause(paused=paused)
    log.info("sending paused by an operator" if paused else "sending resumed by an operator")
    return Pausing(paused=paused)


async def _mail_list(store: Store, args: ListArgs, role: Role) -> msgspec.Raw:
    """List mails, newest first. The store returns the encoded `MailList`, which is passed on without a copy."""
    try:
        wanted = MailFilter() if args.filter is UNSET else read_filter(args.filter)
    except BadFrame as bad:
        raise CommandError("invalid", f"args.{bad}") from bad
    return msgspec.Raw(await store.listing(wanted, args.before, args.limit, urgent=role == "operator"))
