"""Frames and mails as a service would show them, with the fields that a test does not care about filled in."""

from typing import Any

from msgspec.structs import replace
from support.readings import STATS
from support.samples import mail as stored_mail

from notifier.domain.events import EventData
from notifier.domain.mail import Status
from notifier.feed.protocol import EventsFrame, PublicEvent, PublicMail, SnapshotFrame, public_mail

AT = "2026-11-24T10:00:00.000Z"


def shown(id_: str, rev: int, status: str, **fields: Any) -> PublicMail:
    """Build a mail as clients see it."""
    return replace(public_mail(stored_mail()), id=id_, rev=rev, status=Status(status), **fields)


def event(mail: PublicMail) -> PublicEvent:
    """Build the event of a mail's latest change."""
    return PublicEvent(
        specversion="1.0",
        id=f"{mail.id}.{mail.rev}",
        source="/notifier",
        type=f"mail.{mail.status}",
        time=AT,
        subject=mail.id,
        data=EventData(prev=None, mail=mail),
    )


def events(*mails: PublicMail) -> EventsFrame:
    """Build a frame with the latest event of each mail."""
    return EventsFrame(cursor="c", events=[event(mail) for mail in mails])


def snapshot(*mails: PublicMail) -> SnapshotFrame:
    """Build a snapshot."""
    return SnapshotFrame(cursor="c", totals=STATS.totals, mails=list(mails), more=False)
