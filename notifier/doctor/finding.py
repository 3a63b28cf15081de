"""The result of one check: its level, a sentence about it, and what to do."""

from enum import StrEnum
from typing import NamedTuple


class Level(StrEnum):
    """How serious a finding is.

    OK: nothing is wrong. NOTE: worth knowing. WARNING: does harm, now or later. FAULT: mail is not sent, or is certain
    to be rejected.
    """

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    FAULT = "fault"


class Finding(NamedTuple):
    """What was found about a topic. `says` is a sentence; `remedy` is what to do, or empty if nothing is needed."""

    level: Level
    topic: str
    says: str
    remedy: str = ""


def ok(topic: str, says: str) -> Finding:
    """Return a finding that nothing is wrong."""
    return Finding(Level.OK, topic, says)


def note(topic: str, says: str, remedy: str = "") -> Finding:
    """Return a finding that is worth knowing."""
    return Finding(Level.NOTE, topic, says, remedy)


def warning(topic: str, says: str, remedy: str) -> Finding:
    """Return a finding that does harm, now or later."""
    return Finding(Level.WARNING, topic, says, remedy)


def fault(topic: str, says: str, remedy: str) -> Finding:
    """Return a finding that keeps mail from being sent or accepted."""
    return Finding(Level.FAULT, topic, says, remedy)
