"""The page of a newer service: whatever it says is shown as text, and ends nothing."""

import asyncio
import json
from typing import Any

import msgspec
from playwright.async_api import Browser, Dialog, WebSocketRoute
from support.frames import AT, event, shown
from support.parts import serving
from support.readings import STATS

from notifier.domain.mail import Status
from notifier.settings import Settings

MARK = "<img src=x onerror=alert(1)><script>alert(2)</script>&amp;"
MAIL = {
    **msgspec.to_builtins(shown("m1", 1, "sent")),
    **dict.fromkeys(("kind", "to", "subject", "booking", "message_id", "event", "error"), MARK),
    "status": f"parked {MARK}",
    "flight": {"number": MARK, "from": MARK, "to": MARK, "departs_at": None},
    "smtp": {"code": 550, "text": MARK},
    "account": MARK,
}
STEP = {"at": AT, "type": MARK, "status": MARK, "attempt": 1, "next_attempt_at": None, "smtp": MAIL["smtp"]}
WHOLE = {
    **MAIL,
    "timeline": [{**STEP, "error": MARK}],
    "headers": [[MARK, MARK]],
    "text": MARK,
    "html": None,
    "calendars": [{"name": MARK, "text": MARK}],
}
TRANSPORT = {"transport": MARK, "state": "paused", "reason": MARK, "until": None, "quota_left": None}
NEWER: list[dict[str, Any]] = [
    {"type": "welcome", "protocol": 1, "server": MARK, "role": "operator", "resumed": False}
    | {"replay": 0, "reason": MARK, "heartbeat": 20, "now": AT},
    {"type": "weather", "clouds": MARK},
    {
        "type": "snapshot",
        "cursor": "c1",
        "totals": dict.fromkeys([*Status, "parked"], 1),
        "mails": [MAIL],
        "more": False,
    },
    {**msgspec.to_builtins(STATS), "broker": {"state": MARK, "since": AT}, "smtp": [TRANSPORT], "more": MARK},
    {"type": "events", "cursor": "c2"}
    | {
        "events": [
            {
                **msgspec.to_builtins(event(shown("m1", 2, "sent"))),
                "type": MARK,
                "data": {"prev": MARK, "mail": {**MAIL, "rev": 2, "subject": f"newer {MARK}"}},
            }
        ]
    },
]


async def test_all_that_a_newer_service_says_is_shown_as_text(settings: Settings, chromium: Browser) -> None:
    """Unknown words and frames are shown or skipped, and no value becomes an element, a script or an error."""
    wrong: list[str] = []

    async def alerted(dialog: Dialog) -> None:
        wrong.append(dialog.message)
        await dialog.dismiss()

    def serve(socket: WebSocketRoute) -> None:
        def answer(text: str | bytes) -> None:
            frame = json.loads(text)
            if frame["type"] == "hello":
                for each in NEWER:
                    socket.send(json.dumps(each))
            elif frame["name"] == "mail.show":
                socket.send(json.dumps({"type": "result", "id": frame["id"], "ok": True, "value": WHOLE}))
            else:
                error = {"code": MARK, "message": MARK}
                socket.send(json.dumps({"type": "result", "id": frame["id"], "ok": False, "error": error}))
                asyncio.ensure_future(socket.close(code=4400, reason=MARK))  # noqa: RUF006 - ends with the page

        socket.on_message(answer)

    async with serving(settings) as feed:
        page = await chromium.new_page()
        page.on("dialog", alerted)
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        await page.route_web_socket("**/feed", serve)
        await page.goto(f"http://127.0.0.1:{feed.port}/")
        row = page.locator("#mails tr", has_text=f"newer {MARK}")
        await row.locator(".status", has_text=f"parked {MARK}").wait_for()
        await page.locator("#peers", has_text=MARK).wait_for()
        await page.locator("#banner", has_text=f"SMTP account {MARK} is paused: {MARK}.").wait_for()
        await row.locator(".open").click()
        await page.locator("#drawer .timeline", has_text=MARK).wait_for()
        for name in ("Headers", "Calendar", "Text"):
            await page.get_by_role("tab", name=name).click()
            await page.locator(f"#panel-{name} pre", has_text=MARK).wait_for()
        await page.locator("#drawer .close").click()
        await page.locator("#sending").click()
        await page.locator("#notice", has_text=f"The command failed: {MARK}.").wait_for()
        await page.locator("#banner", has_text=f"Not connected to the service: {MARK}.").wait_for()
        assert await page.locator("body img, body script").count() == 0
        assert wrong == []
        await page.close()
