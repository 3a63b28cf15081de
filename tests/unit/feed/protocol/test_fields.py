"""Fields that several frames have."""

from typing import Any

import msgspec
import pytest

from notifier.domain.mail import Status
from notifier.feed.protocol import MAX_MAILS, FrameId, Role, Totals
from notifier.feed.protocol.fields import MAX_VALUES, Rate


def test_totals_have_every_status() -> None:
    """Each number is found under the name of its status."""
    totals = Totals.of({status: number for number, status in enumerate(Status)})
    assert msgspec.to_builtins(totals) == {status.value: number for number, status in enumerate(Status)}


def test_totals_without_a_status_are_an_error() -> None:
    """A status that was forgotten is not shown as zero."""
    with pytest.raises(TypeError, match="uncertain"):
        Totals.of({status: 1 for status in Status if status is not Status.UNCERTAIN})


@pytest.mark.parametrize(
    ("field", "valid", "invalid"),
    [
        (Role, ["viewer", "operator"], ["admin", "", None]),
        (Rate, [0, 0.5, 1000], [-0.1, "1", None]),
        (FrameId, ["a", "", 1, -2.5, None], [True, [], {}]),
    ],
)
def test_a_field_has_the_values_that_are_promised(field: Any, valid: list[Any], invalid: list[Any]) -> None:
    """Any other value is refused when a frame is read."""
    assert [msgspec.convert(each, field) for each in valid] == valid
    for each in invalid:
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(each, field)


def test_a_total_is_never_negative() -> None:
    """Each of the seven is a count."""
    counts = {str(status): 0 for status in Status}
    assert msgspec.convert(counts, Totals) == Totals(**counts)
    for status in counts:
        with pytest.raises(msgspec.ValidationError, match=status):
            msgspec.convert({**counts, status: -1}, Totals)


def test_what_one_frame_carries_is_limited() -> None:
    """Clients rely on the first limit, and the second one bounds the cost of a filter."""
    assert (MAX_MAILS, MAX_VALUES) == (500, 500)
