"""An SMTP server whose replies a test chooses, byte for byte, including ones that no correct server sends."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Self

import pytest

PHASES = ("CONNECT", "EHLO", "AUTH", "MAIL", "RCPT", "DATA", "DOT", "RSET", "QUIT")
"""The phases in which a server replies; `CONNECT` is the greeting, `DOT` the end of a message."""

DEFAULTS = {
    "CONNECT": b"220 here\r\n",
    "EHLO": b"250-here\r\n250-SMTPUTF8\r\n250 AUTH CRAM-MD5 LOGIN PLAIN\r\n",
    "AUTH": b"235 welcome\r\n",
    "DATA": b"354 go on\r\n",
    "QUIT": b"221 bye\r\n",
}

BAD_SEQUENCE = b"503 5.5.1 bad sequence of commands\r\n"
"""The reply to a command that follows a rejected one, as a client that sends several at once gets it."""

Answer = Callable[[str, bytes], bytes | Awaitable[bytes | None] | None]
"""Returns the reply for a phase and the line or message that the client sent; None means the usual reply.

It may return an awaitable, and it may raise HungUpError.
"""


class HungUpError(Exception):
    """Raised by an answer to close the connection instead."""


class Scripted:
    """A running server; `said` has the commands that it got, with the number of their connection."""

    def __init__(self, answer: Answer) -> None:
        self.said: list[tuple[int, str]] = []
        self.messages: list[bytes] = []
        self.connections = 0
        self.port = 0
        self._answer = answer
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    @asynccontextmanager
    async def running(cls, answer: Answer = lambda _phase, _line: None) -> AsyncIterator[Self]:
        """Run a server while the block lasts."""
        scripted = cls(answer)
        server = await asyncio.start_server(scripted._serve, "127.0.0.1", 0, limit=1 << 24)
        scripted.port = server.sockets[0].getsockname()[1]
        try:
            yield scripted
        finally:
            server.close()
            for task in scripted._tasks:
                task.cancel()
            await asyncio.gather(*scripted._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        """The address of this server, without credentials."""
        return f"smtp+plain://127.0.0.1:{self.port}"

    @property
    def url_with_login(self) -> str:
        """The address of this server, with credentials."""
        return self.url.replace("://", "://user:secret@")

    def count(self, verb: str) -> int:
        """Return how often a command was received."""
        return sum(line.startswith(verb) for _, line in self.said)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task:
            self._tasks.add(task)
        self.connections += 1
        with suppress(HungUpError, OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await self._talk(self.connections, reader, writer)
        writer.close()

    async def _talk(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._say(writer, "CONNECT", b"")
        is_rejected = False
        while line := await reader.readline():
            self.said.append((number, line.decode("latin-1").strip()))
            phase = line.split(b" ")[0].strip().decode("latin-1").upper()
            if phase in ("RCPT", "DATA") and is_rejected:
                writer.write(BAD_SEQUENCE)
                continue
            answer = await self._say(writer, phase, line)
            is_rejected = phase in ("MAIL", "RCPT") and answer[:1] in b"45"
            if phase == "QUIT":
                return
            if answer.startswith(b"334"):
                await reader.readline()
                await self._say(writer, "AUTH", b"")
            if phase == "DATA" and answer.startswith(b"354"):
                message = await reader.readuntil(b"\r\n.\r\n")
                self.messages.append(message)
                await self._say(writer, "DOT", message)

    async def _say(self, writer: asyncio.StreamWriter, phase: str, line: bytes) -> bytes:
        answer = self._answer(phase, line)
        if isinstance(answer, Awaitable):
            answer = await answer
        answer = DEFAULTS.get(phase, b"250 OK\r\n") if answer is None else answer
        writer.write(answer)
        await writer.drain()
        return answer


def offer_pipelining(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every server offer PIPELINING (RFC 2920), unless its answer to EHLO is its own."""
    offer = DEFAULTS["EHLO"].replace(b"250-SMTPUTF8", b"250-PIPELINING\r\n250-SMTPUTF8")
    monkeypatch.setitem(DEFAULTS, "EHLO", offer)


def once(phase: str, *answers: bytes) -> Answer:
    """Answer a phase with these bytes, one after the other, and then as usual."""
    left = list(answers)
    return lambda at, _line: left.pop(0) if at == phase and left else None


def without_smtputf8(phase: str, _line: bytes) -> bytes | None:
    """Answer like a server that does not offer SMTPUTF8."""
    return b"250-here\r\n250 8BITMIME\r\n" if phase == "EHLO" else None


def logins(server: Scripted) -> list[str]:
    """List the login commands that a server got, without their credentials."""
    return [" ".join(line.split()[:2]) for _, line in server.said if line.startswith("AUTH")]


def messages_by_recipient(*servers: Scripted) -> Counter[str]:
    """Count the messages that servers have taken, by recipient."""
    taken = [message for server in servers for message in server.messages]
    lines = [line for message in taken for line in message.decode().split("\r\n") if line.startswith("To: ")]
    return Counter(line.removeprefix("To: ") for line in lines)


def silent_at(phase: str, reached: asyncio.Event) -> Answer:
    """Reply as usual until a phase, and never after that."""

    async def answer(at: str, _line: bytes) -> bytes | None:
        if at == phase:
            reached.set()
            await asyncio.Event().wait()
        return None

    return answer


class Limited:
    """Replies of a server that allows a number of connections; `most` were open at once, `refused` were too many."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open = 0
        self.most = 0
        self.refused = 0
        self.reached = asyncio.Event()

    async def __call__(self, phase: str, _line: bytes) -> bytes | None:
        """Return the reply for a phase."""
        if phase == "CONNECT":
            if self._open == self._limit:
                self.refused += 1
                return b"421 4.7.0 Too many connections\r\n"
            self._open += 1
            self.most = max(self.most, self._open)
        if phase == "EHLO":
            self.reached.set()
        if phase == "QUIT":
            self._open -= 1
        if phase == "DOT":
            await asyncio.sleep(0.01)
        return None
