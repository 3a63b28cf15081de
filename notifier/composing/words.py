"""A locale's words for times and labels, as its `words.toml` has them. Pure."""

from datetime import datetime, timedelta

from msgspec import Struct

from notifier.mail import AirportTime


class Words(Struct, frozen=True):
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
