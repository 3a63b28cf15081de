"""One transport as the sender sees it: whether it is fit, and what its dialogues mean for mails. Pure."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

from msgspec.structs import replace

from notifier.addresses import without
from notifier.circuit import Circuit
from notifier.cohort import Cohort
from notifier.mail import Mail, Reply, RetryPolicy, due_again, failed, handed_back, refused, sent, unknown
from notifier.replies import Phase, Verdict, is_daily_limit, verdict, wait_named
from notifier.storage.store import Claim, Quota

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


class Transport(Protocol):
    """One way to hand mail over."""

    name: str

    async def open(self) -> object:
        """Log in; Unreachable says why that is refused."""

    async def deliver(self, mail: Mail, turn: Moment, before_data: Moment) -> Result:
        """Hand one mail over, awaiting `turn` right before it starts and `before_data` before its message goes."""


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
        reply = result.reply
        if reply and result.accepted:
            self.circuit.delivered()
            self.cohort.delivered()
            return Judgement([sent(mail, reply, now)])
        judged = verdict(result.phase, reply)
        if judged is Verdict.TRANSPORT:
            reason = _words(mail, reply) if reply else result.fault or ""
            return Judgement([handed_back(mail)], self.pause(reason, now, monotonic))
        if judged is Verdict.FAIL and reply:
            return self._refused_for_good(mail, reply, now, monotonic)
        if result.phase is Phase.DOT and not reply:
            return Judgement([unknown(replace(mail, past_data=True), f"{result.fault}", retry, now)])
        error = None if reply else f"{result.fault} (in {result.phase})"
        asked = wait_named(reply.text) if reply else None
        return Judgement([refused(mail, reply, error, retry, now, asked=asked or timedelta(0))])

    def _refused_for_good(self, mail: Mail, reply: Reply, now: datetime, monotonic: float) -> Judgement:
        if self.cohort.concerns_everyone(mail.to, reply):
            paused = self.pause(_words(mail, reply), now, monotonic)
            # The mail waits until after the pause, so that others go first: one that is accepted settles the matter.
            again = handed_back(mail, self.circuit.until)
            return Judgement([*map(due_again, self.cohort.reprieved()), again], paused)
        outcome = failed(mail, reply, None)
        self.cohort.failed(outcome)
        return Judgement([outcome])


def _words(mail: Mail, reply: Reply) -> str:
    """Say why a transport rests; the server may have named the recipient, who is nobody's business there."""
    return f"{reply.code} {without(mail.to, reply.text)}"
