"""The service receives SIGTERM in every state that it can be in."""

import random
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from pamqp import commands
from support.faults.load import booking
from support.faults.proxy import Proxy
from support.faults.scene import Scene
from support.samples import booking_event, flight_data

PASSENGERS, FLIGHTS, LARGE = 100, 20, 3
"""The largest permitted booking, and how many of them arrive at once."""

LONG = pytest.mark.faults
METHODS = (commands.Connection.Open, commands.Queue.Declare, commands.Basic.Consume, commands.Basic.Publish)


@pytest.mark.parametrize("stops", [5, pytest.param(50, marks=pytest.mark.faults)])
async def test_a_graceful_shutdown_never_sends_a_mail_twice(scene: Scene, chance: random.Random, stops: int) -> None:
    """At any moment SIGTERM makes the service exit with 0, and no mail is sent twice."""
    async with scene.load.flowing(rate=60):
        for _ in range(stops):
            async with scene.service() as victim:
                moment = len(scene.sink.entries) + chance.randrange(1, 150)
                await scene.sink.wait_grown(moment)
                assert await victim.terminate() == 0, victim.lines[-10:]
    async with scene.service() as victim:
        await scene.end(victim)
    assert not scene.struck


@pytest.mark.parametrize(
    "method",
    [pytest.param(each, marks=() if each is commands.Queue.Declare else LONG, id=each.name) for each in METHODS],
)
async def test_a_stop_while_the_broker_is_silent(
    scene: Scene, proxy: Proxy, method: type[commands.Queue.Declare]
) -> None:
    """At whatever step the broker stops answering, the service exits in time, and the next one takes in everything."""
    proxy.mute_after = method.index.to_bytes(4, "big")
    for number in range(20):
        await scene.load.publish(scene.rabbit.channel, *booking(number))
    async with scene.service(AMQP_URL=proxy.url(scene.rabbit.url)) as victim:
        await proxy.muted.wait()
        assert await victim.terminate() == 0, victim.lines[-10:]
    async with scene.service() as victim:
        await scene.end(victim)
    assert not scene.struck


async def test_a_stop_while_the_store_is_locked(scene: Scene) -> None:
    """Messages that cannot be stored are not acknowledged, and a lock of another process does not delay the exit."""
    with closing(sqlite3.connect(scene.database, isolation_level=None)) as other:
        async with scene.service(SMTP_TIMEOUT="1s", SMTP_DOT_TIMEOUT="1s") as victim:
            await scene.load.publish(scene.rabbit.channel, *booking(0))
            await scene.settle(victim)
            other.execute("BEGIN EXCLUSIVE").close()
            for number in range(1, 20):
                await scene.load.publish(scene.rabbit.channel, *booking(number))
            await victim.wait_line(lambda line: "consuming suspended" in line["event"])
            assert await victim.terminate() == 0, victim.lines[-10:]
            other.execute("ROLLBACK").close()
    async with scene.service() as victim:
        await scene.end(victim)
    assert not scene.struck


async def test_a_stop_during_a_large_batch(scene: Scene, chance: random.Random) -> None:
    """Stored messages are acknowledged, the others are delivered to the next service, and each gets all its mails."""
    departs = (datetime.now(UTC) + timedelta(days=2)).isoformat()
    flights = [flight_data(number=f"AI{n}", departs_at=departs, arrives_at=departs) for n in range(FLIGHTS)]
    for number in range(LARGE):
        passengers = [{"name": "P", "email": f"p{n}@{number}.example.com"} for n in range(PASSENGERS)]
        message = booking_event(id=f"m{number}", booking=f"B{number}", passengers=passengers, flights=flights)
        makes = PASSENGERS * ["booking.confirmation"] + PASSENGERS * FLIGHTS * ["flight.reminder"]
        await scene.load.publish(scene.rabbit.channel, message, makes)
    async with scene.service(SEND_RATE="0") as victim:
        await scene.sink.wait_accepted(chance.randrange(1, PASSENGERS * LARGE // 2))
        assert await victim.terminate() == 0, victim.lines[-10:]
    async with scene.service(SEND_RATE="0") as victim:
        await scene.end(victim)
    assert not scene.struck
