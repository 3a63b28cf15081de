"""A TCP proxy that does to a connection what networks do: stall, cut, reset, lose a reply."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Self

from yarl import URL

PIECE = 1 << 16


class Proxy:
    """A proxy for connections to one local port; its attributes apply to every byte from the moment they are set."""

    def __init__(self, target: int) -> None:
        self.port = 0
        self.cut_after: int | None = None
        """Bytes that the client of a connection may still send before both sides are closed."""
        self.losing = 0
        """Pieces from the server that will be lost, each together with its connection."""
        self.mute_after: bytes | None = None
        """Bytes of a client after which no reply reaches any client; connections stay open."""
        self.muted = asyncio.Event()
        """Set once these bytes have been sent."""
        self.limit: int | None = None
        """Maximum number of bytes of replies that pass in a tenth of a second."""
        self.refusing = False
        """Whether new connections are closed immediately."""
        self.carried = 0
        """Pieces that arrived to be forwarded, in either direction."""
        self.connections = 0
        self.new_connection = asyncio.Condition()
        """Notified of every new connection."""
        self._target = target
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    @classmethod
    @asynccontextmanager
    async def to(cls, target: int) -> AsyncIterator[Self]:
        """Run a proxy while the block lasts."""
        proxy = cls(target)
        server = await asyncio.start_server(proxy._serve, "127.0.0.1", 0)
        proxy.port = server.sockets[0].getsockname()[1]
        try:
            yield proxy
        finally:
            server.close()
            for task in proxy._tasks:
                task.cancel()
            await asyncio.gather(*proxy._tasks, return_exceptions=True)
            for writer in proxy._writers:
                writer.transport.abort()  # close() would wait for a peer that reads nothing
            await asyncio.gather(*(writer.wait_closed() for writer in proxy._writers), return_exceptions=True)
            await server.wait_closed()

    def url(self, target: str) -> str:
        """Return the URL by which a client reaches the target through this proxy."""
        return str(URL(target).with_host("127.0.0.1").with_port(self.port))

    def stall(self) -> None:
        """Stop forwarding; open connections stay open and new ones get no reply."""
        self._flowing.clear()

    def flow(self) -> None:
        """Resume forwarding."""
        self._flowing.set()

    def speak(self) -> None:
        """Forward replies again; those that were dropped stay lost."""
        self.mute_after = None
        self.muted.clear()

    def reset(self) -> None:
        """Reset every connection on both sides (RST)."""
        for writer in [each for each in self._writers if not each.is_closing()]:
            raw: socket.socket = writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        async with self.new_connection:
            self.connections += 1
            self.new_connection.notify_all()
        if self.refusing:
            writer.close()
            return
        try:
            await self._flowing.wait()
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except (OSError, asyncio.CancelledError):
            writer.close()
            return
        ends = {writer, far_writer}
        self._writers |= ends
        ways = (self._forward(reader, far_writer, is_reply=False), self._forward(far_reader, writer, is_reply=True))
        pumps = [asyncio.create_task(way) for way in ways]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            for end in ends:
                end.close()
        await asyncio.gather(*(end.wait_closed() for end in ends), return_exceptions=True)
        self._writers -= ends

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_reply: bool) -> None:
        with suppress(OSError):
            while piece := await reader.read(self.limit or PIECE if is_reply else PIECE):
                await self._flowing.wait()
                self.carried += 1
                if is_reply and self.limit:
                    await asyncio.sleep(0.1)
                if not is_reply and self.mute_after and self.mute_after in piece:
                    self.muted.set()
                if is_reply and self.muted.is_set():
                    continue
                if is_reply and self.losing:
                    self.losing -= 1
                    return
                if not is_reply and self.cut_after is not None:
                    piece, self.cut_after = piece[: self.cut_after], self.cut_after - len(piece)
                    if self.cut_after <= 0:
                        writer.write(piece)
                        await writer.drain()
                        self.cut_after = None
                        return
                writer.write(piece)
                await writer.drain()
