"""The feed's commands: what watchers and operators can ask the service to do."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Annotated, Any

import msgspec
import structlog

from notifier import clock
from notifier.composing.message import written
from notifier.domain.addresses import identity, normalised
from notifier.domain.events import StoredEvent, public
from notifier.domain.mail import Mail, Status, cancelled, due_again, due_now, found_sent
from notifier.domain.messages import Message, Origin, decode
from notifier.errors import Refused
from notifier.feed import protocol
from notifier.feed.auth import Role
from notifier.feed.session import CommandError
from notifier.storage.store import Added, Store

log = structlog.get_logger(__name__)

CHANGE_ATTEMPTS = 3
"""Attempts to change a mail that others change at the same moment, before the command fails."""
ERASE_TIMEOUT = 10.0
"""Seconds that `address.erase` waits for mails that are being handed over; an SMTP dialogue rarely takes one second."""

_BEYOND = 2**63 - 1
"""The last number that a database row can have, which none will."""

Take = Callable[[Sequence[Message]], Awaitable[list[Added]]]
Way = Callable[[Mail], Mail]
Write = Callable[[Mail], bytes]
Offer = Callable[[str], str]
Command = Callable[[msgspec.Raw, Role], Awaitable[Any]]
"""Called with the arguments of the command, not decoded yet, and the role of the client that sent it."""


def commands(store: Store, take: Take, write: Write, offer: Offer) -> dict[str, tuple[Role, Command]]:
    """Name every command with the least role that may use it.

    `take` stores messages, `write` composes a mail, `offer` shows a mail's page under the path that it gives.
    """

    async def send_pause(_: Mapping[str, Any]) -> Any:
        return await _pause(store, paused=True)

    async def send_resume(_: Mapping[str, Any]) -> Any:
        return await _pause(store, paused=False)

    async def mail_retry(args: Mapping[str, Any]) -> Any:
        return await _change(store, args, {Status.FAILED: due_again, Status.PENDING: _hurried})

    async def mail_cancel(args: Mapping[str, Any]) -> Any:
        return await _change(store, args, {Status.PENDING: lambda mail: cancelled(mail, "cancelled by an operator")})

    async def mail_resolve(args: Mapping[str, Any]) -> Any:
        ways = {"sent": lambda mail: found_sent(mail, clock.now()), "resend": due_again}
        answer = args.get("as")
        if not isinstance(answer, str) or answer not in ways:
            raise CommandError("invalid", "args.as: sent or resend is expected")
        return await _change(store, args, {Status.UNCERTAIN: ways[answer]})

    return {
        "submit": _of_operators(partial(_submit, take)),
        "mail.list": ("viewer", partial(_mail_list, store)),
        "mail.show": _of_operators(partial(_mail_show, store, write, offer)),
        "mail.retry": _of_operators(mail_retry),
        "mail.cancel": _of_operators(mail_cancel),
        "mail.resolve": _of_operators(mail_resolve),
        "address.erase": _of_operators(partial(_erase, store)),
        "send.pause": _of_operators(send_pause),
        "send.resume": _of_operators(send_resume),
    }


class _List(msgspec.Struct, frozen=True):
    """The arguments of `mail.list`. Viewers send them too, so nothing is built of any other field."""

    filter: msgspec.Raw = msgspec.Raw(b"null")
    before: Annotated[int, msgspec.Meta(ge=0, lt=_BEYOND)] | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=protocol.MAX_MAILS)] = 100


def _of_operators(run: Callable[[Mapping[str, Any]], Awaitable[Any]]) -> tuple[Role, Command]:
    """Make a command for operators only, which need not know the role."""

    async def command(args: msgspec.Raw, _: Role) -> Any:
        return await run(_decoded(args, dict[str, Any] | None) or {})

    return "operator", command


def _decoded(args: msgspec.Raw, type_: Any) -> Any:
    try:
        return msgspec.json.decode(args, type=type_)
    except (msgspec.DecodeError, RecursionError) as error:
        raise CommandError("invalid", f"args: {error}") from None


async def _submit(take: Take, args: Mapping[str, Any]) -> dict[str, Any]:
    """Take one message in, the same JSON as from the broker; returns once it is stored durably."""
    message = args.get("message")
    if not isinstance(message, dict):
        raise CommandError("invalid", "args.message: an object is expected")
    try:
        decoded = decode(msgspec.json.encode(message), Origin(received_at=clock.now()))
    except Refused as reason:
        raise CommandError(reason.code, reason.detail) from reason
    (added,) = await take([decoded])
    return {"mails": added.mails, "repeated": added.repeated}


async def _change(store: Store, args: Mapping[str, Any], ways: Mapping[Status, Way]) -> dict[str, Any]:
    """Change one mail that has one of the named statuses; return it as everyone may see it.

    If someone else changes it between the two trips to the store, this starts again, CHANGE_ATTEMPTS times in all.
    """
    for _ in range(CHANGE_ATTEMPTS):
        mail = await _named(store, args)
        if mail.status not in ways:
            raise CommandError("conflict", f"the mail is {mail.status}; {' or '.join(ways)} is expected")
        changed = ways[mail.status](mail)
        if not mail.to and changed.status is Status.PENDING:
            raise CommandError("conflict", "its address was erased, so it cannot be sent")
        # Another mail's event can follow, see `Store.record`.
        appended = [event for event in await store.record([changed], clock.now()) if event.mail == mail.id]
        if appended:
            return _changed_to(changed.status, appended[-1])
    raise CommandError("conflict", f"the mail changes all the time and is {mail.status} by now")


def _changed_to(wanted: Status, event: StoredEvent) -> dict[str, Any]:
    """Return the mail after its last event; a conflict if its booking had withdrawn it when it was to be sent again."""
    mail: dict[str, Any] = msgspec.json.decode(event.body)["data"]["mail"]
    if wanted is Status.PENDING and event.status is Status.CANCELLED:
        raise CommandError("conflict", f"the mail cannot be sent any more: {mail['error']}")
    return mail


async def _named(store: Store, args: Mapping[str, Any]) -> Mail:
    id_ = args.get("id")
    if not isinstance(id_, str):
        raise CommandError("invalid", "args.id: the id of a mail is expected")
    mail = await store.get(id_)
    if mail is None:
        raise CommandError("not_found", f"there is no mail {id_[:40]!r}")
    return mail


def _hurried(mail: Mail) -> Mail:
    if mail.next_attempt_at is None:
        raise CommandError("conflict", "the mail waits for its time, not for another attempt")
    return due_now(mail)


async def _mail_show(store: Store, write: Write, offer: Offer, args: Mapping[str, Any]) -> dict[str, Any]:
    """Show a whole mail: unmasked, with all that has happened to it, and what it says or would say now.

    With `preview` also the path under which its page can be got, once.
    """
    mail = await _named(store, args)
    says = written(write(mail)) if mail.to else {"headers": [], "text": None, "html": None, "calendars": []}
    wants_preview = args.get("preview") is True and says["html"] is not None
    return {
        **public(mail),
        "to": mail.to,
        "timeline": [_step(event) for event in await store.history(mail.id)],
        **says,
        **({"preview": offer(says["html"])} if wants_preview else {}),
    }


def _step(event: StoredEvent) -> dict[str, Any]:
    body = msgspec.json.decode(event.body)
    mail = body["data"]["mail"]
    kept = ("status", "attempt", "next_attempt_at", "smtp", "error")
    return {"at": body["time"], "type": body["type"], **{name: mail[name] for name in kept}}


async def _erase(store: Store, args: Mapping[str, Any]) -> dict[str, Any]:
    """Forget an address; mails to it that are being handed over are waited for, for at most ERASE_TIMEOUT."""
    email = args.get("email")
    if not isinstance(email, str) or not email.strip():
        raise CommandError("invalid", "args.email: an address is expected")
    with suppress(ValueError):
        email = normalised(email.strip())
    erased = await store.erase(email, clock.now())
    if erased.remaining:
        await _handed_over(store, email)
        before, erased = erased, await store.erase(email, clock.now())
        erased = erased._replace(
            mails=before.mails + erased.mails,
            cancelled=before.cancelled + erased.cancelled,
            bookings=before.bookings + erased.bookings,
        )
    return erased._asdict()


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


async def _pause(store: Store, *, paused: bool) -> dict[str, Any]:
    """Stop or resume claiming mail, also across restarts. Mails that are being handed over are finished."""
    await store.pause(paused=paused)
    log.info("sending is paused by an operator" if paused else "sending goes on")
    return {"paused": paused}


async def _mail_list(store: Store, args: msgspec.Raw, role: Role) -> msgspec.Raw:
    """List mails, newest first; `before` takes the `next` of the list before."""
    asked: _List = _decoded(args, _List | None) or _List()
    try:
        wanted = protocol.read_filter(asked.filter)
    except protocol.BadFrame as bad:
        raise CommandError("invalid", f"args.{bad}") from bad
    return msgspec.Raw(await store.listing(wanted, asked.before, asked.limit, urgent=role == "operator"))
