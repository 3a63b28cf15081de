"""Which role may use which command: each command by a viewer, by an operator, and without a valid token.

The table must have every command of the service.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from support.faults.sink import Sink
from support.pages import get
from support.parts import changed, next_frame, request, serving, submit, wait_event, wait_frame
from support.privacy import OPERATOR_TOKEN, VIEWER_TOKEN

from notifier.feed.client import FeedClient, Rejected
from notifier.feed.commands import commands
from notifier.settings import FeedSettings

FAR = "2126-01-01T00:00:00Z"
Args = Callable[[Mapping[str, str]], dict[str, Any]]

TRIES: Mapping[str, Args] = {
    "submit": lambda _: {"message": request(9, send_at=FAR)},
    "mail.list": lambda _: {},
    "mail.show": lambda ids: {"id": ids["waiting"]},
    "mail.cancel": lambda ids: {"id": ids["waiting"]},
    "mail.retry": lambda ids: {"id": ids["failed"]},
    "mail.resolve": lambda ids: {"id": ids["uncertain"], "as": "sent"},
    "address.erase": lambda _: {"email": "p3@example.com"},
    "send.resume": lambda _: {},
    "send.pause": lambda _: {},
}
"""Arguments of each command; in this order an operator can carry out all of them."""
OF_VIEWERS = {"mail.list"}
"""The commands that a viewer may use."""


@asynccontextmanager
async def occupied(environ: Mapping[str, str], sink: Sink, **tokens: str) -> AsyncIterator[tuple[Any, dict[str, str]]]:
    """Run a service with a mail in each status that a command needs; yield the feed's settings and their ids."""
    settings = changed(environ, SMTP_URL=f"smtp+plain://127.0.0.1:{sink.port}", ON_UNCERTAIN="hold", **tokens)
    async with serving(settings) as feed:
        async with FeedClient.connect(feed, snapshot=0) as operator:
            (waiting,) = (await submit(operator, request(1, send_at=FAR)))["mails"]
            await sink.command(phase="RCPT", act="reply", reply="550 5.1.1 no such user")
            await operator.command("submit", {"message": request(2)})
            failed = await wait_event(operator, "mail.failed")
            await sink.command(phase="DOT", act="hang_up", accept=True)
            await operator.command("submit", {"message": request(3)})
            uncertain = await wait_event(operator, "mail.uncertain")
        yield feed, {"waiting": waiting, "failed": failed["id"], "uncertain": uncertain["id"]}


@pytest.fixture
async def sink(tmp_path: Path) -> AsyncIterator[Sink]:
    """Run an SMTP server that fails as the recipient's address says."""
    async with Sink.running(tmp_path / "journal") as sink:
        yield sink


async def outcomes(feed: FeedSettings, ids: Mapping[str, str]) -> dict[str, str]:
    """Try every command in turn; return for each the code of its error, or `ok`."""
    found = {}
    async with FeedClient.connect(feed, snapshot=0) as client:
        for name, args in TRIES.items():
            id_ = await client.command(name, args(ids))
            frame = await wait_frame(client, lambda frame, id_=id_: frame["type"] == "result" and frame["id"] == id_)  # type: ignore[misc]
            found[name] = "ok" if frame["ok"] else frame["error"]["code"]
    return found


async def state(feed: FeedSettings) -> Any:
    """Read everything that a command could change."""
    async with FeedClient.connect(feed, snapshot=500, stats=0.5) as client:
        snapshot = await wait_frame(client, lambda frame: frame["type"] == "snapshot")
        # The first may be those that someone else asked for a moment ago.
        for _ in range(2):
            stats = await wait_frame(client, lambda frame: frame["type"] == "stats")
    return sorted((mail["id"], mail["rev"]) for mail in snapshot["mails"]), stats["paused"]


def test_no_command_is_forgotten() -> None:
    """Every command is tried below, and those of viewers are commands."""
    nothing = cast("Any", None)
    assert set(TRIES) == set(commands(nothing, nothing, nothing, nothing))
    assert set(TRIES) >= OF_VIEWERS


async def test_a_viewer_may_list_mails_and_change_nothing(environ: dict[str, str], sink: Sink) -> None:
    """A viewer's other commands are `forbidden` and change nothing."""
    tokens = {"VIEWER_TOKEN": VIEWER_TOKEN, "OPERATOR_TOKEN": OPERATOR_TOKEN}
    async with occupied(environ, sink, **tokens) as (feed, ids):
        before = await state(feed)
        found = await outcomes(feed.model_copy(update={"operator_token": None}), ids)
        assert await state(feed) == before
    assert found == {name: "ok" if name in OF_VIEWERS else "forbidden" for name in TRIES}


async def test_an_operator_may_use_every_command(environ: dict[str, str], sink: Sink) -> None:
    """Each command is carried out, and its effect is visible: the mails have changed and sending is paused."""
    tokens = {"VIEWER_TOKEN": VIEWER_TOKEN, "OPERATOR_TOKEN": OPERATOR_TOKEN}
    async with occupied(environ, sink, **tokens) as (feed, ids):
        (before, was_paused), found = await state(feed), await outcomes(feed, ids)
        after, is_paused = await state(feed)
    assert found == dict.fromkeys(TRIES, "ok")
    assert (was_paused, is_paused) == (False, True)
    assert len(after) == len(before) + 1
    assert not set(before) & set(after)


async def test_where_no_token_is_set_everyone_is_operator(environ: dict[str, str], sink: Sink) -> None:
    """On loopback without tokens every command is carried out for everyone."""
    async with occupied(environ, sink) as (feed, ids):
        assert await outcomes(feed, ids) == dict.fromkeys(TRIES, "ok")


@pytest.mark.parametrize("shown", [None, "", "wrong", VIEWER_TOKEN[:-1], VIEWER_TOKEN.upper(), OPERATOR_TOKEN + " "])
async def test_without_a_valid_token_there_is_no_command(environ: dict[str, str], shown: str | None) -> None:
    """The connection is closed with 4401 before it is welcomed, and the metrics are closed as well."""
    settings = changed(environ, VIEWER_TOKEN=VIEWER_TOKEN, OPERATOR_TOKEN=OPERATOR_TOKEN)
    async with serving(settings) as feed:
        wrong = feed.model_copy(update={"viewer_token": None, "operator_token": shown})
        with pytest.raises(Rejected, match="4401"):
            async with FeedClient.connect(wrong, snapshot=0) as client:
                await client.command("send.pause", {})
                await next_frame(client)
        assert not (await state(feed))[1]
        headers = {} if shown is None else {"Authorization": f"Bearer {shown.strip()}x"}
        assert (await get(feed, "/metrics", **headers))[0] == 401


async def test_one_token_alone_lets_in_its_role_only(environ: dict[str, str]) -> None:
    """If only a viewer's token is set, nobody is operator; a token of one role does not give the other."""
    async with serving(changed(environ, VIEWER_TOKEN=VIEWER_TOKEN)) as feed:
        async with FeedClient.connect(feed) as client:
            assert (await next_frame(client))["role"] == "viewer"
        with pytest.raises(Rejected, match="4401"):
            async with FeedClient.connect(feed.model_copy(update={"operator_token": OPERATOR_TOKEN})) as client:
                await next_frame(client)
