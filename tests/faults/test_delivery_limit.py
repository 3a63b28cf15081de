"""The queue dead-letters messages after some deliveries, as in RabbitMQ 4, while the store fails."""

import asyncio
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.faults.load import booking
from support.faults.proxy import Proxy
from support.faults.scene import Scene
from yarl import URL

from notifier.demo.node import PrivateNode
from notifier.gateways.topology import DEAD

WAITING = 30
"""Messages that arrive while the store cannot be written."""
LASTING = 4.0
"""Seconds between two resets of the connections, enough for the service to try to write to the store more than once."""


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """Prevent other connections from writing to a database."""
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE").close()
        yield
        other.execute("ROLLBACK").close()


async def outlast(scene: Scene, proxy: Proxy, chance: random.Random, *, rounds: int) -> None:
    """Make the store unwritable and reset connections meanwhile, then kill the service repeatedly."""
    async with scene.service(AMQP_URL=proxy.url(scene.rabbit.url)) as victim:
        await victim.wait_line(lambda line: line["event"] == "notifier is running")
        await publish(scene, 1)
        await scene.sink.wait_accepted(1)
        with locked(scene.database):
            await publish(scene, WAITING)
            await victim.wait_line(lambda line: "consuming suspended" in line["event"])
            for _ in range(rounds):
                proxy.reset()
                await asyncio.sleep(LASTING)
        await scene.sink.wait_accepted(1 + WAITING)
        await scene.settle(victim)
        await scene.kill(victim)
    async with scene.load.flowing(rate=60):
        for _ in range(rounds):
            async with scene.service() as victim:
                await scene.sink.wait_grown(len(scene.sink.entries) + chance.randrange(200))
                await scene.kill(victim)
    async with scene.service() as victim:
        await scene.end(victim)


async def publish(scene: Scene, count: int) -> None:
    """Publish `count` bookings."""
    for number in range(len(scene.load.published), len(scene.load.published) + count):
        await scene.load.publish(scene.rabbit.channel, *booking(number))


@pytest.mark.faults
@pytest.mark.parametrize("limit", [3, 20])
async def test_a_delivery_limit_dead_letters_no_valid_message(
    scene: Scene, proxy: Proxy, chance: random.Random, limit: int
) -> None:
    """An unwritable store, lost connections and crashes use up only one or two deliveries of a message."""
    arguments: dict[str, Any] = {"x-queue-type": "quorum", "x-dead-letter-exchange": DEAD, "x-delivery-limit": limit}
    await scene.rabbit.channel.queue_delete(scene.rabbit.queue)
    await scene.rabbit.channel.queue_declare(scene.rabbit.queue, durable=True, arguments=arguments)
    for key in ("booking.#", "notification.#"):
        await scene.rabbit.channel.queue_bind(scene.rabbit.queue, scene.rabbit.exchange, routing_key=key)
    await outlast(scene, proxy, chance, rounds=limit)


@pytest.mark.faults
async def test_a_policy_with_the_limit_of_rabbitmq_4_dead_letters_no_valid_message(
    fragile: Scene, node: PrivateNode, chance: random.Random
) -> None:
    """The same if an operator's policy sets a limit that is lower than that of the queue."""
    scene = fragile
    policy = ("set_policy", "limit", f"^{scene.rabbit.queue}$", '{"delivery-limit":20}', "--apply-to", "queues")
    await asyncio.to_thread(node.control, *policy)
    async with Proxy.to(URL(scene.rabbit.url).port or 5672) as proxy:
        await outlast(scene, proxy, chance, rounds=20)
