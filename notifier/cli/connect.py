"""How a command reaches the running service."""

import os
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import uvloop

from notifier.cli import terminal, token_file
from notifier.cli.options import check_encodable
from notifier.errors import Unreachable
from notifier.settings import FeedSettings, load_group


def feed_settings() -> FeedSettings:
    """Return the address of the running service and the token for it.

    Raises Misconfigured if one of these settings, or the token file, cannot be used.
    """
    return token_file.given(load_group(FeedSettings, os.environ))


@contextmanager
def with_advice() -> Iterator[None]:
    """Add to an Unreachable what the user can check."""
    try:
        yield
    except Unreachable as error:
        advice = "check that the service is running, and that NOTIFIER_HOST and NOTIFIER_PORT are those of the service"
        raise Unreachable(f"{error}; {advice}") from error


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run what talks to the service to its end. Raises Unreachable, with advice, if the service does not answer."""
    with with_advice():
        uvloop.run(work)


def send_command(name: str, args: Mapping[str, Any], *, as_json: bool) -> None:
    """Send one command of the feed to the running service and print its result.

    Raises BadParameter if an argument cannot be sent, Unreachable if the service does not answer, and
    NotifierError if it rejects the command.
    """
    check_encodable(args)
    run(terminal.run_command(feed_settings(), name, args, as_json=as_json))
