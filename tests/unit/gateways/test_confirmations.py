"""Confirmations of a batch: how many messages were confirmed before the first that was rejected."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import frame
from pamqp.commands import Basic
from pamqp.constants import FRAME_BODY, FRAME_METHOD
from pamqp.frame import FrameTypes

from notifier.gateways.confirmations import Confirmations

CHANNEL = 1


def content(method: FrameTypes) -> bytes:
    """Write a method as the content of a frame."""
    return frame.marshal(method, CHANNEL)[7:-1]


def answer(last: int, *, is_rejection: bool, multiple: bool) -> bytes:
    """Write the broker's answer to a message, or to all messages up to it that it has not answered."""
    return content((Basic.Nack if is_rejection else Basic.Ack)(last, multiple))


@given(
    st.integers(0, 1000), st.lists(st.tuples(st.integers(1, 5), st.booleans(), st.booleans()), min_size=1), st.data()
)
def test_answers_are_counted_for_their_messages(
    before: int, runs: list[tuple[int, bool, bool]], data: st.DataObject
) -> None:
    """The broker answers runs of messages, each with a frame for all of them or in any order; none counts twice."""

    async def check() -> None:
        confirmations = Confirmations()
        messages = [is_rejection for size, is_rejection, _ in runs for _ in range(size)]
        complete = confirmations.expect(CHANNEL, before + 1, len(messages))
        tag = before
        for size, is_rejection, multiple in runs:
            tags = range(tag + 1, tag + 1 + size)
            tag += size
            assert not complete.done()
            for each in [tag] if multiple else data.draw(st.permutations(tags)):
                written = answer(each, is_rejection=is_rejection, multiple=multiple)
                assert confirmations.take(FRAME_METHOD, CHANNEL, written)
                assert not confirmations.take(FRAME_METHOD, CHANNEL, written)
        assert await complete == (messages.index(True) if True in messages else len(messages))
        assert confirmations.received == len(messages)

    asyncio.run(check())


@pytest.mark.parametrize(
    ("kind", "channel", "written"),
    [
        (FRAME_METHOD, CHANNEL, content(Basic.Ack(4))),
        (FRAME_METHOD, CHANNEL, content(Basic.Ack(8))),
        (FRAME_METHOD, CHANNEL + 1, content(Basic.Ack(5))),
        (FRAME_BODY, CHANNEL, content(Basic.Ack(5))),
        (FRAME_METHOD, CHANNEL, content(Basic.QosOk())),
    ],
)
async def test_other_frames_are_for_aiormq(kind: int, channel: int, written: bytes) -> None:
    """Answers to dead letters, to another channel and to other calls are not taken."""
    confirmations = Confirmations()
    complete = confirmations.expect(CHANNEL, 5, 3)
    assert not confirmations.take(kind, channel, written)
    assert not complete.done()
    assert confirmations.received == 0


async def test_an_answer_to_a_later_letter_covers_the_batch() -> None:
    """The batch was cancelled, and letters were published after it: both hear of an answer that is for both."""
    confirmations = Confirmations()
    complete = confirmations.expect(CHANNEL, 5, 3)
    assert not confirmations.take(FRAME_METHOD, CHANNEL, answer(9, is_rejection=False, multiple=True))
    assert await complete == 3
