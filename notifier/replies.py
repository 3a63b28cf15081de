"""What an SMTP reply means for a mail and for the transport, by phase and scope. Pure.

The first digit alone loses mail: `550 5.4.5` at the end of DATA is Gmail's way
to say that the account's daily limit is reached, and no fault of the recipient.
"""

import re
from enum import StrEnum

from notifier.mail import Reply


class Phase(StrEnum):
    """Where in the dialogue (RFC 5321 section 3.3) a reply came. `DOT` is the one after the message."""

    CONNECT = "CONNECT"
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    DOT = "DOT"


class Verdict(StrEnum):
    """What to do: this mail later, this mail never, or rest the whole transport and count nothing."""

    RETRY = "retry"
    FAIL = "fail"
    TRANSPORT = "transport"


_ENHANCED = re.compile(r"([245]\.\d{1,3}\.\d{1,3})\b")

# Words that speak of our own account, rate or reputation, whatever the code in front of them.
_ABOUT_US = re.compile(
    r"daily .{0,20}(limit|quota)"
    r"|(sending|relay|rate|connection) (limit|quota|rate)"
    r"|quota.{0,20}exceeded for (user|customer)"
    r"|too many (login|connection|message)s?"
    r"|maximum (send|credits)"
    r"|not authenticated|authentication (required|failed)"
    r"|temporar\w+ (system|authentication) problem"
    r"|your .{0,20}account.{0,30}(disabled|suspended|blocked)"
    r"|sender.{0,30}(blocked|denied|suspended)"
    r"|throttl",
    re.IGNORECASE,
)
_ABOUT_US_STATUS = frozenset({"4.4.5", "4.7.0", "4.7.12", "5.4.5", "5.7.8", "5.7.9", "5.7.14"})
_ABOUT_THE_DIALOGUE = frozenset({421, 500, 501, 502, 503, 504, 530, 534, 535})
_PERMANENT = 500


def verdict(phase: Phase, reply: Reply | None) -> Verdict:
    """Judge a refusal, or (reply None) a dialogue that broke off in this phase.

    Nothing before the answer to MAIL FROM concerns the mail. 421 closes the
    connection and 500-504 speak of the command (RFC 5321 sections 3.8 and 4.2.2):
    neither is a bounce. Past the final dot a broken dialogue leaves the outcome
    unknown: the mail is sent again, the same to the byte.
    """
    if phase in (Phase.CONNECT, Phase.MAIL):
        return Verdict.TRANSPORT
    if reply is None:
        return Verdict.RETRY
    status = _ENHANCED.match(reply.text)
    if reply.code in _ABOUT_THE_DIALOGUE or (status and status[1] in _ABOUT_US_STATUS) or _ABOUT_US.search(reply.text):
        return Verdict.TRANSPORT
    return Verdict.FAIL if reply.code >= _PERMANENT else Verdict.RETRY
