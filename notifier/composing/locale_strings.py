"""A locale's words for dates, times and labels: the content of its `words.toml`. Pure."""

import calendar
from collections.abc import Iterator
from datetime import datetime, timedelta

from msgspec import Struct

from notifier.domain.mail import AirportTime

_LEAP_YEAR = 2028
"""Any leap year: together its days have every weekday, every month and every day of the month."""


class LocaleStrings(Struct, frozen=True, eq=False):
    """The words of one locale that its templates share. Two of them are never equal, so each can be a key."""

    weekdays: tuple[str, ...]
    """Seven names, from Monday on."""
    months: tuple[str, ...]
    """Twelve names."""
    date: str
    """A pattern with `{weekday}`, `{day}`, `{month}` and `{year}`."""
    duration: str
    """A pattern with `{hours}` and `{minutes}`."""
    local_time: str
    """What stands for the time zone if it is not known."""
    labels: dict[str, str]
    """The words of the layout, the flight card and the calendar, by name."""

    def date_of(self, clock: datetime) -> str:
        """Return a date in words."""
        weekday, month = self.weekdays[clock.weekday()], self.months[clock.month - 1]
        return self.date.format(weekday=weekday, day=clock.day, month=month, year=clock.year)

    def zone_of(self, time: AirportTime) -> str:
        """Return the time zone of a time, so that no reader mistakes it for their own."""
        if time.at is None:
            return self.local_time
        minutes = round((time.clock - time.at.replace(tzinfo=None)) / timedelta(minutes=1))
        offset = f"UTC{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"
        return f"{time.zone}, {offset}" if time.zone else offset

    def duration_of(self, time: timedelta) -> str:
        """Return the duration of a flight in words."""
        minutes = time // timedelta(minutes=1)
        return self.duration.format(hours=minutes // 60, minutes=minutes % 60)

    def faults(self) -> Iterator[str]:
        """Yield what would fail or be empty for some date or some duration, each with the name of its key."""
        for name, found, expected in (("weekdays", self.weekdays, 7), ("months", self.months, 12)):
            if len(found) != expected:
                yield f"{name}: must have {expected} names, not {len(found)}"
            elif not all(word.strip() for word in found):
                yield f"{name}: must not have empty names"
            else:
                continue
            return  # no date can be written without them
        yield from _fault("date", self._every_date())
        yield from _fault("duration", self._every_duration())

    def _every_date(self) -> Iterator[str]:
        for month in range(1, 13):
            for day in range(1, calendar.monthrange(_LEAP_YEAR, month)[1] + 1):
                yield self.date_of(datetime(_LEAP_YEAR, month, day))  # noqa: DTZ001 - what an airport's clock shows

    def _every_duration(self) -> Iterator[str]:
        for minutes in range(1, 24 * 60):
            yield self.duration_of(timedelta(minutes=minutes))


def _fault(name: str, written: Iterator[str]) -> Iterator[str]:
    """Yield the first fault of a pattern: it raises for some value, or its text is empty."""
    try:
        if not all(text.strip() for text in written):
            yield f"{name}: must not be empty"
    except Exception as error:  # noqa: BLE001 - a pattern can raise anything
        yield f"{name}: {type(error).__name__}: {error}"
