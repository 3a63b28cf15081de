"""Types of fields that several frames share, and the limits of what one frame can carry. Pure."""

from collections.abc import Mapping
from typing import Annotated, Literal

from msgspec import Meta, Struct

from notifier.domain.mail import Status
from notifier.domain.public_mail import Count

MAX_MAILS = 500
"""Mails in one snapshot or list."""
MAX_VALUES = 500
"""Values of one field of a filter."""

Role = Literal["viewer", "operator"]
"""What a client may do: watch and list, or everything."""

Rate = Annotated[float, Meta(ge=0)]
FrameId = str | int | float | None
"""A client's own mark of a frame; the answer carries the same."""


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
