"""The service is killed at random moments and restarted."""

import random

import pytest
from support.faults.scene import Scene


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.faults)])
async def test_kills_under_load_lose_nothing(scene: Scene, chance: random.Random, kills: int) -> None:
    """Killed repeatedly under load, the service loses nothing and repeats only mails past their final dot."""
    async with scene.load.flowing(rate=60):
        for _ in range(kills):
            async with scene.service() as victim:
                moment = len(scene.sink.entries) + chance.randrange(400)
                await scene.sink.wait_grown(moment)
                await scene.kill(victim)
    print(f"past the dot when killed: {scene.struck.total()}")  # noqa: T201 - pytest shows it with -s
    async with scene.service() as victim:
        await scene.end(victim)
