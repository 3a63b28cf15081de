"""What is wrong with JSON that does not fit its type, in words for people. Pure."""

import re
from typing import Any

import msgspec
from msgspec import inspect

from notifier.domain.expected import options_at

_MISSING = re.compile(r"Object missing required field `([^`]+)`")


def mismatch(error: Exception, shape: Any, where: str) -> str:
    """Describe an error of decoding `shape`, for example `args.id: must be a string`.

    `where` names what was decoded, such as `args`. The wrong value itself is not repeated.
    """
    # msgspec reports where a value is wrong only in this text; what is wrong with it follows from the shape.
    text, _, path = str(error).removesuffix("`").partition(" - at `$")
    if isinstance(error, RecursionError):
        return f"{where}: nested too deeply"
    if missing := _MISSING.match(str(error)):
        return f"{where}{path}.{missing[1]}: missing"
    expected = _expected(shape, path) if isinstance(error, msgspec.ValidationError) else ""
    return f"{where}{path}: must be {expected}" if expected else f"{where}{path}: {text}"


def _expected(shape: Any, path: str) -> str:
    words = dict.fromkeys(_word(kind) for kind, _ in options_at(shape, path))
    if "a number" in words:
        words.pop("an integer", None)
    return " or ".join(words)


def _word(kind: inspect.Type) -> str:
    match kind:
        case inspect.EnumType():
            return f"one of {', '.join(str(each.value) for each in kind.cls)}"
        case inspect.LiteralType():
            return f"one of {', '.join(map(str, kind.values))}"
        case inspect.IntType():
            return f"an integer{_range(kind)}"
        case inspect.FloatType():
            return f"a number{_range(kind)}"
        case inspect.ListType():
            return "a list" if kind.max_length is None else f"a list of at most {kind.max_length} entries"
    return _WORDS.get(type(kind), "an object")


def _range(kind: inspect.IntType | inspect.FloatType) -> str:
    last = kind.le if kind.lt is None else kind.lt - 1
    return "" if kind.ge is None or last is None else f" from {kind.ge} to {last}"


_WORDS: dict[type[inspect.Type], str] = {
    inspect.StrType: "a string",
    inspect.BoolType: "true or false",
    inspect.NoneType: "null",
}
