"""The topology on a real broker: what is declared, and what is used as it is."""

import asyncio
import json
from typing import Any

import pytest
from support.rabbit import Rabbit
from support.sessions import consuming, delivered

from notifier.errors import Unreachable
from notifier.gateways import rabbitmq, topology
from notifier.gateways.broker_status import BrokerStatus
from notifier.gateways.publisher import Publisher
from notifier.gateways.topology import DEAD
from notifier.settings import AmqpSettings


async def test_a_session_declares_what_it_needs(rabbit: Rabbit) -> None:
    """Messages with keys of bookings and notifications reach our queue through our exchange; others do not."""
    async with consuming(rabbit) as session:
        await rabbit.publish({"type": "booking.confirmed"})
        await rabbit.publish({"type": "notification.requested"})
        bodies = [delivery.body for delivery in await delivered(session, 2)]
    assert [json.loads(body)["type"] for body in bodies] == ["booking.confirmed", "notification.requested"]


async def test_a_queue_with_other_arguments_is_used_as_it_is(rabbit: Rabbit, logged_lines: list[Any]) -> None:
    """An existing classic queue is consumed, with one warning."""
    await rabbit.declare()
    await rabbit.channel.queue_declare(rabbit.queue, durable=True)
    async with consuming(rabbit) as session:
        await rabbit.publish({"type": "booking.x"})
        assert len(await delivered(session, 1)) == 1
    assert [line["event"] for line in logged_lines] == ["exists with other arguments and is used as it is"]


async def test_a_missing_exchange_that_may_not_be_declared_is_named(rabbit: Rabbit) -> None:
    """If an exchange does not exist and this user may not declare it, the error names it."""
    with pytest.raises(Unreachable, match=r"^amq\.nothing does not exist, and this user may not declare it$"):
        async with consuming(rabbit, NOTIFIER_AMQP_EXCHANGE="amq.nothing"):
            pass


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
        assert len(await delivered(session, 1)) == 1


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
        (delivery,) = await delivered(session, 1)
        await session.acknowledge([delivery])
    assert (json.loads(delivery.body), await rabbit.ready()) == ({"type": "booking.confirmed"}, 0)
