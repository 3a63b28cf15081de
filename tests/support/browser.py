"""A real browser for tests of what people look at: Debian's Chromium, driven by Playwright."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Browser, async_playwright
from support.provided import installed

# Without these it looks for updates and for its maker's hosts, which is no business of a test.
_QUIET = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)


def chromium() -> str:
    """Find Chromium, or install it where that can be done without asking; else the test fails and says how."""
    found = shutil.which("chromium-browser") or installed("chromium", "chromium")
    if not found:
        pytest.fail("no Chromium to look at pages with: provide it with `apt-get install chromium` as root")
    return str(found)


@asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    """Run a browser while the block lasts."""
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(executable_path=chromium(), args=_QUIET)
        try:
            yield running
        finally:
            await running.close()
