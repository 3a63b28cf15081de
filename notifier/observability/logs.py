"""Logging to stderr: one line per event, for people or (`json`) for programs, with every address masked."""

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
"""Lines that can wait if stderr is not read; later ones are dropped and counted."""
BATCH_SIZE = 100
"""Lines that are written together."""
FLUSH_TIMEOUT = 2.0
"""Seconds that writing the last lines can take when the service ends."""


class _Stderr:
    """Stderr, written directly, or by a thread during `from_a_thread`, so that a reader that stops blocks nothing."""

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
            # If the queue is full, the line with the number of dropped lines would be dropped itself.
            self._writers_own += text
            return
        try:
            self._lines.put_nowait(text)
        except Full:
            with self._counting:
                self._dropped += 1

    def flush(self) -> None:
        """Flush what was written directly."""
        if self._lines is None:
            sys.stderr.flush()

    @contextmanager
    def from_a_thread(self) -> Iterator[None]:
        """Write in a thread until the block ends, which takes at most 2 x FLUSH_TIMEOUT even if nobody reads."""
        sys.stderr.flush()
        lines = self._lines = Queue(MAX_LINES)
        args = (sys.stderr.fileno(), lines)
        # A daemon that uses only the descriptor: a write that never returns must not keep the process from ending.
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
        """Write lines until one is None, many of them in one write if they come quickly."""
        ending = False
        while not (ending and lines.empty()):
            found = [lines.get()]
            with suppress(Empty):
                while len(found) < BATCH_SIZE:
                    found.append(lines.get_nowait())
            ending = ending or None in found
            _write_all(descriptor, "".join(filter(None, found)).encode(errors="backslashreplace"))
            self._report_dropped(descriptor)

    def _report_dropped(self, descriptor: int) -> None:
        with self._counting:
            dropped, self._dropped = self._dropped, 0
        if dropped:
            log.warning("log lines dropped: stderr was not read", count=dropped)
            text, self._writers_own = self._writers_own, ""
            _write_all(descriptor, text.encode(errors="backslashreplace"))


STDERR: Any = _Stderr()
"""Where all log lines are written."""


def _write_all(descriptor: int, data: bytes) -> None:
    """Write all data to a descriptor, waiting for its reader. Errors are ignored: the service runs without a log."""
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:
            select.select([], [descriptor], [])
        except OSError:
            return


def configure(settings: LogSettings) -> None:
    """Configure structlog, and log warnings of libraries in the same format."""
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
    # notifier reports their errors itself, once and with context.
    for library in ("aiormq", "websockets", "aiosqlite", "asyncio"):
        logging.getLogger(library).setLevel(logging.CRITICAL)


def mask(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Mask addresses in text that others wrote: replies of servers, messages of libraries, tracebacks."""
    for name, value in event.items():
        if isinstance(value, str) and "@" in value:
            event[name] = all_masked(value)
    return event


def one_line(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Escape control characters, so that text from outside can neither forge a line nor control the terminal.

    JSON escapes them anyway.
    """
    for name, value in event.items():
        if name == "exception":
            event[name] = "\n".join(f"    {_escaped(line)}" for line in str(value).split("\n"))
        elif isinstance(value, str):
            event[name] = _escaped(value)
    return event


def _escaped(text: str) -> str:
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
