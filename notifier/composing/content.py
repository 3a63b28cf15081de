"""What a mail says, as text and as HTML. Pure."""

from collections.abc import Iterator, Sequence
from html import escape

from notifier.mail import Flight, Itinerary, Kind, Mail

_LEAD = {
    Kind.CONFIRMATION: "Your booking {booking} is confirmed.",
    Kind.CHANGE: "Your booking {booking} has changed. This is how it is now.",
    Kind.CANCELLATION: "Your booking {booking} is cancelled. You need not do anything.",
    Kind.REMINDER: "Your flight leaves soon. Please be at the airport in good time.",
}

_PAGE = """\
<!doctype html>
<html>
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
</head>
<body style="margin:0;padding:24px 12px;font:16px/1.5 system-ui,Helvetica,Arial,sans-serif">
<table role="presentation" width="100%" style="max-width:600px;margin:0 auto;border-collapse:collapse">
{rows}
</table>
</body>
</html>
"""
_ROW = '<tr><td style="padding:8px 0">{}</td></tr>'
_CARD = (
    '<tr><td style="padding:12px 16px;border:1px solid #8886;border-radius:8px">'
    '<strong style="font-size:18px">{route}</strong><br>{details}</td></tr>'
)


def text(mail: Mail) -> str:
    """Write the text part; it says all that the HTML says."""
    content = mail.content
    if not isinstance(content, Itinerary):
        return content.text
    blocks = [_greeting(content.names), _lead(mail)]
    blocks += ["\n".join((_route(flight), *_details(flight))) for flight in content.flights]
    blocks += list(_closing(mail, content))
    return "\n\n".join(blocks) + "\n"


def html(mail: Mail) -> str | None:
    """Write the HTML part; None where a notification came without."""
    content = mail.content
    if not isinstance(content, Itinerary):
        return content.html
    rows = [_ROW.format(escape(_greeting(content.names))), _ROW.format(escape(_lead(mail)))]
    rows += [
        _CARD.format(route=escape(_route(flight)), details="<br>".join(map(escape, _details(flight))))
        for flight in content.flights
    ]
    rows += [_ROW.format(escape(line)) for line in _closing(mail, content)]
    return _PAGE.format(title=escape(mail.subject), rows="\n".join(rows))


def _greeting(names: Sequence[str]) -> str:
    return f"Dear {', '.join(names)}," if names else "Hello,"


def _lead(mail: Mail) -> str:
    return _LEAD[mail.kind].format(booking=mail.booking)


def _route(flight: Flight) -> str:
    return f"{flight.number}  {flight.origin} to {flight.destination}"


def _details(flight: Flight) -> list[str]:
    labelled = (
        ("Departs", flight.departs_local),
        ("Arrives", flight.arrives_local),
        ("Seat", flight.seat),
        ("Gate", flight.gate),
    )
    return [f"{label}: {value}" for label, value in labelled if value]


def _closing(mail: Mail, content: Itinerary) -> Iterator[str]:
    yield f"Booking reference: {mail.booking}"
    if content.price and mail.kind is not Kind.REMINDER:
        yield f"Price: {content.price.amount} {content.price.currency}"
