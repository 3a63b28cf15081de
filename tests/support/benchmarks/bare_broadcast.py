"""websockets alone: `python -m support.benchmarks.bare_broadcast FILE` sends the frame in FILE to every client.

Each line of input is one frame to all clients; nothing is answered. Each frame has another number in place of `NUMBER`.
"""

import asyncio
import sys
from pathlib import Path

import uvloop
from support.benchmarks.children import commands, say
from websockets.asyncio.server import ServerConnection, broadcast, serve


async def main(frame: str) -> None:
    """Serve until standard input ends."""
    clients, sent = set[ServerConnection](), 0

    async def welcome(client: ServerConnection) -> None:
        clients.add(client)
        await client.send('{"type":"snapshot"}')
        await client.wait_closed()

    async with serve(welcome, "127.0.0.1", 0, compression=None, backlog=1000) as server:
        say({"port": next(iter(server.sockets)).getsockname()[1]})
        async for _ in commands():
            broadcast(clients, frame.replace("NUMBER", f"{sent:08}", 1))
            sent += 1
            await asyncio.sleep(0)


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1]).read_text(encoding="utf-8")))
