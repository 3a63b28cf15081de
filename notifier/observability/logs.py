"""Logging to stderr: one line per event, for people or (`json`) for programs, with every address masked."""

import logging
import os
import select
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager, suppress
from json.encoder import encode_basestring_ascii
from queue import Empty, SimpleQueue
from typing import Any, Literal, NamedTuple

import structlog

from notifier import clock
from notifier.domain.addresses import all_masked
from notifier.settings import LogSettings

log = structlog.get_logger(__name__)

MAX_LINES = 10_000
"""Lines that can wait if stderr is not read; later ones are dropped and counted."""
BATCH_SIZE = 100
"""Lines that are written together, or a few more."""
FLUSH_TIMEOUT = 4.0
"""Seconds that writing the last lines can take when the service ends."""


class _Stderr:
    """Stderr, written directly, or by a thread during `from_a_thread`, so that a reader that stops blocks nothing."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[tuple[str, int] | None] | None = None
        self._writer: threading.Thread | None = None
        self._writers_own = ""
        self._waiting = 0
        self._dropped = 0
        self._counting = threading.Lock()

    def write(self, text: str, lines: int = 1) -> None:
        """Write a text with this number of lines, or hand it to the thread without waiting."""
        if self._queue is None:
            sys.stderr.write(text)
            return
        if threading.current_thread() is self._writer:
            # If the queue is full, the line with the number of dropped lines would be dropped itself.
            self._writers_own += text
            return
        with self._counting:
            is_full = self._waiting + lines > MAX_LINES
            if is_full:
                self._dropped += lines
            else:
                self._waiting += lines
        if not is_full:
            self._queue.put((text, lines))

    def flush(self) -> None:
        """Flush what was written directly."""
        if self._queue is None:
            sys.stderr.flush()

    @contextmanager
    def from_a_thread(self) -> Iterator[None]:
        """Write in a thread until the block ends, which takes at most FLUSH_TIMEOUT even if nobody reads."""
        sys.stderr.flush()
        queue = self._queue = SimpleQueue()
        self._waiting = 0
        args = (sys.stderr.fileno(), queue)
        # A daemon that uses only the descriptor: a write that never returns must not keep the process from ending.
        writer = self._writer = threading.Thread(target=self._write_on, args=args, name="log", daemon=True)
        writer.start()
        try:
            yield
        finally:
            queue.put(None)
            writer.join(FLUSH_TIMEOUT)
            if not writer.is_alive():
                self._queue = None

    def _write_on(self, descriptor: int, queue: "SimpleQueue[tuple[str, int] | None]") -> None:
        """Write texts until one is None, many of them in one write if they come quickly."""
        ending = False
        while not (ending and queue.empty()):
            texts: list[str] = []
            lines = 0
            with suppress(Empty):
                while lines < BATCH_SIZE:
                    found = queue.get(block=not texts and not ending)
                    if found is None:
                        ending = True
                    else:
                        texts.append(found[0])
                        lines += found[1]
            with self._counting:
                self._waiting -= lines
            _write_all(descriptor, "".join(texts).encode(errors="backslashreplace"))
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
    return text if text.isprintable() else "".join(_escaped_char(char) for char in text)


def _escaped_char(char: str) -> str:
    return char if char.isprintable() else ascii(char)[1:-1]


class Line(NamedTuple):
    """A line to be logged."""

    level: Literal["info", "warning"]
    event: str
    """What happened."""
    fields: Mapping[str, str | int]
    """Everything else, in which all addresses are masked."""


class Lines:
    """Writes many lines at once. Each is the line that structlog would write, which takes ten times as long."""

    def __init__(self, settings: LogSettings) -> None:
        self._level = logging.getLevelNamesMapping()[settings.level]
        self._render = _json_line if settings.format == "json" else _plain_line
        self._is_coloured = settings.format != "json" and sys.stderr.isatty()

    def writes(self, level: Literal["info", "warning"]) -> bool:
        """Return whether lines of this level are written at all."""
        return self._level <= (logging.INFO if level == "info" else logging.WARNING)

    def write(self, lines: Iterable[Line]) -> None:
        """Write the lines whose level is logged."""
        written = [line for line in lines if self.writes(line.level)]
        if self._is_coloured:
            for line in written:
                getattr(log, line.level)(line.event, **line.fields)
        elif written:
            at = clock.now().isoformat(timespec="microseconds").replace("+00:00", "Z")
            STDERR.write("".join([self._render(line, at) for line in written]), len(written))


def _json_line(line: Line, at: str) -> str:
    fields = [f'"{name}": {_quoted(value)}' for name, value in line.fields.items()]
    given = "".join(f"{field}, " for field in fields)
    return f'{{{given}"event": {_quoted(line.event)}, "level": "{line.level}", "timestamp": "{at}"}}\n'


def _quoted(value: str | int) -> str:
    return encode_basestring_ascii(value) if isinstance(value, str) else str(value)


def _plain_line(line: Line, at: str) -> str:
    fields = "".join([f" {name}={_shown(value)}" for name, value in sorted(line.fields.items())])
    return f"{at} [{line.level:<9}] {_escaped(line.event)}{fields}\n"


def _shown(value: str | int) -> str:
    if not isinstance(value, str):
        return str(value)
    text = _escaped(value)
    return text if _SPECIAL.isdisjoint(text) else repr(text)


_SPECIAL = frozenset(" \t=\r\n\"'")
"""Characters of a value that is written in quotes."""
