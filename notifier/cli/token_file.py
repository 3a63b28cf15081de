"""The operator's token that `serve` creates at its first start if none is set, and keeps in NOTIFIER_MAKE_TOKEN."""

import os
import secrets
from pathlib import Path

from notifier.errors import Misconfigured, Problem
from notifier.settings import BadValue, FeedSettings, check_token

_DELETE = "delete the file, and the next start creates a new token"


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
    except OSError as error:
        raise _problem(
            f"{feed.make_token} cannot be read: {error.strerror}", "name a file that this user can read"
        ) from error
    except UnicodeDecodeError:
        raise _problem(f"{feed.make_token} cannot be read: its content is not UTF-8", _DELETE) from None
    except BadValue as error:
        raise _problem(f"the token in {feed.make_token} {error.wrong}", _DELETE) from None


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
        raise _problem(
            f"{feed.make_token} cannot be written: {error.strerror}", "name a file in a folder that this user can write"
        ) from error


def _write_privately(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _problem(wrong: str, remedy: str) -> Misconfigured:
    return Misconfigured([Problem("NOTIFIER_MAKE_TOKEN", wrong, remedy)])


def _with(feed: FeedSettings, token: str) -> FeedSettings:
    return feed.model_copy(update={"operator_token": token})
