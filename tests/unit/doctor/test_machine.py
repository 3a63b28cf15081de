"""The clock and the time-zone data of the machine."""

from datetime import UTC, datetime

from notifier.doctor import machine
from notifier.doctor.finding import Level


def test_a_clock_before_the_date_of_the_software_is_a_fault() -> None:
    """A machine whose clock starts in 1970 has a fault, whatever its kernel reports."""
    assert machine.clock(datetime(1970, 1, 2, tzinfo=UTC)).level is Level.FAULT
    assert machine.clock(datetime.now(UTC)).level is not Level.FAULT


def test_old_time_zone_data_is_a_warning() -> None:
    """Data of the year before last is a warning, data of this year is not."""
    year = machine.tzdata_year()
    assert [each.level for each in machine.zones(datetime(year, 12, 31, tzinfo=UTC))] == [Level.OK]
    assert [each.level for each in machine.zones(datetime(year + 2, 1, 1, tzinfo=UTC))] == [Level.WARNING]
