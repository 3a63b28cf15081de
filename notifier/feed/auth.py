"""Who may do what: a token against those that are set, and what wrong ones cost whoever gives them."""

import hmac
from collections.abc import Callable

import structlog

from notifier.feed.protocol import Role
from notifier.settings import FeedSettings

log = structlog.get_logger(__name__)

FORGET = 60.0
"""Seconds without a wrong token after which earlier ones are forgotten."""
FIRST_DELAY, MAX_DELAY = 0.1, 5.0
"""Seconds until a wrong token is answered; each further one takes twice as long as the one before."""
MAX_NETWORKS = 1000
"""Networks whose wrong tokens are counted; one more, and the one is forgotten that was quiet longest."""
OF_ALL = 100
"""Wrong tokens of all networks together that count as much as one of one's own: a guesser may have many addresses."""


class Tokens:
    """Judges tokens; `failed` is called for each wrong one.

    Whoever gives a right one is never delayed, whatever others do from the same address. A missing token is not a
    wrong one.
    """

    def __init__(self, settings: FeedSettings, failed: Callable[[], None]) -> None:
        self._settings = settings
        self._failed = failed
        self._own: dict[str, _Streak] = {}
        self._all = _Streak()

    def role(self, token: str | None) -> Role | None:
        """Return what the bearer of a token may be, None for nothing.

        If no token is set everyone is operator, but nobody is anything while one is still to
        be made. Compares in constant time, so that how long it takes gives no token away.
        """
        settings = self._settings
        if settings.lacks_token:
            return None
        if not (settings.viewer_token or settings.operator_token):
            return "operator"
        if _same(token, settings.operator_token):
            return "operator"
        return "viewer" if _same(token, settings.viewer_token) else None

    def refused(self, token: str | None, network: str, now: float) -> float:
        """Count and log a token without a role; returns the seconds after which its bearer is to be answered.

        `network` is where it came from, `now` a monotonic time in seconds.
        """
        if not token:
            return 0.0
        self._failed()
        of_all = self._all.grown(now)
        own = self._own.pop(network, _Streak())
        self._own[network] = own  # at the end, where the latest ones are
        if len(self._own) > MAX_NETWORKS:
            del self._own[next(iter(self._own))]
        if _is_power_of_ten(of_all):
            log.warning("wrong tokens were given to the feed", count=of_all, latest_from=network)
        doublings = max(own.grown(now) - 1, of_all // OF_ALL - 1, 0)
        return min(MAX_DELAY, FIRST_DELAY * 2.0 ** min(doublings, 10))


class _Streak:
    """How many there were without a long pause between two."""

    def __init__(self) -> None:
        self._count = 0
        self._latest = float("-inf")

    def grown(self, now: float) -> int:
        """Count one more."""
        self._count = 1 if now - self._latest > FORGET else self._count + 1
        self._latest = now
        return self._count


def _is_power_of_ten(count: int) -> bool:
    return str(count).rstrip("0") == "1"


def _same(given: str | None, expected: str | None) -> bool:
    return bool(given and expected) and hmac.compare_digest((given or "").encode(), (expected or "").encode())
