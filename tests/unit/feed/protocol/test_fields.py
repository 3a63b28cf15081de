"""Fields that several frames have."""

import msgspec
import pytest

from notifier.domain.mail import Status
from notifier.feed.protocol import Totals


def test_totals_have_every_status() -> None:
    """Each number is found under the name of its status."""
    totals = Totals.of({status: number for number, status in enumerate(Status)})
    assert msgspec.to_builtins(totals) == {status.value: number for number, status in enumerate(Status)}


def test_totals_without_a_status_are_an_error() -> None:
    """A status that was forgotten is not shown as zero."""
    with pytest.raises(TypeError, match="uncertain"):
        Totals.of({status: 1 for status in Status if status is not Status.UNCERTAIN})
