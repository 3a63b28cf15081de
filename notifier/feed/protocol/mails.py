"""What the commands about mails return. Pure."""

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from notifier.domain.events import EventType
from notifier.domain.public_mail import Count, PublicMail, SmtpReply, StatusWord, Time

_Header = Annotated[list[str], Meta(min_length=2, max_length=2)]


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
