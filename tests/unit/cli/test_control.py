"""`notifier health`, `pause` and `resume` with a running service."""

import asyncio
import json

import pytest
from support.cli import run_async, service


async def test_health_is_exit_0_if_the_service_is_ready(environ: dict[str, str]) -> None:
    """The state of each part is printed."""
    async with service(environ) as (_, client):
        code, out, _ = await run_async("health", environ=client)
        assert (code, "store ok" in out) == (0, True)
        code, out, _ = await run_async("health", "--json", environ=client)
        assert json.loads(out)["status"] == "ok"


@pytest.mark.parametrize(
    "body", [b'{"error":"not found"}', b"[]", b"[" * 100_000, b"<html>", b'{"store":1,"actors":{}}']
)
async def test_health_does_not_mistake_another_service_for_notifier(body: bytes) -> None:
    """Whatever another service answers on that port, the exit code is 4 with one line on stderr."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        code, out, err = await run_async("health", environ={"NOTIFIER_PORT": str(port)})
    assert (code, out, len(err.splitlines())) == (4, "", 1)
    assert f"no notifier answers at 127.0.0.1:{port}" in err


async def test_sending_is_paused_and_resumed(environ: dict[str, str]) -> None:
    """The new state is printed on stderr, or as JSON on stdout."""
    async with service(environ) as (_, client):
        assert (await run_async("pause", environ=client))[::2] == (0, "sending is paused\n")
        assert json.loads((await run_async("resume", "--json", environ=client))[1]) == {"paused": False}
