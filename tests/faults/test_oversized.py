"""The memory that bodies far over the limit take."""

import asyncio
import re
from hashlib import sha256
from pathlib import Path

import pytest
from support.faults.load import BAD, booking
from support.faults.scene import Scene
from support.faults.victim import Victim
from support.parts import PATIENCE
from support.rabbit import headers

from notifier.domain.messages import MAX_BYTES
from notifier.gateways.oversized import MAX_OVERSIZED_BYTES
from notifier.gateways.topology import DEAD

MEGABYTE = 1_000_000
COPIES = 3
"""Copies of a body that aiormq and the transport make while publishing it."""
SPARE = 40 * MEGABYTE
"""Bytes that the service needs for everything else."""


def peak(victim: Victim) -> int:
    """Return the maximum memory that a process has used so far, in bytes."""
    status = Path(f"/proc/{victim.pid}/status").read_text(encoding="utf-8")
    (kilobytes,) = re.findall(r"VmHWM:\s+(\d+) kB", status)
    return int(kilobytes) * 1024


@pytest.mark.parametrize(("count", "size"), [(12, 16), pytest.param(8, 60, marks=pytest.mark.faults)])
async def test_bodies_over_the_limit_do_not_fill_the_memory(scene: Scene, count: int, size: int) -> None:
    """Only a few such bodies are in memory at a time, however large the prefetch is.

    Each of them becomes one dead letter with its beginning, size and digest.
    """
    body = b" " * (size * MEGABYTE)
    digest = sha256(body).hexdigest()
    for number in range(count):
        await scene.load.publish_raw(scene.rabbit.channel, f"big{number}", body, BAD)
    await scene.load.publish(scene.rabbit.channel, *booking(count))
    async with scene.service() as victim:
        before = peak(victim)
        async with asyncio.timeout(PATIENCE + 3 * count):
            while len(scene.dead) < count:
                letter = await scene.letters.get()
                scene.dead.add(str(letter.header.properties.message_id))
                assert letter.body == body[:MAX_BYTES]
                found = headers(letter)
                assert (found["x-notifier-size"], found["x-notifier-sha256"]) == (str(len(body)), digest)
        await scene.sink.wait_accepted(1)
        taken = peak(victim) - before
        await scene.end(victim)
    await scene.rabbit.channel.queue_purge(DEAD)
    held = max(len(body), MAX_OVERSIZED_BYTES)
    print(f"{taken / MEGABYTE:.0f} MB for {count} bodies of {size} MB")  # noqa: T201 - pytest shows it with -s
    assert taken < held + COPIES * len(body) + SPARE
