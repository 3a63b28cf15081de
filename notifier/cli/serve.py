"""`notifier serve`: the service as a process, from its settings to its last signal."""

import asyncio
import gc
import os
import resource
import signal

import structlog
import typer
import uvloop
from websockets.asyncio.server import Server

from notifier import __version__, service
from notifier.cli import token_file
from notifier.errors import StoreUnusable
from notifier.feed.client import reachable
from notifier.observability import logs
from notifier.settings import FeedSettings, Settings, load, unknown

log = structlog.get_logger(__name__)

MAX_OPEN_FILES = 8192
"""Enough for as many clients as the feed accepts, before and after `hello`; the usual limit of a shell is 1,024."""


def serve() -> None:
    """Run the service until SIGTERM or SIGINT; a second signal ends it immediately."""
    settings = load(os.environ)
    logs.configure(settings.log)
    for name in unknown(os.environ):
        log.warning("unknown setting ignored", name=name)
    with logs.STDERR.from_a_thread():
        try:
            uvloop.run(_serve(settings._replace(feed=token_file.given(settings.feed))))
        except StoreUnusable as error:
            raise StoreUnusable(f"{error} (NOTIFIER_DATABASE_URL names the file)") from error


async def _serve(settings: Settings) -> None:
    _raise_open_files_limit()
    makes_token = settings.feed.lacks_token
    if makes_token:
        settings = settings._replace(feed=token_file.made(settings.feed))
    stop = asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            os._exit(1)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)
    async with service.running(settings) as server:
        log.info("notifier is running", version=__version__, feed=_address(server))
        if makes_token:
            token_file.keep(settings.feed)
            _print_token(settings.feed, _address(server))
        # What the start has made stays until the end, so that no search for garbage needs to look at it again.
        gc.freeze()
        await stop.wait()
        log.info("stopping")
    log.info("stopped")


def _raise_open_files_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(MAX_OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _print_token(feed: FeedSettings, address: str) -> None:
    """Print the new token once. It is not logged, because logs must hold no secrets."""
    typer.echo(f"notifier: open {address} with the token {feed.operator_token} (kept in {feed.make_token})", err=True)


def _address(server: Server) -> str:
    """Return a URL of the feed that works in a browser on this machine."""
    host, port = server.sockets[0].getsockname()[:2]
    host = reachable(host)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
