"""Logging to stderr: one line an event, for people or (`json`) for programs; no address in it is whole."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from notifier.addresses import all_masked
from notifier.settings import LogSettings


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
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
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
