"""Mails and their events as clients see them. Pure.

The bytes of an event are written when it is stored, by `notifier.domain.events`; these structs describe them, and
clients read them with these structs.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from notifier.domain.events import EVENT_TYPES, public
from notifier.domain.mail import Mail
from notifier.feed.protocol.fields import Count, KindWord, StatusWord, Time

_Header = Annotated[list[str], Meta(min_length=2, max_length=2)]
EventType = Annotated[str, Meta(extra_json_schema={"enum": list(EVENT_TYPES)})]


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


class EventData(Struct, frozen=True, kw_only=True):
    """One change of one mail."""

    prev: Annotated[StatusWord | None, Meta(description="Status before the change; null if the mail is new")]
    mail: Annotated[PublicMail, Meta(description="The mail after the change")]


class PublicEvent(Struct, frozen=True, kw_only=True):
    """A CloudEvent: one change of one mail."""

    specversion: Annotated[Literal["1.0"], Meta(description="Version of CloudEvents")]
    id: Annotated[str, Meta(description="Id of the event: that of the mail, a dot, and the mail's rev")]
    source: Annotated[str, Meta(description="Always /notifier")]
    type: Annotated[EventType, Meta(description="mail.retrying after a failed attempt, else the new status")]
    time: Annotated[Time, Meta(description="When the change was made")]
    subject: Annotated[str, Meta(description="Id of the mail")]
    traceparent: Annotated[
        str | UnsetType, Meta(description="W3C trace context of the message that caused the mail, if it had one")
    ] = UNSET
    data: Annotated[EventData, Meta(description="The change")]


class TimelineStep(Struct, frozen=True, kw_only=True):
    """One event of a mail, in short."""

    at: Annotated[Time, Meta(description="When the change was made")]
    type: Annotated[EventType, Meta(description="Type of the event")]
    status: Annotated[StatusWord, Meta(description="Status after the change")]
    attempt: Annotated[Count, Meta(description="Attempts so far")]
    next_attempt_at: Annotated[Time | None, Meta(description="When the next attempt is due")]
    smtp: Annotated[SmtpReply | None, Meta(description="The SMTP server's reply")]
    error: Annotated[str | None, Meta(description="What went wrong, for people")]


class CalendarFile(Struct, frozen=True, kw_only=True):
    """A calendar attachment (RFC 5545) of a mail."""

    name: Annotated[str, Meta(description="File name")]
    text: Annotated[str, Meta(description="Content of the file")]


class MailContent(Struct, frozen=True, kw_only=True):
    """The content of a mail; empty once its address was erased."""

    headers: Annotated[list[_Header], Meta(description="Names and values of its headers, in order")] = []
    text: Annotated[str | None, Meta(description="Plain text; null once the address was erased")] = None
    html: Annotated[str | None, Meta(description="HTML part, if there is one")] = None
    calendars: Annotated[list[CalendarFile], Meta(description="Its calendar attachments")] = []


class WholeMail(PublicMail, frozen=True, kw_only=True):
    """A mail with its history and its content; the recipient is not masked."""

    timeline: Annotated[list[TimelineStep], Meta(description="Its events, oldest first")]
    headers: Annotated[list[_Header], Meta(description="Names and values of its headers, in order")]
    text: Annotated[str | None, Meta(description="Plain text; null once the address was erased")]
    html: Annotated[str | None, Meta(description="HTML part, if there is one")]
    calendars: Annotated[list[CalendarFile], Meta(description="Its calendar attachments")]
    preview: Annotated[str | UnsetType, Meta(description="Path under which the HTML can be read once")] = UNSET


class MailList(Struct, frozen=True, kw_only=True):
    """Mails, newest first."""

    mails: Annotated[list[PublicMail], Meta(description="The mails that match")]
    next: Annotated[Count | None, Meta(description="`before` of the next list; null if there are no more mails")]


def public_mail(mail: Mail) -> PublicMail:
    """Return a mail as every client sees it."""
    return msgspec.convert(public(mail), PublicMail)
