"""Publishes results and dead letters, each confirmed by the broker."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

from aiormq.abc import AbstractConnection, ChannelFrame
from aiormq.channel import Channel
from aiormq.exceptions import DeliveryError, PublishError

from notifier.errors import Unreachable
from notifier.gateways.confirmations import Confirmations
from notifier.gateways.connection import (
    answered,
    close,
    closing_reason,
    connect,
    error_text,
    frame_max,
    open_channel,
)
from notifier.gateways.outgoing import Outgoing, encode
from notifier.gateways.properties import COPY_HEADERS, without_headers
from notifier.gateways.topology import DEAD, declare
from notifier.settings import AmqpSettings

CONFIRM_TIMEOUT = 30.0
"""Seconds within which the broker must confirm something of what is published together."""


class Publisher:
    """Publishes on a connection of its own, opened when needed: under a memory alarm RabbitMQ blocks publishers."""

    def __init__(self, settings: AmqpSettings) -> None:
        self._settings = settings
        self._connection: AbstractConnection | None = None
        self._channel: Channel | None = None
        self._confirmations = Confirmations()
        self._lock = asyncio.Lock()

    async def publish(self, messages: Sequence[Outgoing]) -> int:
        """Publish messages in order; return how many were confirmed before the first that a queue rejected.

        The messages after that one may have been published. Raises Unreachable if the broker gives another
        answer or none; then any of the messages may have been published.
        """
        async with self._lock:
            channel = await self._open()
            if not messages:
                return 0
            publishing = _published(channel, messages, self._confirmations)
            try:
                return await answered(publishing, within=CONFIRM_TIMEOUT, received=lambda: self._confirmations.received)
            except _ChannelClosed as error:
                await self.close()
                raise Unreachable(f"results cannot be published: {error}") from error
            except Unreachable:
                await self.close()
                raise _no_confirmation() from None

    async def dead_letter(self, letters: Sequence[Outgoing]) -> list[str | None]:
        """Publish dead letters; return for each why the broker rejected it, or None if it was confirmed.

        A letter that reaches no queue, for example because the exchange has another type, is published
        to the queue itself.
        """
        unpublished: str | None = None
        async with self._lock:
            reasons: dict[int, str | None] = {}
            try:
                for numbers in _distinct(letters):
                    results = await self._publish([letters[number] for number in numbers])
                    returned = [number for number, result in zip(numbers, results, strict=True) if _is_returned(result)]
                    if returned:
                        direct = [_direct(letters[number]) for number in returned]
                        results += await self._publish(direct)
                    for number, result in zip((*numbers, *returned), results, strict=True):
                        reasons[number] = _refusal(result)
                    if any(isinstance(result, BaseException) and not _is_nack(result) for result in results):
                        await self.close()  # so that the next try declares what is missing
            except Unreachable as error:
                unpublished = str(error)
        return [reasons.get(number, unpublished) for number in range(len(letters))]

    async def _publish(self, letters: Sequence[Outgoing]) -> list[Any]:
        """Publish letters in order; return the broker's answer to each, or its error.

        Raises Unreachable if there is no connection, or if nothing is confirmed in time.
        """
        channel = await self._open()
        answers = [asyncio.get_running_loop().create_future() for _ in letters]
        publishing = _published_mandatory(channel, letters, answers)
        try:
            return await answered(
                publishing, within=CONFIRM_TIMEOUT, received=lambda: sum(each.done() for each in answers)
            )
        except Unreachable:
            await self.close()
            raise _no_confirmation() from None

    async def close(self) -> None:
        """Close the connection; the next publish opens a new one."""
        connection, self._connection, self._channel = self._connection, None, None
        if connection:
            await close(connection)

    async def _open(self) -> Channel:
        if self._channel and not self._channel.is_closed and self._connection and not self._connection.is_closed:
            return self._channel
        await self.close()
        # An answer that still arrives on the old connection must not confirm a message of the new one.
        self._confirmations = Confirmations()
        self._connection = await connect(self._settings.url or "", self._confirmations.reading)
        try:
            await declare(self._connection, self._settings)
            self._channel = cast("Channel", await open_channel(self._connection, confirms=True))
        except Unreachable:
            await self.close()
            raise
        return self._channel


class _ChannelClosed(Exception):
    """The channel was closed before the broker had answered."""


async def _write(channel: Channel, messages: Sequence[Outgoing], *, mandatory: bool) -> int:
    """Publish messages in order with a single write; return the delivery tag of the first one.

    aiormq's own `basic_publish` writes each message separately and waits until it is written, which costs several
    times as much. This relies on two public attributes of aiormq's channel: `write_queue`, and `delivery_tag`, the
    number of messages published so far. No other task runs between the write and the return, so the caller can
    register the delivery tags before any answer arrives. A call that is cancelled before the write takes none.
    """
    frames = encode(messages, channel.number, frame_max(channel.connection), mandatory=mandatory)
    await channel.write_queue.put(ChannelFrame(frames, should_close=False))
    first = channel.delivery_tag + 1
    channel.delivery_tag += len(messages)
    return first


async def _published(channel: Channel, messages: Sequence[Outgoing], confirmations: Confirmations) -> int:
    """Publish messages; return how many were confirmed before the first that was rejected."""
    first = await _write(channel, messages, mandatory=False)
    answer = confirmations.expect(channel.number, first, len(messages))
    with _failing(channel, [answer]):
        return await answer


async def _published_mandatory(
    channel: Channel, letters: Sequence[Outgoing], answers: Sequence["asyncio.Future[Any]"]
) -> list[Any]:
    """Publish letters, which the broker returns if they reach no queue; return its answer to each, or its error.

    aiormq completes the futures `answers`. This relies on two more public attributes of its channel: `confirmations`,
    the futures by delivery tag, and `message_id_delivery_tag`, by which it recognises returned messages.
    """
    first = await _write(channel, letters, mandatory=True)
    channel.confirmations.update(enumerate(answers, first))
    ids = [letter.properties.message_id or "" for letter in letters]
    channel.message_id_delivery_tag.update((id_, tag) for tag, id_ in enumerate(ids, first))
    with _failing(channel, answers):
        try:
            return await asyncio.gather(*answers, return_exceptions=True)
        finally:
            for id_ in ids:
                channel.message_id_delivery_tag.pop(id_, None)


@contextmanager
def _failing(channel: Channel, answers: Sequence["asyncio.Future[Any]"]) -> Iterator[None]:
    """Complete answers with an error if the channel is closed before they arrive."""
    closing = channel.closing
    closing.add_done_callback(partial(_lost, answers))
    try:
        yield
    finally:
        closing.cancel()  # it only observes the channel


def _lost(answers: Sequence["asyncio.Future[Any]"], closing: "asyncio.Future[Any]") -> None:
    for answer in answers:
        if not answer.done():
            answer.set_exception(_ChannelClosed(closing_reason(closing)))


def _no_confirmation() -> Unreachable:
    return Unreachable(f"the broker has confirmed nothing for {CONFIRM_TIMEOUT:g} s")


def _distinct(letters: Sequence[Outgoing]) -> list[list[int]]:
    """Divide letters into runs with distinct message ids, by which aiormq recognises returned messages."""
    runs: list[list[int]] = []
    seen: set[str | None] = set()
    for number, letter in enumerate(letters):
        if not runs or letter.properties.message_id in seen:
            runs.append([])
            seen = set()
        runs[-1].append(number)
        seen.add(letter.properties.message_id)
    return runs


def _direct(letter: Outgoing) -> Outgoing:
    """Address a letter to the queue of dead letters alone, without the further queues that its publisher named."""
    properties = without_headers(letter.properties, COPY_HEADERS)
    return letter._replace(exchange="", routing_key=DEAD, properties=properties)


def _is_returned(result: Any) -> bool:
    return isinstance(result, PublishError)


def _is_nack(result: Any) -> bool:
    return isinstance(result, DeliveryError) and not _is_returned(result)


def _refusal(result: Any) -> str | None:
    """Return why the broker rejected a letter, or None if it was confirmed."""
    if _is_returned(result):
        return f"queue {DEAD} does not exist"
    if _is_nack(result):
        return f"queue {DEAD} is full or unavailable"
    return error_text(result) if isinstance(result, BaseException) else None
