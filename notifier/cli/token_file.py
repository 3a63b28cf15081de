"""The operator's token that `serve` creates at its first start if none is set, and keeps in NOTIFIER_MAKE_TOKEN."""

import os
import secrets
from pathlib import Path

from notifier.errors import Misconfigured
from notifier.settings import FeedSettings, check_token


def given(feed: FeedSettings) -> FeedSettings:
    """Return the settings with the token that an earlier start has kept, if it is needed and exists.

    Raises Misconfigured if the file exists and cannot be read, or its token is too short.
    """
    if not (feed.make_token and feed.lacks_token):
        return feed
    try:
        token = feed.make_token.read_text(encoding="utf-8").strip()
        return _with(feed, check_token(token)) if token else feed
    except FileNotFoundError:
        return feed
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured([f"NOTIFIER_MAKE_TOKEN: cannot be read: {error}"]) from error
    except ValueError as error:
        raise Misconfigured([f"NOTIFIER_MAKE_TOKEN: {feed.make_token}: {error}"]) from error


def made(feed: FeedSettings) -> FeedSettings:
    """Return the settings with a new operator's token of 144 random bits."""
    return _with(feed, secrets.token_urlsafe(18))


def keep(feed: FeedSettings) -> None:
    """Write the token to its file, atomically and readable only by its owner. Raises Misconfigured if that fails."""
    if not (feed.make_token and feed.operator_token):
        return
    unfinished = feed.make_token.with_name(f"{feed.make_token.name}.new")
    try:
        unfinished.unlink(missing_ok=True)
        _write_privately(unfinished, f"{feed.operator_token}\n")
        unfinished.replace(feed.make_token)
    except OSError as error:
        raise Misconfigured([f"NOTIFIER_MAKE_TOKEN: cannot be written: {error}"]) from error


def _write_privately(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _with(feed: FeedSettings, token: str) -> FeedSettings:
    return feed.model_copy(update={"operator_token": token})
