"""Frames are read before aiormq reads them, which gets those that nobody takes; see also `test_deliveries.py`."""

import asyncio
from collections.abc import Collection

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp.constants import FRAME_BODY, FRAME_END, FRAME_METHOD

from notifier.gateways.frame_reader import filtered
from notifier.gateways.oversized import MAX_OVERSIZED_BYTES, MemoryBudget

CONTENTS = st.lists(st.binary(max_size=40), max_size=8)


def written(content: bytes, kind: int = FRAME_METHOD) -> bytes:
    """Write a frame of channel 1."""
    return bytes([kind]) + (1).to_bytes(2, "big") + len(content).to_bytes(4, "big") + content + bytes([FRAME_END])


async def passed(data: bytes, size: int, taken: Collection[bytes], seen: list[bytes]) -> bytes:
    """Read everything through a filter, `size` bytes arriving at a time; the contents in `taken` are taken."""
    source = asyncio.StreamReader()

    def take(_kind: int, channel: int, content: bytes) -> bool:
        assert channel == 1
        seen.append(content)
        return content in taken

    reader = filtered(source, take, MemoryBudget())
    for at in range(0, len(data), size):
        asyncio.get_running_loop().call_soon(source.feed_data, data[at : at + size])
    asyncio.get_running_loop().call_soon(source.feed_eof)
    found = b""
    with pytest.raises(asyncio.IncompleteReadError):
        while True:
            found += await reader.readexactly(1)
    assert reader.at_eof()
    return found


@given(CONTENTS, st.integers(1, 60), st.data())
def test_what_is_not_taken_passes_byte_for_byte(contents: list[bytes], size: int, data: st.DataObject) -> None:
    """Every frame is offered once, in order, however the bytes arrive; the others are passed on as they came."""
    taken = data.draw(st.sets(st.sampled_from(contents))) if contents else set()
    seen: list[bytes] = []
    found = asyncio.run(passed(b"".join(map(written, contents)), size, taken, seen))
    assert seen == contents
    assert found == b"".join(written(each) for each in contents if each not in taken)


async def test_nothing_is_read_while_the_memory_for_large_bodies_is_used_up() -> None:
    """The broker has to wait then; a frame that is read afterwards passes."""
    source, budget = asyncio.StreamReader(), MemoryBudget()
    for channel in (1, 2):
        budget.reserve(channel, MAX_OVERSIZED_BYTES)
    reader = filtered(source, lambda *_: False, budget)
    source.feed_data(written(b"x", FRAME_BODY))
    reading = asyncio.ensure_future(reader.readexactly(1))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not reading.done()
    budget.release(1, MAX_OVERSIZED_BYTES)
    assert await reading == bytes([FRAME_BODY])
