"""The public form of a mail, which viewers and other systems see: without content, with masked addresses. Pure."""

from typing import Annotated

from msgspec import Meta, Struct

from notifier.domain.addresses import all_masked, masked, without
from notifier.domain.mail import Flight, Mail
from notifier.domain.timestamps import timestamp

Time = Annotated[str, Meta(description="RFC 3339, UTC, milliseconds", extra_json_schema={"format": "date-time"})]
Count = Annotated[int, Meta(ge=0)]

# Clients must be able to read the words of a newer service, so these are texts, not enums.
StatusWord = Annotated[str, Meta(extra_json_schema={"$ref": "#/components/schemas/Status"})]
"""A status, or a later version's."""
KindWord = Annotated[str, Meta(extra_json_schema={"$ref": "#/components/schemas/Kind"})]
"""A kind, or a later version's."""


class PublicFlight(Struct, frozen=True, kw_only=True, rename={"origin": "from", "destination": "to"}):
    """The flight that a mail is about."""

    number: Annotated[str, Meta(description="Flight number")]
    origin: Annotated[str, Meta(description="IATA code of the airport of departure")]
    destination: Annotated[str, Meta(description="IATA code of the airport of arrival")]
    departs_at: Annotated[Time | None, Meta(description="Departure; null if its time zone is unknown")]


class SmtpReply(Struct, frozen=True, kw_only=True):
    """The SMTP server's reply to the latest attempt, with addresses masked."""

    code: Annotated[int, Meta(ge=200, le=599, description="Reply code (RFC 5321, section 4.2)")]
    text: Annotated[str, Meta(description="The reply without its code")]


class PublicMail(Struct, frozen=True, kw_only=True):
    """A mail as every client sees it: without its content, and with addresses masked."""

    id: Annotated[str, Meta(description="Id of the mail")]
    rev: Annotated[int, Meta(ge=1, description="Rises by one with every change")]
    kind: Annotated[KindWord, Meta(description="What the mail is for")]
    status: Annotated[StatusWord, Meta(description="What has become of it so far")]
    to: Annotated[str, Meta(description="Recipient, masked except in mail.show")]
    subject: Annotated[str, Meta(description="Subject; empty once the address was erased")]
    booking: Annotated[str | None, Meta(description="Booking reference")]
    flight: Annotated[PublicFlight | None, Meta(description="The flight that a reminder is about")]
    attempt: Annotated[Count, Meta(description="Attempts that have begun and count")]
    created_at: Annotated[Time, Meta(description="When the mail was stored")]
    send_at: Annotated[Time, Meta(description="When it becomes due")]
    expires_at: Annotated[Time | None, Meta(description="When it becomes useless; no attempt begins after that")]
    next_attempt_at: Annotated[Time | None, Meta(description="When the next attempt is due")]
    sent_at: Annotated[Time | None, Meta(description="When the SMTP server accepted it")]
    message_id: Annotated[str, Meta(description="Its Message-ID header")]
    event: Annotated[str, Meta(description="Id of the message that caused it")]
    smtp: Annotated[SmtpReply | None, Meta(description="The SMTP server's latest reply")]
    error: Annotated[str | None, Meta(description="Why it was not sent, or what is wrong with it, for people")]


def public_mail(mail: Mail) -> PublicMail:
    """Return the public form of a mail."""
    return PublicMail(
        id=mail.id,
        rev=mail.rev,
        kind=mail.kind,
        status=mail.status,
        to=masked(mail.to),
        subject=mail.subject,
        booking=mail.booking,
        flight=_public_flight(mail.flight) if mail.flight else None,
        attempt=mail.attempt,
        created_at=timestamp(mail.created_at),
        send_at=timestamp(mail.send_at),
        expires_at=timestamp(mail.expires_at),
        next_attempt_at=timestamp(mail.next_attempt_at),
        sent_at=timestamp(mail.sent_at),
        message_id=mail.message_id,
        event=mail.event,
        smtp=SmtpReply(code=mail.smtp.code, text=_hidden(mail, mail.smtp.text)) if mail.smtp else None,
        error=_hidden(mail, mail.error) if mail.error else None,
    )


def _hidden(mail: Mail, text: str) -> str:
    """Mask all addresses: a server's text can also name the recipients of an alias, or the account that logged in."""
    return all_masked(without(mail.to, text))


def _public_flight(flight: Flight) -> PublicFlight:
    return PublicFlight(
        number=flight.number,
        origin=flight.origin,
        destination=flight.destination,
        departs_at=timestamp(flight.departs_at),
    )
