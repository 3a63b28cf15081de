"""Who may do what: a token against those that are set."""

import hmac
from typing import Literal

from notifier.settings import FeedSettings

Role = Literal["viewer", "operator"]


def role_of(token: str | None, settings: FeedSettings) -> Role | None:
    """Tell what the bearer of a token may be, None for nothing.

    Where no token is set everyone is operator, but nobody is anything while one is still to
    be made. Compares in constant time, so that how long it takes gives no token away.
    """
    if settings.lacks_token:
        return None
    if not (settings.viewer_token or settings.operator_token):
        return "operator"
    if _same(token, settings.operator_token):
        return "operator"
    return "viewer" if _same(token, settings.viewer_token) else None


def _same(given: str | None, expected: str | None) -> bool:
    return bool(given and expected) and hmac.compare_digest((given or "").encode(), (expected or "").encode())
