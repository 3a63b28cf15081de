"""What an SMTP reply means for a mail and for the transport, by phase and scope. Pure.

The first digit alone loses mail: `550 5.4.5` at the end of DATA is Gmail's way
to say that the account's daily limit is reached, and no fault of the recipient.
"""

import re
from datetime import timedelta
from enum import StrEnum
from typing import NamedTuple

from notifier.domain.mail import Reply


class Phase(StrEnum):
    """Where in the dialogue (RFC 5321 section 3.3) a reply came. `DOT` is the one after the message."""

    CONNECT = "CONNECT"
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    DOT = "DOT"


CLOSING = 421
"""The code with which a server ends the connection (RFC 5321 section 3.8)."""
SUCCESS_CODES = range(200, 300)
"""The codes of positive completion replies (RFC 5321 section 4.2.1)."""


class Disposition(StrEnum):
    """What to do: this mail later, this mail never, or rest the whole transport and count nothing."""

    RETRY = "retry"
    FAIL = "fail"
    TRANSPORT = "transport"


class KnownText(NamedTuple):
    """Words or an enhanced status (RFC 3463) by which a provider speaks of our account, whatever the code says."""

    provider: str
    words: str
    status: str | None = None


OUR_ACCOUNT = (
    # support.google.com/a/answer/3726730
    KnownText("Gmail", r"relay limit", "5.4.5"),
    KnownText("Gmail", r"unusual rate of (unsolicited )?mail", "4.7.28"),
    # docs.aws.amazon.com/ses/latest/dg/manage-sending-quotas-errors.html
    KnownText("Amazon SES", r"throttling failure|maximum sending rate"),
    KnownText("Amazon SES", r"(email address|sender) is not verified|account is (paused|under review)|sending paused"),
    # learn.microsoft.com/exchange/mail-flow-best-practices and .../smtp-submission-improvements
    KnownText("Exchange Online", r"sender throttled|concurrent connections limit|submission quota", "5.2.251"),
    KnownText("Exchange Online", r"bad outbound sender|sender .{0,30}suspended", "5.1.8"),
    KnownText("Exchange Online", r"your daily limit for message recipients", "5.1.90"),
    # STOREDRV.Submission is the mailbox that a mail is sent from, STOREDRV.Deliver the one that it goes to.
    KnownText("Exchange", r"storedrv\.submission"),
    # docs.sendgrid.com/for-developers/sending-email/smtp-errors-and-troubleshooting
    KnownText("SendGrid", r"maximum credits|too frequent connects|verified sender identity|unauthenticated senders"),
)
"""What can be said of our account only, also in a reply whose status or words name a recipient."""

LIKELY_OUR_ACCOUNT = (
    KnownText("Gmail", r"daily .{0,30}(limit|quota)|quota exceeded for (user|customer)"),
    KnownText("Gmail", r"too many login attempts|cannot authenticate|authentication required"),
    KnownText("Exchange Online", r"sender .{0,30}blocked"),
    # RFC 4954 section 6
    KnownText("RFC 4954", r"authentication .{0,20}(failed|required|not allowed|too weak)|not authenticated", "5.7.8"),
    KnownText("RFC 4954", r"encryption required for requested authentication", "5.7.11"),
    # docs.cpanel.net/whm/server-configuration/tweak-settings: limits of Exim for a domain
    KnownText("cPanel", r"max defers and failures"),
    KnownText("Yahoo", r"unusual sending activity"),
)
"""What is said of our account, unless the reply names a recipient: mailboxes and groups have limits of their own."""

_ONLY_OUR_ACCOUNT = re.compile(
    r"\b(sent|sending|send) .{0,20}too (many|much)|\bsending (limit|quota)"
    r"|your .{0,20}account.{0,30}(disabled|suspended|blocked|locked)"
    r"|(username and password|password|credentials).{0,20}(not accepted|required|invalid)"
    r"|" + "|".join(known.words for known in OUR_ACCOUNT),
    re.IGNORECASE,
)
# The rule without the tables: a reply that says that too much was sent, or that mentions a rate, speaks of our account.
_LIKELY_OUR_ACCOUNT = re.compile(
    r"too many (messages|connections|logins?|sessions)"
    r"|(relay|rate|connection|hourly|message) (limit|quota)|recipient limit|rate.?limit|throttl"
    r"|number of messages per|messages per (session|connection)"
    r"|(outgoing|outbound|send) mail (limit|quota)"
    r"|\b(max|maximum|limit|exceeds|exceeded|reached)\b.{0,60}\b(e-?mails|messages|recipients)\b(?!.{0,20}\breceive).{0,30}"
    r"\bper (second|minute|hour|day)\b"
    r"|\bmessages exceeds? .{0,30}\bper (second|minute|hour|day)\b"
    r"|" + "|".join(known.words for known in LIKELY_OUR_ACCOUNT),
    re.IGNORECASE,
)
_ONLY_OUR_STATUS = frozenset({known.status for known in OUR_ACCOUNT if known.status})
_LIKELY_OUR_STATUS = frozenset({known.status for known in LIKELY_OUR_ACCOUNT if known.status})
# Exchange: a restriction that the recipient, often a group, has on who may write to it.
_RECIPIENT_RESTRICTION = re.compile(r"resolver\.rst|notauthenticatedforgroup", re.IGNORECASE)
# "Recipient limit" is how many recipients an account may write to.
_NAMES_THE_RECIPIENT = re.compile(
    r"\b(recipient|addressee|mailbox|group|distribution list|mailing list)\b(?! (rate )?limit)", re.IGNORECASE
)
# Postfix begins each rejection at RCPT with this, also those that a policy about the sender's account causes.
_POSTFIX_PREFIX = re.compile(r"<[^<>]*>: recipient address rejected:", re.IGNORECASE)
_ABOUT_THE_MAIL = re.compile(
    r"(message|line) (size|length|limit|content|too)|(invalid|no valid|unknown|no such) (recipient|user|mailbox)"
    r"|recipient.{0,20}(invalid|unknown|rejected)|content rejected",
    re.IGNORECASE,
)
_ABOUT_THE_RECIPIENT = re.compile(
    r"\b(user|mailbox|recipient|addressee|account|inbox|alias)\b|no such|unknown|does not exist|address", re.IGNORECASE
)
_ABOUT_THE_SIZE = re.compile(r"message.{0,12} size|size .{0,20}(exceed|limit)|too (big|large)", re.IGNORECASE)
_SHUTTING_DOWN = re.compile(
    r"(service|server|system) .{0,12}(not available|unavailable|shutting|going down)|closing|shutting down",
    re.IGNORECASE,
)
# Subjects of RFC 3463: 1 address, 2 mailbox, 6 content.
_MAIL_SUBJECTS = ("1", "2", "6")
_RECIPIENT_SUBJECTS = ("1", "2")
_STATUS = re.compile(r"([245])\.(\d{1,3})\.(\d{1,3})\b")
_LOGIN_CODES = frozenset({530, 534, 535, 538})
_SYNTAX_CODES = frozenset({500, 501, 502, 503, 504})
_PERMANENT = 500

_WAIT = re.compile(
    r"\b(?:for|wait|next|another|(?:again|back|retry|later|wait)\b.{0,20}\b(?:in|after)) (?:about |at least )?"
    r"(\d{1,6}) ?(s|m|h|secs?|seconds?|mins?|minutes?|hours?)\b",
    re.IGNORECASE,
)
_DAILY = re.compile(r"daily .{0,30}(limit|quota)|(?:^|^\d{3}[ -])5\.4\.5\b", re.IGNORECASE | re.MULTILINE)
_USED_UP = re.compile(
    r"\btransactions\b.{0,40}(exceed|maximum|limit)"
    r"|(exceed|maximum|limit|too many).{0,40}\b(transactions|(per|in this|in one|on this) (connection|session))\b",
    re.IGNORECASE,
)
_CONNECTION_LIMIT = re.compile(
    r"(too many|maximum|max) .{0,40}(connections|sessions)|(connections?|sessions?|thread) limit"
    r"|(connections|sessions) .{0,30}(exceed|limit)",
    re.IGNORECASE,
)
_UNITS = {"s": 1, "m": 60, "h": 3600}
MAX_WAIT = timedelta(hours=24)
"""No server is believed that wants to be left alone for longer."""


def disposition(phase: Phase, reply: Reply | None) -> Disposition:
    """Judge a rejection, or (reply None) a dialogue that broke off in this phase.

    Nothing before MAIL FROM concerns the mail, and MAIL FROM names our own sender. After
    that a reply speaks of our account if it can mean nothing else, or if it is likely to
    and neither its enhanced status nor (at RCPT) its words name the recipient. 421
    closes the connection (RFC 5321 section 3.8) and 500-504 speak of the command (section
    4.2.2): neither is a bounce, unless a 50x says that it dislikes the address or the
    content. Past the final dot a broken dialogue leaves the outcome unknown: the mail is
    sent again, the same to the byte.
    """
    if phase is Phase.CONNECT or (reply is None and phase is Phase.MAIL):
        return Disposition.TRANSPORT
    if reply is None:
        return Disposition.RETRY
    if reply.code in _LOGIN_CODES or _speaks_of_our_account(reply, phase):
        return Disposition.TRANSPORT
    if reply.code == CLOSING:
        return Disposition.TRANSPORT if _SHUTTING_DOWN.search(reply.text) else Disposition.RETRY
    if reply.code in _SYNTAX_CODES or phase is Phase.MAIL:
        return (
            Disposition.FAIL
            if reply.code >= _PERMANENT and _speaks_of_the_mail(reply, phase)
            else Disposition.TRANSPORT
        )
    return Disposition.FAIL if reply.code >= _PERMANENT else Disposition.RETRY


def wait_named(text: str) -> timedelta | None:
    """Read how long a server asks to be left alone ("try again in 5 minutes"); None where it names no time."""
    match = _WAIT.search(text)
    return min(timedelta(seconds=int(match[1]) * _UNITS[match[2][0].lower()]), MAX_WAIT) if match else None


def is_daily_limit(text: str) -> bool:
    """Say whether the account has used up its day, so that trying again soon is pointless."""
    return bool(_DAILY.search(text))


def is_closing(reply: Reply) -> bool:
    """Return whether the server closes the connection with this reply, whatever the mail is (RFC 5321 section 3.8)."""
    return reply.code == CLOSING


def is_connection_limit(text: str) -> bool:
    """Return whether a server's words say that it allows no more connections at a time."""
    return _CONNECTION_LIMIT.search(text) is not None


def is_used_up(reply: Reply) -> bool:
    """Return whether the server takes no more mails on this connection, which says nothing about a new one."""
    return bool(_USED_UP.search(reply.text))


def status(reply: Reply) -> str | None:
    """Read the enhanced status (RFC 3463) that a reply begins with."""
    match = _STATUS.match(reply.text)
    return match[0] if match else None


def speaks_of_the_recipient(reply: Reply) -> bool:
    """Say whether a refusal is about the address or its mailbox, by its status or in its words."""
    found = status(reply)
    return found.split(".")[1] in _RECIPIENT_SUBJECTS if found else bool(_ABOUT_THE_RECIPIENT.search(reply.text))


def _can_only_be_our_account(reply: Reply) -> bool:
    return bool(_ONLY_OUR_ACCOUNT.search(reply.text)) or status(reply) in _ONLY_OUR_STATUS


def _speaks_of_our_account(reply: Reply, phase: Phase) -> bool:
    if _can_only_be_our_account(reply):
        return True
    if phase is not Phase.MAIL and _names_the_recipient(reply, phase):
        return False
    return bool(_LIKELY_OUR_ACCOUNT.search(reply.text)) or status(reply) in _LIKELY_OUR_STATUS


def _names_the_recipient(reply: Reply, phase: Phase) -> bool:
    found = status(reply)
    if found and found.split(".")[1] in _RECIPIENT_SUBJECTS:
        return True
    if _RECIPIENT_RESTRICTION.search(reply.text):
        return True
    return phase is Phase.RCPT and bool(_NAMES_THE_RECIPIENT.search(_POSTFIX_PREFIX.sub("", reply.text)))


def _speaks_of_the_mail(reply: Reply, phase: Phase) -> bool:
    if phase is Phase.MAIL:
        # Here the address is our own and the content unknown; of the mail there is only its size (RFC 1870).
        return bool(_ABOUT_THE_SIZE.search(reply.text))
    found = status(reply)
    return bool((found and found.split(".")[1] in _MAIL_SUBJECTS) or _ABOUT_THE_MAIL.search(reply.text))
