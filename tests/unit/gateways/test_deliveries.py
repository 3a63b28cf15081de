"""Deliveries are taken out of what a connection receives, and aiormq reads everything else."""

import asyncio
import struct
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from aiormq.connection import FrameReceiver
from aiormq.exceptions import AMQPError
from hypothesis import given
from hypothesis import strategies as st
from pamqp import frame
from pamqp.body import ContentBody
from pamqp.commands import Basic, Channel
from pamqp.frame import FrameTypes
from pamqp.header import ContentHeader
from pamqp.heartbeat import Heartbeat
from support.parts import fastest
from support.rabbit import Rabbit
from support.sessions import consuming, delivered

from notifier.gateways import frame_reader
from notifier.gateways.deliveries import Arrived, Deliveries
from notifier.gateways.oversized import MemoryBudget

OURS, FOREIGN = "ours", "foreign"
PIECE = 100
"""Bytes of a body frame in these tests."""


class Peer:
    """A connection on which given bytes arrive; deliveries to the consumer OURS on channels 1 and 2 are taken."""

    def __init__(self) -> None:
        self.taken: list[tuple[int, Arrived]] = []
        self.stream = asyncio.StreamReader()
        self.deliveries = Deliveries(MemoryBudget())
        for channel in (1, 2):
            self.deliveries.subscribe(channel, OURS, partial(self._take, channel))
        self.aiormq = FrameReceiver(self.deliveries.reading(self.stream))

    def _take(self, channel: int, message: Arrived) -> None:
        self.taken.append((channel, message))

    async def read(self, data: bytes, cuts: Sequence[int] = ()) -> list[Any]:
        """Return the frames that aiormq reads until the stream ends."""
        feeding = asyncio.create_task(self._feed(data, cuts))
        found: list[Any] = []
        try:
            async for _, channel, each in self.aiormq:
                found.append((channel, each))
        except AMQPError:
            assert not self.stream._buffer  # type: ignore[attr-defined]
        await feeding
        return found

    async def _feed(self, data: bytes, cuts: Sequence[int]) -> None:
        for begin, end in pairwise(sorted({0, *(cut % (len(data) + 1) for cut in cuts), len(data)})):
            self.stream.feed_data(data[begin:end])
            await asyncio.sleep(0)
        self.stream.feed_eof()


def delivery(channel: int, tag: int, body: bytes, consumer: str = OURS) -> list[bytes]:
    """Write the frames of a delivery."""
    bodies = [ContentBody(body[at : at + PIECE]) for at in range(0, len(body), PIECE)]
    head: list[FrameTypes] = [
        Basic.Deliver(
            consumer_tag=consumer, delivery_tag=tag, redelivered=True, exchange="bookings", routing_key="a.b"
        ),
        ContentHeader(body_size=len(body), properties=Basic.Properties(message_id=str(tag))),
    ]
    return [frame.marshal(each, channel) for each in (*head, *bodies)]


BODIES = st.integers(0, 3 * PIECE).map(lambda size: bytes(range(256)) * 2 if size == PIECE else bytes(size))
UNITS = st.one_of(
    st.tuples(st.just("ours"), BODIES),
    st.tuples(st.just("foreign"), BODIES),
    st.tuples(st.just("ack"), st.just(b"")),
    st.tuples(st.just("heartbeat"), st.just(b"")),
)


@given(st.lists(UNITS, max_size=8), st.lists(UNITS, max_size=8), st.data())
def test_frames_are_divided_however_they_arrive(
    first: list[tuple[str, bytes]], second: list[tuple[str, bytes]], data: st.DataObject
) -> None:
    """The frames of two channels come mixed and in pieces of any size; each delivery and each other frame is read."""
    queues: dict[int, list[bytes]] = {1: [], 2: []}
    ours: dict[int, list[tuple[int, bytes]]] = {1: [], 2: []}
    others: dict[int, int] = {0: 0, 1: 0, 2: 0}
    for channel, units in ((1, first), (2, second)):
        for tag, (kind, body) in enumerate(units, 1):
            match kind:
                case "heartbeat":
                    queues[channel].append(frame.marshal(Heartbeat(), 0))
                    others[0] += 1
                case "ack":
                    queues[channel].append(frame.marshal(Basic.Ack(tag), channel))
                    others[channel] += 1
                case _:
                    frames = delivery(channel, tag, body, OURS if kind == "ours" else FOREIGN)
                    queues[channel] += frames
                    if kind == "ours":
                        ours[channel].append((tag, body))
                    else:
                        others[channel] += len(frames)
    order = data.draw(st.permutations([1] * len(queues[1]) + [2] * len(queues[2])))
    written = b"".join([queues[channel].pop(0) for channel in order])
    cuts = data.draw(st.lists(st.integers(0, 10_000), max_size=10))

    async def check() -> None:
        peer = Peer()
        read = await peer.read(written, cuts)
        for channel in (1, 2):
            found = [message for number, message in peer.taken if number == channel]
            assert [(message.tag, message.body) for message in found] == ours[channel]
            assert {message.routing_key for message in found} <= {"a.b"}
        assert {channel: sum(number == channel for number, _ in read) for channel in others} == others

    asyncio.run(check())


async def test_aiormq_hears_that_the_broker_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker sends no heartbeat between deliveries, so aiormq would take the connection for dead after 33 s."""
    monkeypatch.setattr(frame_reader, "HEARTBEAT_INTERVAL", -1.0)
    found = await Peer().read(b"".join(delivery(1, 1, b"x")))
    assert found
    assert all(isinstance(each, Heartbeat) for _, each in found)


async def test_a_heartbeat_is_made_up_rarely() -> None:
    """Many deliveries cost aiormq nothing."""
    peer = Peer()
    assert await peer.read(b"".join(delivery(1, 1, b"x") * 100)) == []
    assert len(peer.taken) == 100


@pytest.mark.parametrize(
    "data",
    [b"AMQP\0\0\x09\x01", b"220 mail.example.org ESMTP\r\n", b"".join(delivery(1, 1, b"abc"))[:-1] + b"?"],
    ids=["another version", "no AMQP", "no end of frame"],
)
async def test_what_is_no_frame_is_an_error_of_the_connection(data: bytes) -> None:
    """It is recognised by aiormq as it would be without us, and the connection ends."""
    peer = Peer()
    peer.stream.feed_data(data)
    with pytest.raises(AMQPError):
        async with asyncio.timeout(5):
            async for _ in peer.aiormq:
                pass
    assert not peer.taken


@pytest.mark.parametrize("end", [3, 30, 90, -1])
async def test_a_connection_that_ends_in_a_delivery_is_lost(end: int) -> None:
    """The part that has arrived is discarded; the broker delivers the message again."""
    peer = Peer()
    peer.stream.feed_data(b"".join(delivery(1, 1, bytes(300)))[:end])
    peer.stream.feed_eof()
    with pytest.raises(AMQPError, match="unexpectedly closed"):
        async for _ in peer.aiormq:
            pass
    assert not peer.taken


async def test_a_channel_that_is_closed_in_a_delivery_forgets_it() -> None:
    """A later channel of the same number begins anew, with consumers of its own."""
    peer = Peer()
    begun = delivery(1, 1, bytes(2 * PIECE))[:-1]
    peer.stream.feed_data(
        b"".join(begun) + frame.marshal(Channel.Close(reply_code=406, reply_text="no", class_id=0, method_id=0), 1)
    )
    _, _, closed = await peer.aiormq.get_frame()
    assert isinstance(closed, Channel.Close)
    peer.deliveries.forget_channel(1)
    again = await peer.read(b"".join(delivery(1, 1, b"x") + delivery(2, 1, b"y")))
    assert [channel for channel, _ in again] == [1, 1, 1]
    assert [(channel, message.body) for channel, message in peer.taken] == [(2, b"y")]


async def test_the_content_header_is_kept_as_it_was_received() -> None:
    """Properties that no client can read are kept for the dead letter."""
    header = struct.pack(">HHQH", 60, 0, 1, 0x80) + b"\x01\xff"
    deliver, _, body = delivery(2, 7, b"x")
    peer = Peer()
    await peer.read(deliver + struct.pack(">BHI", 2, 2, len(header)) + header + b"\xce" + body)
    assert peer.taken == [(2, Arrived(7, "a.b", header, b"x"))]


async def test_a_backlog_is_delivered_in_order_and_without_tasks(rabbit: Rabbit) -> None:
    """The real broker: 500 messages arrive in order, and none of them is given to aiormq."""
    async with consuming(rabbit) as session:
        begun: list[str] = []
        (consumer,) = session.consumers
        channel: Any = consumer.channel
        channel.create_task = lambda call: begun.append(str(call))
        await asyncio.gather(*(rabbit.publish(str(n).encode()) for n in range(500)))
        found = await delivered(session, 500)
        del channel.create_task
        await session.acknowledge(found)
    assert [int(each.body) for each in found] == list(range(500))
    assert [each.tag for each in found] == list(range(1, 501))
    assert begun == []


def test_a_frame_of_any_length_takes_linear_time() -> None:
    """A broker whose frames have no limit sends a body of many megabytes in one, which arrives in small pieces."""

    def read(size: int) -> float:
        async def check() -> None:
            peer = Peer()
            header = frame.marshal(ContentHeader(body_size=size, properties=Basic.Properties()), 1)
            body = frame.marshal(ContentBody(bytes(size)), 1)
            await peer.read(delivery(1, 1, b"")[0] + header + body, range(0, size, 16 * 1024))
            assert len(peer.taken[0][1].body) == size

        return fastest(lambda: asyncio.run(check()))

    assert read(16_000_000) < 20 * read(2_000_000)
