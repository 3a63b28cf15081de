"""The page for everyone: by keyboard, by ear, on a small screen, and whatever a stranger wrote."""

import json
from contextlib import AsyncExitStack
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page
from support.look import LOST, Watch, free_port, live, wait_row, wait_rows, wait_same
from support.parts import PATIENCE, changed, request, serving, submit, wait_event
from support.places import PICTURES
from support.samples import booking_event

from notifier.demo.inbox import Inbox
from notifier.feed import protocol
from notifier.feed.client import FeedClient
from notifier.settings import Settings

LATER = "2099-01-01T00:00:00Z"
HOSTILE = "<img src=x onerror=alert(1)></td><script>alert(2)</script>&amp;\u202e"
BLOCKED = ("Blocked script execution", "Refused to", "Loading the image", "Framing", "Running the JavaScript URL")
"""What the browser says of the things in a hostile mail that it does not do."""
PAGES = PICTURES / "page"
SIZES = {"wide": {"width": 1400, "height": 900}, "phone": {"width": 390, "height": 844}}


async def focused(page: Page) -> str:
    """Say what has the focus: the text of a button."""
    text: str = await page.evaluate("document.activeElement.textContent.trim()")
    return text


async def varied(client: FeedClient) -> None:
    """Submit mails that end in different ways; the inbox refuses the second for now, the third for good."""
    await submit(client, booking_event())
    for number in (2, 3):
        await submit(client, request(number))
    await wait_event(client, "mail.failed")
    await submit(client, request(4, send_at=LATER))


def refuses(_: str, rest: str) -> str | None:
    """Refuse what `varied` wants to be refused."""
    return {"p2": "450 4.2.0 mailbox busy", "p3": "550 5.1.1 no such user"}.get(rest.strip("<")[:2])


async def test_everything_goes_by_keyboard(settings: Settings, inbox: Inbox, watch: Watch) -> None:
    """Search, walk, open, read, close, pause and the list of keys, without a mouse."""
    async with serving(settings) as feed, FeedClient.connect(feed, snapshot=0) as client, watch(feed) as page:
        await submit(client, booking_event())
        for number in (1, 2):
            await submit(client, request(number, send_at=LATER))
        await inbox.wait_for(1, PATIENCE)
        await wait_same(page, client)
        await page.keyboard.press("/")
        await page.keyboard.type("Number")
        await wait_rows(page, lambda rows: len(rows) == 2)
        await page.keyboard.press("Escape")
        await page.keyboard.press("j")
        first = await focused(page)
        await page.keyboard.press("j")
        assert {first, await focused(page)} == {"Number 1", "Number 2"}
        await page.keyboard.press("k")
        assert await focused(page) == first
        await page.keyboard.press("Enter")
        await page.get_by_role("dialog", name=first).get_by_text("History").wait_for()
        await page.get_by_role("tab", name="Text").focus()
        await page.keyboard.press("ArrowRight")
        assert await focused(page) == "Headers"
        await page.locator("pre", has_text=f"Subject: {first}").wait_for()
        await page.keyboard.press("Escape")
        assert await page.locator("#drawer").is_hidden()
        assert await focused(page) == first
        await page.keyboard.press("p")
        assert await page.locator("#pause").get_attribute("aria-pressed") == "true"
        await page.keyboard.press("?")
        await page.get_by_role("dialog", name="Keyboard shortcuts").wait_for()
        await page.keyboard.press("Escape")
        assert await page.locator("#keys").is_hidden()


async def test_what_strangers_write_stays_text(environ: dict[str, str], watch: Watch) -> None:
    """Markup in a name, a subject, an address, a reply of a server or a mail's page runs nowhere."""
    async with Inbox(
        reply=lambda phase, _: f"550 {HOSTILE.encode('ascii', 'ignore').decode()}" if phase == "RCPT" else None
    ) as inbox:
        settings = changed(environ, SMTP_URL=inbox.url)
        async with (
            serving(settings) as feed,
            FeedClient.connect(feed, snapshot=0) as client,
            watch(feed, expects=BLOCKED) as page,
        ):
            page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
            passengers = [{"name": HOSTILE, "email": "asha@example.com"}]
            await submit(client, booking_event(passengers=passengers, booking="<i>RX</i>"))
            data = {"subject": HOSTILE, "html": f"<p>{HOSTILE}</p><iframe src='javascript:alert(3)'></iframe>"}
            (id_,) = (await submit(client, request(1, **data)))["mails"]
            await wait_event(client, "mail.failed", id=id_)
            row = await wait_row(page, id_, "Failed")
            assert await row.locator(".open").inner_text() == HOSTILE.strip()
            assert "<script>" in await row.locator(".detail").inner_text()
            assert await page.locator("#mails img, #mails script, #mails i, #mails b").count() == 0
            await row.locator(".open").click()
            await page.get_by_role("tab", name="Text").click()
            frame = page.locator("#drawer iframe")
            assert await frame.get_attribute("sandbox") == ""
            assert await page.locator("#drawer :is(img, script)").count() == 0


async def test_the_drawer_tells_the_whole_story(environ: dict[str, str], watch: Watch) -> None:
    """Every attempt with the server's own words, the page as its reader sees it, text, headers and calendar."""
    replies = iter(["450 4.2.0 mailbox busy, says the server"])
    async with Inbox(reply=lambda phase, _: next(replies, None) if phase == "RCPT" else None) as inbox:
        settings = changed(environ, SMTP_URL=inbox.url, RETRY_DELAYS="1h")
        async with serving(settings) as feed, FeedClient.connect(feed, snapshot=0) as client, watch(feed) as page:
            confirmation, _ = (await submit(client, booking_event()))["mails"]
            row = await wait_row(page, confirmation, "Retrying")
            await row.locator(".open").click()
            drawer = page.locator("#drawer")
            await drawer.get_by_text("mailbox busy, says the server").first.wait_for()
            await drawer.get_by_text("asha@example.com").first.wait_for()
            await drawer.frame_locator("iframe").locator("h1").first.wait_for()
            for tab, text in (("Text", "AI101"), ("Headers", "Message-ID:"), ("Calendar", "BEGIN:VCALENDAR")):
                await drawer.get_by_role("tab", name=tab).click()
                await drawer.locator("pre:visible", has_text=text).wait_for()
            await drawer.get_by_role("button", name="Retry now").click()
            await wait_row(page, confirmation, "Sent")
            steps = drawer.locator(".timeline strong")
            await steps.nth(5).wait_for()
            assert await steps.all_inner_texts() == ["pending", "sending", "retrying", "pending", "sending", "sent"]


async def test_an_operator_pauses_sending_and_sends_a_first_mail(
    settings: Settings, inbox: Inbox, watch: Watch
) -> None:
    """Both by a button on the page; it shows what the feed says, not what was clicked."""
    async with serving(settings) as feed, watch(feed) as page:
        await page.get_by_role("button", name="Pause sending").click()
        await page.get_by_text("Sending is paused by an operator").wait_for()
        await page.get_by_label("Your address").fill("me@example.com")
        await page.get_by_role("button", name="Send a test mail").click()
        await page.locator("#mails .word", has_text="Waiting").wait_for()
        assert inbox.received == []
        await page.get_by_role("button", name="Resume sending").click()
        await page.locator("#mails .word", has_text="Sent").wait_for()


async def test_a_refused_action_says_why(settings: Settings, watch: Watch) -> None:
    """What cannot be done is told in the service's words, and can be tried again."""
    async with serving(settings) as feed, FeedClient.connect(feed, snapshot=0) as client, watch(feed) as page:
        (id_,) = (await submit(client, request(1, send_at=LATER)))["mails"]
        button = (await wait_row(page, id_, "Scheduled")).get_by_role("button", name="Cancel")
        await button.evaluate("button => { button.dataset.id = 'gone' }")
        await button.click()
        await page.get_by_role("alert").get_by_text("there is no mail").wait_for()
        assert await button.is_enabled()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
async def test_how_it_looks_and_sounds(environ: dict[str, str], watch: Watch, theme: Any, size: str) -> None:
    """Nothing sticks out, nothing is too faint or without a name for assistive technology; a picture is kept."""
    async with Inbox(reply=lambda phase, rest: refuses(phase, rest) if phase == "RCPT" else None) as inbox:
        settings = changed(environ, SMTP_URL=inbox.url, RETRY_DELAYS="1h")
        async with serving(settings) as feed, FeedClient.connect(feed, snapshot=0) as client:
            await varied(client)
            async with watch(feed, color_scheme=theme, viewport=SIZES[size]) as page:
                await live(page)
                await wait_same(page, client)
                await page.locator('#tiles [data-condition="retrying"] strong', has_text="1").wait_for()
                PAGES.mkdir(parents=True, exist_ok=True)
                await page.screenshot(path=PAGES / f"list-{theme}-{size}.png")
                await audit(page)
                await page.locator("#mails .open").last.click()
                await page.get_by_role("tab", name="Headers").wait_for()
                await page.screenshot(path=PAGES / f"mail-{theme}-{size}.png")
                await audit(page)


async def audit(page: Page) -> None:
    """Demand what axe finds serious not to be there, and no sideways scrolling (WCAG 2.2, 1.4.10)."""
    found = (await Axe().run(page)).response["violations"]
    serious = [
        (each["id"], [node["html"] for node in each["nodes"]])
        for each in found
        if each["impact"] in ("serious", "critical")
    ]
    assert serious == []
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")


async def test_searching_asks_the_feed_for_nothing_new(
    settings: Settings, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a span chosen, each letter narrows what is there already; another span is asked for once."""
    asked: list[dict[str, Any]] = []
    read = protocol.read_frame

    def noted(text: str) -> Any:
        asked.append(json.loads(text))
        return read(text)

    async with serving(settings) as feed, FeedClient.connect(feed, snapshot=0) as client:
        for number in (1, 2):
            await submit(client, request(number, send_at=LATER))
        async with watch(feed, "?since=15m") as page:
            await wait_rows(page, lambda rows: len(rows) == 2)
            monkeypatch.setattr(protocol, "read_frame", noted)
            await page.locator("#search").press_sequentially("No. 1")
            await page.locator("#search").fill("")
            await page.locator("#search").press_sequentially("Number 1")
            await wait_rows(page, lambda rows: len(rows) == 1)
            assert [each for each in asked if each["type"] == "filter"] == []
            await page.locator("#since").select_option("1h")
            await wait_rows(page, lambda rows: len(rows) == 1)
            await page.locator("#search").fill("")
            await wait_rows(page, lambda rows: len(rows) == 2)
    assert len([each for each in asked if each["type"] == "filter"]) == 1


async def test_an_address_with_nonsense_shows_everything(settings: Settings, watch: Watch) -> None:
    """Names that are no filter are left out, also those that every object of JavaScript has."""
    async with serving(settings) as feed, FeedClient.connect(feed, snapshot=0) as client:
        await submit(client, request(1, send_at=LATER))
        async with watch(feed, "?since=constructor&show=constructor,toString&kind=bogus") as page:
            await wait_same(page, client)
            await wait_rows(page, lambda rows: len(rows) == 1)


async def test_the_drawer_shows_what_became_of_a_mail_outside_the_filter(settings: Settings, watch: Watch) -> None:
    """After a command it is shown anew, although the feed says nothing of that mail."""
    async with serving(settings) as feed, FeedClient.connect(feed, snapshot=0) as client:
        (id_,) = (await submit(client, request(1, send_at=LATER)))["mails"]
        async with watch(feed, f"?kind=flight.reminder#{id_}") as page:
            await page.locator("#drawer").get_by_role("button", name="Cancel").click()
            await page.locator("#drawer .facts", has_text="Cancelled").wait_for()
            assert await page.locator("#drawer .action").count() == 0


async def test_a_mail_that_is_opened_while_the_service_is_gone_is_shown_when_it_is_back(
    environ: dict[str, str], watch: Watch
) -> None:
    """Until then the drawer says why it is not."""
    settings = changed(environ, PORT=str(free_port()))
    async with AsyncExitStack() as stack:
        async with serving(settings) as feed, FeedClient.connect(feed, snapshot=0) as client:
            (id_,) = (await submit(client, request(1, send_at=LATER)))["mails"]
            page = await stack.enter_async_context(watch(feed, expects=LOST))
            row = await wait_row(page, id_, "Scheduled")
        await page.locator("body.stale").wait_for()
        await row.locator(".open").click()
        await page.locator("#drawer", has_text="not connected").wait_for()
        async with serving(settings):
            await page.locator("#drawer .timeline").wait_for()
