"""What a user sees on the dashboard, and conditions that a test can wait for there."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from playwright.async_api import Locator, Page
from support.parts import PATIENCE, result

from notifier.feed.client import FeedClient

Watch = Callable[..., AbstractAsyncContextManager[Page]]

LOST = ("WebSocket connection",)
"""Messages of the browser about a service that has stopped."""

ROWS = """() => Object.fromEntries([...document.querySelectorAll('#mails tr')]
  .map(row => [row.dataset.id, row.querySelector('.word').textContent]))"""

WORDS = {"sending": "Sending", "sent": "Sent", "failed": "Failed", "cancelled": "Cancelled", "uncertain": "Uncertain"}


async def rows(page: Page) -> dict[str, str]:
    """Return the word of each mail's status in the list, by its id."""
    found: dict[str, str] = await page.evaluate(ROWS)
    return found


async def live(page: Page) -> None:
    """Wait until the dashboard is connected."""
    await page.locator("#connection[data-state=live]").wait_for()


async def wait_row(page: Page, id_: str, word: str) -> Locator:
    """Wait until a mail is in the list with this word; return its row."""
    row = page.locator(f'#mails tr[data-id="{id_}"]')
    await row.locator(".word", has_text=word).wait_for()
    return row


async def wait_same(page: Page, client: FeedClient) -> None:
    """Wait until the list shows what the store contains."""
    shown, stored = await rows(page), await words(client)
    try:
        async with asyncio.timeout(PATIENCE):
            while shown != stored:
                await asyncio.sleep(0.02)
                shown, stored = await rows(page), await words(client)
    except TimeoutError:
        raise AssertionError(f"{shown} is shown, {stored} is stored") from None


async def words(client: FeedClient) -> dict[str, str]:
    """Return what the list should show."""
    mails = (await result(client, await client.command("mail.list", {"limit": 500})))["mails"]
    return {mail["id"]: word_of(mail) for mail in mails}


async def wait_rows(page: Page, wanted: Callable[[dict[str, str]], bool]) -> None:
    """Wait until the list is as wanted.

    The test polls the rows, because the page's policy forbids evaluating a condition in the page.
    """
    seen = await rows(page)
    try:
        async with asyncio.timeout(PATIENCE):
            while not wanted(seen):
                await asyncio.sleep(0.02)
                seen = await rows(page)
    except TimeoutError:
        raise AssertionError(f"{len(seen)} rows: {list(seen.items())[:10]}") from None


def word_of(mail: dict[str, Any]) -> str:
    """Return the word that the dashboard should show for a mail's status.

    A pending mail is scheduled, or was attempted and is retried.
    """
    pending = "Retrying" if mail["attempt"] else "Scheduled"
    return WORDS.get(mail["status"], pending)


def free_port() -> int:
    """Return a port that a service can use again after a restart."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
