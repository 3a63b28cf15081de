"""How late the event loop is."""

import asyncio

from support.parts import PATIENCE

from notifier.observability import loop_lag


async def test_a_loop_that_is_held_up_shows_as_late() -> None:
    """Time for which the loop was blocked is in the next measurement, and measuring ends with the block."""
    seen: list[float] = []
    looked = asyncio.Event()

    def observe(seconds: float) -> None:
        seen.append(seconds)
        looked.set()

    with loop_lag.measured(observe):
        blocked_until = asyncio.get_running_loop().time() + loop_lag.INTERVAL + 0.2
        while asyncio.get_running_loop().time() < blocked_until:
            pass
        async with asyncio.timeout(PATIENCE):
            await looked.wait()
    assert seen[0] >= 0.15
