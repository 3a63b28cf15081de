"""Incoming messages, and what decoding says of those that are refused."""

import re
from typing import Any

import pytest
from support.samples import NOW

from notifier.domain.messages import Origin, decode
from notifier.errors import Refused

ORIGIN = Origin(received_at=NOW)


def refusal(body: bytes, origin: Origin = ORIGIN) -> tuple[str, str]:
    """Return the code and the detail with which a message is refused."""
    with pytest.raises(Refused) as refused:
        decode(body, origin)
    return refused.value.code, refused.value.detail


def legacy_mail(**changes: Any) -> dict[str, Any]:
    """Build the mail of an older publisher; None removes a field."""
    data = {"recepientEmail": "asha@example.com", "subject": "Ticket", "text": "Ready", **changes}
    return {name: value for name, value in data.items() if value is not None}


def names(detail: str, what: str) -> bool:
    """Return whether a detail contains a field's name, or something else, as separate words."""
    return not what or bool(re.search(rf"(?<!\w){re.escape(what)}(?!\w)", detail))
