"""How single values are read, checked and shown: durations, numbers, lists, schedules, tokens, hosts."""

import ipaddress
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, PlainSerializer, ValidationError, WrapValidator

from notifier.clock import check_cron

MIN_TOKEN_LENGTH = 16
"""Characters; a random token of this length cannot be guessed."""
MAX_LENGTH = timedelta(days=36_500)
"""The longest duration that a setting can have, about 100 years."""
SLOWEST = 0.00001
"""The lowest rate limit in mails per second, about one mail a day; near 0 the next start would exceed `datetime`."""
MAX_RATE = 100_000
NOT_IN_A_HEADER = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""Control characters, line separators, and bytes that are not UTF-8."""
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_HOST_NAME = re.compile(rb"[A-Za-z0-9_.-]{1,253}")


class BadValue(ValueError):
    """A value that cannot be used. Its texts never contain a secret.

    `wrong` says what is wrong with the value, `remedy` what to write instead.
    """

    def __init__(self, wrong: str, remedy: str) -> None:
        super().__init__(f"{wrong}; {remedy}")
        self.wrong = wrong
        self.remedy = remedy


def check_token(token: str) -> str:
    """Return a token; raise BadValue if it is too short to be hard to guess, or an HTTP header cannot carry it."""
    if not token.isprintable() or token != token.strip():
        raise BadValue("has a control character, or a space at one end", "use printable characters only")
    if len(token) < MIN_TOKEN_LENGTH:
        raise BadValue(
            f"is shorter than {MIN_TOKEN_LENGTH} characters",
            f"use at least {MIN_TOKEN_LENGTH}, for example the output of: openssl rand -hex 24",
        )
    return token


def is_loopback(host: str) -> bool:
    """Return whether a host name or address can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def words(text: Any) -> Any:
    """Split a comma-separated text; blanks around the words and empty words are left out."""
    return tuple(part.strip() for part in text.split(",") if part.strip()) if isinstance(text, str) else text


def shown_as(show: Callable[[Any], str | None]) -> PlainSerializer:
    """Return what makes `Settings.shown()` show a value as `show` returns it."""
    return PlainSerializer(show)


def whole_number(low: int, high: int) -> WrapValidator:
    """Return a check that an integer is in a range, both ends included."""
    return _number("a whole number", low, high)


def rate_limit() -> WrapValidator:
    """Return a check that a rate is 0, which means no limit, or between SLOWEST and MAX_RATE mails per second."""
    return _number("a number", 0, MAX_RATE)


def _number(what: str, low: int, high: int) -> WrapValidator:
    remedy = f"use {what} from {low} to {high}"

    def check(value: Any, parse: Callable[[Any], float]) -> float:
        try:
            number = parse(value)
        except ValidationError:
            raise BadValue(f"{value!r} is not {what}", remedy) from None
        if not low <= number <= high:
            raise BadValue(f"{value!r} is out of range", remedy)
        return number

    return WrapValidator(check)


def _not_too_slow(rate: float) -> float:
    if 0 < rate < SLOWEST:
        raise BadValue(
            f"{rate:g} mails per second is too slow",
            f"use 0 (no limit) or at least {SLOWEST:.5f} (about one mail a day)",
        )
    return rate


def _duration(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    match = _DURATION.fullmatch(text.strip())
    if not match:
        raise BadValue(f"{text!r} is not a duration", "use a number and a unit, such as 30s, 5m, 48h or 7d")
    seconds = float(match[1]) * _UNITS[match[2]]
    if seconds > MAX_LENGTH.total_seconds():
        raise BadValue(f"{text!r} is too long", f"use at most {MAX_LENGTH.days}d")
    duration = timedelta(seconds=seconds)
    if not duration:  # also what is shorter than the microsecond that timedelta counts in
        raise BadValue(f"{text!r} is no time at all", "use a duration greater than 0")
    return duration


def _durations(text: Any) -> Any:
    return tuple(_duration(part) for part in text.split(",")) if isinstance(text, str) else text


def _longer_than_an_hour(duration: timedelta) -> timedelta:
    if duration <= timedelta(hours=1):
        raise BadValue(
            f"{_duration_text(duration)} is too short: a reminder can leave one hour later, after departure",
            "use a duration greater than 1h",
        )
    return duration


def _duration_text(value: timedelta) -> str:
    seconds = value.total_seconds()
    unit = next((u for u in ("d", "h", "m") if seconds and seconds % _UNITS[u] == 0), "s")
    return f"{seconds / _UNITS[unit]:.15g}{unit}"


def _cron(text: str) -> str:
    try:
        check_cron(text)
    except ValueError as error:
        raise BadValue(
            f"{text!r} is not a schedule: {error}", "use five cron fields in UTC, such as */2 * * * *"
        ) from None
    return text


def _host(text: Any) -> Any:
    """Check the form of a host name or IP address, so that looking it up can raise nothing but OSError."""
    if not isinstance(text, str):
        return text
    host = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        encoded = host.encode("idna")
    except UnicodeError:
        encoded = b""
    if not _HOST_NAME.fullmatch(encoded):
        raise BadValue(f"{text!r} is not a host", "use a host name or an IP address, without a port")
    return host


def _hide(secret: str | None) -> str | None:
    return "***" if secret else secret


Duration = Annotated[timedelta, BeforeValidator(_duration), shown_as(_duration_text)]
Durations = Annotated[
    tuple[timedelta, ...], BeforeValidator(_durations), shown_as(lambda value: ",".join(map(_duration_text, value)))
]
ReminderTime = Annotated[Duration, AfterValidator(_longer_than_an_hour)]
Rate = Annotated[float, rate_limit(), AfterValidator(_not_too_slow)]
TextList = Annotated[tuple[str, ...], BeforeValidator(words), shown_as(",".join)]
Token = Annotated[str, AfterValidator(check_token), shown_as(_hide)]
Cron = Annotated[str, BeforeValidator(_cron)]
Host = Annotated[str, BeforeValidator(_host)]
