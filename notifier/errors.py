"""The few errors that cross a file border, named by what whoever catches them must do.

NotifierError
├── Misconfigured   show every fault, end with exit code 2
├── StoreUnusable   do not start, or stop sending and taking messages (exit code 3)
├── Unreachable     a peer is away: wait, try again (exit code 4 in a command)
├── Busy            no connection is free: try again when one is; nothing was begun
└── Refused         this message can never be used: dead-letter it with code and detail
"""

from collections.abc import Sequence
from typing import Literal

DeadLetterCode = Literal["not_utf8", "not_json", "invalid", "unknown_type", "too_large", "internal_error"]
"""Why a message is a dead letter; the value of its header `x-notifier-error`.

- `not_utf8`: the body is not UTF-8.
- `not_json`: the body is not JSON, or nested too deeply.
- `invalid`: a field is missing or wrong.
- `unknown_type`: the message is of no known type.
- `too_large`: the body has too many bytes, or a list too many entries.
- `internal_error`: the message may be valid, and notifier failed to process it; please report it.
"""


class NotifierError(Exception):
    """Anything that notifier itself raises; its text is one sentence for a person."""


class Misconfigured(NotifierError):
    """Settings that cannot be used; carries every fault found, not only the first."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)


class StoreUnusable(NotifierError):
    """The store cannot be read or written, so nothing may be accepted or sent."""


class Unreachable(NotifierError, ConnectionError):
    """A peer (broker, SMTP server, running service) does not answer; it may later.

    `said` is what the peer itself said, if it did answer: our own words may contain addresses and names.
    """

    def __init__(self, text: str, *, said: str = "") -> None:
        super().__init__(text)
        self.said = said


class Busy(NotifierError):
    """No connection to the SMTP server is free, and the server allows no other or does not answer soon enough."""


class Refused(NotifierError):
    """A message that can never be used, whatever is tried.

    `code` goes into the dead letter's `x-notifier-error`, `detail` (which field,
    why) into its `x-notifier-detail`.
    """

    def __init__(self, code: DeadLetterCode, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code: DeadLetterCode = code
        self.detail = detail
