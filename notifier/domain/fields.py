"""Checks of the parts of a message; what fails one is refused, with the field and the rule in the detail. Pure."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from notifier.domain.addresses import normalised
from notifier.domain.airports import parse
from notifier.domain.expected import options_at
from notifier.domain.message_shapes import LINE_CONTROLS, MAX_ID_BYTES, MAX_WORD, TEXT_CONTROLS
from notifier.domain.notification import Recipient
from notifier.errors import Refused

_T = TypeVar("_T")
_NOT_IN_A_LINE = re.compile(rf"[{LINE_CONTROLS}\ud800-\udfff]")
_NOT_IN_A_TEXT = re.compile(rf"[{TEXT_CONTROLS}\ud800-\udfff]")
_LONE_CR = re.compile(r"\r(?!\n)")
_PATH = re.compile(r" - at `\$(.*)`$")
_STEP = re.compile(r"\.(\w+)|\[(\d+)\]")


def shaped(found: Mapping[str, Any], shape: type[_T], at: str = "") -> _T:
    """Convert a JSON object to a shape. `at` is where the object is in the message, for example `data`.

    Raises Refused: `too_large` if a list has too many entries, otherwise `invalid`.
    """
    try:
        return msgspec.convert(found, shape)
    except msgspec.ValidationError as error:
        # msgspec reports where a value is wrong only in this text; what is wrong with it follows from the shape.
        path = _PATH.search(str(error))
        raise _refusal(found, shape, path[1] if path else "", at) from None


def _refusal(found: Mapping[str, Any], shape: type, path: str, at: str) -> Refused:
    value: Any = found
    for name, index in _STEP.findall(path):
        value = value[name] if name else value[int(index)]
    options = options_at(shape, path)
    where = f"{at}{path}".removeprefix(".")
    for kind, _ in options:
        if isinstance(kind, inspect.StructType) and isinstance(value, dict):
            missing = next(each.encode_name for each in kind.fields if each.required and each.encode_name not in value)
            return Refused("invalid", f"{where}.{missing}: missing".removeprefix("."))
        if isinstance(kind, inspect.ListType) and isinstance(value, list) and len(value) > (kind.max_length or 0) > 0:
            return Refused("too_large", f"{where}: {len(value)} entries; at most {kind.max_length} are allowed")
    rule = next((description for _, description in options if description), "an object")
    return Refused("invalid", f"{where}: must be {rule}")


def word(where: str, text: str) -> str:
    """Return a text of one line that is not blank, unchanged."""
    if not text.strip():
        raise Refused("invalid", f"{where}: must not be blank")
    if len(text) > MAX_WORD:
        raise Refused("invalid", f"{where}: longer than {MAX_WORD} characters")
    if _NOT_IN_A_LINE.search(text):
        raise Refused("invalid", f"{where}: contains a control character or a line break")
    return text


def identifier(where: str, text: str) -> str:
    """Return an id or a source unchanged."""
    if len(text.encode(errors="replace")) > MAX_ID_BYTES:
        raise Refused("invalid", f"{where}: longer than {MAX_ID_BYTES} bytes")
    return word(where, text)


def line(where: str, text: str) -> str:
    """Return a text for people with single spaces: a mail's headers cannot carry any other."""
    return " ".join(part for part in word(where, text).split(" ") if part)


def text(where: str, given: str) -> str:
    """Return a text of several lines, with LF as the only line end.

    Lines end in CRLF on the wire; a lone CR must never get there.
    """
    if _NOT_IN_A_TEXT.search(given):
        raise Refused("invalid", f"{where}: contains a control character other than a tab or a line end")
    return _LONE_CR.sub("\n", given).replace("\r\n", "\n")


def address(given: str) -> tuple[str, str | None]:
    """Return an address as it is mailed; an invalid one is returned as it came, on one line, with the reason."""
    try:
        return normalised(given), None
    except ValueError as error:
        return _NOT_IN_A_LINE.sub("?", given[:MAX_WORD]), str(error)


def recipients(where: str, addresses: Sequence[str]) -> tuple[Recipient, ...]:
    """Return the recipients of a request. If no address is valid, the fault of the first one is reported at `where`."""
    found = tuple(Recipient(*address(each)) for each in addresses)
    if all(recipient.fault for recipient in found):
        raise Refused("invalid", f"{where}: {found[0].fault}")
    return found


def instant(where: str, given: str) -> datetime:
    """Return a time in UTC; it must have an offset."""
    found = read(where, lambda: parse(given))
    if found.tzinfo is None:
        raise Refused("invalid", f"{where}: needs an offset such as +05:30, or Z")
    return found.astimezone(UTC)


def read(where: str, reader: Callable[[], _T]) -> _T:
    """Return what a reader returns; if it raises ValueError, the field is refused with that reason."""
    try:
        return reader()
    except ValueError as error:
        raise Refused("invalid", f"{where}: {error}") from None
