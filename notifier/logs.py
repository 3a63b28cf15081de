"""Logging to stderr: one line an event, for people or (`json`) for programs."""

import logging
import sys

import structlog

from notifier.settings import LogSettings


def configure(settings: LogSettings) -> None:
    """Set up structlog, and let warnings of the libraries through the same channel."""
    level = logging.getLevelNamesMapping()[settings.level]
    render: structlog.types.Processor = (
        structlog.processors.JSONRenderer()
        if settings.format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=0)
    )
    shared: list[structlog.types.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, render],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processor=render, foreign_pre_chain=shared))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    # These tell at warning level and above what we report ourselves, once and in our words.
    for library in ("aiormq", "websockets", "aiosqlite", "asyncio"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
