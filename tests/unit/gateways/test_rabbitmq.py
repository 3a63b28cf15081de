"""The AMQP gateway on a real broker: topology, batches, acknowledgement, dead letters, loss."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from hashlib import sha256
from itertools import pairwise
from typing import Any

import aiormq
import pytest
from pamqp.commands import Basic
from support.faults.proxy import Proxy
from support.parts import PATIENCE
from support.rabbit import Rabbit, headers
from support.samples import TRACE
from yarl import URL

from notifier.demo.node import free_ports
from notifier.domain.messages import MAX_BYTES, decode
from notifier.errors import Refused, Unreachable
from notifier.gateways import connection as connection_module
from notifier.gateways import consumer_session, oversized, rabbitmq, topology, watchdog
from notifier.gateways import publisher as publisher_module
from notifier.gateways.broker_status import BrokerStatus
from notifier.gateways.connection import _transports, answered, close, connect, error_text, open_channel
from notifier.gateways.consumer_session import ConsumerSession, Delivery
from notifier.gateways.publisher import Outgoing, Publisher
from notifier.gateways.topology import DEAD, EVENTS
from notifier.settings import AmqpSettings


@asynccontextmanager
async def consuming(rabbit: Rabbit, stop: asyncio.Event | None = None, **more: Any) -> AsyncIterator[ConsumerSession]:
    """Open a session that consumes this test's queue."""
    settings = AmqpSettings.model_validate({**rabbit.environ, **more})
    publisher = Publisher(settings)
    try:
        async with rabbitmq.consume(settings, publisher, BrokerStatus(), stop or asyncio.Event()) as session:
            yield session
    finally:
        await publisher.close()


async def test_a_session_declares_what_it_needs(rabbit: Rabbit) -> None:
    """Messages with keys of bookings and notifications reach our queue through our exchange; others do not."""
    async with consuming(rabbit) as session:
        await rabbit.publish({"type": "booking.confirmed"})
        await rabbit.publish({"type": "notification.requested"})
        bodies = [delivery.body for delivery in await _all(session, 2)]
    assert [json.loads(body)["type"] for body in bodies] == ["booking.confirmed", "notification.requested"]


def _channel(session: ConsumerSession, queue: str) -> Any:
    """Find the channel that consumes a queue."""
    (found,) = [consumer.channel for consumer in session.consumers if consumer.queue == queue]
    return found


async def _all(session: ConsumerSession, count: int) -> list[Delivery]:
    found: list[Delivery] = []
    async with asyncio.timeout(20):
        while len(found) < count:
            found += await session.batch()
    return found


async def test_what_comes_beside_the_body_is_kept(rabbit: Rabbit) -> None:
    """Message id, correlation id and timestamp come from the properties, the trace context from the headers."""
    sent_at = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)
    async with consuming(rabbit) as session:
        await rabbit.publish({"type": "booking.x"}, message_id="m1", correlation_id="c1", timestamp=sent_at)
        await rabbit.publish({"type": "booking.x"}, headers={"traceparent": TRACE, "other": 1})
        await rabbit.publish({"type": "booking.x"}, headers={"traceparent": 5})
        delivery, traced, wrong = await _all(session, 3)
    assert (delivery.origin.message_id, delivery.origin.correlation_id) == ("m1", "c1")
    assert delivery.origin.timestamp == sent_at
    assert [each.origin.traceparent for each in (delivery, traced, wrong)] == [None, TRACE, None]


async def test_the_beginning_of_a_body_over_the_limit_is_kept(rabbit: Rabbit) -> None:
    """The letter can then be published over a slow connection; it has the size and the digest of the whole body."""
    body = bytes(range(256)) * (MAX_BYTES // 256) + b"x"
    dead = await rabbit.listen(DEAD, "fanout")
    async with consuming(rabbit) as session:
        await rabbit.publish(body)
        await rabbit.publish(body[:-1])
        deliveries = sorted(await _all(session, 2), key=lambda delivery: delivery.tag)
        assert [len(delivery.body) for delivery in deliveries] == [MAX_BYTES, MAX_BYTES]
        assert not session._budget.in_use
        reasons = []
        for delivery in deliveries:
            with pytest.raises(Refused) as refused:
                decode(delivery.body, delivery.origin)
            reasons.append((delivery, refused.value))
        assert [reason.code for _, reason in reasons] == ["too_large", "not_utf8"]
        assert str(len(body)) in reasons[0][1].detail
        assert await session.dead_letter(reasons) == [None, None]
        await session.acknowledge(deliveries)
        async with asyncio.timeout(PATIENCE):
            letters = [await dead.get(), await dead.get()]
    assert [letter.body for letter in letters] == [body[:MAX_BYTES], body[:-1]]
    found = headers(letters[0])
    assert (found["x-notifier-size"], found["x-notifier-sha256"]) == (str(len(body)), sha256(body).hexdigest())
    assert "x-notifier-size" not in headers(letters[1])


async def test_the_watchdog_waits_for_large_bodies(rabbit: Rabbit, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that arrives slowly delays the broker's answers, but does not end the session."""
    monkeypatch.setattr(watchdog, "PROBE_INTERVAL", 0.05)
    monkeypatch.setattr(watchdog, "PROBE_TIMEOUT", 0.3)
    async with Proxy.to(URL(rabbit.url).port or 0) as proxy, asyncio.timeout(PATIENCE):
        async with consuming(rabbit, NOTIFIER_AMQP_URL=proxy.url(rabbit.url)) as session:
            await _looked(session)
            proxy.limit = 20_000
            await rabbit.publish(bytes(3_000_000))
            while not session._budget.in_use:  # noqa: ASYNC110 - a reader sends no signal
                await asyncio.sleep(0.01)
            await session.wait(2.0)
            assert session._budget.in_use
            proxy.limit = None
            (delivery,) = await _all(session, 1)
            assert len(delivery.body) == MAX_BYTES


async def _looked(session: ConsumerSession) -> None:
    """Wait until the watchdog has its channel, which has a longer time limit."""
    while session._broker.queue is None:  # noqa: ASYNC110 - a watchdog sends no signal
        await asyncio.sleep(0.01)


async def test_a_slow_connection_ends_no_session(rabbit: Rabbit, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the watchdog nor `suspend` gives up while deliveries arrive before the broker's answer."""
    monkeypatch.setattr(watchdog, "PROBE_INTERVAL", 0.01)
    monkeypatch.setattr(watchdog, "PROBE_TIMEOUT", 0.3)
    monkeypatch.setattr(connection_module, "TIMEOUT", 0.3)
    await rabbit.prepare()
    async with Proxy.to(URL(rabbit.url).port or 0) as proxy, asyncio.timeout(PATIENCE):
        async with consuming(rabbit, NOTIFIER_AMQP_URL=proxy.url(rabbit.url)) as session:
            await _looked(session)
            proxy.limit = 100_000
            for n in range(10):
                await rabbit.publish(str(n).encode() * 200_000)
            taken = await _all(session, 1)
            await session.suspend()
            taken += await _all(session, 10 - len(taken))
            await session.acknowledge(taken)
            proxy.limit = None
            await session.resume()
            await rabbit.publish(b"last")
            taken += await _all(session, 1)
    assert [delivery.body[:1] for delivery in taken] == [*(str(n).encode() for n in range(10)), b"l"]


async def test_what_is_not_acknowledged_comes_again(rabbit: Rabbit) -> None:
    """Acknowledging in any order covers no other delivery; the unacknowledged ones go to the next session."""
    async with consuming(rabbit) as session:
        for n in range(9):
            await rabbit.publish({"type": "booking.x", "n": n})
        deliveries = await _all(session, 9)
        for numbers in ([2, 1], [], [4], [3], [0], [6, 7]):
            await session.acknowledge([deliveries[number] for number in numbers])
    async with consuming(rabbit) as session:
        assert [json.loads(delivery.body)["n"] for delivery in await _all(session, 2)] == [5, 8]


async def test_deliveries_come_in_batches(rabbit: Rabbit) -> None:
    """A backlog is delivered in few large batches, so that messages share commits."""
    async with consuming(rabbit):
        pass
    for n in range(300):
        await rabbit.publish({"type": "booking.x", "n": n})
    async with consuming(rabbit) as session:
        sizes: list[int] = []
        while sum(sizes) < 300:
            sizes.append(len(await session.batch()))
    assert max(sizes) > 30


async def test_a_dead_letter_keeps_its_properties_and_says_why(rabbit: Rabbit) -> None:
    """Body, ids and headers are kept, the error and its detail are added, and the time to live becomes a header."""
    dead = await rabbit.listen(DEAD, "fanout")
    async with consuming(rabbit) as session:
        await rabbit.publish(b"\xff", message_id="m1", headers={"colour": "blue"}, expiration="60000")
        (delivery,) = await _all(session, 1)
        assert await session.dead_letter([(delivery, Refused("not_utf8", "byte 0: " + "x" * 1000))]) == [None]
        await session.acknowledge([delivery])
        async with asyncio.timeout(10):
            letter = await dead.get()
    properties = letter.header.properties
    assert (letter.body, properties.message_id, properties.expiration) == (b"\xff", "m1", None)
    found = headers(letter)
    assert (found["colour"], found["x-notifier-error"]) == ("blue", "not_utf8")
    assert str(found["x-notifier-detail"]).startswith("byte 0: xxx")
    assert found["x-notifier-expiration"] == "60000"


async def test_a_queue_with_other_arguments_is_used_as_it_is(rabbit: Rabbit, logged_lines: list[Any]) -> None:
    """An existing classic queue is consumed, with one warning."""
    await rabbit.declare()
    await rabbit.channel.queue_declare(rabbit.queue, durable=True)
    async with consuming(rabbit) as session:
        await rabbit.publish({"type": "booking.x"})
        assert len(await _all(session, 1)) == 1
    assert [line["event"] for line in logged_lines] == ["exists with other arguments and is used as it is"]


async def test_a_missing_exchange_that_may_not_be_declared_is_named(rabbit: Rabbit) -> None:
    """If an exchange does not exist and this user may not declare it, the error names it."""
    with pytest.raises(Unreachable, match=r"^amq\.nothing does not exist, and this user may not declare it$"):
        async with consuming(rabbit, NOTIFIER_AMQP_EXCHANGE="amq.nothing"):
            pass


async def test_extra_queues_are_consumed_where_they_exist(rabbit: Rabbit, logged_lines: list[Any]) -> None:
    """An existing queue is consumed as it is; a missing one causes a warning and does not affect the others."""
    extra = f"{rabbit.queue}-extra"
    await rabbit.channel.queue_declare(extra)
    async with consuming(rabbit, NOTIFIER_AMQP_EXTRA_QUEUES=f"{extra},missing-{extra}") as session:
        await rabbit.channel.basic_publish(b"{}", routing_key=extra)
        (delivery,) = await _all(session, 1)
        await session.acknowledge([delivery])
    await rabbit.channel.queue_delete(extra)
    assert [line["name"] for line in logged_lines] == [f"missing-{extra}"]


async def test_a_deleted_queue_ends_the_session(rabbit: Rabbit) -> None:
    """The broker cancels the consumer of a deleted queue, and the session ends."""
    async with consuming(rabbit) as session:
        await rabbit.channel.queue_delete(rabbit.queue)
        async with asyncio.timeout(20):
            with pytest.raises(Unreachable):
                while True:
                    await session.batch()


async def test_a_closed_connection_has_the_same_reason_each_time(rabbit: Rabbit) -> None:
    """The reason is the same at each attempt, so that it is logged once, and it contains no password."""
    connection, other = await connect(rabbit.url), await connect(rabbit.url)
    await connection.close()
    with pytest.raises(Unreachable, match=r"^no channel could be opened: connection closed$"):
        await open_channel(connection, confirms=False)
    channel = await open_channel(other, confirms=False)
    await other.close()
    with pytest.raises(aiormq.exceptions.ChannelInvalidStateError) as closed:
        await channel.basic_publish(b"")
    assert error_text(closed.value) == "channel closed"


async def test_stopping_ends_a_wait_for_deliveries(rabbit: Rabbit) -> None:
    """If the service stops, `batch` returns an empty batch."""
    stop = asyncio.Event()
    async with consuming(rabbit, stop) as session:
        waiting = asyncio.create_task(session.batch())
        await asyncio.sleep(0)
        stop.set()
        async with asyncio.timeout(5):
            assert await waiting == []


async def test_published_messages_arrive_in_order(rabbit: Rabbit) -> None:
    """Five hundred messages published together arrive in order."""
    found = await rabbit.listen(EVENTS, "topic", rabbit.queue)
    publisher = Publisher(AmqpSettings.model_validate(rabbit.environ))
    messages = [Outgoing(EVENTS, rabbit.queue, str(n).encode(), Basic.Properties(delivery_mode=2)) for n in range(500)]
    await publisher.publish(messages)
    await publisher.close()
    async with asyncio.timeout(10):
        assert [int((await found.get()).body) for _ in range(500)] == list(range(500))


async def test_publishing_to_a_missing_exchange_raises(rabbit: Rabbit) -> None:
    """Publishing to a missing exchange raises Unreachable, and the next publish works."""
    publisher = Publisher(AmqpSettings.model_validate(rabbit.environ))
    with pytest.raises(Unreachable, match="results cannot be published"):
        await publisher.publish([Outgoing("no-such-exchange", "k", b"", Basic.Properties())])
    await publisher.publish([Outgoing(EVENTS, "k", b"", Basic.Properties())])
    await publisher.close()


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


async def test_a_refused_letter_says_why_and_the_others_are_published(rabbit: Rabbit) -> None:
    """A full queue rejects a letter without closing anything; a missing exchange closes the channel once."""
    full = f"{rabbit.queue}-full"
    await rabbit.channel.exchange_declare(full, exchange_type="fanout", auto_delete=True)
    await rabbit.channel.queue_declare(full, arguments={"x-max-length": 0, "x-overflow": "reject-publish"})
    await rabbit.channel.queue_bind(full, full)
    async with publishing(rabbit) as publisher:
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
    await rabbit.channel.queue_delete(full)


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


async def test_a_broker_that_is_not_there_is_unreachable() -> None:
    """The error names the host and the port."""
    (port,) = free_ports(1)
    with pytest.raises(Unreachable, match=f"127.0.0.1:{port}"):
        await connect(f"amqp://127.0.0.1:{port}/")


async def test_a_wrong_password_is_unreachable(rabbit: Rabbit) -> None:
    """The broker's refusal is in the error."""
    with pytest.raises(Unreachable, match=r"(?i)refused|login"):
        await connect(rabbit.url.replace("guest:guest", "guest:wrong"))


async def test_a_wrong_virtual_host_is_unreachable(rabbit: Rabbit) -> None:
    """The error names the virtual host, in the same words each time, so that the log has it once."""
    reasons = set()
    for _ in range(3):
        with pytest.raises(Unreachable) as refused:
            await connect(f"{rabbit.url}nowhere")
        reasons.add(str(refused.value))
    (reason,) = reasons
    assert "virtual host '/nowhere' does not exist, or this user may not use it" in reason
    assert error_text(ValueError("got <Connection.Close object at 0x7f3a>")) == "got <Connection.Close object>"


@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_broker_that_reads_nothing_cannot_keep_a_connection_open(rabbit: Rabbit, *, cancelled: bool) -> None:
    """Closing ends although much is still to be written, also if it is cancelled, and the socket is closed."""
    async with Proxy.to(URL(rabbit.url).port or 0) as proxy, asyncio.timeout(PATIENCE):
        connection = await connect(proxy.url(rabbit.url))
        channel = await open_channel(connection, confirms=True)
        proxy.stall()
        publishing = asyncio.create_task(channel.basic_publish(bytes(20_000_000), exchange=EVENTS))
        transport: Any = _transports[connection]._writer
        while not transport.transport.get_write_buffer_size():  # noqa: ASYNC110 - a buffer sends no signal
            await asyncio.sleep(0.01)
        closing = asyncio.create_task(close(connection))
        await asyncio.sleep(0)
        if cancelled:
            closing.cancel()
        await asyncio.gather(closing, return_exceptions=True)
        await asyncio.wait({connection.closing})
        assert transport.transport.is_closing()
        await asyncio.gather(publishing, return_exceptions=True)


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


async def test_our_queue_has_a_very_high_delivery_limit(rabbit: Rabbit) -> None:
    """A message that was requeued a hundred times is still delivered (the default limit of RabbitMQ 4 is 20)."""
    async with consuming(rabbit):
        pass
    await rabbit.publish({"type": "booking.x"})
    for _ in range(100):
        found = await rabbit.channel.basic_get(rabbit.queue)
        assert found.delivery_tag
        await rabbit.channel.basic_reject(found.delivery_tag, requeue=True)
    async with consuming(rabbit) as session:
        assert len(await _all(session, 1)) == 1


async def test_a_queue_of_an_earlier_version_is_used_with_a_remedy(rabbit: Rabbit, logged_lines: list[Any]) -> None:
    """A queue without a delivery limit is logged once, with the command that sets a policy."""
    await rabbit.declare()
    arguments: dict[str, Any] = {"x-queue-type": "quorum", "x-dead-letter-exchange": DEAD}
    await rabbit.channel.queue_declare(rabbit.queue, durable=True, arguments=arguments)
    settings = AmqpSettings.model_validate(rabbit.environ)
    broker, publisher = BrokerStatus(), Publisher(settings)
    for _ in range(3):
        async with rabbitmq.consume(settings, publisher, broker, asyncio.Event()):
            await publisher.publish([])
    await publisher.close()
    (line,) = logged_lines
    assert (line["event"], line["name"]) == (topology.TopologyState.NO_LIMIT, rabbit.queue)
    assert f"rabbitmqctl set_policy notifier '^{rabbit.queue}$' '{{\"delivery-limit\":1000000}}'" in line["remedy"]


async def test_dead_letters_do_not_come_back_through_an_old_binding(rabbit: Rabbit) -> None:
    """Bindings that an earlier version made for the exchange `notifier.dead` are removed."""
    await rabbit.prepare()
    for key in topology.BINDINGS:
        await rabbit.channel.queue_bind(rabbit.queue, DEAD, routing_key=key)
    async with consuming(rabbit) as session:
        for key in ("booking.x", "notification.x"):
            await rabbit.channel.basic_publish(b"letter", exchange=DEAD, routing_key=key, mandatory=True)
        await rabbit.publish({"type": "booking.confirmed"})
        (delivery,) = await _all(session, 1)
        await session.acknowledge([delivery])
    assert (json.loads(delivery.body), await rabbit.ready()) == ({"type": "booking.confirmed"}, 0)


async def test_deliveries_are_requeued_at_the_end_of_a_session(rabbit: Rabbit, monkeypatch: pytest.MonkeyPatch) -> None:
    """One nack requeues all deliveries, which RabbitMQ 4.3 does not count against the delivery limit."""
    returned: list[tuple[int, dict[str, Any]]] = []
    async with consuming(rabbit) as session:
        for n in range(3):
            await rabbit.publish({"type": "booking.x", "n": n})
        _, second, _ = await _all(session, 3)
        await session.acknowledge([second])
        channel = _channel(session, rabbit.queue)
        nack = channel.basic_nack

        async def noting(tag: int, **how: Any) -> None:
            returned.append((tag, how))
            await nack(tag, **how)

        monkeypatch.setattr(channel, "basic_nack", noting)
    assert returned == [(0, {"multiple": True, "requeue": True})]
    async with consuming(rabbit) as session:
        assert [json.loads(delivery.body)["n"] for delivery in await _all(session, 2)] == [0, 2]


async def test_a_suspended_session_keeps_what_it_has(rabbit: Rabbit) -> None:
    """Nothing is delivered until the session is resumed; earlier deliveries can be acknowledged meanwhile."""
    async with consuming(rabbit) as session:
        await rabbit.publish({"type": "booking.x", "n": 0})
        held = await _all(session, 1)
        await session.suspend()
        await rabbit.publish({"type": "booking.x", "n": 1})
        assert await rabbit.ready() == 1
        await session.acknowledge(held)
        await session.resume()
        assert [json.loads(delivery.body)["n"] for delivery in await _all(session, 1)] == [1]


async def test_prefetch_is_shared_by_all_queues(rabbit: Rabbit) -> None:
    """With three queues, at most the prefetch is unacknowledged in all of them together."""
    extra = [f"{rabbit.queue}-{n}" for n in range(2)]
    for queue in extra:
        await rabbit.channel.queue_declare(queue)
    names = ",".join((*extra, rabbit.queue))
    async with consuming(rabbit, NOTIFIER_AMQP_EXTRA_QUEUES=names, NOTIFIER_AMQP_PREFETCH="9") as session:
        for queue in (rabbit.queue, *extra):
            for _ in range(9):
                await rabbit.channel.basic_publish(b"{}", routing_key=queue)
        taken = await _all(session, 9)
        waiting = [await rabbit.channel.queue_declare(queue, passive=True) for queue in (rabbit.queue, *extra)]
        assert sum(each.message_count or 0 for each in waiting) == 18
        await session.acknowledge(taken)
        assert len(await _all(session, 9)) == 9
    for queue in extra:
        await rabbit.channel.queue_delete(queue)


async def test_an_extra_queue_that_appears_later_is_consumed(rabbit: Rabbit, monkeypatch: pytest.MonkeyPatch) -> None:
    """An extra queue that is declared later is consumed in the same session."""
    monkeypatch.setattr(watchdog, "PROBE_INTERVAL", 0.05)
    monkeypatch.setattr(watchdog, "RECONSUME_INTERVAL", 0.1)
    extra = f"{rabbit.queue}-extra"
    async with consuming(rabbit, NOTIFIER_AMQP_EXTRA_QUEUES=extra) as session:
        await rabbit.channel.queue_declare(extra)
        await rabbit.channel.basic_publish(b"{}", routing_key=extra)
        assert len(await _all(session, 1)) == 1
    await rabbit.channel.queue_delete(extra)


async def test_a_locked_extra_queue_does_not_affect_the_others(
    rabbit: Rabbit, monkeypatch: pytest.MonkeyPatch, logged_lines: list[Any]
) -> None:
    """The other queues are consumed; the locked one follows once it is free. Both are logged once."""
    monkeypatch.setattr(watchdog, "PROBE_INTERVAL", 0.05)
    monkeypatch.setattr(watchdog, "RECONSUME_INTERVAL", 0.1)
    extra = f"{rabbit.queue}-extra"
    await rabbit.channel.queue_declare(extra)
    holder = await rabbit.channel.basic_consume(extra, _keep, exclusive=True)
    async with consuming(rabbit, NOTIFIER_AMQP_EXTRA_QUEUES=extra) as session:
        await rabbit.publish({"type": "booking.x"})
        await session.acknowledge(await _all(session, 1))
        await rabbit.channel.basic_cancel(holder.consumer_tag or "")
        await rabbit.channel.basic_publish(b"{}", routing_key=extra)
        await session.acknowledge(await _all(session, 1))
    await rabbit.channel.queue_delete(extra)
    assert [line["event"] for line in logged_lines if line["name"] == extra] == [
        "queue cannot be consumed; trying again",
        "queue is consumed now",
    ]
    assert "ACCESS_REFUSED" in logged_lines[0]["reason"]


async def test_an_extra_queue_that_is_deleted_does_not_end_the_session(
    rabbit: Rabbit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Acknowledging its deliveries does nothing; once the queue is declared again, it is consumed again."""
    monkeypatch.setattr(watchdog, "PROBE_INTERVAL", 0.05)
    monkeypatch.setattr(watchdog, "RECONSUME_INTERVAL", 0.1)
    extra = f"{rabbit.queue}-extra"
    await rabbit.channel.queue_declare(extra)
    async with consuming(rabbit, NOTIFIER_AMQP_EXTRA_QUEUES=extra) as session:
        await rabbit.channel.basic_publish(b"{}", routing_key=extra)
        deliveries = await _all(session, 1)
        await rabbit.channel.queue_delete(extra)
        async with asyncio.timeout(PATIENCE):
            while not session.not_consumed:  # noqa: ASYNC110 - a session sends no signal
                await asyncio.sleep(0.01)
        await session.acknowledge(deliveries)
        await rabbit.channel.queue_declare(extra)
        await rabbit.channel.basic_publish(b"{}", routing_key=extra)
        await rabbit.publish({"type": "booking.x"})
        await session.acknowledge(await _all(session, 2))
    await rabbit.channel.queue_delete(extra)


async def test_an_extra_queue_whose_channel_is_closed_does_not_end_the_session(rabbit: Rabbit) -> None:
    """After a mistake the broker closes the channel, which only this queue uses."""
    extra = f"{rabbit.queue}-extra"
    await rabbit.channel.queue_declare(extra)
    async with consuming(rabbit, NOTIFIER_AMQP_EXTRA_QUEUES=extra) as session:
        await rabbit.channel.basic_publish(b"{}", routing_key=extra)
        deliveries = await _all(session, 1)
        await _channel(session, extra).basic_ack(99, wait=False)
        async with asyncio.timeout(PATIENCE):
            while not session.not_consumed:  # noqa: ASYNC110 - a session sends no signal
                await asyncio.sleep(0.01)
        await session.acknowledge(deliveries)
        await rabbit.publish({"type": "booking.x"})
        await session.acknowledge(await _all(session, 1))
    await rabbit.channel.queue_delete(extra)


async def test_a_queue_that_is_not_consumed_has_no_channel(rabbit: Rabbit, monkeypatch: pytest.MonkeyPatch) -> None:
    """An extra queue that is deleted and declared repeatedly uses one channel."""
    monkeypatch.setattr(watchdog, "PROBE_INTERVAL", 0.05)
    monkeypatch.setattr(watchdog, "RECONSUME_INTERVAL", 0.1)
    extra = f"{rabbit.queue}-extra"
    await rabbit.channel.queue_declare(extra)
    async with consuming(rabbit, NOTIFIER_AMQP_EXTRA_QUEUES=extra) as session, asyncio.timeout(PATIENCE):
        for _ in range(3):
            await rabbit.channel.queue_delete(extra)
            while not session.not_consumed:  # noqa: ASYNC110 - a session sends no signal
                await asyncio.sleep(0.01)
            await rabbit.channel.queue_declare(extra)
            while session.not_consumed:  # noqa: ASYNC110 - a session sends no signal
                await asyncio.sleep(0.01)
        of_the_watchdog = 1
        assert len(session._connection.channels) == len(session.consumers) + of_the_watchdog
    await rabbit.channel.queue_delete(extra)


async def test_a_probe_without_an_answer_concerns_one_queue(
    rabbit: Rabbit, monkeypatch: pytest.MonkeyPatch, logged_lines: list[Any]
) -> None:
    """The channel of an abandoned call is closed by aiormq, so the other queues are probed on a new one."""
    monkeypatch.setattr(watchdog, "PROBE_INTERVAL", 0.05)
    monkeypatch.setattr(watchdog, "PROBE_TIMEOUT", 0.2)
    monkeypatch.setattr(watchdog, "RECONSUME_INTERVAL", 0.1)
    extra = [f"{rabbit.queue}-{n}" for n in range(2)]
    for queue in extra:
        await rabbit.channel.queue_declare(queue)
    declare, unanswered = aiormq.channel.Channel.queue_declare, [extra[0]]

    async def look(channel: Any, queue: str, **how: Any) -> Any:
        if queue in unanswered:
            unanswered.remove(queue)
            monkeypatch.setattr(channel.rpc_frames, "get", asyncio.Event().wait)
        return await declare(channel, queue, **how)

    async with consuming(rabbit, NOTIFIER_AMQP_EXTRA_QUEUES=",".join(extra)) as session, asyncio.timeout(PATIENCE):
        monkeypatch.setattr(aiormq.channel.Channel, "queue_declare", look)
        while not session.not_consumed:  # noqa: ASYNC110 - a session sends no signal
            await asyncio.sleep(0.01)
        while session.not_consumed:  # noqa: ASYNC110 - a session sends no signal
            await asyncio.sleep(0.01)
        for queue in (*extra, rabbit.queue):
            await rabbit.channel.basic_publish(b"{}", routing_key=queue)
        assert len(await _all(session, 3)) == 3
    monkeypatch.undo()
    for queue in extra:
        await rabbit.channel.queue_delete(queue)
    assert {line["name"] for line in logged_lines} == {extra[0]}


async def test_a_stream_is_not_consumed(rabbit: Rabbit, logged_lines: list[Any]) -> None:
    """Messages of a stream are never removed; there is one warning, and the other queues are consumed."""
    extra = f"{rabbit.queue}-stream"
    arguments: dict[str, Any] = {"x-queue-type": "stream", "x-max-length-bytes": 10_000_000}
    await rabbit.channel.queue_declare(extra, durable=True, arguments=arguments)
    async with consuming(rabbit, NOTIFIER_AMQP_EXTRA_QUEUES=extra) as session:
        await rabbit.channel.basic_publish(b"{}", routing_key=extra)
        await rabbit.publish({"type": "booking.x"})
        (delivery,) = await _all(session, 1)
        assert delivery.body != b"{}"
    await rabbit.channel.queue_delete(extra)
    assert [(line["event"], line["name"]) for line in logged_lines] == [
        ("queue is a stream and is not consumed; use a classic or quorum queue", extra)
    ]


async def test_a_consumer_that_the_broker_has_lost_is_noticed(
    rabbit: Rabbit, monkeypatch: pytest.MonkeyPatch, logged_lines: list[Any]
) -> None:
    """Another consumer of the queue, which accepts nothing more, does not hide that ours is gone."""
    monkeypatch.setattr(watchdog, "PROBE_INTERVAL", 0.05)
    async with consuming(rabbit) as session:
        (ours,) = session.consumers
        await _channel(session, rabbit.queue).rpc(Basic.Cancel(ours.tag or "", nowait=True))
        await rabbit.channel.basic_qos(prefetch_count=1)
        other = await rabbit.channel.basic_consume(rabbit.queue, _keep)
        for n in range(3):
            await rabbit.publish({"type": "booking.x", "n": n})
        assert [json.loads(delivery.body)["n"] for delivery in await _all(session, 2)] == [1, 2]
        await rabbit.channel.basic_cancel(other.consumer_tag or "")
    assert [line["event"] for line in logged_lines] == ["queue has messages but delivers none; consuming it anew"]


async def test_a_queue_whose_active_consumer_is_another_one_is_left_alone(
    rabbit: Rabbit, monkeypatch: pytest.MonkeyPatch, logged_lines: list[Any]
) -> None:
    """There is one warning, and each renewal comes after twice as many probes as the one before."""
    monkeypatch.setattr(watchdog, "PROBE_INTERVAL", 0.01)
    looks: list[str] = []
    renewed: list[int] = []
    extra = f"{rabbit.queue}-single"
    await rabbit.channel.queue_declare(extra, arguments={"x-single-active-consumer": True})
    await rabbit.channel.basic_qos(prefetch_count=1)
    await rabbit.channel.basic_consume(extra, _keep)
    for _ in range(3):
        await rabbit.channel.basic_publish(b"{}", routing_key=extra)
    can_take_more = ConsumerSession.can_take_more

    def counted(self: ConsumerSession, consumer: Any) -> bool:
        found = can_take_more(self, consumer)
        looks.extend([consumer.queue] * (found and consumer.queue == extra))
        return found

    async def noted(_: ConsumerSession, consumer: Any) -> None:
        assert consumer.queue == extra
        renewed.append(len(looks))

    monkeypatch.setattr(ConsumerSession, "can_take_more", counted)
    monkeypatch.setattr(ConsumerSession, "renew", noted)
    async with consuming(rabbit, NOTIFIER_AMQP_EXTRA_QUEUES=extra), asyncio.timeout(PATIENCE):
        while len(renewed) < 4:  # noqa: ASYNC110 - a watchdog sends no signal
            await asyncio.sleep(0.01)
    await rabbit.channel.queue_delete(extra)
    assert [after - before for before, after in pairwise(renewed)] == [6, 12, 24]
    assert [line["event"] for line in logged_lines] == ["queue has messages but delivers none; consuming it anew"]


async def _keep(_: Any) -> None:
    """Receive a message without acknowledging it."""


async def test_acknowledging_ends_with_the_session(rabbit: Rabbit) -> None:
    """An acknowledgement that waits for room in aiormq's write queue ends when the session is lost."""
    async with consuming(rabbit) as session:
        await rabbit.publish({"type": "booking.x"})
        deliveries = await _all(session, 1)
        with stuck(session):
            acknowledging = asyncio.create_task(session.acknowledge(deliveries))
            await asyncio.sleep(0)
            session.fail("the network is gone")
            async with asyncio.timeout(5):
                with pytest.raises(Unreachable, match="the network is gone"):
                    await acknowledging


async def test_acknowledging_has_a_time_limit(rabbit: Rabbit, monkeypatch: pytest.MonkeyPatch) -> None:
    """If nothing can be written and no loss is noticed, the broker counts as unreachable."""
    async with consuming(rabbit) as session:
        await rabbit.publish({"type": "booking.x"})
        deliveries = await _all(session, 1)
        monkeypatch.setattr(consumer_session, "ACKNOWLEDGE_TIMEOUT", 0.1)
        with stuck(session), pytest.raises(Unreachable, match=r"no answer within 0\.1 s"):
            async with asyncio.timeout(5):
                await session.acknowledge(deliveries)


@contextmanager
def stuck(session: ConsumerSession) -> Iterator[None]:
    """Fill aiormq's write queue of a session, as if its writer had been cancelled."""
    (ours,) = session.consumers
    channel: Any = ours.channel
    full: asyncio.Queue[None] = asyncio.Queue(maxsize=1)
    full.put_nowait(None)
    queue, channel.write_queue = channel.write_queue, full
    yield
    channel.write_queue = queue


async def test_a_cancellation_by_aiormq_is_a_lost_broker() -> None:
    """When aiormq misses heartbeats, it cancels all waiting calls, which must not cancel our own task."""
    with pytest.raises(Unreachable, match="sent no heartbeat"):
        await answered(_cancelled())
    task = asyncio.current_task()
    assert task
    assert task.cancelling() == 0


async def _cancelled() -> None:
    raise asyncio.CancelledError


async def test_a_call_that_ignores_its_cancellation_is_abandoned() -> None:
    """For example, a cancelled call that opens a channel waits for room in the write queue to close it again."""
    released = asyncio.Event()

    async def call() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await released.wait()

    async with asyncio.timeout(5):
        with pytest.raises(Unreachable, match="no answer"):
            await answered(call(), within=0.01)
        released.set()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            if task.get_coro().__name__ == "call":  # type: ignore[union-attr]
                await asyncio.wait({task})


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


async def test_bodies_over_the_limit_are_read_as_fast_as_they_are_truncated(
    rabbit: Rabbit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While two bodies exhaust the memory budget, the third one is not read, whatever the prefetch is."""
    monkeypatch.setattr(oversized, "MAX_OVERSIZED_BYTES", 1_000_000)
    monkeypatch.setattr(oversized, "TRICKLE", 60.0)
    cuts = asyncio.Semaphore(0)
    head = oversized.head

    async def cut(body: bytes) -> tuple[bytes, str | None]:
        await cuts.acquire()
        return await head(body)

    monkeypatch.setattr(consumer_session, "head", cut)
    async with consuming(rabbit) as session, asyncio.timeout(PATIENCE):
        for n in range(6):
            await rabbit.publish(str(n).encode() * 600_000)
        taken: list[Delivery] = []
        for n in range(5):
            while not session._budget.exhausted:  # noqa: ASYNC110 - a reader that waits sends no signal
                await asyncio.sleep(0.01)
            assert len(session._budget._sizes[_channel(session, rabbit.queue).number]) == 2, n
            cuts.release()
            taken += await _all(session, 1)
        cuts.release()
        taken += await _all(session, 1)
        assert [delivery.body[:1] for delivery in taken] == [b"0", b"1", b"2", b"3", b"4", b"5"]
        assert not session._budget.in_use


async def test_unacknowledged_bodies_do_not_delay_others(rabbit: Rabbit, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dead letters can be held for hours; large bodies still arrive meanwhile."""
    monkeypatch.setattr(oversized, "MAX_OVERSIZED_BYTES", 1_000_000)
    monkeypatch.setattr(oversized, "TRICKLE", 60.0)
    async with consuming(rabbit) as session, asyncio.timeout(PATIENCE):
        for size in (MAX_BYTES + 1, 3_000_000, 3_000_000):
            await rabbit.publish(bytes(size))
        await rabbit.publish(b"good")
        assert sorted(len(delivery.body) for delivery in await _all(session, 4)) == [4, *[MAX_BYTES] * 3]


async def test_a_body_on_a_closed_channel_releases_its_memory(rabbit: Rabbit, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a channel is closed while a large body arrives on it, the memory of that body is released."""
    monkeypatch.setattr(oversized, "TRICKLE", 60.0)
    extra = f"{rabbit.queue}-extra"
    await rabbit.channel.queue_declare(extra)
    async with consuming(rabbit, NOTIFIER_AMQP_EXTRA_QUEUES=extra) as session, asyncio.timeout(PATIENCE):
        channel = _channel(session, extra)
        session._budget.reserve(channel.number, 2 * oversized.MAX_OVERSIZED_BYTES)
        await channel.close()
        await rabbit.publish(bytes(MAX_BYTES + 1))
        await rabbit.publish(b"good")
        assert len(await _all(session, 2)) == 2
        assert not session._budget.in_use
    await rabbit.channel.queue_delete(extra)
