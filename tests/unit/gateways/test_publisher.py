"""Publishing results and dead letters to a real broker."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pamqp.commands import Basic
from support.faults.proxy import Proxy
from support.parts import PATIENCE
from support.rabbit import Rabbit, headers
from yarl import URL

from notifier.errors import Unreachable
from notifier.gateways import publisher as publisher_module
from notifier.gateways.outgoing import Outgoing
from notifier.gateways.publisher import Publisher
from notifier.gateways.topology import DEAD, EVENTS
from notifier.settings import AmqpSettings


def letter(exchange: str, id_: str, body: bytes = b"") -> Outgoing:
    """Build a dead letter for any exchange."""
    return Outgoing(exchange, "k", body, Basic.Properties(message_id=id_))


@asynccontextmanager
async def publishing(rabbit: Rabbit) -> AsyncIterator[Publisher]:
    """Yield a publisher whose topology is declared; the queue of dead letters is empty."""
    publisher = Publisher(AmqpSettings.model_validate(rabbit.environ))
    await publisher.publish([])
    await rabbit.channel.queue_purge(DEAD)
    yield publisher
    await publisher.close()


async def test_published_messages_arrive_in_order(rabbit: Rabbit) -> None:
    """Five hundred messages published together arrive in order."""
    found = await rabbit.listen(EVENTS, "topic", rabbit.queue)
    publisher = Publisher(AmqpSettings.model_validate(rabbit.environ))
    messages = [Outgoing(EVENTS, rabbit.queue, str(n).encode(), Basic.Properties(delivery_mode=2)) for n in range(500)]
    await publisher.publish(messages)
    await publisher.close()
    async with asyncio.timeout(10):
        assert [int((await found.get()).body) for _ in range(500)] == list(range(500))


async def test_a_batch_is_a_single_write(rabbit: Rabbit) -> None:
    """However many messages a batch has, aiormq's writer wakes once; batches can follow each other on one channel."""
    found = await rabbit.listen(EVENTS, "topic", rabbit.queue)
    async with publishing(rabbit) as publisher:
        channel: Any = publisher._channel
        writes: list[Any] = []
        put = channel.write_queue.put

        async def noted(frames: Any) -> None:
            writes.append(frames)
            await put(frames)

        channel.write_queue.put = noted
        for batch in ("ab", "c", "def"):
            messages = [Outgoing(EVENTS, rabbit.queue, each.encode(), Basic.Properties()) for each in batch]
            assert await publisher.publish(messages) == len(batch)
        assert len(writes) == 3
        assert publisher._channel is channel
    async with asyncio.timeout(10):
        assert b"".join([(await found.get()).body for _ in range(6)]) == b"abcdef"


async def test_a_body_of_many_frames_arrives_whole(rabbit: Rabbit) -> None:
    """The broker allows frames of 128 KiB; a longer body is divided."""
    found = await rabbit.listen(EVENTS, "topic", rabbit.queue)
    bodies = [bytes(range(256)) * 2000, b"", b"x"]
    async with publishing(rabbit) as publisher:
        await publisher.publish([Outgoing(EVENTS, rabbit.queue, body, Basic.Properties()) for body in bodies])
    async with asyncio.timeout(10):
        assert [(await found.get()).body for _ in range(3)] == bodies


@asynccontextmanager
async def full_queue(rabbit: Rabbit) -> AsyncIterator[str]:
    """Yield the name of an exchange whose only queue accepts no message."""
    name = f"{rabbit.queue}-full"
    await rabbit.channel.exchange_declare(name, exchange_type="fanout", auto_delete=True)
    await rabbit.channel.queue_declare(name, arguments={"x-max-length": 0, "x-overflow": "reject-publish"})
    await rabbit.channel.queue_bind(name, name)
    yield name
    await rabbit.channel.queue_delete(name)


async def test_what_comes_before_a_rejected_message_is_confirmed(rabbit: Rabbit) -> None:
    """The broker may confirm and reject several messages with one answer; each counts for its own messages."""
    async with full_queue(rabbit) as full, publishing(rabbit) as publisher:
        channel = publisher._channel
        for rejected in (0, 1, 5, 49):
            exchanges = [EVENTS] * rejected + [full, full, EVENTS]
            batch = [Outgoing(each, rabbit.queue, b"", Basic.Properties()) for each in exchanges]
            assert await publisher.publish(batch) == rejected
        assert await publisher.publish([Outgoing(EVENTS, rabbit.queue, b"", Basic.Properties())]) == 1
        assert publisher._channel is channel


async def test_a_publish_that_is_cancelled_before_it_is_written_changes_nothing(rabbit: Rabbit) -> None:
    """The next batch on the same channel is confirmed as usual."""
    async with publishing(rabbit) as publisher:
        channel: Any = publisher._channel
        full: asyncio.Queue[None] = asyncio.Queue(maxsize=1)
        full.put_nowait(None)
        queue, channel.write_queue = channel.write_queue, full
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await publisher.publish([Outgoing(EVENTS, "k", b"", Basic.Properties())])
        channel.write_queue = queue
        assert await publisher.publish([Outgoing(EVENTS, "k", b"", Basic.Properties())] * 3) == 3
        assert publisher._channel is channel


async def test_publishing_to_a_missing_exchange_raises(rabbit: Rabbit) -> None:
    """Publishing to a missing exchange raises Unreachable, and the next publish works."""
    publisher = Publisher(AmqpSettings.model_validate(rabbit.environ))
    with pytest.raises(Unreachable, match="results cannot be published"):
        await publisher.publish([Outgoing("no-such-exchange", "k", b"", Basic.Properties())])
    await publisher.publish([Outgoing(EVENTS, "k", b"", Basic.Properties())])
    await publisher.close()


async def test_properties_that_cannot_be_written_are_left_out(rabbit: Rabbit, logged_lines: list[Any]) -> None:
    """A property that pamqp cannot write is logged and left out; all messages are published once."""
    found = await rabbit.listen(EVENTS, "topic", rabbit.queue)
    publisher = Publisher(AmqpSettings.model_validate(rabbit.environ))
    bad = Basic.Properties(message_id="m1", correlation_id="\ud800", headers={"a": 1e40})
    long = Basic.Properties(message_id="m2", correlation_id="é" * 200)
    good = Basic.Properties(message_id="m3", correlation_id="c")
    await publisher.publish([Outgoing(EVENTS, rabbit.queue, b"", each) for each in (bad, long, good)])
    await publisher.close()
    async with asyncio.timeout(10):
        got = [await found.get() for _ in range(3)]
    properties = [each.header.properties for each in got]
    assert [(each.message_id, each.correlation_id) for each in properties] == [("m1", None), ("m2", None), ("m3", "c")]
    assert [headers(each) for each in got] == [{}, {}, {}]
    assert [line["properties"] for line in logged_lines] == [["headers", "correlation_id"], ["correlation_id"]]
    assert found.empty()


async def test_a_publish_that_is_not_confirmed_has_a_time_limit(
    rabbit: Rabbit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker that stops reading in the middle of a large message is unreachable; the next publish reconnects."""
    async with Proxy.to(URL(rabbit.url).port or 0) as proxy, asyncio.timeout(PATIENCE):
        publisher = Publisher(
            AmqpSettings.model_validate({**rabbit.environ, "NOTIFIER_AMQP_URL": proxy.url(rabbit.url)})
        )
        await publisher.publish([Outgoing(EVENTS, "k", b"", Basic.Properties())])
        monkeypatch.setattr(publisher_module, "CONFIRM_TIMEOUT", 0.5)
        proxy.stall()
        with pytest.raises(Unreachable, match="has confirmed nothing"):
            await publisher.publish([Outgoing(EVENTS, "k", bytes(20_000_000), Basic.Properties())])
        proxy.flow()
        await publisher.publish([Outgoing(EVENTS, "k", b"", Basic.Properties())])
        await publisher.close()


async def test_a_refused_letter_says_why_and_the_others_are_published(rabbit: Rabbit) -> None:
    """A full queue rejects a letter without closing anything; a missing exchange closes the channel once."""
    async with full_queue(rabbit) as full, publishing(rabbit) as publisher:
        channel = publisher._channel
        reasons = await publisher.dead_letter([letter(full, "a"), letter(DEAD, "b"), letter(full, "c")])
        assert reasons == [
            "queue notifier.dead is full or unavailable",
            None,
            "queue notifier.dead is full or unavailable",
        ]
        assert publisher._channel is channel
        (reason,) = await publisher.dead_letter([letter("no-such-exchange", "d")])
        assert "NOT_FOUND" in str(reason)
        assert await publisher.dead_letter([letter(DEAD, "e")]) == [None]
    ids = [(await rabbit.channel.basic_get(DEAD, no_ack=True)).header.properties.message_id for _ in range(2)]
    assert ids == ["b", "e"]


async def test_a_letter_that_reaches_no_queue_is_published_to_the_queue_itself(rabbit: Rabbit) -> None:
    """That happens if the exchange has another type. Letters with equal message ids are all published."""
    async with publishing(rabbit) as publisher:
        letters = [letter("amq.topic", "same", str(n).encode()) for n in range(3)] + [letter(DEAD, "same", b"3")]
        assert await publisher.dead_letter(letters) == [None] * 4
    bodies = [(await rabbit.channel.basic_get(DEAD, no_ack=True)).body for _ in range(4)]
    assert sorted(bodies) == [b"0", b"1", b"2", b"3"]


async def test_a_letter_to_the_queue_itself_goes_nowhere_else(rabbit: Rabbit) -> None:
    """A publisher may name more queues in the headers CC and BCC, to which the default exchange would copy it."""
    copies = f"{rabbit.queue}-copies"
    await rabbit.channel.queue_declare(copies)
    named: dict[str, Any] = {"CC": [copies], "BCC": [copies], "colour": "blue"}
    async with publishing(rabbit) as publisher:
        properties = Basic.Properties(message_id="a", correlation_id="c", headers=named)
        assert await publisher.dead_letter([letter("amq.topic", "")._replace(properties=properties)]) == [None]
    found = await rabbit.channel.basic_get(DEAD, no_ack=True)
    assert headers(found) == {"colour": "blue"}
    assert (found.header.properties.message_id, found.header.properties.correlation_id) == ("a", "c")
    assert (await rabbit.channel.queue_delete(copies)).message_count == 0


async def test_a_letter_that_has_no_queue_is_refused_until_it_is_declared_again(rabbit: Rabbit) -> None:
    """The next attempt declares what is missing."""
    async with publishing(rabbit) as publisher:
        await rabbit.channel.queue_delete(DEAD)
        assert await publisher.dead_letter([letter(DEAD, "a")]) == ["queue notifier.dead does not exist"]
        assert await publisher.dead_letter([letter(DEAD, "a")]) == [None]
