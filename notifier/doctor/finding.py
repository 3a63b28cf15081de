"""One thing that was looked at: how it is, in a sentence, and what to do about it."""

from enum import StrEnum
from typing import NamedTuple


class Level(StrEnum):
    """How bad it is. With a `fault` mail does not go, or is sure to be refused."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    FAULT = "fault"


class Finding(NamedTuple):
    """What was found about a topic; `remedy` is empty where nothing needs to be done."""

    level: Level
    topic: str
    says: str
    remedy: str = ""


def ok(topic: str, says: str) -> Finding:
    """Find nothing wrong."""
    return Finding(Level.OK, topic, says)


def note(topic: str, says: str, remedy: str = "") -> Finding:
    """Find something worth knowing."""
    return Finding(Level.NOTE, topic, says, remedy)


def warning(topic: str, says: str, remedy: str) -> Finding:
    """Find what will do harm, today or later."""
    return Finding(Level.WARNING, topic, says, remedy)


def fault(topic: str, says: str, remedy: str) -> Finding:
    """Find what keeps mail from going."""
    return Finding(Level.FAULT, topic, says, remedy)
