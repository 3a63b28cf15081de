"""The page in a real browser."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from playwright.async_api import Browser, Page
from support.browser import browser
from support.look import Watch

from notifier.settings import FeedSettings

# What the policy of the page forbade, told by the browser to the page itself.
LISTEN = "window.reports = []; addEventListener('securitypolicyviolation', e => reports.push(e.violatedDirective))"


@pytest.fixture
async def chromium() -> AsyncIterator[Browser]:
    """Give a browser."""
    async with browser() as running:
        yield running


@pytest.fixture
async def watch(chromium: Browser) -> Watch:
    """Give what opens the page of a service, in a browser window of its own.

    At the end it demands that nothing was written to the console and nothing
    forbidden was tried; `expects` are beginnings of complaints that belong to the test.
    """

    @asynccontextmanager
    async def opened(
        feed: FeedSettings, path: str = "", *, expects: tuple[str, ...] = (), **look: Any
    ) -> AsyncIterator[Page]:
        complaints: list[str] = []
        context = await chromium.new_context(**{"viewport": {"width": 1400, "height": 900}, **look})
        await context.add_init_script(LISTEN)
        page = await context.new_page()
        page.set_default_timeout(30_000)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        await page.goto(f"http://127.0.0.1:{feed.port}/{path}")
        yield page
        assert await page.evaluate("reports") == []
        await context.close()
        assert [text for text in complaints if not text.startswith(expects)] == []

    return opened
