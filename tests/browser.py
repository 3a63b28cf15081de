"""A real browser for tests of what people look at: Debian's Chromium, driven by Playwright."""

import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Browser, async_playwright

# Without these it looks for updates and for its maker's hosts, which is no business of a test.
_QUIET = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)


def chromium() -> str:
    """Find Chromium, or install it where that can be done without asking; else the test fails and says how."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if not found and os.geteuid() == 0 and shutil.which("apt-get"):
        print("installing the package chromium with apt-get")  # noqa: T201 - it takes a while
        for command in (("apt-get", "update", "-qq"), ("apt-get", "install", "-y", "-qq", "chromium")):
            quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
            subprocess.run(command, check=True, capture_output=True, env=quiet)  # noqa: S603 - fixed commands
        found = shutil.which("chromium")
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
