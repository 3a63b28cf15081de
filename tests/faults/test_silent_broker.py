"""The broker stops answering at any step of connecting, declaring, consuming and publishing, and recovers."""

import asyncio
from collections.abc import Callable
from functools import partial

import pytest
from pamqp import commands
from support.faults.load import bad, booking
from support.faults.proxy import Proxy
from support.faults.scene import Scene
from support.faults.victim import Line, Victim
from support.parts import PATIENCE

from notifier.feed.client import readiness

SILENCE = 120.0
"""Seconds within which the service must detect it; most steps have 10 s, and three heartbeats take 35 s."""

LONG = pytest.mark.faults

STEPS = {
    "protocol header": b"AMQP",
    **{
        method.name: method.index.to_bytes(4, "big")
        for method in (
            commands.Connection.StartOk,
            commands.Connection.Open,
            commands.Channel.Open,
            commands.Exchange.Declare,
            commands.Queue.Declare,
            commands.Queue.Bind,
            commands.Channel.Close,
            commands.Basic.Qos,
            commands.Basic.Consume,
            commands.Confirm.Select,
            commands.Basic.Publish,
            commands.Basic.Ack,
        )
    },
}
"""The bytes that the service sends at each step. After them it receives no reply."""

SHORT = {"Basic.Consume"}


def lost(actors: set[str]) -> Callable[[Line], bool]:
    """Return a predicate for the log line in which one of these actors reports the problem."""
    return lambda line: line.get("actor") in actors and "reason" in line


@pytest.mark.parametrize("step", [step if step in SHORT else pytest.param(step, marks=LONG) for step in STEPS])
async def test_the_service_waits_for_a_broker_that_stops_answering(scene: Scene, proxy: Proxy, step: str) -> None:
    """At any step the service detects it, stays ready, and takes in everything afterwards without a restart."""
    proxy.mute_after = STEPS[step]
    for number in range(30):
        await scene.load.publish(scene.rabbit.channel, *(bad(number) if number % 10 == 0 else booking(number)))
    async with scene.service(AMQP_URL=proxy.url(scene.rabbit.url)) as victim:
        await victim.wait_line(lost({"consumer", "reporter"}), SILENCE)
        assert proxy.muted.is_set()
        assert (await asyncio.to_thread(readiness, victim.feed)).is_ready
        assert "waiting" in await _states(victim)
        proxy.speak()
        for number in range(30, 40):
            await scene.load.publish(scene.rabbit.channel, *booking(number))
        await scene.sink.wait(partial(_all_mailed, scene, 37), PATIENCE + SILENCE)
        async with asyncio.timeout(PATIENCE):
            while await _states(victim) != {"running"}:  # noqa: ASYNC110 - read over HTTP
                await asyncio.sleep(0.2)
        await scene.end(victim)


async def _states(victim: Victim) -> set[str]:
    """Return the states of the actors that need the broker."""
    states = (await asyncio.to_thread(readiness, victim.feed)).states
    return {states.actors[name].state for name in ("consumer", "reporter")}


def _all_mailed(scene: Scene, count: int) -> bool:
    return len({entry["mail"] for entry in scene.sink.accepted}) >= count
