"""The few errors that cross a file border, named by what their catcher must do.

NotifierError
├── Misconfigured   show every problem, end with exit code 2
├── StoreUnusable   do not start, or stop sending and accepting messages (exit code 3)
├── Unreachable     a peer is unavailable: wait and try again (a command ends with exit code 4)
├── Busy            no connection is free: try again when one is; nothing was begun
└── Refused         this message can never be used: dead-letter it with code and detail
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

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
    """Base of all errors that notifier raises itself; the text is one sentence for a person."""


class Problem(NamedTuple):
    """One problem of the configuration. Its text is one line and never contains a secret.

    `setting` is the environment variable or the option, `wrong` says what is wrong with it, `remedy` what to do; it
    is empty if that follows from `wrong`.
    """

    setting: str
    wrong: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.setting}: {self.wrong}" + (f"; {self.remedy}" if self.remedy else "")


class Misconfigured(NotifierError):
    """Settings that cannot be used. `problems` has every problem that was found; the text has a line for each."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


class StoreUnusable(NotifierError):
    """The store cannot be read or written, so nothing can be accepted or sent."""


class Unreachable(NotifierError, ConnectionError):
    """A peer (broker, SMTP server, running service) does not answer, but may do so later.

    `said` is the peer's own reply, if there was one: it can be logged, while the text can contain addresses and names.
    """

    def __init__(self, text: str, *, said: str = "") -> None:
        super().__init__(text)
        self.said = said


class Busy(NotifierError):
    """No connection to the SMTP server is free, and the server allows no other one or does not answer in time."""


class Refused(NotifierError):
    """A message that can never be used, however often it is tried.

    `code` becomes the dead letter's header `x-notifier-error`, `detail` (which field, and why) its `x-notifier-detail`.
    """

    def __init__(self, code: DeadLetterCode, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code: DeadLetterCode = code
        self.detail = detail
