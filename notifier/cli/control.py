"""Watch the running service, pause and resume it, and ask for its health."""

import json
import os
import sys
from contextlib import suppress

import typer

from notifier.cli import terminal, token_file
from notifier.cli.connect import feed_settings, run, send_command, with_advice
from notifier.cli.options import AsJson
from notifier.errors import Misconfigured
from notifier.feed.client import readiness
from notifier.settings import FeedSettings, load_group


def watch(*, as_json: AsJson = False) -> None:
    """Show every change of every mail as it happens, until Ctrl-C."""
    run(terminal.watch(feed_settings(), as_json=as_json))


def pause(*, as_json: AsJson = False) -> None:
    """Stop sending mails until `resume`, even if the service restarts."""
    send_command("send.pause", {}, as_json=as_json)


def resume(*, as_json: AsJson = False) -> None:
    """Start sending mails again."""
    send_command("send.resume", {}, as_json=as_json)


def health(*, as_json: AsJson = False) -> None:
    """Show the state of the running service; exit 0 if it is ready, otherwise 1. No token is needed."""
    feed = load_group(FeedSettings, os.environ)
    # The token file can be unreadable for this user; readiness does not need a token.
    with suppress(Misconfigured):
        feed = token_file.given(feed)
    with with_advice():
        ready, states, body = readiness(feed)
    if as_json:
        typer.echo(json.dumps(json.loads(body)))
    else:
        actors = ", ".join(f"{name} {each.state}" for name, each in states.actors.items())
        typer.echo(f"{states.status}: store {states.store.state}, {actors}")
    sys.exit(0 if ready else 1)
