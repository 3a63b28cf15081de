"""A hostile publisher among good ones: what it sends is mailed for what it is or dead-lettered, and harms nobody."""

import json
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from typing import Any

import pytest
from faults.load import BAD, BOOKING, REQUEST, booking, request
from faults.scene import Scene
from samples import flight_data

NEXT_MAIL = "MAIL FROM:<a@b.example>{0}RCPT TO:<victim@b.example>{0}DATA{0}Subject: smuggled{0}{0}Hello{0}.{0}"
"""What a second mail would be on the wire, were the first one's end misread."""
ENDS = (
    "\r\n.\r\n",
    "\n.\n",
    "\r.\r",
    "\n.\r\n",
    "\r\n.\n",
    "\r\n.\r",
    "\r.\n",
    "\x0b.\x0b",
    "\x85.\x85",
    "\u2028.\u2028",
)
SHOUT = "{{7*7}} ${7*7} %s {0}"
LINE = "Asha\r\nBcc: victim@b.example\r\n\x1b]0;owned\x07\x00"


def mail(**changes: Any) -> dict[str, Any]:
    """Build a request with some fields of its data replaced."""
    message, _ = request(0)
    return {**message, "data": {**message["data"], **changes}}


def trip(number: int, **changes: Any) -> dict[str, Any]:
    """Build a booking with some fields of its data replaced."""
    message, _ = booking(number)
    return {**message, "data": {**message["data"], **changes}}


def hostile(number: int) -> Iterator[tuple[dict[str, Any] | bytes, AbstractSet[str]]]:
    """Write messages of ill will, each with what it makes; the number is for a booking that is good enough."""
    for end in ENDS:
        yield mail(text=f"Hello.{end}{NEXT_MAIL.format(end[0])}"), BAD if "\x0b" in end else REQUEST
    yield mail(html=f"<script>{ENDS[0]}</script>" * 100), REQUEST
    yield mail(subject="=?utf-8?q?=0d=0aBcc:_victim@b.example?="), REQUEST
    yield mail(subject=LINE), BAD
    yield mail(to=f"p@example.com\r\nRCPT TO:<victim@b.example>{LINE}"), BAD
    yield mail(to="<p@example.com>, victim@b.example"), BAD
    yield mail(to='"a\\" b"@example.com>,<victim@b.example'), BAD
    yield mail(text="x" * 300_000), BAD
    yield trip(number, booking=LINE), BAD
    yield trip(number, flights=[flight_data(gate=LINE)]), BAD
    yield trip(number, passengers=[{"name": LINE, "email": "asha@example.com"}]), BAD
    yield trip(number, passengers=[{"name": f"<img onerror=alert(1)> {SHOUT}", "email": "asha@example.com"}]), BOOKING
    yield b'{"type":"booking.confirmed","id":"x","data":' + b"[" * 200_000, BAD
    yield b'{"a":' * 20_000, BAD
    yield b"\xff\xfe\x00{", BAD
    yield b'{"type":"notification.requested","id":1e999,"data":{}}', BAD
    yield b"", BAD


@pytest.mark.parametrize("rounds", [1, pytest.param(10, marks=pytest.mark.faults)])
async def test_hostile_messages_among_good_ones(scene: Scene, rounds: int) -> None:
    """Every good message is mailed, every hostile one is harmless or dead; on the wire there is one mail a mail."""
    async with scene.service(SEND_RATE="0") as victim:
        for round_ in range(rounds):
            for content, makes in hostile(900_000 + round_):
                await scene.load.publish(scene.rabbit.channel, *booking(len(scene.load.published)))
                id_ = f"m{len(scene.load.published):06}"
                body = content if isinstance(content, bytes) else json.dumps({**content, "id": id_}).encode()
                await scene.load.publish_raw(scene.rabbit.channel, body, id_, makes)
        await scene.end(victim)
    assert not [entry for entry in scene.sink.accepted if entry["bare"] or "victim" in entry["to"]]
