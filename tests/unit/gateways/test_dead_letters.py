"""Dead letters of messages whose properties no well-behaved publisher would write, on a real broker."""

import asyncio
import re
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiormq.abc import DeliveredMessage
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pamqp import frame
from pamqp.commands import Basic
from pamqp.header import ContentHeader
from support.parts import PATIENCE, request
from support.rabbit import Rabbit
from support.samples import NOW, RULES
from support.tables import TABLES, counted, short

from notifier.actors.consumer import MessageStore, consume
from notifier.domain.message_shapes import LINE_CONTROLS
from notifier.domain.messages import Message
from notifier.gateways import rabbitmq
from notifier.gateways.broker_status import BrokerStatus
from notifier.gateways.dead_letters import MAX_DETAIL, letter_head
from notifier.gateways.header_table import entries, with_headers
from notifier.gateways.pamqp_tolerance import tolerate_malformed_properties, wire
from notifier.gateways.properties import COPY_HEADERS, WireProperties, made_readable, split_properties
from notifier.gateways.publisher import Publisher
from notifier.gateways.topology import DEAD
from notifier.settings import AmqpSettings
from notifier.storage.sqlite.store import SqliteStore

FRAME_MAX = 131072


SHORT = st.binary(min_size=1, max_size=255).map(short)
TEXT_PROPERTIES = ("content_type", "content_encoding", "correlation_id", "reply_to", "message_id", "message_type")
PROPERTIES = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys((*TEXT_PROPERTIES, "app_id", "cluster_id"), SHORT),
        # It is logged, and what looks like an address is masked only when a line is written.
        "message_id": SHORT.filter(lambda id_: b"@" not in id_),
        # The broker closes the channel of a publisher whose CC or BCC is not a list of texts.
        "headers": TABLES.filter(lambda table: not any(name in COPY_HEADERS for name, _ in entries(table))),
        "priority": st.binary(min_size=1, max_size=1),
        "timestamp": st.binary(min_size=8, max_size=8),
    },
)
"""Each property as the bytes that a hostile publisher writes, which the broker passes on unread."""


class Intake:
    """A consumer of this test's queue, with what it dead-letters and what it stores."""

    def __init__(self, rabbit: Rabbit, dead: "asyncio.Queue[DeliveredMessage]", store: SqliteStore) -> None:
        self.rabbit = rabbit
        self.dead = dead
        self.store = store
        self.number = 0
        self.seen = 0

    async def publish(self, body: bytes, properties: WireProperties) -> None:
        """Publish with exactly these bytes as properties."""
        exchange, key = self.rabbit.exchange, "booking.raw"
        await self.rabbit.channel.basic_publish(body, exchange=exchange, routing_key=key, properties=properties)


@pytest.fixture
async def intake(rabbit: Rabbit, tmp_path: Path) -> AsyncIterator[Intake]:
    """Yield a consumer of this test's queue."""
    tolerate_malformed_properties()
    await rabbit.prepare()
    store = await SqliteStore.open(tmp_path / "n.db")
    async with taking_in(rabbit, store):
        yield Intake(rabbit, await rabbit.listen(DEAD, "fanout"), store)
    await store.close()


@asynccontextmanager
async def taking_in(rabbit: Rabbit, store: SqliteStore) -> AsyncIterator[None]:
    """Consume this test's queue; an end of the session is a failure."""
    amqp_settings = AmqpSettings.model_validate(rabbit.environ)
    publisher = Publisher(amqp_settings)
    stop = asyncio.Event()

    async def add(messages: Any) -> None:
        found: list[Message] = list(messages)
        await store.add(found, RULES, NOW)

    connect = partial(rabbitmq.consume, amqp_settings, publisher, BrokerStatus())
    task = asyncio.create_task(consume(connect, MessageStore(store.check, add), lambda _: None, lambda: None, stop))
    yield
    stop.set()
    async with asyncio.timeout(PATIENCE):
        await task
    await publisher.close()


@settings(max_examples=25, suppress_health_check=list(HealthCheck), phases=[Phase.reuse, Phase.generate])
@given(hostile=st.lists(PROPERTIES, min_size=1, max_size=8))
async def test_each_invalid_message_is_one_letter_with_its_properties(
    intake: Intake, hostile: list[dict[str, bytes]]
) -> None:
    """Any properties of invalid messages are the same bytes in the letters, and valid messages are stored."""
    expected = {}
    for given_properties in hostile:
        intake.number += 1
        body = f"{{ {intake.number}".encode()
        properties = WireProperties(given_properties)
        expected[body] = split_properties(bytes(12) + properties.marshal())
        await intake.publish(body, properties)
    intake.number += 1
    await intake.rabbit.publish(request(intake.number))
    async with asyncio.timeout(PATIENCE):
        letters = [await intake.dead.get() for _ in hostile]
        while not (stored := await intake.store.events(intake.seen, 10)):
            await intake.store.beyond(intake.seen)
    assert [event.event for event in stored] == [f"r{intake.number}"]
    intake.seen = stored[-1].seq
    assert {letter.body for letter in letters} == expected.keys()
    for letter in letters:
        found, (wanted, changed) = split_properties(wire(letter.header)), made_readable(expected[letter.body])
        assert all(name.encode() in found["headers"] for name in changed)
        assert found.pop("headers").startswith(with_headers(wanted.pop("headers", bytes(4)), {})[4:], 4)
        if cluster := wanted.pop("cluster_id", b"\x00")[1:]:
            assert cluster in wire(letter.header)
        assert found == wanted
    assert intake.dead.empty()


def test_headers_that_fill_a_frame_are_left_out() -> None:
    """Headers that do not fit into a frame with those of the letter are left out, and the detail says so."""
    full = counted(short(b"a") + b"S" + counted(bytes(FRAME_MAX - 120)))
    _, properties = letter_head(content_header(headers=full, app_id=short(b"x")), "k", "not_json", "why", FRAME_MAX)
    found = split_properties(bytes(12) + properties.marshal())
    assert found["app_id"] == short(b"x")
    assert b"(headers were left out: they are too long) why" in found["headers"]
    assert len(found["headers"]) < 1000


@given(st.binary(min_size=1, max_size=300), st.text(max_size=1000), st.text(max_size=400))
def test_every_letter_can_be_written(table: bytes, detail: str, routing_key: str) -> None:
    """Malformed headers are left out; the detail is one line, and like the routing key cut between two characters."""
    wire = content_header(headers=counted(table), message_id=short(b"\xff" * 255), expiration=short(b"60000"))
    key, properties = letter_head(wire, routing_key, "invalid", detail, FRAME_MAX)
    found = split_properties(bytes(12) + properties.marshal())
    assert (found["message_id"], "expiration" in found) == (short("\ufffd".encode() * 85), False)
    assert frame.unmarshal(frame.marshal(ContentHeader(properties=properties), 1))
    shown = found["headers"].rpartition(b"x-notifier-detailS")[2][4:]
    assert len(shown) <= MAX_DETAIL
    assert not re.search(f"[{LINE_CONTROLS}]", shown.decode())
    assert len(key.encode()) <= 255


def test_a_letter_can_be_read_by_any_client() -> None:
    """Invalid UTF-8 is replaced, malformed headers and times are left out, and the detail says so."""
    headers = counted(short(b"\xff") + b"t\x01")
    wire = content_header(headers=headers, timestamp=b"\xff" * 8, correlation_id=short(b"a\xff"), reply_to=short(b"b"))
    found = split_properties(bytes(12) + letter_head(wire, "k", "invalid", "why", FRAME_MAX)[1].marshal())
    assert (found["correlation_id"], found["reply_to"]) == (short("a\ufffd".encode()), short(b"b"))
    assert "timestamp" not in found
    assert b"(unreadable properties were changed: headers, correlation_id, timestamp) why" in found["headers"]


def test_a_letter_that_is_published_again_has_the_latest_error() -> None:
    """The headers of an earlier letter are replaced."""
    _, first = letter_head(content_header(), "k", "not_json", "first", FRAME_MAX)
    _, again = letter_head(bytes(12) + first.marshal(), "k", "invalid", "second", FRAME_MAX)
    header = split_properties(bytes(12) + again.marshal())["headers"]
    assert header.count(b"x-notifier-error") == header.count(b"x-notifier-detail") == 1
    assert b"second" in header


def content_header(**properties: bytes) -> bytes:
    """Write a content header with these properties."""
    flags = sum(Basic.Properties.flags[name] for name in properties)
    return (
        bytes(12)
        + struct.pack(">H", flags)
        + b"".join(properties[name] for name in Basic.Properties.attributes() if name in properties)
    )
