"""Types of fields that several frames share, and the limits of what one frame can carry. Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct

from notifier.domain.events import timestamp
from notifier.domain.mail import Status

MAX_MAILS = 500
"""Mails in one snapshot or list."""
MAX_VALUES = 500
"""Values of one field of a filter."""

Role = Literal["viewer", "operator"]
"""What a client may do: watch and list, or everything."""

Time = Annotated[str, Meta(description="RFC 3339, UTC, milliseconds", extra_json_schema={"format": "date-time"})]
Count = Annotated[int, Meta(ge=0)]
Rate = Annotated[float, Meta(ge=0)]
FrameId = str | int | float | None
"""A client's own mark of a frame; the answer carries the same."""

# Clients must be able to read the words of a newer service, so in frames of the server these are texts, not enums.
StatusWord = Annotated[str, Meta(extra_json_schema={"$ref": "#/components/schemas/Status"})]
"""A status, or a later version's."""
KindWord = Annotated[str, Meta(extra_json_schema={"$ref": "#/components/schemas/Kind"})]
"""A kind, or a later version's."""


def moment(at: datetime) -> str:
    """Write a UTC time as frames have it."""
    return timestamp(at) or ""


class Totals(Struct, frozen=True):
    """Mails by status."""

    pending: Annotated[Count, Meta(description="Stored; waiting for their time or for the next attempt")]
    sending: Annotated[Count, Meta(description="Being handed to the SMTP server")]
    sent: Annotated[Count, Meta(description="Accepted by the SMTP server")]
    failed: Annotated[Count, Meta(description="Rejected permanently, or given up")]
    cancelled: Annotated[Count, Meta(description="Withdrawn by a later message or an operator")]
    expired: Annotated[Count, Meta(description="Not sent before they had become useless")]
    uncertain: Annotated[Count, Meta(description="Handed over with an unknown outcome, and held")]

    @classmethod
    def of(cls, counts: Mapping[Status, int]) -> "Totals":
        """Take the numbers of every status."""
        return cls(**{str(status): count for status, count in counts.items()})
