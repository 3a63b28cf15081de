"""The two shapes that older publishers send: a mail alone, or a mail in an envelope that names a service. Pure."""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

from msgspec import Meta, Struct

from notifier.domain import fields
from notifier.domain.airports import LAST_YEAR, parse
from notifier.domain.message_shapes import Address, Origin, Subject, Text
from notifier.domain.notification import NotificationRequest
from notifier.errors import Refused

SERVICES = ("CREATE_TICKET", "SEND_BASIC_MAIL")
"""What an envelope's `service` can be; each asks for the mail in its `data`."""
ADDRESS_FIELDS = ("recepientEmail", "recipientEmail")
"""The names of the address; the first that is not empty counts."""
TEXT_FIELDS = ("text", "content", "message")
"""The names of the text; the first that is not empty counts."""
MILLISECONDS_FROM = 10**11
"""Numbers from here on are milliseconds since 1970, and smaller ones are seconds: as seconds it is the year 5138."""


class LegacyMail(
    Struct,
    rename={"misspelt_address": "recepientEmail", "address": "recipientEmail", "send_at": "notificationTime"},
):
    """One mail to one address."""

    subject: Subject
    misspelt_address: Address | None = None
    """Who gets the mail, in the spelling of most publishers."""
    address: Address | None = None
    """Who gets the mail."""
    text: Text | None = None
    content: Text | None = None
    """The text by another name."""
    message: Text | None = None
    """The text by another name."""
    send_at: (
        Annotated[
            str | int,
            Meta(description="a time (UTC if it has no offset), or an integer of seconds or milliseconds since 1970"),
        ]
        | None
    ) = None
    """When to send it; the default is immediately."""


def decode_envelope(found: Mapping[str, Any], body: bytes, origin: Origin) -> NotificationRequest:
    """Read a mail in an envelope. Raises Refused."""
    service, data = found["service"], found.get("data")
    if service not in SERVICES:
        raise Refused("unknown_type", f"service: {str(service)[:200]!r} is unknown; it must be {' or '.join(SERVICES)}")
    if not isinstance(data, dict):
        raise Refused("invalid", "data: must be an object")
    return decode_mail(data, body, origin, at="data")


def decode_mail(found: Mapping[str, Any], body: bytes, origin: Origin, *, at: str = "") -> NotificationRequest:
    """Read a mail. `at` is the field that contains it; `body` identifies a message without an id. Raises Refused."""
    prefix = f"{at}." if at else ""
    data = fields.shaped(found, LegacyMail, at)
    address = data.misspelt_address or data.address
    text = data.text or data.content or data.message
    if not address:
        raise Refused("invalid", f"{prefix}recepientEmail: missing")
    if not text:
        raise Refused("invalid", f"{prefix}text: missing")
    stamp = origin.timestamp.isoformat() if origin.timestamp else ""
    return NotificationRequest(
        id=fields.identifier("message_id", origin.message_id or hashlib.sha256(body + stamp.encode()).hexdigest()),
        source="/",
        correlation=origin.correlation_id,
        traceparent=origin.traceparent,
        recipients=fields.recipients(f"{prefix}recepientEmail", [address]),
        subject=fields.line(f"{prefix}subject", data.subject),
        text=fields.text(f"{prefix}text", text),
        send_at=_send_at(f"{prefix}notificationTime", data.send_at) if data.send_at is not None else None,
    )


def _send_at(where: str, given: str | int) -> datetime:
    if isinstance(given, str):
        found = fields.read(where, lambda: parse(given))
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    try:
        at = datetime.fromtimestamp(given / 1000 if given > MILLISECONDS_FROM else given, UTC)
    except (OverflowError, ValueError, OSError):
        at = None
    if at is None or at.year > LAST_YEAR:
        raise Refused("invalid", f"{where}: {str(given)[:20]} is not a time up to the year {LAST_YEAR}")
    return at
