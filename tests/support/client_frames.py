"""Frames as clients write them."""

import json
from typing import Any, TypeVar

from notifier.feed.protocol import CommandFrame, FilterFrame, HelloFrame, read_frame

_Frame = TypeVar("_Frame", HelloFrame, FilterFrame, CommandFrame)


def frame(**fields: Any) -> str:
    """Write a frame with these fields, whether or not they belong to one."""
    return json.dumps(fields)


def read(type_: type[_Frame], **fields: Any) -> _Frame:
    """Write a frame and read it; it must be of this type."""
    found = read_frame(frame(**fields))
    assert isinstance(found, type_)
    return found
