import json
import os
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.parts import fastest
from support.places import DATA

from notifier.domain.mail import Reply
from notifier.sending.replies import (
    Disposition,
    Phase,
    disposition,
    is_connection_limit,
    is_daily_limit,
    is_used_up,
    wait_named,
)

TEXT = st.sampled_from(
    ["", "ok", "5.1.1 no such user", "4.2.2 mailbox full", "5.7.1 spam", "4.7.0 too many login attempts", "Größe"]
)
REFUSALS = st.builds(Reply, st.integers(400, 599), TEXT)


@given(REFUSALS | st.none())
def test_nothing_before_mail_from_concerns_the_mail(reply: Reply | None) -> None:
    """A rejection or a break before MAIL FROM pauses the account, whatever the words."""
    assert disposition(Phase.CONNECT, reply) is Disposition.ACCOUNT


@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        (450, "4.2.1 Peak relay limit exceeded", Disposition.ACCOUNT),
        (550, "5.1.8 Access denied, bad outbound sender", Disposition.ACCOUNT),
        (553, "5.1.0 sender domain does not exist", Disposition.ACCOUNT),
        (451, "4.3.0 try again", Disposition.ACCOUNT),
        (554, "5.6.0 not like this", Disposition.ACCOUNT),
        (552, "5.2.3 Message size exceeds fixed maximum message size", Disposition.FAIL),
        (421, "4.7.0 messages from you are deferred", Disposition.RETRY),
        (421, "4.3.2 Service not available, closing transmission channel", Disposition.ACCOUNT),
    ],
)
def test_mail_from_names_our_own_sender(code: int, text: str, expected: Disposition) -> None:
    """A rejection of MAIL FROM is about the account, unless it is about the size of this mail or only defers it."""
    assert disposition(Phase.MAIL, Reply(code, text)) is expected


@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        (501, "5.1.3 Bad destination mailbox address syntax", Disposition.FAIL),
        (500, "5.6.1 Message content rejected", Disposition.FAIL),
        (500, "Line limit exceeded", Disposition.FAIL),
        (502, "5.5.1 Command not implemented", Disposition.ACCOUNT),
        (503, "nested MAIL command", Disposition.ACCOUNT),
    ],
)
def test_a_syntax_code_fails_the_mail_only_if_it_names_address_or_content(
    code: int, text: str, expected: Disposition
) -> None:
    """500-504 are about the command, unless the words or the status name the address or the content."""
    assert disposition(Phase.DOT, Reply(code, text)) is expected


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("4.7.1 Greylisted, please try again in 300 seconds", 300),
        ("4.7.0 Too many logins, try again in 5 minutes", 300),
        ("wait 2 hours", 7200),
        ("please come back after about 90 secs", 90),
        ("try again in 99999 hours", 24 * 3600),
        ("4.2.1 Retry after 5 minutes", 300),
        ("please wait and come back in 3 m", 180),
        ("at most 20 messages per 60 seconds", None),
        ("4.7.0 limit of 500 messages in 24 hours reached", None),
        ("4.4.2 Error: timeout exceeded after 300 s", None),
        ("try again later", None),
    ],
)
def test_a_time_that_a_server_names_is_read(text: str, seconds: int | None) -> None:
    """Seconds, minutes and hours are read, up to a day; a rate is no time to wait."""
    assert wait_named(text) == (timedelta(seconds=seconds) if seconds else None)


def test_a_daily_limit_is_recognised() -> None:
    """A daily limit is recognised by its words or by its status."""
    assert is_daily_limit("550 5.4.5 limit exceeded")
    assert is_daily_limit("454 Throttling failure: Daily message quota exceeded")
    assert is_daily_limit("5.4.5 limit exceeded\n5.4.5 see our pages")
    assert not is_daily_limit("450 4.2.1 too quickly")
    assert not is_daily_limit("421 10.5.4.5 is not welcome")


@pytest.mark.parametrize(
    ("text", "used_up"),
    [
        ("4.5.3 Number of transactions exceeds allowed maximum", True),
        ("4.7.0 too many messages in this connection", True),
        ("4.5.3 message limit per session reached", True),
        ("4.7.0 too many messages from your account", False),
        ("4.7.0 Too many connections from your address", False),
        ("5.1.1 no such user", False),
    ],
)
def test_a_connection_that_takes_no_more_mails_is_recognised(text: str, *, used_up: bool) -> None:
    """Servers limit the mails of one connection, and a new one may be used at once."""
    assert is_used_up(Reply(452, text)) is used_up


PHASES = {"RCPT": Phase.RCPT, "": Phase.RCPT, "any": Phase.RCPT, "MAIL": Phase.MAIL, "CONNECT/MAIL": Phase.MAIL}
REPLIES = DATA / "smtp_replies.jsonl"
NAMES_IN_DATA = {"RETRY": Disposition.RETRY, "FAIL": Disposition.FAIL, "TRANSPORT": Disposition.ACCOUNT}


def test_real_replies_have_the_right_disposition() -> None:
    """Each of several hundred replies of real servers loses no mail and causes no useless retries."""
    if not REPLIES.exists():
        assert not os.environ.get("CI"), "CI has the data"
        pytest.skip("the data of real replies is not here")
    wrong = []
    for line in REPLIES.read_text(encoding="utf-8").splitlines():
        given = json.loads(line)
        text = given["text"].removeprefix(given["code"]).strip()
        # Replies before MAIL FROM are always about the account; QUIT comes after the message.
        if given["phase"] not in ("EHLO", "HELO", "AUTH", "STARTTLS", "CONNECT"):
            found = disposition(PHASES.get(given["phase"], Phase.DOT), Reply(int(given["code"]), text))
            if found not in [NAMES_IN_DATA.get(name) for name in given["accept"]]:
                wrong.append((given["phase"], found.name, given["accept"], given["text"]))
    assert wrong == []


@pytest.mark.parametrize("phase", [Phase.RCPT, Phase.DATA, Phase.DOT])
def test_a_broken_dialogue_is_retried(phase: Phase) -> None:
    """If the connection is lost in the middle of a mail, the mail is retried later."""
    assert disposition(phase, None) is Disposition.RETRY


@pytest.mark.parametrize("code", [500, 501, 502, 503, 504])
@pytest.mark.parametrize("phase", [Phase.RCPT, Phase.DATA, Phase.DOT])
def test_a_syntax_code_never_fails_the_mail(phase: Phase, code: int) -> None:
    """500 to 504 are about the command and not about the mail."""
    assert disposition(phase, Reply(code, "5.5.1 command not understood")) is not Disposition.FAIL


@given(st.sampled_from(Phase), REFUSALS)
def test_a_temporary_code_never_fails_a_mail(phase: Phase, reply: Reply) -> None:
    """No reply that begins with 4 fails a mail."""
    if reply.code < 500:
        assert disposition(phase, reply) is not Disposition.FAIL


@pytest.mark.parametrize(
    ("phase", "code", "text", "right"),
    [
        (Phase.RCPT, 550, "5.1.1 <a@example.com>: user unknown", Disposition.FAIL),
        (Phase.RCPT, 553, "sorry, that mailbox name is not allowed", Disposition.FAIL),
        (Phase.RCPT, 452, "4.2.2 the mailbox is over quota", Disposition.RETRY),
        (Phase.RCPT, 450, "4.2.1 the user is receiving mail too quickly", Disposition.RETRY),
        (Phase.RCPT, 450, "4.2.0 Greylisted, come back in 5 minutes", Disposition.RETRY),
        (Phase.RCPT, 452, "4.5.3 too many recipients", Disposition.RETRY),
        (Phase.DATA, 554, "5.7.1 no valid recipients", Disposition.FAIL),
        (Phase.DOT, 554, "5.6.0 message looks like spam", Disposition.FAIL),
        (Phase.DOT, 552, "5.3.4 message too big", Disposition.FAIL),
        (Phase.DOT, 451, "4.3.0 local error in processing", Disposition.RETRY),
    ],
)
def test_a_rejection_of_the_recipient_or_the_message_is_judged_by_its_code(
    phase: Phase, code: int, text: str, right: Disposition
) -> None:
    """A rejection that concerns this mail is permanent with 5xx and temporary with 4xx."""
    assert disposition(phase, Reply(code, text)) is right


@pytest.mark.parametrize(
    ("phase", "code", "text"),
    [
        (Phase.DOT, 550, "5.4.5 Daily user sending limit exceeded"),
        (Phase.DOT, 550, "5.4.5 come back tomorrow"),
        (Phase.DOT, 550, "Daily SMTP relay limit reached for customer"),
        (Phase.RCPT, 450, "4.2.1 Peak relay limit exceeded for customer"),
        (Phase.RCPT, 421, "4.7.0 try again later, closing connection"),
        (Phase.DOT, 421, "Service not available, closing transmission channel"),
        (Phase.DOT, 454, "4.7.0 too many login attempts"),
        (Phase.RCPT, 454, "4.7.0 cannot authenticate due to a temporary system problem"),
        (Phase.RCPT, 432, "4.3.2 concurrent connection limit exceeded"),
        (Phase.RCPT, 450, "too many connections from 192.0.2.1"),
        (Phase.DOT, 550, "5.2.251 Sender throttled due to mailbox full errors"),
        (Phase.DOT, 454, "Throttling failure: maximum sending rate exceeded"),
        (Phase.DOT, 554, "maximum credits exceeded"),
        (Phase.RCPT, 530, "5.7.0 authentication required"),
        (Phase.RCPT, 550, "5.7.1 client was not authenticated"),
        (Phase.RCPT, 534, "5.7.9 an application password is needed"),
        (Phase.RCPT, 535, "5.7.8 username and password not accepted"),
        (Phase.RCPT, 535, "5.7.3 Authentication unsuccessful"),
        (Phase.DATA, 535, "no"),
        (Phase.DOT, 550, "your account has been suspended"),
        (Phase.RCPT, 550, "5.7.1 sender address blocked"),
        (
            Phase.RCPT,
            550,
            "Domain example.org has exceeded the max emails per hour (150/150 (100%)) allowed. Discarded.",
        ),
        (Phase.RCPT, 550, "Domain example.org has exceeded the max defers and failures per hour (5/5 (100%)) allowed."),
        (Phase.RCPT, 550, "5.7.1 You have reached the maximum number of e-mails per day"),
        (Phase.DOT, 550, "limit of 100 recipients per minute"),
        (Phase.DOT, 554, "Number of messages exceeds maximum per hour"),
        (Phase.DOT, 550, "5.7.1 Send mail limit exceeded"),
        (Phase.DOT, 550, "Outgoing mail limit exceeded"),
        (Phase.DOT, 554, "5.7.1 unusual sending activity"),
    ],
)
def test_a_rejection_of_our_account_pauses_it(phase: Phase, code: int, text: str) -> None:
    """Account, login, rate, quota and reputation say nothing about the mail, whatever the code."""
    assert disposition(phase, Reply(code, text)) is Disposition.ACCOUNT


@pytest.mark.parametrize(
    ("phase", "code", "text"),
    [
        (Phase.RCPT, 550, "5.7.1 RESOLVER.RST.AuthRequired; authentication required"),
        (Phase.RCPT, 550, "5.7.133 RESOLVER.RST.SenderNotAuthenticatedForGroup; authentication required; ..."),
        (Phase.DOT, 550, "5.7.133 RESOLVER.RST.SenderNotAuthenticatedForGroup; authentication required; ..."),
        (Phase.RCPT, 552, "5.2.2 Quota exceeded for user asha"),
        (Phase.DOT, 554, "5.2.2 mailbox full; STOREDRV.Deliver.Exception:QuotaExceededException; message quota"),
        (Phase.RCPT, 452, "4.2.2 message quota exceeded for mailbox"),
        (Phase.RCPT, 450, "4.7.1 <a@x.test>: Recipient address rejected: Rate limit exceeded for this recipient"),
        (Phase.RCPT, 550, "5.7.1 <a@x.test>: Sender address blocked by recipient"),
        (Phase.RCPT, 550, "5.2.1 Mailbox has exceeded its hourly message limit"),
        (Phase.RCPT, 550, "5.2.121 hourly message limit of the recipient from this sender is exceeded"),
        (Phase.RCPT, 550, "members of this group may write only, authentication required"),
        (Phase.DOT, 550, "This user has exceeded the maximum of messages they can receive per hour"),
    ],
)
def test_a_reply_that_names_the_recipient_is_about_the_recipient(phase: Phase, code: int, text: str) -> None:
    """Mailboxes and groups have quotas, rates and allowed senders of their own, in the words used for accounts."""
    assert disposition(phase, Reply(code, text)) is (Disposition.FAIL if code >= 500 else Disposition.RETRY)


@pytest.mark.parametrize(
    ("phase", "code", "text"),
    [
        (Phase.DOT, 554, "5.2.2 mailbox full; STOREDRV.Submission.Exception:QuotaExceededException; submission"),
        (Phase.RCPT, 554, "5.2.2 STOREDRV.Submission; mailbox quota of the sender"),
        (Phase.DOT, 550, "5.2.2 Submission quota exceeded"),
        (Phase.RCPT, 550, "5.1.90 Your message can't be sent because you've reached your daily limit for recipients"),
        (Phase.RCPT, 550, "5.1.1 <a@x.test>: fly@example.org has sent to too many recipients this hour"),
        (Phase.RCPT, 452, "4.5.3 Your message rate limit is exceeded"),
        (Phase.RCPT, 450, "4.7.1 <a@x.test>: Recipient address rejected: Rate limit exceeded"),
        (Phase.RCPT, 550, "5.7.1 Recipient limit exceeded"),
        (Phase.RCPT, 450, "4.2.1 Peak SMTP relay limit exceeded for customer, mailbox not reached"),
        (Phase.DOT, 454, "Throttling failure: Daily message quota exceeded."),
        (Phase.MAIL, 550, "5.2.1 mailbox has exceeded its hourly message limit"),
    ],
)
def test_words_that_can_only_be_about_the_account_prevail(phase: Phase, code: int, text: str) -> None:
    """They are about the account even beside the status or the words of a mailbox."""
    assert disposition(phase, Reply(code, text)) is Disposition.ACCOUNT


@pytest.mark.parametrize("phase", [Phase.RCPT, Phase.DATA, Phase.DOT])
@pytest.mark.parametrize("status", ["5.4.5", "4.7.28", "5.2.251", "5.1.8", "5.1.90", "5.7.8", "5.7.11"])
def test_a_status_of_our_account_needs_no_words(phase: Phase, status: str) -> None:
    """The enhanced status alone is enough."""
    assert disposition(phase, Reply(550, status)) is Disposition.ACCOUNT


@pytest.mark.parametrize("piece", ["a", "@", "<", "1", "sent ", "daily ", "your ", "sender ", "recipient ", " in 1"])
def test_a_disposition_is_found_in_proportional_time(piece: str) -> None:
    """A hostile reply that is eight times as long takes about eight times as long, not sixty-four times."""
    short, long = (Reply(550, (piece * length)[:length]) for length in (1_000, 8_000))

    def judge(reply: Reply) -> None:
        disposition(Phase.RCPT, reply)
        wait_named(reply.text)
        is_daily_limit(reply.text)

    assert fastest(lambda: judge(long)) < 24 * fastest(lambda: judge(short))


def test_an_enhanced_status_counts_at_the_start_only() -> None:
    """A status that is quoted from another server does not decide."""
    assert disposition(Phase.RCPT, Reply(550, "5.1.1 no such user (was 5.4.5 elsewhere)")) is Disposition.FAIL


@given(st.sampled_from(Phase), st.integers(), st.text())
def test_every_reply_has_a_disposition(phase: Phase, code: int, text: str) -> None:
    """Whatever a server says, in whatever words, and letter case does not matter."""
    found = disposition(phase, Reply(code, text))
    assert found in Disposition
    assert disposition(phase, Reply(code, "DAILY LIMIT: " + text)) is Disposition.ACCOUNT


@pytest.mark.parametrize(
    "words",
    [
        "4.7.0 mail.example.com Error: too many connections from 192.0.2.1",
        "Too many concurrent SMTP connections; please try again later.",
        "4.3.2 The maximum number of concurrent connections has exceeded a limit, closing transmission channel",
        "4.3.2 Concurrent connections limit exceeded",
        "too many concurrent sessions",
        "Connection limit exceeded",
    ],
)
def test_words_that_name_a_limit_of_connections(words: str) -> None:
    """As Postfix, Exim, Exchange and others say it."""
    assert is_connection_limit(words)
