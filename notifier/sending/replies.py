"""What an SMTP reply means for the mail and for the account, by phase and scope. Pure.

The first digit is not enough: with `550 5.4.5` after the message Gmail says that the account's daily
limit is reached, which says nothing about the recipient.
"""

import re
from datetime import timedelta
from enum import StrEnum
from typing import NamedTuple

from notifier.domain.mail import Reply


class Phase(StrEnum):
    """The phases of a dialogue (RFC 5321 section 3.3); `CONNECT` ends with the login, `DOT` is after the message."""

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
    """What to do after a rejection.

    `RETRY`: try the mail again later, and count the attempt. `FAIL`: never try the mail again. `ACCOUNT`: pause the
    account; the rejection says nothing about the mail, so no attempt is counted.
    """

    RETRY = "retry"
    FAIL = "fail"
    ACCOUNT = "account"


class KnownText(NamedTuple):
    """What a provider says if a reply is about our account, whatever its code.

    `words` is a regular expression, in which case does not matter; `status` is an enhanced status (RFC 3463).
    """

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
"""Texts that can only be about our account, also if the status or other words of the reply name a recipient."""

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
"""Texts that are about our account unless the reply names a recipient: mailboxes and groups have limits, too."""

_ONLY_OUR_ACCOUNT = re.compile(
    r"\b(sent|sending|send) .{0,20}too (many|much)|\bsending (limit|quota)"
    r"|your .{0,20}account.{0,30}(disabled|suspended|blocked|locked)"
    r"|(username and password|password|credentials).{0,20}(not accepted|required|invalid)"
    r"|" + "|".join(known.words for known in OUR_ACCOUNT),
    re.IGNORECASE,
)
# For providers without an entry: a reply that says that too much was sent, or names a rate, is about our account.
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
# Exchange: a recipient, often a group, that restricts who may write to it.
_RECIPIENT_RESTRICTION = re.compile(r"resolver\.rst|notauthenticatedforgroup", re.IGNORECASE)
# A "recipient limit" is the number of recipients that an account may write to.
_NAMES_RECIPIENT = re.compile(
    r"\b(recipient|addressee|mailbox|group|distribution list|mailing list)\b(?! (rate )?limit)", re.IGNORECASE
)
# Postfix begins every rejection at RCPT with these words, also one that a policy about the account causes.
_POSTFIX_PREFIX = re.compile(r"<[^<>]*>: recipient address rejected:", re.IGNORECASE)
_ABOUT_MAIL = re.compile(
    r"(message|line) (size|length|limit|content|too)|(invalid|no valid|unknown|no such) (recipient|user|mailbox)"
    r"|recipient.{0,20}(invalid|unknown|rejected)|content rejected",
    re.IGNORECASE,
)
_ABOUT_RECIPIENT = re.compile(
    r"\b(user|mailbox|recipient|addressee|account|inbox|alias)\b|no such|unknown|does not exist|address", re.IGNORECASE
)
_ABOUT_SIZE = re.compile(r"message.{0,12} size|size .{0,20}(exceed|limit)|too (big|large)", re.IGNORECASE)
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
"""The longest pause that a server can ask for."""


def disposition(phase: Phase, reply: Reply | None) -> Disposition:
    """Return what to do after a rejection, or (reply None) after a dialogue that broke in this phase.

    Nothing before MAIL FROM concerns the mail, and MAIL FROM names our own sender. After that a reply is about
    our account if it can mean nothing else, or if it probably is and neither its enhanced status nor (at RCPT)
    its words name the recipient. 421 closes the connection (RFC 5321 section 3.8) and 500-504 are about the
    command (section 4.2.2): neither fails the mail, unless a 50x names the address or the content. If the
    dialogue breaks after the final dot, the outcome is unknown, and the mail is sent again with the same bytes.
    """
    if phase is Phase.CONNECT or (reply is None and phase is Phase.MAIL):
        return Disposition.ACCOUNT
    if reply is None:
        return Disposition.RETRY
    if reply.code in _LOGIN_CODES or _is_about_account(reply, phase):
        return Disposition.ACCOUNT
    if reply.code == CLOSING:
        return Disposition.ACCOUNT if _SHUTTING_DOWN.search(reply.text) else Disposition.RETRY
    if reply.code in _SYNTAX_CODES or phase is Phase.MAIL:
        return Disposition.FAIL if reply.code >= _PERMANENT and _is_about_mail(reply, phase) else Disposition.ACCOUNT
    return Disposition.FAIL if reply.code >= _PERMANENT else Disposition.RETRY


def wait_named(text: str) -> timedelta | None:
    """Return the pause that a server asks for ("try again in 5 minutes"), at most MAX_WAIT; None if it names none."""
    match = _WAIT.search(text)
    return min(timedelta(seconds=int(match[1]) * _UNITS[match[2][0].lower()]), MAX_WAIT) if match else None


def is_daily_limit(text: str) -> bool:
    """Return whether a daily limit of the account is reached, so that it is no use to try again soon."""
    return bool(_DAILY.search(text))


def is_closing(reply: Reply) -> bool:
    """Return whether the server closes the connection with this reply, whatever the mail (RFC 5321 section 3.8)."""
    return reply.code == CLOSING


def is_connection_limit(text: str) -> bool:
    """Return whether a server says that it allows no more connections at the same time."""
    return _CONNECTION_LIMIT.search(text) is not None


def is_used_up(reply: Reply) -> bool:
    """Return whether the server takes no more mails on this connection; a new one can still take some."""
    return bool(_USED_UP.search(reply.text))


def status(reply: Reply) -> str | None:
    """Return the enhanced status (RFC 3463) at the beginning of a reply, such as "5.1.1"; None if there is none."""
    match = _STATUS.match(reply.text)
    return match[0] if match else None


def is_about_recipient(reply: Reply) -> bool:
    """Return whether a rejection is about the address or its mailbox, by its status or else by its words."""
    found = status(reply)
    return found.split(".")[1] in _RECIPIENT_SUBJECTS if found else bool(_ABOUT_RECIPIENT.search(reply.text))


def _can_only_be_about_account(reply: Reply) -> bool:
    return bool(_ONLY_OUR_ACCOUNT.search(reply.text)) or status(reply) in _ONLY_OUR_STATUS


def _is_about_account(reply: Reply, phase: Phase) -> bool:
    if _can_only_be_about_account(reply):
        return True
    if phase is not Phase.MAIL and _names_recipient(reply, phase):
        return False
    return bool(_LIKELY_OUR_ACCOUNT.search(reply.text)) or status(reply) in _LIKELY_OUR_STATUS


def _names_recipient(reply: Reply, phase: Phase) -> bool:
    found = status(reply)
    if found and found.split(".")[1] in _RECIPIENT_SUBJECTS:
        return True
    if _RECIPIENT_RESTRICTION.search(reply.text):
        return True
    return phase is Phase.RCPT and bool(_NAMES_RECIPIENT.search(_POSTFIX_PREFIX.sub("", reply.text)))


def _is_about_mail(reply: Reply, phase: Phase) -> bool:
    if phase is Phase.MAIL:
        # The address is our own here and the content unknown; the server can only know the mail's size (RFC 1870).
        return bool(_ABOUT_SIZE.search(reply.text))
    found = status(reply)
    return bool((found and found.split(".")[1] in _MAIL_SUBJECTS) or _ABOUT_MAIL.search(reply.text))
