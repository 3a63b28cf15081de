from datetime import datetime, timedelta

import pytest
from support.samples import NOW, mail

from notifier.domain.claims import Claim
from notifier.domain.mail import Mail, Reply, RetryPolicy, Status, claimed
from notifier.domain.timestamps import timestamp
from notifier.observability.status import _smtp_state
from notifier.sending.circuit_breaker import CircuitBreaker, State
from notifier.sending.dialogue import DialogueResult
from notifier.sending.refusals import MANY, SEVERAL
from notifier.sending.replies import Phase
from notifier.sending.transport_health import (
    OTHER_ACCOUNT,
    OTHERS_FIRST,
    QUOTA_AGAIN,
    STALL_TIMEOUT,
    Judgement,
    Situation,
    TransportHealth,
    unsupported,
)

STEP = timedelta(seconds=10)
RETRY = RetryPolicy((timedelta(minutes=1),), timedelta(hours=48))
HOLD = RetryPolicy((timedelta(minutes=1),), timedelta(hours=48), hold_uncertain=True)
NAME = "smtp.example.com:465"
OK = Reply(250, "2.0.0 queued")
POLICY = Reply(550, "5.7.1 Message rejected")


def ended(
    phase: Phase, reply: Reply | None = None, fault: str | None = None, *, login_reply: str = ""
) -> DialogueResult:
    return DialogueResult(phase, reply, fault, login_reply=login_reply)


def healthy() -> TransportHealth:
    breaker = CircuitBreaker([STEP])
    breaker.begin_probe()
    breaker.login_succeeded()
    breaker.worked()
    return TransportHealth(NAME, breaker)


def attempt(n: int = 0) -> Mail:
    return claimed(mail(id=f"m{n}", aggregate=f"request:/test r{n}", to=f"p{n}@example.com"), NOW)


def judge(health: TransportHealth, result: DialogueResult, retry: RetryPolicy = RETRY, n: int = 0) -> Judgement:
    return health.judge(attempt(n), result, Situation(NOW, 1000.0, retry))


def test_an_accepted_message_is_sent() -> None:
    """The reply is kept with the mail, and the account is not paused."""
    health = healthy()
    (outcome,), paused = judge(health, ended(Phase.DOT, OK))
    assert (outcome.status, outcome.smtp, outcome.sent_at) == (Status.SENT, OK, NOW)
    assert (paused, health.breaker.state) == (False, State.CLOSED)


LIMIT = Reply(550, "5.4.5 Daily limit of fly@example.org, not sent to p0@example.com")


@pytest.mark.parametrize(
    ("result", "reason", "due_at"),
    [
        (ended(Phase.CONNECT, fault="connection refused"), "connection refused", None),
        (ended(Phase.MAIL, fault="connection reset"), "connection reset", NOW + STEP),
        (ended(Phase.RCPT, Reply(535, "5.7.8 bad credentials")), "535 5.7.8 bad credentials", NOW + STEP),
        (
            ended(Phase.DOT, LIMIT),
            "550 5.4.5 Daily limit of f•••@example.org, not sent to p•••@example.com",
            NOW + STEP,
        ),
    ],
)
def test_a_fault_of_the_account_pauses_it_and_counts_no_attempt(
    result: DialogueResult, reason: str, due_at: datetime | None
) -> None:
    """A mail whose rejection paused the account waits for the end of the pause, so that others go first.

    The pause is reported once, and its reason shows no address.
    """
    health = healthy()
    (outcome,), paused = judge(health, result)
    assert (outcome.status, outcome.attempt, outcome.next_attempt_at) == (Status.PENDING, 0, due_at)
    assert (paused, health.breaker.state, health.breaker.reason) == (True, State.OPEN, reason)
    assert judge(health, result).paused is False


def test_a_pause_is_as_long_as_the_server_asks() -> None:
    """A time that the server names replaces the steps of the breaker."""
    health = healthy()
    judge(health, ended(Phase.MAIL, Reply(421, "4.7.0 too many connections, try again in 5 minutes")))
    assert health.breaker.until == NOW + timedelta(minutes=5)


def test_a_rejection_for_now_counts_as_an_attempt() -> None:
    """The mail waits for its retry delay, or longer if the server asks for that."""
    health = healthy()
    (first,), _ = judge(health, ended(Phase.RCPT, Reply(450, "4.2.0 greylisted")))
    (second,), paused = judge(health, ended(Phase.RCPT, Reply(450, "4.2.0 greylisted, retry in 300 seconds")))
    assert (first.status, first.attempt, first.next_attempt_at) == (Status.PENDING, 1, NOW + timedelta(minutes=1))
    assert second.next_attempt_at == NOW + timedelta(minutes=5)
    assert (paused, health.breaker.state) == (False, State.CLOSED)


def test_a_dialogue_that_breaks_before_the_message_is_a_rejection_for_now() -> None:
    """The error says what broke and in which phase; the outcome is known, so the mail is not held."""
    (outcome,), _ = judge(healthy(), ended(Phase.DATA, fault="timed out"), HOLD)
    assert (outcome.status, outcome.attempt, outcome.error) == (Status.PENDING, 1, "timed out (in DATA)")


@pytest.mark.parametrize(("retry", "status"), [(RETRY, Status.PENDING), (HOLD, Status.UNCERTAIN)])
def test_a_reply_lost_after_the_message_leaves_the_outcome_unknown(retry: RetryPolicy, status: Status) -> None:
    """The mail is sent again, or held if that is configured."""
    (outcome,), paused = judge(healthy(), ended(Phase.DOT, fault="connection lost"), retry)
    assert (outcome.status, outcome.attempt, outcome.error) == (status, 1, "outcome unknown: connection lost")
    assert paused is False


def test_a_permanent_rejection_fails_its_mail_alone() -> None:
    """The account is not paused."""
    health = healthy()
    (outcome,), paused = judge(health, ended(Phase.RCPT, Reply(550, "5.1.1 no such user")))
    assert (outcome.status, paused, health.breaker.state) == (Status.FAILED, False, State.CLOSED)


def test_the_same_rejection_for_several_recipients_reprieves_their_mails() -> None:
    """The account is paused, no mail stays failed, and the last one lets the others go first."""
    health = healthy()
    judged = [judge(health, ended(Phase.DOT, POLICY), n=n) for n in range(SEVERAL)]
    assert [[each.status for each in outcomes] for outcomes, _ in judged[:-1]] == [[Status.FAILED]] * (SEVERAL - 1)
    outcomes, paused = judged[-1]
    assert [each.id for each in outcomes] == [f"m{n}" for n in range(SEVERAL)]
    assert {each.status for each in outcomes} == {Status.PENDING}
    assert outcomes[-1].next_attempt_at == NOW + STEP
    assert (paused, health.breaker.state, health.breaker.reason) == (True, State.OPEN, "550 5.7.1 Message rejected")


def reopened(health: TransportHealth) -> None:
    """End the pause with a login; no mail has been accepted yet."""
    health.breaker.begin_probe()
    health.breaker.login_succeeded()


NO_SUCH_USER = ended(Phase.RCPT, Reply(550, "5.1.1 no such user"))


def test_wrong_addresses_alone_pause_the_account_once() -> None:
    """They are retried one at a time, and leave the account half-open for the first mail to another recipient."""
    health = healthy()
    last = [judge(health, NO_SUCH_USER, n=n) for n in range(MANY)][-1]
    assert last.paused
    assert {each.next_attempt_at for each in last.outcomes} == {NOW + STEP}
    reopened(health)
    for n in range(MANY):
        (outcome,), paused = judge(health, NO_SUCH_USER, n=n)
        assert (outcome.status, outcome.attempt, paused) == (Status.PENDING, 1, False)
        assert health.breaker.state is State.HALF_OPEN


@pytest.mark.parametrize(
    ("result", "status"), [(NO_SUCH_USER, Status.FAILED), (ended(Phase.DOT, POLICY), Status.PENDING)]
)
def test_rejections_after_the_account_was_cleared_pause_nothing(result: DialogueResult, status: Status) -> None:
    """Once other mail was accepted, rejections about the recipient are final; others may be a limit of the account."""
    health = healthy()
    for n in range(MANY):
        judge(health, result, n=n)
    reopened(health)
    judge(health, ended(Phase.DOT, OK), n=99)
    for n in range(MANY):
        (outcome,), paused = judge(health, result, n=n)
        assert (outcome.status, outcome.attempt, paused, health.breaker.state) == (status, 1, False, State.CLOSED)


def test_wrong_addresses_soon_after_the_account_was_cleared_are_reprieved() -> None:
    """They fail at once, and are tried again if it was the account after all."""
    health = healthy()
    for n in range(MANY):
        judge(health, NO_SUCH_USER, n=n)
    reopened(health)
    judge(health, ended(Phase.DOT, OK), n=99)
    judged = [judge(health, NO_SUCH_USER, n=n) for n in range(100, 100 + 3 * MANY)]
    assert {each.status for outcomes, _ in judged[:-1] for each in outcomes} == {Status.FAILED}
    outcomes, paused = judged[-1]
    assert paused
    assert {each.id for each in outcomes} == {f"m{n}" for n in range(100, 100 + 3 * MANY)}


@pytest.mark.parametrize(
    ("result", "status"),
    [
        (ended(Phase.DOT, POLICY), Status.FAILED),
        (NO_SUCH_USER, Status.FAILED),
        (ended(Phase.DOT, fault="connection lost"), Status.PENDING),
        (ended(Phase.RCPT, Reply(421, "4.7.0 not now, try again in 5 minutes")), Status.PENDING),
        (ended(Phase.RCPT, Reply(451, "4.7.1 Greylisted, try again in 300 seconds")), Status.PENDING),
    ],
)
def test_one_request_to_many_recipients_pauses_nothing(result: DialogueResult, status: Status) -> None:
    """A server that rejects its content says so for each recipient, and the account is not paused."""
    health = healthy()
    for n in range(5 * MANY):
        bulk = claimed(mail(id=f"m{n}", aggregate="request:/test bulk", to=f"p{n}@example.com"), NOW)
        (outcome,), paused = health.judge(bulk, result, Situation(NOW, 1000.0, RETRY))
        assert (outcome.status, paused, health.breaker.state) == (status, False, State.CLOSED)


@pytest.mark.parametrize(
    ("result", "count"),
    [
        (ended(Phase.DOT, Reply(554, "5.7.1 rejected, try again in 24 hours")), SEVERAL),
        (ended(Phase.RCPT, Reply(421, "4.7.0 not now, try again in 24 hours")), SEVERAL),
        (ended(Phase.RCPT, Reply(451, "4.7.1 Greylisted, try again in 24 hours")), MANY),
    ],
)
def test_a_time_in_a_reply_about_a_mail_does_not_pause_the_account_for_that_long(
    result: DialogueResult, count: int
) -> None:
    """An account that is only suspected pauses by its steps, whatever time the replies name."""
    health = healthy()
    assert [judge(health, result, n=n).paused for n in range(count)] == [False] * (count - 1) + [True]
    assert health.breaker.until == NOW + STEP


@pytest.mark.parametrize(
    "result",
    [
        ended(Phase.RCPT, fault="connection lost"),
        ended(Phase.DOT, fault="timed out"),
        ended(Phase.RCPT, Reply(421, "4.7.0 Temporary problem")),
    ],
)
def test_dialogues_that_break_for_every_recipient_pause_the_account(result: DialogueResult) -> None:
    """From the third recipient in a row on, each new one takes the next step; the attempts are counted."""
    health = healthy()
    judged = [judge(health, result, n=n) for n in range(SEVERAL)]
    assert [paused for _, paused in judged] == [False, False, True]
    assert [outcome.attempt for (outcome,), _ in judged] == [1] * SEVERAL
    reopened(health)
    assert judge(health, result, n=0).paused is False
    assert health.breaker.state is State.HALF_OPEN
    assert judge(health, result, n=SEVERAL).paused is True
    reopened(health)
    judge(health, ended(Phase.DOT, OK), n=0)
    assert not any(judge(health, result, n=n).paused for n in range(SEVERAL))


def test_deferrals_of_very_many_recipients_pause_the_account() -> None:
    """A server may defer a few unknown senders in a row, but not every mail."""
    health, result = healthy(), ended(Phase.RCPT, Reply(451, "4.3.0 try later"))
    judged = [judge(health, result, n=n) for n in range(MANY)]
    assert [paused for _, paused in judged] == [False] * (MANY - 1) + [True]
    assert {outcome.attempt for (outcome,), _ in judged} == {1}


def test_a_dialogue_that_breaks_at_mail_from_for_one_recipient_alone_is_the_mails() -> None:
    """An address for which the server hangs up pauses the account twice, and is then retried like any other."""
    health, result = healthy(), ended(Phase.MAIL, fault="connection lost")
    for _ in range(2):
        (outcome,), paused = judge(health, result)
        assert (outcome.attempt, outcome.next_attempt_at, paused) == (0, NOW + STEP, True)
        resumed(health)
    (outcome,), paused = judge(health, result)
    assert (outcome.attempt, outcome.error, paused) == (1, "connection lost (in MAIL)", False)
    assert health.breaker.state is State.CLOSED


@pytest.mark.parametrize(
    ("elsewhere", "due_at"),
    [
        (None, NOW + OTHERS_FIRST),
        (NOW, NOW),
        (NOW + timedelta(seconds=5), NOW + timedelta(seconds=5)),
        (NOW + timedelta(hours=30), NOW + OTHERS_FIRST),
    ],
)
def test_a_mail_that_met_a_limit_waits_no_longer_than_for_another_account(
    elsewhere: datetime | None, due_at: datetime
) -> None:
    """It lets others go first for some minutes at most, however long its account is paused."""
    limit = ended(Phase.DOT, Reply(450, "4.7.0 too many messages, try again in 24 hours"))
    (outcome,), _ = healthy().judge(attempt(), limit, Situation(NOW, 1000.0, RETRY, elsewhere))
    assert (outcome.attempt, outcome.next_attempt_at) == (0, due_at)


@pytest.mark.parametrize(
    ("fault", "said", "pause"),
    [
        ("10.5.4.5:587: connection refused", "", STEP),
        ("mail.example.com:587: timed out after 300 s", "", STEP),
        (
            "mail.example.com:587: 454 4.7.0 wait",
            "4.7.0 Too many logins, try again in 5 minutes",
            300 * timedelta(seconds=1),
        ),
    ],
)
def test_only_the_words_of_the_server_name_a_time(fault: str, said: str, pause: timedelta) -> None:
    """Our own address and our own time limit are not a pause that the server asks for."""
    health = TransportHealth(NAME, CircuitBreaker([STEP, timedelta(hours=1)]))
    reopened(health)
    judge(health, ended(Phase.CONNECT, fault=fault, login_reply=said))
    assert health.breaker.until == NOW + pause


def test_an_account_is_stuck_if_no_delivery_has_ended_for_long() -> None:
    """The time counts from the first delivery under way, or from the latest end."""
    health = healthy()
    health.begin(100.0)
    health.begin(120.0)
    assert (health.room(3), health.room(1)) == (1, 0)
    assert health.room(2) == 0
    assert [health.stalls_in(at) for at in (100.0, 129.0, 130.0, 140.0)] == [STALL_TIMEOUT, 1.0, 0.0, 0.0]
    health.end(140.0)
    assert (health.stalls_in(141.0), health.under_way) == (29.0, 1)


def test_a_used_up_quota_is_reported_once() -> None:
    """It is reported again only after some quota was left."""
    health, later = healthy(), NOW + timedelta(hours=1)
    left = [None, 3, 0, 0, 5, 0]
    assert [health.claimed(Claim((), later, each)) for each in left] == [False, False, True, False, False, True]
    assert (health.quota_left, health.used_up_until) == (0, later)


LIMITED = Reply(550, "5.7.1 rate limit exceeded")


def resumed(health: TransportHealth) -> None:
    """End the pause, and let a mail to another recipient be accepted."""
    health.breaker.begin_probe()
    health.breaker.login_succeeded()
    judge(health, ended(Phase.DOT, OK), n=1)


@pytest.mark.parametrize(
    "result",
    [
        ended(Phase.RCPT, LIMITED),
        ended(Phase.RCPT, Reply(450, "4.7.1 rate limit exceeded")),
        ended(Phase.MAIL, Reply(530, "5.7.0 Authentication required")),
        ended(Phase.MAIL, Reply(550, "5.7.60 Client does not have permissions to send as this sender")),
    ],
)
def test_a_rejection_that_meets_no_other_recipient_pauses_nothing(result: DialogueResult) -> None:
    """The third time that a recipient would pause the account, while others get mail, the mail is retried.

    It may be one of several servers of the account, or a limit that lets some mails through, so it is not final.
    """
    health = healthy()
    for _ in range(2):
        (outcome,), paused = judge(health, result)
        assert (outcome.status, outcome.attempt, paused) == (Status.PENDING, 0, True)
        resumed(health)
    (outcome,), paused = judge(health, result)
    assert (outcome.status, outcome.attempt, paused) == (Status.PENDING, 1, False)
    assert (outcome.smtp, health.breaker.state) == (result.reply, State.CLOSED)


def test_rejections_at_the_same_time_are_one_pause() -> None:
    """Mails that come back while the account is paused wait as long, and their recipients are not suspected."""
    health = healthy()
    judge(health, ended(Phase.RCPT, LIMITED), n=5)
    for _ in range(10):
        judge(health, ended(Phase.DOT, OK), n=1)
        (outcome,), paused = judge(health, ended(Phase.RCPT, LIMITED))
        assert (outcome.status, outcome.next_attempt_at, paused) == (Status.PENDING, NOW + STEP, False)


@pytest.mark.parametrize(
    ("result", "state"),
    [
        (ended(Phase.DOT, OK), State.CLOSED),
        (ended(Phase.RCPT, Reply(550, "5.1.1 no such user")), State.CLOSED),
        (ended(Phase.RCPT, Reply(450, "4.2.0 greylisted")), State.CLOSED),
        (ended(Phase.RCPT, Reply(421, "4.7.0 not now")), State.HALF_OPEN),
        (ended(Phase.RCPT, fault="connection lost"), State.HALF_OPEN),
        (ended(Phase.DOT, fault="connection lost"), State.HALF_OPEN),
        (ended(Phase.RCPT, LIMITED), State.OPEN),
        (ended(Phase.CONNECT, fault="connection refused"), State.OPEN),
    ],
)
def test_what_a_mail_on_trial_shows(result: DialogueResult, state: State) -> None:
    """A mail that is accepted, or rejected for a reason of its own, closes the breaker."""
    breaker = CircuitBreaker([STEP])
    breaker.begin_probe()
    breaker.login_succeeded()
    judge(TransportHealth(NAME, breaker), result)
    assert breaker.state is state


def test_a_quota_is_used_up_until_its_time() -> None:
    """This also holds if a mail of another account found it used up; afterwards the account can be used."""
    health, later = healthy(), NOW + timedelta(hours=1)
    assert not health.quota_used_up(NOW)
    health.claimed(Claim((), None, 5))
    assert [health.rebooked(each) for each in (None, later, later, None, later)] == [False, True, False, False, True]
    assert (health.quota_left, health.usable_at(NOW)) == (0, later)
    assert [health.quota_used_up(at) for at in (NOW, later)] == [True, False]
    assert health.usable_at(later) == later
    health.rebooked(None)
    assert not health.quota_used_up(NOW)


def test_a_used_up_quota_is_shown_until_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """From then on the account is shown as ready, although nothing has been claimed for it since."""
    health, later = healthy(), NOW + timedelta(hours=1)
    health.claimed(Claim((), later, 0))
    states = []
    for now in (NOW, later):
        monkeypatch.setattr("notifier.clock.now", lambda now=now: now)
        states.append((_smtp_state(health).state, _smtp_state(health).until))
    assert states == [("paused", timestamp(later)), ("ready", None)]


def test_mails_that_wait_for_a_quota_do_not_crowd() -> None:
    """If a quota becomes free one mail at a time, the mails that wait for it are not all claimed each time."""
    soon, late = healthy(), healthy()
    soon.rebooked(NOW + timedelta(minutes=1))
    late.rebooked(NOW + timedelta(hours=1))
    found = [
        unsupported(attempt(), ways, NOW)
        for ways in ([soon, late], [late], [soon, TransportHealth(NAME, CircuitBreaker([STEP]))])
    ]
    assert [each.next_attempt_at for each in found] == [
        NOW + QUOTA_AGAIN,
        NOW + timedelta(hours=1),
        NOW + OTHER_ACCOUNT,
    ]


def test_an_address_that_no_account_can_take_fails() -> None:
    """The error says what the servers lack."""
    outcome = unsupported(attempt(), [], NOW)
    assert (outcome.status, outcome.error) == (
        Status.FAILED,
        "the address needs SMTPUTF8, which no configured SMTP server offers",
    )


def test_an_address_beyond_ascii_waits_for_the_accounts_that_were_not_tried() -> None:
    """It waits for the first of them, and never less than OTHER_ACCOUNT."""
    paused, used_up, unknown = healthy(), healthy(), TransportHealth(NAME, CircuitBreaker([STEP]))
    paused.pause("limit", NOW, 0.0)
    used_up.claimed(Claim((), NOW + timedelta(hours=1), 0))
    found = [unsupported(attempt(), ways, NOW) for ways in ([used_up], [used_up, paused], [unknown])]
    assert [(each.status, each.attempt) for each in found] == [(Status.PENDING, 0)] * 3
    at_least = NOW + OTHER_ACCOUNT
    assert [each.next_attempt_at for each in found] == [NOW + timedelta(hours=1), at_least, at_least]
