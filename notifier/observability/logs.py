"""Logging to stderr: one line an event, for people or (`json`) for programs; no address in it is whole."""

import logging
import os
import select
import sys
import threading
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager, suppress
from queue import Empty, Full, Queue
from typing import Any

import structlog

from notifier.domain.addresses import all_masked
from notifier.settings import LogSettings

log = structlog.get_logger(__name__)

MAX_LINES = 10_000
"""Lines that may wait for a reader of stderr that has stopped reading; later ones are counted and dropped."""
TOGETHER = 100
"""Lines that are written at once."""
FLUSH_TIMEOUT = 2.0
"""Seconds that the last lines have to be written when the service ends."""


class _Stderr:
    """Stderr, written to at once, or by a thread while `from_a_thread` lasts: whoever reads it may stop reading."""

    def __init__(self) -> None:
        self._lines: Queue[str | None] | None = None
        self._writer: threading.Thread | None = None
        self._writers_own = ""
        self._dropped = 0
        self._counting = threading.Lock()

    def write(self, text: str) -> None:
        """Write text, or hand it to the thread without waiting."""
        if self._lines is None:
            sys.stderr.write(text)
            return
        if threading.current_thread() is self._writer:
            # In a full queue the line that counts dropped lines would be dropped itself, and the count be lost.
            self._writers_own += text
            return
        try:
            self._lines.put_nowait(text)
        except Full:
            with self._counting:
                self._dropped += 1

    def flush(self) -> None:
        """Flush what was written at once."""
        if self._lines is None:
            sys.stderr.flush()

    @contextmanager
    def from_a_thread(self) -> Iterator[None]:
        """Write in a thread, which ends with the block: within FLUSH_TIMEOUT, even if nobody reads."""
        sys.stderr.flush()
        lines = self._lines = Queue(MAX_LINES)
        args = (sys.stderr.fileno(), lines)
        # A daemon that uses nothing but the descriptor: a write that never ends must not hold up the process's end.
        writer = self._writer = threading.Thread(target=self._write_on, args=args, name="log", daemon=True)
        writer.start()
        try:
            yield
        finally:
            with suppress(Full):
                lines.put(None, timeout=FLUSH_TIMEOUT)
            writer.join(FLUSH_TIMEOUT)
            if not writer.is_alive():
                self._lines = None

    def _write_on(self, descriptor: int, lines: "Queue[str | None]") -> None:
        """Write lines until a None among them, in few writes if there are many."""
        ending = False
        while not (ending and lines.empty()):
            found = [lines.get()]
            with suppress(Empty):
                while len(found) < TOGETHER:
                    found.append(lines.get_nowait())
            ending = ending or None in found
            _write_all(descriptor, "".join(filter(None, found)).encode(errors="backslashreplace"))
            self._report_dropped(descriptor)

    def _report_dropped(self, descriptor: int) -> None:
        with self._counting:
            dropped, self._dropped = self._dropped, 0
        if dropped:
            log.warning("log lines were dropped: stderr was not read", count=dropped)
            text, self._writers_own = self._writers_own, ""
            _write_all(descriptor, text.encode(errors="backslashreplace"))


STDERR: Any = _Stderr()
"""What all of our lines are written to."""


def _write_all(descriptor: int, data: bytes) -> None:
    """Write to a descriptor, however slowly it is read; if it cannot be written to, the service goes on without."""
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:
            select.select([], [descriptor], [])
        except OSError:
            return


def configure(settings: LogSettings) -> None:
    """Set up structlog, and let warnings of the libraries through the same channel."""
    level = logging.getLevelNamesMapping()[settings.level]
    render: structlog.types.Processor = (
        structlog.processors.JSONRenderer()
        if settings.format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=0)
    )
    safe = [] if settings.format == "json" else [one_line]
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        mask,
    ]
    structlog.configure(
        processors=[*shared, *safe, render],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(STDERR),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(STDERR)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processor=render, foreign_pre_chain=[*shared, *safe]))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    # These tell at warning level and above what we report ourselves, once and in our words.
    for library in ("aiormq", "websockets", "aiosqlite", "asyncio"):
        logging.getLogger(library).setLevel(logging.CRITICAL)


def mask(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Mask the addresses that came into a line with the words of others: a server's, a library's, a traceback's."""
    for name, value in event.items():
        if isinstance(value, str) and "@" in value:
            event[name] = all_masked(value)
    return event


def one_line(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Show what a stranger wrote as what it is: no word of it can end a line, begin one, or speak to the terminal.

    JSON escapes all this by itself.
    """
    for name, value in event.items():
        if name == "exception":
            event[name] = "\n".join(f"    {_escaped(line)}" for line in str(value).split("\n"))
        elif isinstance(value, str):
            event[name] = _escaped(value)
    return event


def _escaped(text: str) -> str:
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
