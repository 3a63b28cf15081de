"""Roles: which token allows what, and how long the answer to a wrong token is delayed."""

import hmac
from collections.abc import Callable

import structlog

from notifier.feed.protocol import Role
from notifier.settings import FeedSettings

log = structlog.get_logger(__name__)

STREAK_TIMEOUT = 60.0
"""Seconds without a wrong token after which earlier ones are forgotten."""
FIRST_DELAY, MAX_DELAY = 0.1, 5.0
"""Seconds until a wrong token is answered: the first one, doubled with each further one, and the longest delay."""
MAX_NETWORKS = 1000
"""Networks whose wrong tokens are counted. Beyond that the one whose latest wrong token is oldest is forgotten."""
GLOBAL_DIVISOR = 100
"""Wrong tokens of all networks together that weigh as much as one of a network: a guesser can have many addresses."""


class Tokens:
    """The tokens of the settings, and the wrong ones that were tried; `failed` is called for each of those.

    A client with a valid token is never delayed, whatever others do from the same address. A missing token is not
    counted as a wrong one.
    """

    def __init__(self, settings: FeedSettings, failed: Callable[[], None]) -> None:
        self._settings = settings
        self._failed = failed
        self._own: dict[str, _Streak] = {}
        self._all = _Streak()

    def role(self, token: str | None) -> Role | None:
        """Return the role that a token gives; None if it is missing or wrong.

        If no token is set, everyone is operator; but while one is still to be made, nobody has
        a role. Tokens are compared in constant time, so that the duration reveals nothing.
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
        """Count and log a token without a role; return the seconds by which its answer must be delayed.

        `network` is the remote network, `now` a monotonic time in seconds.
        """
        if not token:
            return 0.0
        self._failed()
        of_all = self._all.grown(now)
        own = self._own.pop(network, _Streak())
        self._own[network] = own  # the latest network is the last key
        if len(self._own) > MAX_NETWORKS:
            del self._own[next(iter(self._own))]
        if _is_power_of_ten(of_all):
            log.warning("wrong tokens were given to the feed", count=of_all, latest_from=network)
        doublings = max(own.grown(now) - 1, of_all // GLOBAL_DIVISOR - 1, 0)
        return min(MAX_DELAY, FIRST_DELAY * 2.0 ** min(doublings, 10))


class _Streak:
    """A count of wrong tokens that begins again after a pause of STREAK_TIMEOUT seconds."""

    def __init__(self) -> None:
        self._count = 0
        self._latest = float("-inf")

    def grown(self, now: float) -> int:
        """Count one more and return the count."""
        self._count = 1 if now - self._latest > STREAK_TIMEOUT else self._count + 1
        self._latest = now
        return self._count


def _is_power_of_ten(count: int) -> bool:
    return str(count).rstrip("0") == "1"


def _same(given: str | None, expected: str | None) -> bool:
    return bool(given and expected) and hmac.compare_digest((given or "").encode(), (expected or "").encode())
