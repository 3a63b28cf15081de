"""The health of an SMTP account, and what the results of its dialogues mean for mails. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from msgspec.structs import replace

from notifier.domain.addresses import all_masked, without
from notifier.domain.claims import Claim, Quota
from notifier.domain.mail import Mail, Reply, RetryPolicy, failed, handed_back, refused, retried, sent, unknown
from notifier.sending.circuit_breaker import CircuitBreaker, State
from notifier.sending.dialogue import DialogueResult
from notifier.sending.refusals import MANY, SEVERAL, Cause, RefusalStreak, Streak, Suspects
from notifier.sending.replies import (
    Disposition,
    Phase,
    disposition,
    is_about_recipient,
    is_closing,
    is_daily_limit,
    wait_named,
)

OTHER_ACCOUNT = timedelta(seconds=30)
"""The shortest wait of a mail that only another account could send, until it is claimed again."""
OTHERS_FIRST = timedelta(minutes=15)
"""The longest wait of a mail that paused its account, so that others go first; the pause may last a day."""
QUOTA_AGAIN = timedelta(minutes=15)
"""Like OTHER_ACCOUNT, if the other account has used up its quota, which becomes free one mail at a time.

If very many mails wait for that, claiming all of them for each mail of the quota would hold up all other mail.
"""
STALL_TIMEOUT = 30.0
"""Seconds without the end of any delivery after which an account without room is stuck."""


class Situation(NamedTuple):
    """When a dialogue ended, and what decides what its result means apart from the account."""

    now: datetime
    """When it ended, in UTC."""
    monotonic: float
    """When it ended, by the event loop's clock in seconds."""
    retry: RetryPolicy
    """When a mail is tried again, and when it is given up."""
    elsewhere: datetime | None = None
    """When the first other account can be used (UTC; None: there is no other).

    A mail that paused this account waits no longer than that.
    """


class Judgement(NamedTuple):
    """What the result of a dialogue means."""

    outcomes: list[Mail]
    """The mails that it changes, as they are afterwards."""
    paused: bool = False
    """Whether it paused the account and that should be reported."""


@dataclass
class TransportHealth:
    """What is known about one SMTP account.

    The quota is known as of the latest claim, or the latest mail that was booked over from another account.
    """

    name: str
    """What the account is called in the log and in statistics."""
    breaker: CircuitBreaker
    """Decides whether the account may be used."""
    quota: Quota | None = None
    """How many mails the account may start in any 24 hours; None if there is no limit."""
    quota_left: int | None = None
    """How many of them are left; None if there is no limit, or nothing has been claimed yet."""
    used_up_until: datetime | None = None
    """When the quota has some left again (UTC); None if it has some left."""
    rejections: RefusalStreak = field(default_factory=RefusalStreak)
    """Permanent rejections in a row."""
    suspects: Suspects = field(default_factory=Suspects)
    """Recipients that pause the account although mails to others are accepted."""
    breaks: Streak = field(default_factory=Streak)
    """Broken dialogues in a row."""
    deferrals: Streak = field(default_factory=Streak)
    """Rejections for now in a row."""
    under_way: int = 0
    """Deliveries from their claim until their outcome is recorded."""
    moved_at: float = 0.0
    """When the latest delivery ended, or the first one under way began (event loop's clock, seconds)."""

    def quota_used_up(self, now: datetime) -> bool:
        """Return whether the quota is used up, as far as is known."""
        return self.used_up_until is not None and self.used_up_until > now

    def usable_at(self, now: datetime) -> datetime:
        """Estimate when the account can be used (UTC): `now`, or when its pause is over and its quota allows it."""
        return max(now, self.breaker.until or now, self.used_up_until or now)

    def room(self, connections: int) -> int:
        """Return how many more mails can be handed over now, with at most so many `connections` in use."""
        return self.breaker.room(max(0, connections - self.under_way))

    def begin(self, monotonic: float) -> None:
        """Note that a delivery begins."""
        if self.under_way == 0:
            self.moved_at = monotonic
        self.under_way += 1

    def moved(self, monotonic: float) -> None:
        """Note that a delivery has ended, and that another one can follow in its place."""
        self.moved_at = monotonic

    def end(self, monotonic: float) -> None:
        """Note that a delivery has ended, and that its place is free."""
        self.under_way -= 1
        self.moved(monotonic)

    def stalls_in(self, monotonic: float) -> float:
        """Return the seconds until the account is stuck if no delivery ends before; 0 if it is stuck."""
        return max(0.0, self.moved_at + STALL_TIMEOUT - monotonic)

    def claimed(self, claim: Claim) -> bool:
        """Update the remaining quota after a claim; return whether it has just run out."""
        return self._note_quota(claim.quota_left, claim.again_at if claim.quota_left == 0 else None)

    def rebooked(self, again_at: datetime | None) -> bool:
        """Note that a mail of another account was counted against the quota, or when that has some left again (UTC).

        Return whether the quota has just run out.
        """
        return self._note_quota(self.quota_left if again_at is None else 0, again_at)

    def _note_quota(self, left: int | None, used_up_until: datetime | None) -> bool:
        was_used_up = self.used_up_until is not None
        self.quota_left, self.used_up_until = left, used_up_until
        return used_up_until is not None and not was_used_up

    def pause(self, reason: str, now: datetime, monotonic: float, *, said: str = "") -> bool:
        """Pause the account, for as long as the server's words (`said`) ask, or else by its steps.

        Return whether the pause should be reported.
        """
        asked, for_long = wait_named(said), is_daily_limit(said)
        return self.breaker.fault(reason, monotonic, now, asked=asked, for_long=for_long)

    def judge(self, mail: Mail, result: DialogueResult, at: Situation) -> Judgement:
        """Decide what the result of a dialogue means for its mail, for earlier mails, and for the account."""
        if result.phase is Phase.CONNECT:
            return Judgement([handed_back(mail)], self._known_fault(result.fault or "", at, said=result.login_reply))
        if result.reply is None:
            return self._broken(mail, result, at)
        reply = result.reply
        if result.accepted:
            return self._accepted(mail, reply, at)
        match disposition(result.phase, reply):
            case Disposition.ACCOUNT:
                return self._rejected_account(mail, reply, at)
            case Disposition.FAIL:
                return self._rejected_for_good(mail, reply, at)
            case Disposition.RETRY:
                return self._deferred(mail, reply, at)

    def _accepted(self, mail: Mail, reply: Reply, at: Situation) -> Judgement:
        self.breaker.delivered()
        for each in (self.rejections, self.suspects, self.breaks, self.deferrals):
            each.delivered(mail.to)
        return Judgement([sent(mail, reply, at.now)])

    def _broken(self, mail: Mail, result: DialogueResult, at: Situation) -> Judgement:
        """Judge a dialogue that ended without a reply; several in a row suspect the account."""
        why = f"{result.fault} (in {result.phase})"
        if result.phase is Phase.MAIL:
            if self._is_alone(mail):
                return Judgement([refused(mail, None, why, at.retry, at.now)])
            paused = self._known_fault(result.fault or "", at)
            return Judgement([handed_back(mail, self._others_first(at))], paused)
        paused = self.breaks.add(mail, SEVERAL) is Cause.ACCOUNT and self._suspect(why, at)
        if result.phase is Phase.DOT:
            return Judgement([unknown(replace(mail, past_data=True), f"{result.fault}", at.retry, at.now)], paused)
        return Judgement([refused(mail, None, why, at.retry, at.now)], paused)

    def _deferred(self, mail: Mail, reply: Reply, at: Situation) -> Judgement:
        """Judge a rejection for now (4xx); very many in a row suspect the account."""
        closes = is_closing(reply)
        cause = self.breaks.add(mail, SEVERAL) if closes else self.deferrals.add(mail, MANY)
        paused = cause is Cause.ACCOUNT and self._suspect(_reason(mail, reply), at)
        if not closes and cause not in (Cause.ACCOUNT, Cause.REPEATED):
            self.breaker.worked()
        return Judgement([_later(mail, reply, at)], paused)

    def _rejected_account(self, mail: Mail, reply: Reply, at: Situation) -> Judgement:
        """Pause the account for a rejection that is about it, unless the account works for all other recipients.

        The mail waits until after the pause, so that others go first: if one of them is accepted, the account works.
        Even then the mail does not fail at once, because a limit that lets some mails through looks the same.
        """
        if self._is_alone(mail):
            return Judgement([_later(mail, reply, at)])
        paused = self._known_fault(_reason(mail, reply), at, said=reply.text)
        return Judgement([handed_back(mail, self._others_first(at))], paused)

    def _rejected_for_good(self, mail: Mail, reply: Reply, at: Situation) -> Judgement:
        """Fail the mail, unless the same rejection meets several recipients in a row.

        Then the account is paused, and the mails that have failed by the rejection are tried again, after others.
        Mails that are rejected once more are retried as after a rejection for now. Once other mail has been accepted,
        they fail if the reply is about the recipient; otherwise it may be a limit that lets some mails through.
        """
        cause = self.rejections.cause(mail, reply)
        if cause is Cause.ACCOUNT:
            paused = self._suspect(_reason(mail, reply), at)
            until = self._others_first(at)
            again = [retried(each, until) for each in self.rejections.reprieved()]
            return Judgement([*again, handed_back(mail, until)], paused)
        if cause is Cause.REPEATED:
            return Judgement([_later(mail, reply, at)])
        self.breaker.worked()
        if cause is not Cause.MAIL and not is_about_recipient(reply):
            return Judgement([_later(mail, reply, at)])
        outcome = failed(mail, reply, None)
        if cause is not Cause.CLEARED:
            self.rejections.failed(outcome)
        return Judgement([outcome])

    def _is_alone(self, mail: Mail) -> bool:
        return self.suspects.is_alone(mail.to, pauses=self.breaker.state is not State.OPEN)

    def _known_fault(self, reason: str, at: Situation, *, said: str = "") -> bool:
        return self.pause(reason, at.now, at.monotonic, said=said)

    def _suspect(self, reason: str, at: Situation) -> bool:
        return self.breaker.suspect(reason, at.monotonic, at.now)

    def _others_first(self, at: Situation) -> datetime:
        """Return until when (UTC) a mail that met a fault of the account waits, so that others go first."""
        ends = [self.breaker.until or at.now, at.now + OTHERS_FIRST]
        return min(ends if at.elsewhere is None else [*ends, at.elsewhere])


def unsupported(mail: Mail, untried: Sequence[TransportHealth], now: datetime) -> Mail:
    """Judge a mail whose address needs SMTPUTF8, which none of the accounts that were tried offers.

    If some accounts are `untried`, because they are paused, busy or have no quota left, the mail waits for the
    first of them, and no attempt is counted. Otherwise it fails.
    """
    if not untried:
        return failed(mail, None, "the address needs SMTPUTF8, which no configured SMTP server offers")
    waits_for_quota = all(each.quota_used_up(now) for each in untried)
    at_least = now + (QUOTA_AGAIN if waits_for_quota else OTHER_ACCOUNT)
    return handed_back(mail, max(min(each.usable_at(now) for each in untried), at_least))


def _later(mail: Mail, reply: Reply, at: Situation) -> Mail:
    return refused(mail, reply, None, at.retry, at.now, asked=wait_named(reply.text) or timedelta(0))


def _reason(mail: Mail, reply: Reply) -> str:
    """Return the reason of a pause; it is shown to viewers, so addresses are left out or masked."""
    return f"{reply.code} {all_masked(without(mail.to, reply.text))}"
