"""Opens the page in a real browser."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from playwright.async_api import Browser, Page
from support.browser import browser
from support.look import Watch

from notifier.settings import FeedSettings

# Collects in `reports` what the Content-Security-Policy of the page has blocked.
COLLECT_REPORTS = (
    "window.reports = []; addEventListener('securitypolicyviolation', e => reports.push(e.violatedDirective))"
)


@pytest.fixture
async def chromium() -> AsyncIterator[Browser]:
    """Run a browser for one test."""
    async with browser() as running:
        yield running


@pytest.fixture
async def watch(chromium: Browser) -> Watch:
    """Return a context manager that opens the page of a service in a browser window of its own.

    At the end it asserts that the policy of the page blocked nothing and that nothing was written to the console,
    except lines that begin with one of `expects`.
    """

    @asynccontextmanager
    async def opened(
        feed: FeedSettings, path: str = "", *, expects: tuple[str, ...] = (), **look: Any
    ) -> AsyncIterator[Page]:
        complaints: list[str] = []
        context = await chromium.new_context(**{"viewport": {"width": 1400, "height": 900}, **look})
        await context.add_init_script(COLLECT_REPORTS)
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
