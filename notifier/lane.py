"""One transport as the sender sees it: whether it is fit, and what its dialogues mean for mails. Pure."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

from msgspec.structs import replace

from notifier.addresses import all_masked, without
from notifier.circuit import Circuit, State
from notifier.cohort import Cohort, Suspects
from notifier.mail import Mail, Reply, RetryPolicy, due_again, failed, handed_back, refused, sent, unknown
from notifier.replies import Phase, Verdict, is_closing, is_daily_limit, verdict, verdict_of_a_lone, wait_named
from notifier.storage.store import Claim, Quota

OTHER_TRANSPORT = timedelta(seconds=30)
"""How long a mail that only another transport could send waits at least until it is claimed again."""

Moment = Callable[[], Awaitable[None]]


class Result(Protocol):
    """How a dialogue with the SMTP server ended."""

    @property
    def phase(self) -> Phase:
        """Where it ended."""

    @property
    def reply(self) -> Reply | None:
        """The server's last word; None where the dialogue broke."""

    @property
    def fault(self) -> str | None:
        """What broke it."""

    @property
    def accepted(self) -> bool:
        """Whether the server took the message over."""

    @property
    def unsupported(self) -> bool:
        """Whether the server lacks an extension that the recipient's address needs."""


class Transport(Protocol):
    """One way to hand mail over."""

    name: str

    async def open(self) -> object:
        """Log in; Unreachable says why that is refused."""

    async def deliver(
        self, mail: Mail, turn: Moment, before_data: Moment, *, begins_again: Callable[[], None]
    ) -> Result:
        """Hand one mail over, awaiting `turn` right before it starts and `before_data` before its message goes.

        `begins_again` is called if it has not started after its turn, and must wait for another one.
        """


class Judgement(NamedTuple):
    """What a dialogue means: what becomes of mails, and whether it is news that the transport is paused."""

    outcomes: list[Mail]
    paused: bool = False


@dataclass
class Lane:
    """A transport, and what its replies have shown of it.

    `quota_left` and, once that is 0, the time at which there is some again are as of the latest claim.
    All times are UTC; `monotonic` is the event loop's clock, in seconds.
    """

    transport: Transport
    circuit: Circuit
    quota: Quota | None = None
    quota_left: int | None = None
    used_up_until: datetime | None = None
    cohort: Cohort = field(default_factory=Cohort)
    suspects: Suspects = field(default_factory=Suspects)

    @property
    def is_usable(self) -> bool:
        """Whether mails of other transports can be sent by this one now."""
        return self.circuit.room(1) > 0 and self.quota_left != 0

    def claimed(self, claim: Claim) -> bool:
        """Note what a claim found left of the quota; True when it is news that there is nothing."""
        was_used_up, self.quota_left = self.quota_left == 0, claim.quota_left
        self.used_up_until = claim.again_at if claim.quota_left == 0 else None
        return self.used_up_until is not None and not was_used_up

    def pause(self, reason: str, now: datetime, monotonic: float) -> bool:
        """Rest the transport as long as the words of `reason` ask for, or else by its steps; True when it is news."""
        asked, for_long = wait_named(reason), is_daily_limit(reason)
        return self.circuit.fault(reason, monotonic, now, asked=asked, for_long=for_long)

    def judge(self, mail: Mail, result: Result, retry: RetryPolicy, now: datetime, monotonic: float) -> Judgement:
        """Decide what a dialogue means for its mail, for those it shows in another light, and for the transport."""
        if result.reply is None:
            return self._broken(mail, result, retry, now, monotonic)
        reply = result.reply
        if result.accepted:
            self.circuit.delivered()
            self.cohort.delivered()
            self.suspects.delivered(mail.to)
            return Judgement([sent(mail, reply, now)])
        match verdict(result.phase, reply):
            case Verdict.TRANSPORT:
                return self._speaks_of_our_account(mail, reply, retry, now, monotonic)
            case Verdict.FAIL:
                return self._refused_for_good(mail, reply, now, monotonic)
            case Verdict.RETRY:
                if not is_closing(reply):
                    self.circuit.worked()
                return Judgement([_later(mail, reply, retry, now)])

    def _broken(self, mail: Mail, result: Result, retry: RetryPolicy, now: datetime, monotonic: float) -> Judgement:
        """Decide about a dialogue that ended without a reply."""
        if verdict(result.phase, None) is Verdict.TRANSPORT:
            return Judgement([handed_back(mail)], self.pause(result.fault or "", now, monotonic))
        if result.phase is Phase.DOT:
            return Judgement([unknown(replace(mail, past_data=True), f"{result.fault}", retry, now)])
        return Judgement([refused(mail, None, f"{result.fault} (in {result.phase})", retry, now)])

    def _speaks_of_our_account(
        self, mail: Mail, reply: Reply, retry: RetryPolicy, now: datetime, monotonic: float
    ) -> Judgement:
        """Pause the transport, unless it works for everybody but this recipient.

        The mail waits until after the pause, so that others go first: one that is accepted tells the two apart.
        """
        if self.suspects.is_alone(mail.to, pauses=self.circuit.state is not State.PAUSED):
            fails = verdict_of_a_lone(reply) is Verdict.FAIL
            return Judgement([failed(mail, reply, None) if fails else _later(mail, reply, retry, now)])
        paused = self.pause(_words(mail, reply), now, monotonic)
        return Judgement([handed_back(mail, self.circuit.until)], paused)

    def _refused_for_good(self, mail: Mail, reply: Reply, now: datetime, monotonic: float) -> Judgement:
        if self.cohort.concerns_everyone(mail.to, reply):
            paused = self.pause(_words(mail, reply), now, monotonic)
            # Others go first after the pause: one that is accepted settles the matter.
            again = handed_back(mail, self.circuit.until)
            return Judgement([*map(due_again, self.cohort.reprieved()), again], paused)
        self.circuit.worked()
        outcome = failed(mail, reply, None)
        self.cohort.failed(outcome)
        return Judgement([outcome])


def unsupported(mail: Mail, untried: Sequence[Lane], now: datetime) -> Mail:
    """Decide about a mail whose address needs SMTPUTF8, which none of the transports that could be asked offers.

    While some are `untried`, because they are paused or have no quota left, it waits for
    the first of them, uncounted; otherwise nobody can send it.
    """
    if not untried:
        return failed(mail, None, "the address needs SMTPUTF8, which no configured SMTP server offers")
    usable_at = [lane.circuit.until or lane.used_up_until or now for lane in untried]
    return handed_back(mail, max(min(usable_at), now + OTHER_TRANSPORT))


def _later(mail: Mail, reply: Reply, retry: RetryPolicy, now: datetime) -> Mail:
    return refused(mail, reply, None, retry, now, asked=wait_named(reply.text) or timedelta(0))


def _words(mail: Mail, reply: Reply) -> str:
    """Say why a transport is paused; the addresses that the server has named are nobody's business there."""
    return f"{reply.code} {all_masked(without(mail.to, reply.text))}"
