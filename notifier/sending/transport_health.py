"""One transport as the sender sees it: whether it is fit, and what its dialogues mean for mails. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from msgspec.structs import replace

from notifier.domain.addresses import all_masked, without
from notifier.domain.claims import Claim, Quota
from notifier.domain.mail import Mail, Reply, RetryPolicy, due_again, failed, handed_back, refused, sent, unknown
from notifier.sending.circuit_breaker import CircuitBreaker, State
from notifier.sending.dialogue import DialogueResult
from notifier.sending.refusals import MANY, SEVERAL, Cause, RefusalStreak, Streak, Suspects
from notifier.sending.replies import (
    Disposition,
    Phase,
    disposition,
    is_closing,
    is_daily_limit,
    speaks_of_the_recipient,
    wait_named,
)

OTHER_TRANSPORT = timedelta(seconds=30)
"""How long a mail that only another transport could send waits at least until it is claimed again."""
OTHERS_FIRST = timedelta(minutes=15)
"""How long a mail that paused its account lets others go first at most: its account may be paused for a day."""
QUOTA_AGAIN = timedelta(minutes=15)
"""The same as OTHER_TRANSPORT if the other transport has used up its quota, which returns mail by mail.

If very many mails wait for it, claiming all of them for each mail of the quota would hold up everyone else.
"""
STALL_TIMEOUT = 30.0
"""Seconds without an end of any dialogue after which an account that has no room is stuck."""


class Situation(NamedTuple):
    """When a dialogue ended, by the clock (UTC) and the event loop's (seconds), and what else decides what it means.

    `elsewhere` is when the first other account can be used (UTC): a mail that paused this one waits no longer.
    """

    now: datetime
    monotonic: float
    retry: RetryPolicy
    elsewhere: datetime | None = None


class Judgement(NamedTuple):
    """What a dialogue means: what becomes of mails, and whether a pause of the account should be reported."""

    outcomes: list[Mail]
    paused: bool = False


@dataclass
class TransportHealth:
    """A transport, and what its replies have shown of it.

    `quota_left` and, once that is 0, the time at which there is some again are as of the latest claim, or
    the latest mail of another account that should be sent by this one.
    `under_way` counts its deliveries from the claim until the outcome is recorded, and `moved_at` is when the
    latest one ended, or the first one began. All times are UTC; `monotonic` is the event loop's clock, in seconds.
    """

    name: str
    breaker: CircuitBreaker
    quota: Quota | None = None
    quota_left: int | None = None
    used_up_until: datetime | None = None
    rejections: RefusalStreak = field(default_factory=RefusalStreak)
    suspects: Suspects = field(default_factory=Suspects)
    breaks: Streak = field(default_factory=Streak)
    deferrals: Streak = field(default_factory=Streak)
    under_way: int = 0
    moved_at: float = 0.0

    def quota_used_up(self, now: datetime) -> bool:
        """Return whether no mail may be started, as far as is known."""
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

    def end(self, monotonic: float) -> None:
        """Note that a delivery has ended."""
        self.under_way -= 1
        self.moved_at = monotonic

    def stalls_in(self, monotonic: float) -> float:
        """Return in how many seconds the account is stuck unless a delivery ends before; 0 if it is."""
        return max(0.0, self.moved_at + STALL_TIMEOUT - monotonic)

    def claimed(self, claim: Claim) -> bool:
        """Update the remaining quota; return whether it has just run out."""
        return self._note_quota(claim.quota_left, claim.again_at if claim.quota_left == 0 else None)

    def rebooked(self, again_at: datetime | None) -> bool:
        """Note that a mail of another account was counted against the quota, or when that has some left again (UTC).

        Return whether it has just run out.
        """
        return self._note_quota(self.quota_left if again_at is None else 0, again_at)

    def _note_quota(self, left: int | None, used_up_until: datetime | None) -> bool:
        was_used_up = self.used_up_until is not None
        self.quota_left, self.used_up_until = left, used_up_until
        return used_up_until is not None and not was_used_up

    def pause(self, reason: str, now: datetime, monotonic: float, *, said: str = "") -> bool:
        """Pause the account, for as long as the server's words (`said`) ask or by its steps."""
        asked, for_long = wait_named(said), is_daily_limit(said)
        return self.breaker.fault(reason, monotonic, now, asked=asked, for_long=for_long)

    def judge(self, mail: Mail, result: DialogueResult, at: Situation) -> Judgement:
        """Decide what a dialogue means for its mail, for those it shows in another light, and for the transport."""
        if result.phase is Phase.CONNECT:
            return Judgement([handed_back(mail)], self._paused(result.fault or "", at, said=result.login_reply))
        if result.reply is None:
            return self._broken(mail, result, at)
        reply = result.reply
        if result.accepted:
            return self._accepted(mail, reply, at)
        match disposition(result.phase, reply):
            case Disposition.TRANSPORT:
                return self._speaks_of_our_account(mail, reply, at)
            case Disposition.FAIL:
                return self._refused_for_good(mail, reply, at)
            case Disposition.RETRY:
                return self._deferred(mail, reply, at)

    def _accepted(self, mail: Mail, reply: Reply, at: Situation) -> Judgement:
        self.breaker.delivered()
        for each in (self.rejections, self.suspects, self.breaks, self.deferrals):
            each.delivered(mail.to)
        return Judgement([sent(mail, reply, at.now)])

    def _broken(self, mail: Mail, result: DialogueResult, at: Situation) -> Judgement:
        """Decide about a dialogue that ended without a reply: the account is at fault if several end so in a row."""
        why = f"{result.fault} (in {result.phase})"
        if result.phase is Phase.MAIL:
            if self._is_alone(mail):
                return Judgement([refused(mail, None, why, at.retry, at.now)])
            paused = self._paused(result.fault or "", at)
            return Judgement([handed_back(mail, self._others_first(at))], paused)
        paused = self.breaks.add(mail, SEVERAL) is Cause.ACCOUNT and self._suspected(why, at)
        if result.phase is Phase.DOT:
            return Judgement([unknown(replace(mail, past_data=True), f"{result.fault}", at.retry, at.now)], paused)
        return Judgement([refused(mail, None, why, at.retry, at.now)], paused)

    def _deferred(self, mail: Mail, reply: Reply, at: Situation) -> Judgement:
        """Decide about a rejection for now: the account is at fault if it meets very many in a row."""
        closes = is_closing(reply)
        cause = self.breaks.add(mail, SEVERAL) if closes else self.deferrals.add(mail, MANY)
        paused = cause is Cause.ACCOUNT and self._suspected(_words(mail, reply), at)
        if not closes and cause not in (Cause.ACCOUNT, Cause.REPEATED):
            self.breaker.worked()
        return Judgement([_later(mail, reply, at)], paused)

    def _speaks_of_our_account(self, mail: Mail, reply: Reply, at: Situation) -> Judgement:
        """Pause the transport, unless it works for everybody but this recipient.

        The mail waits until after the pause, so that others go first: one that is accepted tells the two apart.
        Even then it does not fail at once, because a limit that lets some mails through looks the same.
        """
        if self._is_alone(mail):
            return Judgement([_later(mail, reply, at)])
        paused = self._paused(_words(mail, reply), at, said=reply.text)
        return Judgement([handed_back(mail, self._others_first(at))], paused)

    def _refused_for_good(self, mail: Mail, reply: Reply, at: Situation) -> Judgement:
        """Fail the mail, unless the same rejection meets several recipients in a row.

        Then the account is paused, and those that had failed by it are tried again after others. Those that are
        rejected once more are retried like after a rejection for now. Once other mail was accepted they fail if the
        reply speaks of the recipient; otherwise it may be a limit of the account that lets some mails through.
        """
        cause = self.rejections.cause(mail, reply)
        if cause is Cause.ACCOUNT:
            paused = self._suspected(_words(mail, reply), at)
            until = self._others_first(at)
            again = [due_again(each, until) for each in self.rejections.reprieved()]
            return Judgement([*again, handed_back(mail, until)], paused)
        if cause is Cause.REPEATED:
            return Judgement([_later(mail, reply, at)])
        self.breaker.worked()
        if cause is not Cause.MAIL and not speaks_of_the_recipient(reply):
            return Judgement([_later(mail, reply, at)])
        outcome = failed(mail, reply, None)
        if cause is not Cause.CLEARED:
            self.rejections.failed(outcome)
        return Judgement([outcome])

    def _is_alone(self, mail: Mail) -> bool:
        return self.suspects.is_alone(mail.to, pauses=self.breaker.state is not State.OPEN)

    def _paused(self, reason: str, at: Situation, *, said: str = "") -> bool:
        return self.pause(reason, at.now, at.monotonic, said=said)

    def _suspected(self, reason: str, at: Situation) -> bool:
        return self.breaker.suspect(reason, at.monotonic, at.now)

    def _others_first(self, at: Situation) -> datetime:
        """Return until when a mail that met a fault of the account waits, so that others go first."""
        ends = [self.breaker.until or at.now, at.now + OTHERS_FIRST]
        return min(ends if at.elsewhere is None else [*ends, at.elsewhere])


def unsupported(mail: Mail, untried: Sequence[TransportHealth], now: datetime) -> Mail:
    """Decide about a mail whose address needs SMTPUTF8, which none of the transports that could be asked offers.

    While some are `untried`, because they are paused or have no quota left, it waits for
    the first of them, uncounted; otherwise nobody can send it.
    """
    if not untried:
        return failed(mail, None, "the address needs SMTPUTF8, which no configured SMTP server offers")
    waits_for_quota = all(each.quota_used_up(now) for each in untried)
    at_least = now + (QUOTA_AGAIN if waits_for_quota else OTHER_TRANSPORT)
    return handed_back(mail, max(min(each.usable_at(now) for each in untried), at_least))


def _later(mail: Mail, reply: Reply, at: Situation) -> Mail:
    return refused(mail, reply, None, at.retry, at.now, asked=wait_named(reply.text) or timedelta(0))


def _words(mail: Mail, reply: Reply) -> str:
    """Say why a transport is paused; the addresses that the server has named are nobody's business there."""
    return f"{reply.code} {all_masked(without(mail.to, reply.text))}"
