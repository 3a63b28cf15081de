"""A real browser for tests of pages: Debian's Chromium, driven by Playwright."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Browser, async_playwright
from support.provided import installed

# Without these flags Chromium looks for updates and contacts hosts of its vendor.
_QUIET = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)


def chromium() -> str:
    """Return the path of Chromium, installing it as root if it is missing. Otherwise fail the test and say how."""
    found = shutil.which("chromium-browser") or installed("chromium", "chromium")
    if not found:
        pytest.fail("Chromium is not installed: run `apt-get install chromium` as root")
    return str(found)


@asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    """Run a browser until the block ends."""
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(executable_path=chromium(), args=_QUIET)
        try:
            yield running
        finally:
            await running.close()
