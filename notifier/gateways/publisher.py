"""Publishes results and dead letters, each confirmed by the broker."""

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

import structlog
from aiormq.abc import AbstractChannel, AbstractConnection
from aiormq.exceptions import DeliveryError, PublishError
from pamqp.commands import Basic

from notifier.errors import Unreachable
from notifier.gateways.connection import answered, close, connect, error_text, open_channel
from notifier.gateways.properties import COPY_HEADERS, ENCODING_ERRORS, made_writable, without_headers
from notifier.gateways.topology import DEAD, declare
from notifier.settings import AmqpSettings

log = structlog.get_logger(__name__)

CONFIRM_TIMEOUT = 30.0
"""Seconds within which the broker must confirm everything that is published together."""


class Outgoing(NamedTuple):
    """A message to publish."""

    exchange: str
    routing_key: str
    body: bytes
    properties: Basic.Properties


class Publisher:
    """Publishes on a connection of its own, opened when needed: under a memory alarm RabbitMQ blocks publishers."""

    def __init__(self, settings: AmqpSettings) -> None:
        self._settings = settings
        self._connection: AbstractConnection | None = None
        self._channel: AbstractChannel | None = None
        self._lock = asyncio.Lock()

    async def publish(self, messages: Sequence[Outgoing]) -> int:
        """Publish messages in order; return how many were confirmed before the first that a queue rejected.

        The messages after that one may have been published. Raises Unreachable if the broker gives another
        answer or none; then any of the messages may have been published. A property that cannot be
        written is left out, because the same message would fail for ever.
        """
        messages = [_writable(message) for message in messages]
        async with self._lock:
            results = await self._publish(messages, mandatory=False)
            for result in results:
                if isinstance(result, BaseException) and not _is_nack(result):
                    await self.close()
                    raise Unreachable(f"results cannot be published: {error_text(result)}")
        return next((number for number, result in enumerate(results) if _is_nack(result)), len(results))

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
                    results = await self._publish([letters[number] for number in numbers], mandatory=True)
                    returned = [number for number, result in zip(numbers, results, strict=True) if _is_returned(result)]
                    if returned:
                        direct = [_direct(letters[number]) for number in returned]
                        results += await self._publish(direct, mandatory=True)
                    for number, result in zip((*numbers, *returned), results, strict=True):
                        reasons[number] = _refusal(result)
                    if any(isinstance(result, BaseException) and not _is_nack(result) for result in results):
                        await self.close()  # so that the next try declares what is missing
            except Unreachable as error:
                unpublished = str(error)
        return [reasons.get(number, unpublished) for number in range(len(letters))]

    async def _publish(self, messages: Sequence[Outgoing], *, mandatory: bool) -> list[Any]:
        """Publish in order; return the broker's answer to each, or its error.

        Raises Unreachable if there is no connection, or no answer in time.
        """
        channel = await self._open()
        try:
            results = await answered(_published(channel, messages, mandatory=mandatory), within=CONFIRM_TIMEOUT)
        except Unreachable:
            await self.close()
            raise Unreachable(f"the broker has confirmed nothing for {CONFIRM_TIMEOUT:g} s") from None
        for result in results:
            if isinstance(result, ENCODING_ERRORS):
                raise result
        return results

    async def close(self) -> None:
        """Close the connection; the next publish opens a new one."""
        connection, self._connection, self._channel = self._connection, None, None
        if connection:
            await close(connection)

    async def _open(self) -> AbstractChannel:
        if self._channel and not self._channel.is_closed and self._connection and not self._connection.is_closed:
            return self._channel
        await self.close()
        self._connection = await connect(self._settings.url or "")
        try:
            await declare(self._connection, self._settings)
            self._channel = await open_channel(self._connection, confirms=True)
        except Unreachable:
            await self.close()
            raise
        return self._channel


async def _published(channel: AbstractChannel, messages: Sequence[Outgoing], *, mandatory: bool) -> list[Any]:
    """Publish messages in order; return the broker's answer to each, or its error.

    With `mandatory`, the broker returns a message that reaches no queue.
    """
    return await asyncio.gather(
        *(
            channel.basic_publish(
                message.body,
                exchange=message.exchange,
                routing_key=message.routing_key,
                properties=message.properties,
                mandatory=mandatory,
            )
            for message in messages
        ),
        return_exceptions=True,
    )


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


def _writable(message: Outgoing) -> Outgoing:
    properties, left_out = made_writable(message.properties)
    if left_out:
        log.error("message published without properties that cannot be written", properties=left_out)
        return message._replace(properties=properties)
    return message
