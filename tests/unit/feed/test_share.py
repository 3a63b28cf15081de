"""How many bytes all viewers together are sent in a second."""

import asyncio

import pytest

from notifier.feed.share import MAX_RATE, MIN_ANSWER, Share


async def test_all_viewers_together_are_sent_a_bounded_share() -> None:
    """The bytes of one second are sent at once, and further ones in order, at the rate."""
    share = Share()
    full = [share.reserve(MAX_RATE // 4, 100.0) for _ in range(8)]
    assert full == pytest.approx([0, 0, 0, 0, 0.25, 0.5, 0.75, 1])
    assert share.reserve(0, 102.0) == 0
    small = [Share().reserve(1, 0.0), *(share.reserve(1, 200.0) for _ in range(2 * MAX_RATE // MIN_ANSWER))]
    assert small[-1] == pytest.approx(1)


async def test_an_answer_waits_until_its_turn() -> None:
    """Within the rate an answer is sent at once, and beyond it as late as its bytes need."""
    share, loop = Share(), asyncio.get_running_loop()
    began = loop.time()
    await share.take(MAX_RATE)
    assert loop.time() - began < 0.05
    await share.take(MAX_RATE // 10)
    assert 0.09 < loop.time() - began < 5


async def test_an_answer_that_nobody_waits_for_any_more_costs_no_share() -> None:
    """Viewers that disconnect while their answer waits give its bytes back."""
    share = Share()
    await share.take(MAX_RATE)
    gone = [asyncio.create_task(share.take(100 * MAX_RATE)) for _ in range(5)]
    await asyncio.sleep(0)
    for task in gone:
        task.cancel()
    await asyncio.gather(*gone, return_exceptions=True)
    assert share.reserve(0, asyncio.get_running_loop().time()) < 1


async def test_an_answer_that_is_given_up_gives_back_only_its_own_bytes() -> None:
    """Those of the answers before it were sent and stay counted."""
    share, loop = Share(), asyncio.get_running_loop()
    share.reserve(100 * MAX_RATE, loop.time())
    gone = asyncio.create_task(share.take(MAX_RATE))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    assert 50 < share.reserve(0, loop.time()) < 99.1


def test_viewers_are_sent_32_mib_and_2048_answers_a_second() -> None:
    """The limit of the bytes is far above what viewers need, and the one of the answers bounds their number."""
    assert (MAX_RATE, MAX_RATE / MIN_ANSWER) == (32 * 1024 * 1024, 2048)


def test_an_answer_of_the_least_size_costs_its_bytes() -> None:
    """A smaller one costs as much, and a larger one more."""
    for size, cost in ((0, MIN_ANSWER), (MIN_ANSWER, MIN_ANSWER), (MIN_ANSWER + 1, MIN_ANSWER + 1)):
        share = Share()
        share.reserve(MAX_RATE, 10.0)
        assert share.reserve(size, 10.0) == pytest.approx(cost / MAX_RATE)


def test_a_share_that_nobody_used_holds_the_bytes_of_one_second() -> None:
    """After an hour without viewers they are not sent an hour's bytes at once."""
    share = Share()
    share.reserve(MAX_RATE, 100.0)
    assert [share.reserve(MAX_RATE // 2, 3700.0) for _ in range(4)] == pytest.approx([0.0, 0.0, 0.5, 1.0])
