"""A small booking service: it invents bookings and publishes them at a steady rate."""

import asyncio
import random
import time
import unicodedata
import zlib
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import aiormq
import msgspec
from aiormq.abc import AbstractChannel

CONNECT_TIMEOUT = 10.0  # seconds
MAX_UNCONFIRMED = 200  # messages
ROUTING_KEY = "booking.confirmed"

_FIRST = (
    "Asha",
    "Zoë",
    "José",
    "Mia",
    "Kenji",
    "Chloé",
    "Tariq",
    "Ingrid",
    "Noah",
    "Lucía",
    "Priya",
    "Håkan",
    "Ewa",
    "Sam",
)
_LAST = ("Rao", "García", "Müller", "Tanaka", "Okafor", "Dubois", "Nowak", "Haddad", "Larsen", "Silva", "Kaur", "Brown")
_AIRPORTS = {
    "DEL": "Asia/Kolkata", "BLR": "Asia/Kolkata", "LHR": "Europe/London", "CDG": "Europe/Paris", "FRA": "Europe/Berlin",
    "JFK": "America/New_York", "SFO": "America/Los_Angeles", "GRU": "America/Sao_Paulo", "NRT": "Asia/Tokyo",
    "SYD": "Australia/Sydney", "KTM": "Asia/Kathmandu", "DXB": "Asia/Dubai",
}  # fmt: skip
_REFERENCE_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # no I, O, 0, 1: they are misheard on the phone
_REFERENCES = len(_REFERENCE_LETTERS) ** 6


def booking(n: int, now: datetime, run: str = "0") -> dict[str, Any]:
    """Invent the n-th `booking.confirmed` event of a run: one passenger, one flight 4 to 48 hours after `now`.

    The same arguments give the same booking; another `n` another id, reference and address. `now` must be aware.
    """
    chance = random.Random(f"{run}-{n}")
    first, last = chance.choice(_FIRST), chance.choice(_LAST)
    return {
        "specversion": "1.0",
        "id": f"demo-{run}-{n}",
        "source": "/demo",
        "type": ROUTING_KEY,
        "time": now.isoformat(),
        "data": {
            "booking": reference(n, run),
            "version": 1,
            "passengers": [{"name": f"{first} {last}", "email": f"{_ascii(first)}.{n}@example.com", "locale": "en"}],
            "flights": [_flight(chance, now)],
            "price": {"amount": f"{chance.randrange(4000, 90000) / 100:.2f}", "currency": "EUR"},
        },
    }


def reference(n: int, run: str) -> str:
    """Return the six-character booking reference number n of a run; references are unique and not in counting order."""
    # Multiplying by an odd number permutes the numbers below a power of two.
    number = (n * 387_420_489 + zlib.crc32(run.encode())) % _REFERENCES
    letters = ""
    for _ in range(6):
        number, letter = divmod(number, len(_REFERENCE_LETTERS))
        letters += _REFERENCE_LETTERS[letter]
    return letters


def _flight(chance: random.Random, now: datetime) -> dict[str, str]:
    origin, destination = chance.sample(sorted(_AIRPORTS), 2)
    departs = _next_five_minutes(now + timedelta(hours=4)) + timedelta(minutes=5 * chance.randrange(44 * 12 - 1))
    arrives = departs + timedelta(minutes=5 * chance.randrange(18, 150))
    return {
        "number": f"{chance.choice(('AI', 'BA', 'LH', 'QF'))}{chance.randrange(100, 1000)}",
        "from": origin,
        "to": destination,
        "departs_at": departs.astimezone(ZoneInfo(_AIRPORTS[origin])).isoformat(),
        "arrives_at": arrives.astimezone(ZoneInfo(_AIRPORTS[destination])).isoformat(),
        "seat": f"{chance.randrange(1, 40)}{chance.choice('ABCDEF')}",
        "gate": str(chance.randrange(1, 60)),
    }


def _next_five_minutes(moment: datetime) -> datetime:
    full = moment.replace(minute=moment.minute // 5 * 5, second=0, microsecond=0)
    return full if full == moment else full + timedelta(minutes=5)


def _ascii(name: str) -> str:
    return unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()


async def publish(
    url: str,
    exchange: str,
    messages: Iterable[Mapping[str, Any]],
    rate: float,
    on_published: Callable[[str, float], None],
) -> None:
    """Publish messages at `rate` per second (0: as fast as possible); return when the broker has confirmed all of them.

    `on_published` is called with each id and the wall-clock time in seconds, just before its message is published.
    Raises the errors of aiormq if the connection is lost or the broker rejects a message.
    """
    async with asyncio.timeout(CONNECT_TIMEOUT):
        connection = await aiormq.connect(url)
    try:
        channel = await connection.channel()
        await channel.exchange_declare(exchange, exchange_type="topic", durable=True)
        await _publish_paced(channel, exchange, messages, rate, on_published)
    except ExceptionGroup as lost:
        raise lost.exceptions[0] from None  # a lost connection fails every unconfirmed publish for the same reason
    finally:
        await connection.close()


async def _publish_paced(
    channel: AbstractChannel,
    exchange: str,
    messages: Iterable[Mapping[str, Any]],
    rate: float,
    on_published: Callable[[str, float], None],
) -> None:
    clock = asyncio.get_running_loop().time
    room = asyncio.Semaphore(MAX_UNCONFIRMED)
    started = clock()
    async with asyncio.TaskGroup() as unconfirmed:
        for n, message in enumerate(messages):
            if rate:
                # The schedule is absolute: a late publish does not make the next ones late.
                await asyncio.sleep(max(0.0, started + n / rate - clock()))
            await room.acquire()
            on_published(message["id"], time.time())
            confirmed = unconfirmed.create_task(_publish_one(channel, exchange, message))
            confirmed.add_done_callback(lambda _: room.release())


async def _publish_one(channel: AbstractChannel, exchange: str, message: Mapping[str, Any]) -> None:
    await channel.basic_publish(
        msgspec.json.encode(message),
        exchange=exchange,
        routing_key=message["type"],
        mandatory=True,  # otherwise a message without a queue is confirmed and lost
        properties=aiormq.spec.Basic.Properties(
            content_type="application/cloudevents+json", delivery_mode=2, message_id=message["id"]
        ),
    )
