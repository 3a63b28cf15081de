"""The page follows the feed: live, across restarts and gaps, and narrowed or paused by its reader."""

import asyncio
import json
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import pytest
from playwright.async_api import Browser, WebSocketRoute
from support.faults.victim import Victim
from support.look import LOST, Watch, free_port, live, rows, wait_row, wait_rows, wait_same
from support.parts import PATIENCE, changed, request, serving, submit, wait_event
from support.privacy import OPERATOR_TOKEN, VIEWER_TOKEN
from support.samples import upcoming_booking

from notifier import clock
from notifier.demo.inbox import Inbox
from notifier.feed.client import FeedClient
from notifier.settings import Settings
from notifier.storage.sqlite.store import SqliteStore

LATER = "2099-01-01T00:00:00Z"


async def purge_all(database: Path) -> None:
    """Purge all finished mails, as happens while a page is disconnected for longer than the retention."""
    store = await SqliteStore.open(database)
    while any(await store.purge(clock.now() + timedelta(days=1), clock.now(), None, clock.now())):
        pass
    await store.close()


async def test_a_row_goes_live_to_sent(settings: Settings, inbox: Inbox, watch: Watch) -> None:
    """A mail that is submitted while the page is open appears and becomes sent, without a reload."""
    async with serving(settings) as feed, FeedClient.connect(feed, snapshot=0) as client, watch(feed) as page:
        await live(page)
        await page.get_by_text("No mails yet").wait_for()
        await page.evaluate("window.isSame = true")
        (id_,) = (await submit(client, request(1)))["mails"]
        await inbox.wait_for(1, PATIENCE)
        accepted = asyncio.get_running_loop().time()
        row = await wait_row(page, id_, "Sent")
        took = asyncio.get_running_loop().time() - accepted
        assert await page.evaluate("window.isSame")
        assert await row.locator(".to").inner_text() == "p•••@example.com"
        await page.locator('#tiles [data-condition="sent"] strong', has_text="1").wait_for()
    print(f"on the page {took * 1000:.0f} ms after the server accepted it")  # noqa: T201 - pytest shows it with -s


async def test_after_a_kill_and_a_restart_the_list_matches_the_store(
    environ: dict[str, str], inbox: Inbox, watch: Watch
) -> None:
    """While the service is down the rows stay, greyed out; after its restart they match the store, without a reload."""
    environ["NOTIFIER_PORT"] = str(free_port())
    async with Victim.running(environ) as victim:
        feed = victim.feed
        async with FeedClient.connect(feed, snapshot=0) as client:
            await submit(client, request(1))
            await submit(client, request(2, send_at=LATER))
            await inbox.wait_for(1, PATIENCE)
            async with watch(feed, expects=LOST) as page:
                await wait_same(page, client)
                await victim.kill()
                await page.locator("body.stale").wait_for()
                assert len(await rows(page)) == 2
                await page.locator("#banner", has_text="Reconnecting at").wait_for()
                async with Victim.running(environ), FeedClient.connect(feed, snapshot=0) as again:
                    await submit(again, request(3))
                    await inbox.wait_for(2, PATIENCE)
                    await live(page)
                    await wait_same(page, again)
                    assert len(await rows(page)) == 3
                    assert await page.locator("#notice").is_hidden()
                    assert await page.locator("#banner").is_hidden()
                await page.locator("body.stale").wait_for()


async def test_after_a_gap_the_page_says_that_it_reloaded(environ: dict[str, str], watch: Watch) -> None:
    """If missed events have been purged, the page shows the state of the store and a notice that it was reloaded."""
    settings = changed(environ, PORT=str(free_port()))
    async with AsyncExitStack() as stack:
        async with serving(settings) as feed, FeedClient.connect(feed, snapshot=0) as client:
            await submit(client, request(1))
            await wait_event(client, "mail.sent")
            page = await stack.enter_async_context(watch(feed, expects=LOST))
            await wait_same(page, client)
        async with (
            serving(changed(environ, PORT="0")) as elsewhere,
            FeedClient.connect(elsewhere, snapshot=0) as client,
        ):
            await submit(client, request(2))
            await wait_event(client, "mail.sent")
        await purge_all(Path(environ["NOTIFIER_DATABASE_URL"].removeprefix("sqlite:///")))
        async with serving(settings), FeedClient.connect(feed, snapshot=0) as client:
            await submit(client, request(3))
            await wait_event(client, "mail.sent")
            await page.get_by_text("has been reloaded").wait_for()
            await wait_same(page, client)
            assert len(await rows(page)) == 1


async def test_a_paused_list_holds_new_mails_back_and_counts_them(settings: Settings, watch: Watch) -> None:
    """Rows still change in place; new mails appear when the reader asks for them."""
    async with serving(settings) as feed, FeedClient.connect(feed, snapshot=0) as client, watch(feed) as page:
        (first,) = (await submit(client, request(1, send_at=LATER)))["mails"]
        await wait_row(page, first, "Scheduled")
        await page.get_by_role("button", name="Pause the list").click()
        for number in (2, 3):
            await submit(client, request(number, send_at=LATER))
        await page.get_by_text("Show 2 new mails").wait_for()
        await client.command("mail.cancel", {"id": first})
        await wait_row(page, first, "Cancelled")
        assert list(await rows(page)) == [first]
        await page.get_by_role("button", name="Show 2 new mails").click()
        await wait_same(page, client)


async def test_a_list_that_is_scrolled_does_not_move(settings: Settings, watch: Watch) -> None:
    """While the reader has scrolled down, new mails are held back; back at the top they appear."""
    async with serving(settings) as feed, FeedClient.connect(feed, snapshot=0) as client, watch(feed) as page:
        for number in range(80):
            await submit(client, request(number, send_at=LATER))
        await wait_same(page, client)
        await page.locator("#mails tr").last.scroll_into_view_if_needed()
        await submit(client, request(100, send_at=LATER))
        await page.get_by_text("Show 1 new mail").wait_for()
        assert len(await rows(page)) == 80
        await page.evaluate("scrollTo(0, 0)")
        await wait_same(page, client)


async def test_the_banner_says_what_is_wrong_and_when_the_next_attempt_is(
    environ: dict[str, str], watch: Watch
) -> None:
    """The banner shows an unavailable SMTP server with a reason and a time, and disappears when the server is back."""
    port = free_port()
    settings = changed(environ, SMTP_URL=f"smtp+plain://127.0.0.1:{port}", SMTP_PAUSES="300ms")
    async with serving(settings) as feed, FeedClient.connect(feed, snapshot=0) as client, watch(feed) as page:
        await live(page)
        (id_,) = (await submit(client, request(1)))["mails"]
        await page.locator("#banner", has_text="Next attempt at").wait_for()
        await page.locator("#peers .bad", has_text="SMTP paused").wait_for()
        async with Inbox(port=port):
            await wait_row(page, id_, "Sent")
            await page.locator("#banner").wait_for(state="hidden")


@pytest.mark.parametrize("path", ["?show=failed", "?kind=flight.reminder", "?q=nothing-like-it"])
async def test_a_filter_is_in_the_address(settings: Settings, watch: Watch, path: str) -> None:
    """A page that is opened with a filter in its address shows the matching mails, and a button shows all."""
    async with serving(settings) as feed, FeedClient.connect(feed, snapshot=0) as client:
        await submit(client, request(1))
        await wait_event(client, "mail.sent")
        async with watch(feed, path) as page:
            await page.get_by_text("No matching mails").wait_for()
            await page.get_by_role("button", name="Show all mails").click()
            await wait_same(page, client)
            assert await page.evaluate("location.search") == ""


async def test_a_booking_reference_finds_mails_that_are_not_in_the_list(settings: Settings, watch: Watch) -> None:
    """A search for a booking reference finds mails in the store, however long ago they changed."""
    async with serving(settings) as feed, FeedClient.connect(feed, snapshot=0) as client:
        booked = (await submit(client, upcoming_booking()))["mails"]
        await wait_event(client, "mail.sent")
        for start in range(0, 620, 100):
            to = [f"p{start + n}@example.com" for n in range(100)]
            await submit(client, request(start, to=to, send_at=LATER))
        async with watch(feed) as page:
            await wait_rows(page, lambda rows: len(rows) == 500)
            assert not set(booked) & set(await rows(page))
            await page.locator("#search").fill("rxj34p")
            await wait_rows(page, lambda rows: set(rows) == set(booked))


@pytest.mark.parametrize(("reconnect", "state"), [(True, "lost"), (False, "refused")])
async def test_a_bye_says_whether_to_reconnect(
    settings: Settings, chromium: Browser, *, reconnect: bool, state: str
) -> None:
    """After a `bye` without `reconnect` the page stays disconnected until its reader reconnects."""

    async def dismiss(socket: WebSocketRoute) -> None:
        async def answer(_: str | bytes) -> None:
            socket.send(json.dumps({"type": "bye", "code": 1001, "reconnect": reconnect, "after_ms": 60_000}))
            await socket.close(code=1001)

        socket.on_message(lambda text: asyncio.ensure_future(answer(text)))

    async with serving(settings) as feed:
        page = await chromium.new_page()
        await page.route_web_socket("**/feed", dismiss)
        await page.goto(f"http://127.0.0.1:{feed.port}/")
        await page.locator(f"#connection[data-state={state}]").wait_for()
        assert await page.get_by_role("button", name="Reconnect").is_visible() is not reconnect
        await page.close()


async def test_without_a_token_the_page_asks_for_one(environ: dict[str, str], watch: Watch) -> None:
    """The page says that a wrong token is not valid; a viewer sees the list and no actions."""
    settings = changed(environ, VIEWER_TOKEN=VIEWER_TOKEN, OPERATOR_TOKEN=OPERATOR_TOKEN)
    async with serving(settings) as feed, FeedClient.connect(feed, snapshot=0) as client, watch(feed) as page:
        (id_,) = (await submit(client, request(1, send_at=LATER)))["mails"]
        for word in ("wrong", VIEWER_TOKEN):
            await page.get_by_label("Viewer or operator token").fill(word)
            await page.get_by_role("button", name="Sign in").click()
            if word == "wrong":
                await page.get_by_text("not valid").wait_for()
        row = await wait_row(page, id_, "Scheduled")
        assert await row.get_by_role("button").all_inner_texts() == ["Number 1"]
        assert await page.get_by_role("button", name="Pause sending").is_hidden()
        await row.locator(".open").click()
        await page.get_by_text("Only operators can see").wait_for()
