"""The flights of a mail as calendar files (iCalendar, RFC 5545 and RFC 5546). Pure.

The files are written by hand for the same reason as the message: most mails have one. An
event keeps its UID through every change of the booking, and its SEQUENCE rises
with each, so a calendar program moves the entry that it has instead of adding another.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import quote

from notifier.domain.airports import city
from notifier.domain.mail import Flight, Itinerary, Kind, Mail, mail_id

_CRLF = "\r\n"
_LINE = 75
"""Octets that a line may have (section 3.1)."""
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
_ASSUMED_DURATION = timedelta(hours=2)
"""The length of an event if the flight's arrival is not known."""
ENGLISH: Mapping[str, str] = MappingProxyType({"booking": "Booking reference", "seat": "Seat", "gate": "Gate"})
"""Labels of the details of an event, by which a locale's own labels are completed."""


class Calendar(NamedTuple):
    """A calendar file; `method` is PUBLISH or CANCEL, and is also a parameter of its MIME type."""

    method: str
    body: bytes

    @property
    def filename(self) -> str:
        """The name of the attachment."""
        return "flights.ics" if self.method == "PUBLISH" else "cancelled.ics"


def calendars(mail: Mail, organizer: str, labels: Mapping[str, str] = ENGLISH) -> list[Calendar]:
    """Return the calendar files of a mail: one with its flights, and one that cancels flights it no longer has.

    A reminder has no file, and a flight without a known time zone has no event. `organizer` is
    the address that the mail comes from, which both methods require (RFC 5546 section 3.2).
    `labels` are those of the mail's locale.
    """
    content = mail.content
    if not isinstance(content, Itinerary) or mail.kind is Kind.REMINDER:
        return []
    now, before = _by_uid(mail, content.flights), _by_uid(mail, content.before)
    if mail.kind is Kind.CANCELLATION:
        files = [("CANCEL", now)]
    else:
        files = [("PUBLISH", now), ("CANCEL", {uid: flight for uid, flight in before.items() if uid not in now})]
    organized = _organizer(organizer)
    found = []
    for method, flights in files:
        status = f"STATUS:{'CONFIRMED' if method == 'PUBLISH' else 'CANCELLED'}"
        events = [
            line
            for uid, each in flights.items()
            if each.departs_at
            for line in ("BEGIN:VEVENT", organized, status, *_event(mail, uid, each, labels), "END:VEVENT")
        ]
        if events:
            lines = ("BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//notifier//notifier//EN", f"METHOD:{method}")
            body = _CRLF.join(_folded(line) for line in (*lines, *events, "END:VCALENDAR"))
            found.append(Calendar(method, (body + _CRLF).encode()))
    return found


@lru_cache(maxsize=64)  # it is the same for all mails
def _organizer(address: str) -> str:
    return f"ORGANIZER:mailto:{quote(address, safe='@')}"


def _by_uid(mail: Mail, flights: Iterable[Flight]) -> dict[str, Flight]:
    """Return the flights by UID, which is made of booking and number, and of a count if a number repeats."""
    domain = mail.message_id.strip("<>").rpartition("@")[2]
    found: dict[str, Flight] = {}
    for flight in flights:
        count = 0
        while (uid := f"{mail_id(mail.booking or '', 'event', flight.number, str(count))}@{domain}") in found:
            count += 1
        found[uid] = flight
    return found


def _event(mail: Mail, uid: str, flight: Flight, labels: Mapping[str, str]) -> Iterator[str]:
    departs_at, arrives = flight.departs.at, flight.arrives
    if departs_at is None:
        return
    arrives_at = arrives.at if arrives and arrives.at and arrives.at > departs_at else departs_at + _ASSUMED_DURATION
    origin, destination = _place(flight.origin), _place(flight.destination)
    details = (("booking", mail.booking), ("seat", flight.seat), ("gate", flight.gate))
    description = "\n".join(f"{labels.get(name, ENGLISH[name])}: {value}" for name, value in details if value)
    yield f"UID:{uid}"
    yield f"DTSTAMP:{_utc(mail.created_at)}"
    yield f"SEQUENCE:{mail.content.sequence if isinstance(mail.content, Itinerary) else 0}"
    yield f"DTSTART:{_utc(departs_at)}"
    yield f"DTEND:{_utc(arrives_at)}"
    yield f"SUMMARY:{_text(f'{flight.number} {origin} - {destination}')}"
    yield f"LOCATION:{_text(origin)}"
    yield f"DESCRIPTION:{_text(description)}"
    yield "TRANSP:OPAQUE"


def _place(code: str) -> str:
    name = city(code)
    return f"{name} ({code})" if name else code


def _utc(at: datetime) -> str:
    # Half of the time that strftime takes.
    return f"{at.isoformat(timespec='seconds')[:19].replace('-', '').replace(':', '')}Z"


def _text(value: str) -> str:
    """Write a TEXT value (section 3.3.11); nothing in it can end its line."""
    escaped = value.replace("\\", "\\\\").replace(";", "\\;").replace(",", "\\,").replace("\n", "\\n")
    return escaped if escaped.isprintable() else _CONTROLS.sub("", escaped)


def _folded(line: str) -> str:
    """Break a line into pieces of at most 75 octets, never inside a character (section 3.1)."""
    if len(line) <= _LINE and (line.isascii() or len(line.encode()) <= _LINE):
        return line
    pieces, piece, size = [], "", 0
    for char in line:
        octets = len(char.encode())
        if size + octets > _LINE:
            pieces.append(piece)
            piece, size = " ", 1
        piece, size = piece + char, size + octets
    return _CRLF.join((*pieces, piece))
