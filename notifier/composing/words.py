"""A locale's words for times and labels, as its `words.toml` has them. Pure."""

import calendar
from collections.abc import Iterator
from datetime import datetime, timedelta

from msgspec import Struct

from notifier.domain.mail import AirportTime

_LEAP_YEAR = 2028
"""Any year with a 29 February: between them its days have every weekday, every month and every day of the month."""


class LocaleStrings(Struct, frozen=True):
    """What templates of all locales share, and how this locale says it.

    `weekdays` begin with Monday. `date` is a pattern with `{weekday} {day} {month} {year}`,
    `duration` one with `{hours} {minutes}`. `labels` are the words of layout and flight card.
    """

    weekdays: tuple[str, ...]
    months: tuple[str, ...]
    date: str
    duration: str
    local_time: str
    labels: dict[str, str]

    def date_of(self, clock: datetime) -> str:
        """Write a day."""
        weekday, month = self.weekdays[clock.weekday()], self.months[clock.month - 1]
        return self.date.format(weekday=weekday, day=clock.day, month=month, year=clock.year)

    def zone_of(self, time: AirportTime) -> str:
        """Write the time zone, so that nobody takes the time for their own."""
        if time.at is None:
            return self.local_time
        minutes = round((time.clock - time.at.replace(tzinfo=None)) / timedelta(minutes=1))
        offset = f"UTC{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"
        return f"{time.zone}, {offset}" if time.zone else offset

    def duration_of(self, time: timedelta) -> str:
        """Write how long a flight takes."""
        minutes = time // timedelta(minutes=1)
        return self.duration.format(hours=minutes // 60, minutes=minutes % 60)

    def faults(self) -> Iterator[str]:
        """Yield what would fail or be missing for some day or some duration of a flight, by the name of its key."""
        for name, found, expected in (("weekdays", self.weekdays, 7), ("months", self.months, 12)):
            if len(found) != expected:
                yield f"{name}: {expected} are expected, not {len(found)}"
            elif not all(word.strip() for word in found):
                yield f"{name}: at least one word is expected for each"
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
    """Yield the first fault of a pattern: one that raises, or that writes nothing."""
    try:
        if not all(text.strip() for text in written):
            yield f"{name}: at least one word is expected"
    except Exception as error:  # noqa: BLE001 - a pattern can raise anything
        yield f"{name}: {type(error).__name__}: {error}"
