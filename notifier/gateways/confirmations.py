"""Takes the broker's confirmations out of what a connection receives, so that aiormq does not read them.

The broker often confirms each message of a batch with a frame of its own.
"""

import asyncio
from itertools import takewhile

from pamqp.commands import Basic
from pamqp.constants import FRAME_METHOD

from notifier.gateways.frame_reader import filtered
from notifier.gateways.oversized import MemoryBudget

_ACK = Basic.Ack.index.to_bytes(4, "big")
_NACK = Basic.Nack.index.to_bytes(4, "big")
_MULTIPLE = 1
"""The flag of a confirmation that counts for all messages up to its delivery tag."""


class Confirmations:
    """The confirmations of one batch at a time. Those of messages that belong to no batch go to aiormq."""

    def __init__(self) -> None:
        self.received = 0
        """How many messages the broker has confirmed or rejected so far."""
        self._channel = 0
        self._waiting: dict[int, int] = {}
        """Numbers of the messages that wait, by their delivery tags in ascending order."""
        self._confirmed = 0
        self._complete: asyncio.Future[int] | None = None

    def reading(self, reader: asyncio.StreamReader) -> asyncio.StreamReader:
        """Wrap the stream of the connection, so that confirmations are taken out of it."""
        return filtered(reader, self.take, MemoryBudget())

    def expect(self, channel: int, first: int, count: int) -> "asyncio.Future[int]":
        """Await the confirmations of messages with consecutive delivery tags on a channel.

        The future is done once the broker has answered all of them. Its result is how many were confirmed before
        the first that was rejected.
        """
        self._channel = channel
        self._waiting = {first + number: number for number in range(count)}
        self._confirmed = count
        self._complete = asyncio.get_running_loop().create_future()
        return self._complete

    def take(self, kind: int, channel: int, content: bytes) -> bool:
        """Take a frame if it confirms or rejects messages of the batch; return whether it does."""
        if not self._waiting or kind != FRAME_METHOD or channel != self._channel:
            return False
        is_rejection = content.startswith(_NACK)
        if not is_rejection and not content.startswith(_ACK):
            return False
        last, flags = int.from_bytes(content[4:12], "big"), content[12]
        is_taken = last in self._waiting
        tags = [*takewhile(lambda tag: tag <= last, self._waiting)] if flags & _MULTIPLE else [last] * is_taken
        for tag in tags:
            number = self._waiting.pop(tag)
            if is_rejection:
                self._confirmed = min(self._confirmed, number)
        self.received += len(tags)
        if not self._waiting and self._complete and not self._complete.done():
            self._complete.set_result(self._confirmed)
        return is_taken
