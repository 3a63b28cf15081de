"""One client of the feed, from its hello to its close."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from functools import partial
from typing import Any, NamedTuple, Protocol

import msgspec
import structlog
from msgspec import UNSET
from websockets.asyncio.connection import broadcast
from websockets.exceptions import ConnectionClosed

from notifier import clock
from notifier.domain.events import MailFilter
from notifier.domain.timestamps import timestamp
from notifier.errors import NotifierError, StoreUnusable
from notifier.feed import protocol
from notifier.feed.auth import Tokens
from notifier.feed.commands import CommandHandler
from notifier.feed.frame_rate import FRAME_RATE, MAX_FRAMES, FrameRate
from notifier.feed.limited_connection import LimitedConnection
from notifier.feed.outbox import Outbox, TooSlow
from notifier.feed.protocol import (
    BadFrame,
    ByeFrame,
    ClientFrame,
    CloseCode,
    CommandError,
    CommandFrame,
    Failure,
    FilterFrame,
    FrameId,
    HelloFrame,
    ResultFrame,
    Role,
    ServerFrame,
    StatsFrame,
    Totals,
    WelcomeFrame,
)
from notifier.feed.resume import resumption
from notifier.feed.share import Share
from notifier.storage.store import Store

log = structlog.get_logger(__name__)

HELLO_TIMEOUT = 10.0
"""Seconds in which a client must send its hello."""
MAX_COMMANDS = 500
"""Commands of an operator that may be without their result."""
MAX_OPERATOR_QUERIES = 4
"""Commands and snapshots of one operator that query the store at the same time; those of a viewer go one by one."""
RECONNECT_AFTER = 1000
"""Milliseconds that clients are asked to wait before they reconnect, when the service ends."""
CLOSE_TIMEOUT = 2.0
"""Seconds that a closing handshake may take before the connection is cut."""

_REASON_BYTES = 123
"""Bytes of a close reason at most: a control frame has 125, and two are the code (RFC 6455, sections 5.5 and 5.5.1)."""
_SLOW = CloseCode.TOO_SLOW, "reads too slowly; resume from the last cursor"


class LiveEvents(Protocol):
    """The live end of the event log: the broadcaster's hub, as a session needs it."""

    position: int
    """Number of the last event that was pushed."""

    def add(self, subscriber: Any, now: float) -> None:
        """Push events to the subscriber from now on; it has every event up to `position`."""

    def remove(self, subscriber: Any) -> None:
        """Push no more events to the subscriber."""


class Feed(NamedTuple):
    """What all sessions share.

    `store` has the event log and `hub` its live end. `stats` returns the latest `stats` frame, `commands` are the
    handlers by name, `server` is the name and version of the service, and `tokens` judges the tokens of clients.
    `dropped` is called for each client that read too slowly. `viewers` limits the bytes sent to all viewers together.
    """

    store: Store
    hub: LiveEvents
    stats: Callable[[], Awaitable[StatsFrame]]
    commands: Mapping[str, CommandHandler]
    server: str
    dropped: Callable[[], None]
    tokens: Tokens
    viewers: Share


_Run = Callable[[], Awaitable[msgspec.Struct | msgspec.Raw]]
"""Runs a permitted command of a client, and returns its value."""


class _Close(Exception):
    """End the session with this code and reason."""

    def __init__(self, code: CloseCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class FeedSession:
    """One client: answers its hello, sends what it has missed or a snapshot, and then every event that it wants."""

    def __init__(self, websocket: LimitedConnection, feed: Feed) -> None:
        self._websocket = websocket
        self._feed = feed
        self._role: Role | None = None
        self._queries = asyncio.Semaphore(1)
        self._is_dropped = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._begun: set[asyncio.Task[tuple[bytes, ...]]] = set()
        self._outbox = Outbox(websocket, feed.viewers)
        self._rate = FrameRate()
        self.wanted = MailFilter()
        self.filter_hash = protocol.filter_hash(self.wanted)
        self.after = 0

    @property
    def _is_operator(self) -> bool:
        return self._role == "operator"

    async def run(self) -> None:
        """Serve the client until either side closes; its queries that are still waiting are cancelled then.

        Commands of an operator that have begun are completed nevertheless.
        """
        serving = asyncio.create_task(self._until_closed(self._serve()))
        gone = asyncio.create_task(self._websocket.wait_closed())
        try:
            await asyncio.wait((serving, gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._feed.hub.remove(self)
            await _cancelled(serving, gone, *self._tasks)
        await asyncio.gather(*self._begun, return_exceptions=True)

    async def _serve(self) -> None:
        await self._greet(await self._hello())
        async for text in self._websocket:
            size = self._websocket.taken()
            self._count_frame(size)
            await self._handle(protocol.read_frame(text), size)
            await self._keep_up()

    def push(self, frame: bytes, events: int) -> None:
        """Queue a frame of events without waiting. A client that reads too slowly is closed instead; it can resume."""
        try:
            self._outbox.push(frame, events)
        except TooSlow:
            self._feed.hub.remove(self)
            self._spawn(self._close(*_SLOW))

    def fail(self) -> None:
        """Close the connection: an event could not be pushed, and the client gets it when it resumes."""
        self._spawn(self._close(CloseCode.INTERNAL_ERROR, "internal error of notifier"))

    async def leave(self) -> None:
        """Send `bye` and close, because the service ends."""
        broadcast(
            [self._websocket],
            protocol.write(ByeFrame(code=CloseCode.RESTARTING, reconnect=True, after_ms=RECONNECT_AFTER)),
            text=True,
        )
        await self._close(CloseCode.RESTARTING, "the service is restarting")

    async def _hello(self) -> HelloFrame:
        try:
            async with asyncio.timeout(HELLO_TIMEOUT):
                hello = protocol.read_frame(await self._websocket.recv())
        except TimeoutError:
            raise _Close(CloseCode.NO_HELLO, "no hello within 10 s") from None
        if not isinstance(hello, HelloFrame):
            raise BadFrame("the first frame must be hello")
        role = self._feed.tokens.role(hello.token)
        if role is None:
            now = asyncio.get_running_loop().time()
            await self._websocket.linger(self._feed.tokens.refused(hello.token, self._websocket.network, now))
            raise _Close(CloseCode.UNAUTHORIZED, "a valid token is needed")
        if not self._websocket.promote(is_limited=role != "operator"):
            raise _Close(CloseCode.FULL, f"there are too many {role}s already")
        self._role = role
        if role == "operator":
            self._queries = asyncio.Semaphore(MAX_OPERATOR_QUERIES)
        return hello

    async def _greet(self, hello: HelloFrame) -> None:
        self._watch(hello.wanted())
        async with self._queries:
            found = await resumption(self._feed.store, hello.resume, self.wanted, urgent=self._is_operator)
        await self._send(
            WelcomeFrame(
                protocol=1,
                server=self._feed.server,
                role=self._role or "viewer",
                resumed=found.refusal is None,
                replay=found.missed,
                reason=found.refusal or UNSET,
                heartbeat=protocol.HEARTBEAT,
                now=timestamp(clock.now()),
            )
        )
        if found.refusal is None:
            self.after = found.after
        else:
            await self._send_snapshot(None, hello.mails)
        await self._go_live()
        if hello.stats:
            self._spawn(self._send_stats(max(0.5, hello.stats)))

    def _watch(self, wanted: MailFilter) -> None:
        self.wanted, self.filter_hash = wanted, protocol.filter_hash(wanted)

    async def _send_snapshot(self, id_: FrameId, limit: int) -> None:
        async with self._queries:
            snapshot = await self._feed.store.snapshot(self.wanted, limit, urgent=self._is_operator)
            self.after = snapshot.seq
            at = protocol.cursor(self._feed.store.id, snapshot.seq, self.filter_hash)
            await self._answer(
                protocol.write_snapshot(id_, at, Totals.of(snapshot.totals), snapshot.mails, more=snapshot.more)
            )

    async def _go_live(self) -> None:
        """Catch up with the hub and join it. No event can come between the last check of its position and that."""
        hub = self._feed.hub
        while self.after < hub.position:
            async with self._queries:
                portion = await self._feed.store.replay(self.after, self.wanted, urgent=self._is_operator)
                if portion.purged_through > self.after:  # the client reads so slowly that missed events were deleted
                    raise TooSlow
                self.after = portion.seq
                if portion.events:
                    at = protocol.cursor(self._feed.store.id, self.after, self.filter_hash)
                    await self._answer(protocol.write_bodies(at, portion.bodies))
        now = asyncio.get_running_loop().time()
        self._outbox.go_live(now)
        hub.add(self, now)

    async def _handle(self, frame: ClientFrame | None, size: int) -> None:
        """Do what a frame of `size` bytes asks for; the bytes count as unhandled until that is done."""
        if isinstance(frame, CommandFrame):
            self._spawn(self._command(frame, size))
            return
        match frame:
            case HelloFrame():
                raise BadFrame("a second hello")
            case FilterFrame():
                self._feed.hub.remove(self)
                self._watch(frame.wanted())
                await self._send_snapshot(frame.id, frame.mails)
                await self._go_live()
            case None:
                pass
        self._websocket.release(size)

    async def _keep_up(self) -> None:
        """Read no further frame of a viewer while more than MAX_FRAMES of its commands have no result."""
        while not self._is_operator and len(self._tasks) > MAX_FRAMES:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)

    async def _command(self, command: CommandFrame, size: int) -> None:
        try:
            await self._run(command)
        finally:
            self._websocket.release(size)

    async def _run(self, command: CommandFrame) -> None:
        try:
            run = self._permitted(command)
        except CommandError as error:
            await self._send(_failed(command, error.code, str(error)))
            return
        # Messages that are submitted at the same moment are stored in one transaction, so they need not wait here.
        async with nullcontext() if command.name == "submit" else self._queries:
            await self._answer(await self._completed(command, run))

    async def _completed(self, command: CommandFrame, run: _Run) -> tuple[bytes, ...]:
        """Return the result of a command. A command of an operator is completed even if the client disconnects."""
        if self._feed.commands[command.name or ""].role != "operator":
            return await self._result(command, run)
        working = asyncio.create_task(self._result(command, run))
        self._begun.add(working)
        working.add_done_callback(self._begun.discard)
        return await asyncio.shield(working)

    async def _result(self, command: CommandFrame, run: _Run) -> tuple[bytes, ...]:
        try:
            return protocol.write_result(command.id, await run())
        except CommandError as error:
            failure = _failed(command, error.code, str(error))
        except NotifierError as error:
            failure = _failed(command, "unavailable", str(error))
        except Exception:
            log.exception("command failed", command=command.name)
            failure = _failed(command, "internal", "internal error of notifier; its log has the details")
        return (protocol.write(failure),)

    def _permitted(self, command: CommandFrame) -> _Run:
        name = command.name or ""
        if name not in self._feed.commands:
            raise CommandError("unknown_command", f"{name[:40]!r} is no command")
        role, run = self._feed.commands[name]
        if role == "operator" and self._role != "operator":
            raise CommandError("forbidden", f"{name} is for operators")
        args = msgspec.Raw(b"null") if command.args is UNSET else command.args
        return partial(run, args, self._role or role)

    async def _send_stats(self, every: float) -> None:
        while True:
            with suppress(StoreUnusable):  # a store that cannot be read now may be readable next time
                await self._send(await self._feed.stats())
            await asyncio.sleep(every)

    async def _send(self, frame: ServerFrame) -> None:
        await self._outbox.send((protocol.write(frame),))

    async def _answer(self, parts: Sequence[bytes]) -> None:
        await self._outbox.answer(parts, is_viewer=not self._is_operator)

    def _count_frame(self, size: int) -> None:
        """Close a client that sends too much; `size` is the bytes of its latest frame."""
        if self._is_operator:
            if len(self._tasks) > MAX_COMMANDS:
                raise _Close(CloseCode.TOO_MANY_FRAMES, f"more than {MAX_COMMANDS} commands without their result")
            return
        if self._rate.exceeded(size, asyncio.get_running_loop().time()):
            raise _Close(CloseCode.TOO_MANY_FRAMES, f"more than {FRAME_RATE}")

    async def _close(self, code: CloseCode, reason: str) -> None:
        """Close; disconnect a client that does not complete the closing handshake within CLOSE_TIMEOUT."""
        if code == CloseCode.TOO_SLOW and not self._is_dropped:
            self._is_dropped = True  # several of its frames may reach the limit at the same moment
            self._feed.dropped()
        reason = _shortened(reason)
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                if self._role is None:
                    self._websocket.turn_away(code, reason)
                    await self._websocket.wait_closed()
                else:
                    await self._websocket.close(code, reason)
        if not self._websocket.transport.is_closing():
            self._websocket.transport.abort()

    async def _until_closed(self, work: Awaitable[None]) -> None:
        try:
            await work
        except _Close as close:
            await self._close(close.code, close.reason)
        except TooSlow:
            await self._close(*_SLOW)
        except BadFrame as bad:
            await self._close(CloseCode.BAD_FRAME, str(bad))
        except ConnectionClosed:
            return
        except Exception:
            log.exception("session failed")
            await self._close(CloseCode.INTERNAL_ERROR, "internal error of notifier")

    def _spawn(self, work: Awaitable[None]) -> None:
        task: asyncio.Task[None] = asyncio.create_task(self._until_closed(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _cancelled(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _shortened(reason: str) -> str:
    """Cut a close reason to the bytes that fit into a close frame; a longer one could not be sent at all."""
    return reason.encode(errors="replace")[:_REASON_BYTES].decode(errors="ignore")


def _failed(command: CommandFrame, code: str, message: str) -> ResultFrame:
    return ResultFrame(id=command.id, ok=False, error=Failure(code=code, message=message))
