"""Which types a value inside a msgspec shape can have, for errors that say what was expected. Pure."""

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from msgspec import inspect

_STEP = re.compile(r"\.(\w+)|\[\w+\]")

Option = tuple[inspect.Type, str | None]
"""One of the types that a value can have, and its description."""


def options_at(shape: Any, path: str) -> list[Option]:
    """Return the types that the value at a path can have; empty if the shape has no such path.

    `path` is written as in msgspec's errors, without the `$`: `.flights[0].number`.
    """
    options = list(_options(_type(shape)))
    for step in _STEP.finditer(path):
        options = [option for kind, _ in options for option in _step(kind, step[1])]
    return options


@cache
def _type(shape: Any) -> inspect.Type:
    return inspect.type_info(shape)


def _options(kind: inspect.Type, description: str | None = None) -> Iterator[Option]:
    """Yield the types of a value; the outermost description counts for all of them."""
    if isinstance(kind, inspect.Metadata):
        own = (kind.extra_json_schema or {}).get("description")
        yield from _options(kind.type, description or own)
    elif isinstance(kind, inspect.UnionType):
        for each in kind.types:
            yield from _options(each, description)
    else:
        yield kind, description


def _step(kind: inspect.Type, name: str | None) -> Iterator[Option]:
    """Yield the types of an object's field or, without a name, of a list's entries."""
    if name and isinstance(kind, inspect.StructType):
        for field in kind.fields:
            if field.encode_name == name:
                yield from _options(field.type)
    elif not name and isinstance(kind, inspect.ListType):
        yield from _options(kind.item_type)
