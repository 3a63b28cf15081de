"""Reads what stands beside a message's body whatever its publisher put there.

The broker passes on properties and routing keys that it never looked into. Where
one of them cannot be read pamqp raises, aiormq gives the whole connection up, and
the broker delivers the same message again, for ever.
"""

from collections.abc import Callable
from typing import Any

from pamqp import decode

_Read = Callable[[bytes], tuple[int, Any]]


def read_all() -> None:
    """Let pamqp read every property: a character that is none as U+FFFD, any other value that is none as nothing."""
    decode.METHODS["shortstr"] = _short_string
    decode.METHODS["timestamp"] = _timestamp
    decode.METHODS["table"] = _table


def _short_string(value: bytes) -> tuple[int, str]:
    end = value[0] + 1
    return end, value[1:end].decode(errors="replace")


def _timestamp(value: bytes) -> tuple[int, Any]:
    return _readable(decode.timestamp, value, 8)


def _table(value: bytes) -> tuple[int, Any]:
    return _readable(decode.field_table, value, 4 + int.from_bytes(value[:4], "big"))


def _readable(read: _Read, value: bytes, size: int) -> tuple[int, Any]:
    try:
        return read(value)
    except (ValueError, OverflowError, OSError, RecursionError):
        return size, None
