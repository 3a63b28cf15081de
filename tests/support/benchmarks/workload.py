"""Messages of a benchmark: varied flights, names, locales and addresses, so that no cache always hits. Pure."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from notifier.demo.publisher import booking as demo_booking

Message = dict[str, Any]
LOCALES = ("en", "de", "pt-BR")
_DOMAINS = ("example.com", "mail.example.org", "post.example.net", "straße.example", "例え.example")
_WORDS = (
    "Gepäck",
    "boarding",
    "Übernachtung",
    "café",
    "voucher",
    "Sitzplatz",
    "upgrade",
    "conexão",
    "lounge",
    "portão",
)


def bookings(count: int, run: str, now: datetime) -> Iterator[Message]:
    """Invent bookings of one passenger and one flight: each makes a confirmation, which is due now, and a reminder."""
    for n in range(count):
        message = demo_booking(n, now, run)
        passenger = message["data"]["passengers"][0]
        passenger["locale"] = LOCALES[n % len(LOCALES)]
        passenger["email"] = address(n, run)
        yield message


def requests(count: int, run: str, *, addresses: int = 1, send_at: datetime | None = None) -> Iterator[Message]:
    """Invent requests for plain notifications, each to so many addresses; they are due now or at `send_at`."""
    for n in range(count):
        yield request(n, run, addresses=addresses, send_at=send_at)


def request(n: int, run: str, *, addresses: int = 1, send_at: datetime | None = None) -> Message:
    """Invent the n-th request of a run. The same arguments always make the same request."""
    word, other = _WORDS[n % len(_WORDS)], _WORDS[n // len(_WORDS) % len(_WORDS)]
    data: Message = {
        "to": [address(n * addresses + k, run) for k in range(addresses)],
        "subject": f"{word} {run}-{n}: {other}",
        "text": f"Hello,\n\nyour request {n} about {word} was received.\n{_sentence(n)}\n\nSee you soon, {other}\n",
    }
    if send_at:
        data["send_at"] = send_at.isoformat()
    return {
        "specversion": "1.0",
        "id": f"bench-{run}-{n}",
        "source": "/bench",
        "type": "notification.requested",
        "data": data,
    }


def scheduled(count: int, run: str, now: datetime, addresses: int) -> Iterator[Message]:
    """Invent requests whose mails are due one after the other from tomorrow on, spread over 30 days."""
    for n in range(count):
        at = now + timedelta(days=1) + timedelta(days=30) * ((n * 7919) % count) / count
        yield request(n, run, addresses=addresses, send_at=at)


def address(n: int, run: str) -> str:
    """Return the n-th address of a run; some domains are not ASCII."""
    # Only every 20th domain is not ASCII: most addresses of real bookings are plain.
    domain = _DOMAINS[3 + n // 20 % 2] if n % 20 == 0 else _DOMAINS[n % 3]
    return f"passenger.{run}.{n}@{domain}"


def _sentence(n: int) -> str:
    return " ".join(_WORDS[(n * 31 + k * k) % len(_WORDS)] for k in range(40))
