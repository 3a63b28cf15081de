"""The service is asked to stop while it sends."""

import random

import pytest
from faults.scene import Scene


@pytest.mark.parametrize("stops", [5, pytest.param(50, marks=pytest.mark.faults)])
async def test_an_orderly_stop_repeats_nothing(scene: Scene, chance: random.Random, stops: int) -> None:
    """However often and whenever it is told to stop, it exits with 0 and no mail goes twice."""
    async with scene.load.flowing(rate=60):
        for _ in range(stops):
            async with scene.service() as victim:
                moment = len(scene.sink.entries) + chance.randrange(1, 150)
                await scene.sink.wait_grown(moment)
                assert await victim.terminate() == 0, victim.lines[-10:]
    async with scene.service() as victim:
        await scene.end(victim)
    assert not scene.struck
