"""The page for everyone: by keyboard, with a screen reader, on a small screen, and with hostile mails."""

import json
from contextlib import AsyncExitStack
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page
from support.look import LOST, Watch, free_port, live, wait_row, wait_rows, wait_same
from support.parts import PATIENCE, changed, request, serving, submit, wait_event
from support.places import PICTURES
from support.samples import upcoming_booking

from notifier.demo.inbox import Inbox
from notifier.feed import protocol
from notifier.feed.client import FeedClient
from notifier.settings import Settings

LATER = "2099-01-01T00:00:00Z"
HOSTILE = "<img src=x onerror=alert(1)></td><script>alert(2)</script>&amp;\u202e"
BLOCKED = ("Blocked script execution", "Refused to", "Loading the image", "Framing", "Running the JavaScript URL")
"""Beginnings of the console messages about parts of a hostile mail that the browser blocked."""
PAGES = PICTURES / "page"
SIZES = {"wide": {"width": 1400, "height": 900}, "phone": {"width": 390, "height": 844}}


async def focused(page: Page) -> str:
    """Return the text of the element that has the focus."""
    text: str = await page.evaluate("document.activeElement.textContent.trim()")
    return text


async def varied(client: FeedClient) -> None:
    """Submit mails that end in different ways; the inbox rejects the second temporarily, the third permanently."""
    await submit(client, upcoming_booking())
    for number in (2, 3):
        await submit(client, request(number))
    await wait_event(client, "mail.failed")
    await submit(client, request(4, send_at=LATER))


def refuses(_: str, rest: str) -> str | None:
    """Reject the mails that `varied` wants to be rejected."""
    return {"p2": "450 4.2.0 mailbox busy", "p3": "550 5.1.1 no such user"}.get(rest.strip("<")[:2])


async def test_everything_works_by_keyboard(settings: Settings, inbox: Inbox, watch: Watch) -> None:
    """Search, move, open, read, close, pause and list the shortcuts, without a mouse."""
    async with serving(settings) as feed, FeedClient.connect(feed, snapshot=0) as client, watch(feed) as page:
        await submit(client, upcoming_booking())
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


async def test_hostile_markup_stays_text(environ: dict[str, str], watch: Watch) -> None:
    """Markup in a name, a subject, an address, a server's reply or the HTML of a mail is never executed."""
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
            await submit(client, upcoming_booking(passengers=passengers, booking="<i>RX</i>"))
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


async def test_the_drawer_shows_the_whole_mail(environ: dict[str, str], watch: Watch) -> None:
    """The drawer shows every attempt with the server's reply, the HTML, the text, the headers and the calendar."""
    replies = iter(["450 4.2.0 mailbox busy, says the server"])
    async with Inbox(reply=lambda phase, _: next(replies, None) if phase == "RCPT" else None) as inbox:
        settings = changed(environ, SMTP_URL=inbox.url, RETRY_DELAYS="1h")
        async with serving(settings) as feed, FeedClient.connect(feed, snapshot=0) as client, watch(feed) as page:
            confirmation, _ = (await submit(client, upcoming_booking()))["mails"]
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


async def test_an_operator_pauses_sending_and_sends_a_test_mail(settings: Settings, inbox: Inbox, watch: Watch) -> None:
    """After a click the page shows the state that the feed reports, not the one that was clicked."""
    async with serving(settings) as feed, watch(feed) as page:
        await page.get_by_role("button", name="Pause sending").click()
        await page.get_by_text("Sending is paused by an operator").wait_for()
        await page.get_by_label("Your address").fill("me@example.com")
        await page.get_by_role("button", name="Send a test mail").click()
        await page.locator("#mails .word", has_text="Waiting").wait_for()
        assert inbox.received == []
        await page.get_by_role("button", name="Resume sending").click()
        await page.locator("#mails .word", has_text="Sent").wait_for()


async def test_a_refused_command_says_why(settings: Settings, watch: Watch) -> None:
    """If a command is refused, the page shows the service's reason and enables the button again."""
    async with serving(settings) as feed, FeedClient.connect(feed, snapshot=0) as client, watch(feed) as page:
        (id_,) = (await submit(client, request(1, send_at=LATER)))["mails"]
        button = (await wait_row(page, id_, "Scheduled")).get_by_role("button", name="Cancel")
        await button.evaluate("button => { button.dataset.id = 'gone' }")
        await button.click()
        await page.get_by_role("alert").get_by_text("there is no mail").wait_for()
        assert await button.is_enabled()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
async def test_appearance_and_accessibility(environ: dict[str, str], watch: Watch, theme: Any, size: str) -> None:
    """The page has no serious accessibility violation and no sideways scrolling; screenshots are kept."""
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
    """Assert that axe finds nothing serious and that the page does not scroll sideways (WCAG 2.2, 1.4.10)."""
    found = (await Axe().run(page)).response["violations"]
    serious = [
        (each["id"], [node["html"] for node in each["nodes"]])
        for each in found
        if each["impact"] in ("serious", "critical")
    ]
    assert serious == []
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")


async def test_searching_does_not_change_the_filter_of_the_feed(
    settings: Settings, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a time span chosen, typing only narrows the list; another time span sends one `filter` frame."""
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


async def test_an_address_with_invalid_filters_shows_everything(settings: Settings, watch: Watch) -> None:
    """Unknown values are ignored, also the names of properties that every JavaScript object has."""
    async with serving(settings) as feed, FeedClient.connect(feed, snapshot=0) as client:
        await submit(client, request(1, send_at=LATER))
        async with watch(feed, "?since=constructor&show=constructor,toString&kind=bogus") as page:
            await wait_same(page, client)
            await wait_rows(page, lambda rows: len(rows) == 1)


async def test_the_drawer_shows_the_effect_of_a_command_on_a_mail_outside_the_filter(
    settings: Settings, watch: Watch
) -> None:
    """After a command the mail is loaded again, because the feed sends no event about it."""
    async with serving(settings) as feed, FeedClient.connect(feed, snapshot=0) as client:
        (id_,) = (await submit(client, request(1, send_at=LATER)))["mails"]
        async with watch(feed, f"?kind=flight.reminder#{id_}") as page:
            await page.locator("#drawer").get_by_role("button", name="Cancel").click()
            await page.locator("#drawer .facts", has_text="Cancelled").wait_for()
            assert await page.locator("#drawer .action").count() == 0


async def test_a_mail_that_is_opened_while_disconnected_is_shown_after_the_reconnect(
    environ: dict[str, str], watch: Watch
) -> None:
    """Until then the drawer says why it cannot show the mail."""
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
