"""The service is killed before every system call that has a lasting effect: each sync, each write to a peer."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from support.faults.load import bad, booking, request
from support.faults.scene import DOT_DELAY, Scene, prepared
from support.faults.sink import Sink
from support.faults.strace import Call, command, killing, read
from support.faults.victim import Victim
from support.provided import needed
from support.rabbit import Rabbit

pytestmark = pytest.mark.faults

LOAD = (booking, bad, request)
MAILS = sum(make is not bad for make in LOAD)
SETTINGS = {"NOTIFIER_AMQP_PREFETCH": "2"}  # several batches, so that there are several commits and acknowledgements
MOST_SURVIVORS = 0.1
"""The share of rounds that may end before they reach their call: no two runs make exactly the same calls."""


@asynccontextmanager
async def loaded(folder: Path, broker_url: str) -> AsyncIterator[Scene]:
    """Yield a scene with all messages in the queue, so that a run needs nothing but the service."""
    folder.mkdir()  # noqa: ASYNC240 - nothing else runs on the loop yet
    async with Sink.running(folder / "journal", DOT_DELAY) as sink, Rabbit.connected(broker_url) as rabbit:
        scene = await prepared(folder, sink, rabbit)
        scene.environ |= SETTINGS
        for number, make in enumerate(LOAD):
            await scene.load.publish(rabbit.channel, *make(number))
        yield scene


async def lived(scene: Scene, *tool: str) -> int:
    """Run the service until it has sent everything and was stopped, or until it was killed; return the exit code."""
    victim = await Victim.started(scene.environ, *tool)
    ended = asyncio.create_task(victim.ended())
    all_sent = asyncio.create_task(scene.sink.wait_accepted(MAILS))
    await asyncio.wait({ended, all_sent}, return_when=asyncio.FIRST_COMPLETED)
    all_sent.cancel()
    await asyncio.gather(all_sent, return_exceptions=True)
    if not ended.done():
        await victim.terminate()
    return await ended


async def counted(scene: Scene, concerned: Callable[[Call], bool]) -> int:
    """Count the relevant system calls of a complete run.

    A single thread must make them, all by the same name, or the sweep would miss some.
    """
    trace = scene.folder / "trace"
    assert await lived(scene, *command(needed("strace", "strace"), str(trace))) == 0
    found = await asyncio.to_thread(read, trace)
    (maker,) = {(each.thread, each.name) for each in found if concerned(each)}
    return sum((each.thread, each.name) == maker for each in found)


def is_sync(call: Call) -> bool:
    """Return whether a call makes data durable."""
    return call.name in ("fdatasync", "fsync")


def is_word(call: Call) -> bool:
    """Return whether a call writes to a peer."""
    return call.target.startswith("TCP:")


@pytest.mark.parametrize(
    ("call", "concerned", "threads"),
    [
        pytest.param("fdatasync", is_sync, True, id="every sync"),
        pytest.param("write", is_word, False, id="every write to a socket"),
    ],
)
async def test_killed_before_each_call(
    tmp_path: Path, broker_url: str, call: str, concerned: Callable[[Call], bool], *, threads: bool
) -> None:
    """Wherever the service is killed, from creating its database to its exit, the next one completes the work."""
    async with loaded(tmp_path / "whole", broker_url) as scene:
        count = await counted(scene, concerned)
    killed = past_the_dot = 0
    for at in range(1, count + 1):
        async with loaded(tmp_path / str(at), broker_url) as scene:
            trace = scene.folder / "trace"
            await lived(scene, *killing(needed("strace", "strace"), str(trace), call, at, threads=threads))
            killed += "killed by SIGKILL" in await asyncio.to_thread(trace.read_text)
            await scene.note_struck()
            past_the_dot += scene.struck.total()
            async with scene.service() as victim:
                await scene.end(victim)
    print(f"killed before {killed} of {count} calls, mails past the dot: {past_the_dot}")  # noqa: T201 - pytest shows it with -s
    assert killed >= count * (1 - MOST_SURVIVORS)
