"""Hostile messages among valid ones."""

import json
import re
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from typing import Any

from pamqp.commands import Basic
from support.faults.load import BAD, BOOKING, REQUEST, booking
from support.faults.scene import Scene

from notifier.domain.messages import MAX_BYTES

CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")
TITLE = "\x1b]0;owned\x07\x1b[2J\x9b31m"
"""Bytes that change the title and colours of a terminal and clear it."""
TERMINAL = f"{TITLE}\r\n2026-01-01 [info] all is well \u2028"
"""The same, and a forged log line."""

SECOND_MESSAGE = (
    "MAIL FROM:<evil@example.net>\r\nRCPT TO:<all@example.com>\r\nDATA\r\nSubject: smuggled\r\n\r\nHello.\r\n"
)
ENDS_OF_MESSAGE = ("\r\n.\r\n", "\n.\n", "\r.\r", "\n.\r\n", "\r\n.\n", "\r\n.\r", "\r.\r\n", "\n.\r", "\x85.\x85")

NAMES = (
    "Asha\r\nBcc: evil@example.net",
    "Asha\nRao",
    "Asha\rRao",
    "Asha\x00Rao",
    "Asha\x1b[31m",
    "Asha\u2028Rao",
    "\ud800",
)
SUBJECTS = tuple(f"Hello{end}Bcc: evil@example.net" for end in ("\r\n", "\n", "\r", "\0", "\x85"))
ADDRESSES = (
    "asha@example.com>\r\nRCPT TO:<evil@example.net",
    "asha@example.com\r\nDATA",
    "asha@example.com\n",
    "asha\x00@example.com",
    "asha@example.com\x1b[31m",
    "<asha@example.com>",
    "asha@example.com,evil@example.net",
    "@example.com",
    "",
)

Case = tuple[bytes, AbstractSet[str], dict[str, Any]]
"""A body, the kinds of mail that it makes, and AMQP properties."""


class Bytes(str):
    """A property that pamqp sends as bytes that are not UTF-8."""

    __slots__ = ()

    def encode(self, *_: object) -> bytes:
        """Return these bytes."""
        return b"booking.\xff\xfe\x1b[2J"


class Never(datetime):
    """A property that pamqp sends as a time beyond the calendar."""

    def timestamp(self) -> float:
        """Return the seconds."""
        return 2.0**62


class Long(str):
    """A property that pamqp sends as 255 bytes that are not UTF-8."""

    __slots__ = ()

    def encode(self, *_: object) -> bytes:
        """Return these bytes."""
        return b"\xff" * 255


def _deep(levels: int) -> dict[str, Any]:
    return {"a": _deep(levels - 1)} if levels else {}


PROPERTIES: tuple[dict[str, Any], ...] = (
    {"message_id": Bytes("b")},
    {"correlation_id": Bytes("b"), "content_type": Bytes("b")},
    {"correlation_id": TERMINAL},
    {"routing_key": Bytes("b")},
    {"timestamp": Never(2026, 1, 1, tzinfo=UTC)},
    {"headers": {Bytes("b"): 1}},
    {"headers": {"a": Never(2026, 1, 1, tzinfo=UTC)}},
    {"headers": _deep(200)},
)
"""Properties that the broker delivers unchanged with valid bookings."""


BAD_PROPERTIES: tuple[dict[str, Any], ...] = (
    *(each for each in PROPERTIES if "message_id" not in each),
    {"headers": {"trace": Bytes("b"), "list": [Bytes("b"), {"deep": Bytes("b")}]}},
    {"headers": {"seconds": 1732443123.123, "huge": 3e38}},
    {"headers": {"a" * 128: "b", "x-notifier-error": "forged"}},
    {"correlation_id": Long("b"), "reply_to": Long("b"), "app_id": Long("b"), "message_type": Long("b")},
    {"headers": {"long": "x" * 120_000}},
    {"expiration": "3600000", "priority": 255},
)
"""Properties that the broker delivers unchanged with invalid messages, and that a dead letter must keep."""


def nested() -> list[bytes]:
    """Return bodies that make a parser recurse, count or decode without end."""
    return [
        b"[" * 200_000,
        b'{"a":' * 40_000,
        b'{"type":"booking.confirmed","data":' + b'{"a":' * 40_000,
        b'{"type":' + b"9" * 200_000 + b"}",
        b'{"type":"booking.confirmed","id":"x","data":{"booking":"b","version":1e99999}}',
        b'{"type":"' + b"a" * (MAX_BYTES + 1) + b'"}',
        b'{"type":"booking.confirmed","id":"x","data":{"booking":"\xff\xfe"}}',
        b"\xff\xfe\x00",
        b"\x00",
        b"",
    ]


def requests(number: int, **data: str) -> bytes:
    """Return a request for one mail."""
    fields = {"to": f"p{number}@example.com", "subject": f"Number {number}", "text": "Hello.", **data}
    event = {"type": "notification.requested", "id": f"x{number:04}", "source": "/poison", "data": fields}
    return json.dumps(event).encode()


def bookings(number: int, **passenger: str) -> bytes:
    """Return a booking with some fields of its passenger replaced."""
    message, _ = booking(number)
    message["id"] = f"x{number:04}"
    message["data"]["booking"] = f"X{number:04}"
    message["data"]["passengers"][0] |= passenger
    return json.dumps(message).encode()


def poison() -> list[Case]:
    """Return every hostile message."""
    found: list[Case] = [(body, BAD, {}) for body in nested()]
    found += [(bookings(len(found) + n, name=name), BAD, {}) for n, name in enumerate(NAMES)]
    found += [(requests(len(found) + n, to=address), BAD, {}) for n, address in enumerate(ADDRESSES)]
    found += [(requests(len(found) + n, subject=subject), BAD, {}) for n, subject in enumerate(SUBJECTS)]
    found += [(requests(len(found), text=TERMINAL), BAD, {})]
    found += [(json.dumps({"type": id_, "data": {}}).encode(), BAD, {"message_id": id_}) for id_ in (TITLE, TERMINAL)]
    found += [(json.dumps({"type": "booking.confirmed", "data": {TERMINAL: {}}}).encode(), BAD, {"app_id": TERMINAL})]
    smuggling = [f"Hello.{end}{SECOND_MESSAGE}{end}" for end in ENDS_OF_MESSAGE]
    found += [(requests(len(found) + n, text=text, html=text), REQUEST, {}) for n, text in enumerate(smuggling)]
    found += [(bookings(len(found) + n), BOOKING, properties) for n, properties in enumerate(PROPERTIES)]
    found += [(b"{", BAD, properties) for properties in BAD_PROPERTIES]
    return found


async def test_poison_messages_among_valid_bookings(scene: Scene) -> None:
    """Each hostile message is mailed safely or dead-lettered.

    Valid messages are processed, and the log can be shown in a terminal safely.
    """
    scene.environ["NOTIFIER_LOG_FORMAT"] = "console"
    await scene.sink.command(phase="MAIL", act="reply", reply=f"451 4.3.2 {TITLE}")
    async with scene.service() as victim, scene.load.flowing(rate=60):
        for number, (body, makes, properties) in enumerate(poison()):
            id_ = properties.get("message_id", f"x{number:04}") if makes is BAD else f"x{number:04}"
            await scene.load.publish_raw(scene.rabbit.channel, id_, body, makes, **properties)
        await scene.sink.wait_accepted(len(scene.sink.accepted) + 30)
        await scene.load.stop()
        await scene.end(victim)
    log = b"".join(victim.raw).decode()
    assert not [line for line in log.split("\n") if CONTROLS.search(line)]
    assert r"\x1b]0;owned" in log  # it was logged, with escapes
    assert "Traceback" not in log


class Raw(Basic.Properties):
    """Properties that are sent as given bytes, including their flags."""

    def __init__(self, raw: bytes) -> None:
        super().__init__(message_id="raw")
        self.__dict__["raw"] = raw

    def marshal(self) -> bytes:
        """Return these bytes."""
        found: bytes = self.__dict__["raw"]
        return found


RAW = (
    b"\x10\x01\x02",
    b"\x10\x03\x02",
    b"\x30\x01"
    + (11 + 100_000).to_bytes(4, "big")
    + b"\x05arrayA"
    + (100_000).to_bytes(4, "big")
    + b"V" * 100_000
    + b"\x02",
)
"""A continuation bit, a reserved bit, and a very long array: RabbitMQ accepts them, pamqp fails or takes seconds."""


async def test_content_headers_that_no_client_library_writes(scene: Scene) -> None:
    """A classic queue delivers them byte for byte.

    Each booking with such a header is mailed, and so are the bookings behind it.
    """
    queue, channel = f"{scene.rabbit.queue}-classic", scene.rabbit.channel
    await channel.queue_declare(queue, durable=True)
    await channel.queue_bind(queue, scene.rabbit.exchange, routing_key="raw")
    try:
        async with scene.service(AMQP_EXTRA_QUEUES=queue) as victim:
            for number, raw in enumerate(RAW):
                message, makes = booking(number)
                scene.load.published[message["id"]] = makes
                await channel.basic_publish(
                    json.dumps(message).encode(),
                    exchange=scene.rabbit.exchange,
                    routing_key="raw",
                    mandatory=True,
                    properties=Raw(raw),
                )
                scene.load.accepted.add(message["id"])
            for number in range(10, 20):
                await scene.load.publish(channel, *booking(number))
            await scene.sink.wait_accepted(10 + len(RAW))
            await scene.end(victim)
        assert "reader exited" not in b"".join(victim.raw).decode()
    finally:
        await channel.queue_delete(queue)
