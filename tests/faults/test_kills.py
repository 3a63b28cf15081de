"""The service is killed at any moment, and goes on."""

import random

import pytest
from support.faults.scene import Scene


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.faults)])
async def test_kills_under_load_lose_nothing(scene: Scene, chance: random.Random, kills: int) -> None:
    """Killed again and again while messages come and mails go, it loses nothing and repeats no more than it must."""
    async with scene.load.flowing(rate=60):
        for _ in range(kills):
            async with scene.service() as victim:
                moment = len(scene.sink.entries) + chance.randrange(400)
                await scene.sink.wait_grown(moment)
                await scene.kill(victim)
    print(f"past the dot when killed: {scene.struck.total()}")  # noqa: T201 - pytest shows it with -s
    async with scene.service() as victim:
        await scene.end(victim)
