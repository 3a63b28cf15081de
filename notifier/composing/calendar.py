"""The flights of a mail as a calendar file (iCalendar, RFC 5545 and RFC 5546). Pure.

Written by hand for the same reason as the message: it is made for every mail. An
event keeps its UID through every change of the booking, and its SEQUENCE rises
with it, so a calendar moves the entry that it has instead of adding another.
"""

import re
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import NamedTuple
from urllib.parse import quote

from notifier.domain.airports import city
from notifier.domain.mail import Flight, Itinerary, Kind, Mail, mail_id

_CRLF = "\r\n"
_LINE = 75
"""Octets that a line may have (section 3.1)."""
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
_UNTOLD = timedelta(hours=2)
"""How long a flight is taken to be whose arrival is not known."""


class Calendar(NamedTuple):
    """A calendar file; `method` is PUBLISH or CANCEL, and is told in the MIME type too."""

    method: str
    body: bytes

    @property
    def filename(self) -> str:
        """Name the file."""
        return "flights.ics" if self.method == "PUBLISH" else "cancelled.ics"


def calendars(mail: Mail, organizer: str) -> list[Calendar]:
    """Write what a mail's reader should have in their calendar, and what no more; nothing for a mail that only reminds.

    Flights of which no moment is known are left out. `organizer` is the address that the
    mail comes from; both methods want one (RFC 5546 section 3.2).
    """
    content = mail.content
    if not isinstance(content, Itinerary) or mail.kind is Kind.REMINDER:
        return []
    now, before = _named(mail, content.flights), _named(mail, content.before)
    if mail.kind is Kind.CANCELLATION:
        return _files(mail, organizer, {}, now)
    return _files(mail, organizer, now, {uid: flight for uid, flight in before.items() if uid not in now})


def _files(mail: Mail, organizer: str, on: dict[str, Flight], off: dict[str, Flight]) -> list[Calendar]:
    found = []
    for method, flights in (("PUBLISH", on), ("CANCEL", off)):
        events = [
            line
            for uid, each in flights.items()
            if each.departs_at
            for line in _event(mail, organizer, uid, each, method)
        ]
        if events:
            lines = ("BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//notifier//notifier//EN", f"METHOD:{method}")
            body = _CRLF.join(_folded(line) for line in (*lines, *events, "END:VCALENDAR"))
            found.append(Calendar(method, (body + _CRLF).encode()))
    return found


def _named(mail: Mail, flights: Iterable[Flight]) -> dict[str, Flight]:
    """Give each flight its UID: the booking's and the number's, counted where a number comes more than once."""
    domain = mail.message_id.strip("<>").rpartition("@")[2]
    named: dict[str, Flight] = {}
    for flight in flights:
        uids = (f"{mail_id(mail.booking or '', 'event', flight.number, str(count))}@{domain}" for count in range(1000))
        named[next(uid for uid in uids if uid not in named)] = flight
    return named


def _event(mail: Mail, organizer: str, uid: str, flight: Flight, method: str) -> Iterator[str]:
    departs_at, arrives = flight.departs.at, flight.arrives
    if departs_at is None:
        return
    arrives_at = arrives.at if arrives and arrives.at and arrives.at > departs_at else departs_at + _UNTOLD
    origin, destination = _place(flight.origin), _place(flight.destination)
    details = [f"{label} {value}" for label, value in (("Seat", flight.seat), ("Gate", flight.gate)) if value]
    yield "BEGIN:VEVENT"
    yield f"UID:{uid}"
    yield f"DTSTAMP:{_utc(mail.created_at)}"
    yield f"SEQUENCE:{mail.content.sequence if isinstance(mail.content, Itinerary) else 0}"
    yield f"DTSTART:{_utc(departs_at)}"
    yield f"DTEND:{_utc(arrives_at)}"
    yield f"ORGANIZER:mailto:{quote(organizer, safe='@')}"
    yield f"SUMMARY:{_text(f'{flight.number} {origin} - {destination}')}"
    yield f"LOCATION:{_text(origin)}"
    yield f"DESCRIPTION:{_text(chr(10).join((mail.booking or '', *details)))}"
    yield f"STATUS:{'CONFIRMED' if method == 'PUBLISH' else 'CANCELLED'}"
    yield "TRANSP:OPAQUE"
    yield "END:VEVENT"


def _place(code: str) -> str:
    name = city(code)
    return f"{name} ({code})" if name else code


def _utc(at: datetime) -> str:
    return f"{at:%Y%m%dT%H%M%SZ}"


def _text(value: str) -> str:
    """Write a TEXT value (section 3.3.11); nothing in it can end its line."""
    escaped = value.replace("\\", "\\\\").replace(";", "\\;").replace(",", "\\,").replace("\n", "\\n")
    return _CONTROLS.sub("", escaped)


def _folded(line: str) -> str:
    """Break a line into pieces of at most 75 octets, never inside a character (section 3.1)."""
    if len(line) * 4 <= _LINE or len(line.encode()) <= _LINE:
        return line
    pieces, piece, size = [], "", 0
    for char in line:
        octets = len(char.encode())
        if size + octets > _LINE:
            pieces.append(piece)
            piece, size = " ", 1
        piece, size = piece + char, size + octets
    return _CRLF.join((*pieces, piece))
