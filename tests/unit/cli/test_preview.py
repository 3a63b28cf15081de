"""What `notifier preview` writes, and how it looks in a browser."""

from collections.abc import AsyncIterator
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any, Literal

import pytest
from icalendar import Calendar
from playwright.async_api import Page
from support.browser import browser
from support.cli import run
from support.places import PICTURES
from support.samples import WORDING

from notifier.cli.preview import write_sample
from notifier.composing.templates import KINDS
from notifier.domain.mail import Kind
from notifier.errors import NotifierError
from notifier.settings import NamedAddress

SENDER = NamedAddress("Example Air", "fly@example.org")
PREVIEWS = PICTURES / "previews"
SIZES = {"wide": 600, "phone": 375}
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")

# WCAG 2.2: contrast of each text with what is behind it (1.4.3), and what sticks out of the window (1.4.10).
LOOK = """() => {
  const rgb = colour => colour.match(/[\\d.]+/g).map(Number);
  const light = colour => rgb(colour).slice(0, 3)
    .map(part => part / 255).map(part => part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
    .reduce((sum, part, place) => sum + part * [0.2126, 0.7152, 0.0722][place], 0);
  const behind = element => {
    for (; element; element = element.parentElement) {
      const colour = getComputedStyle(element).backgroundColor;
      if ((rgb(colour)[3] ?? 1) > 0) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const faint = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let seen = 0;
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    const box = element.getBoundingClientRect();
    if (!texts.currentNode.data.trim() || !box.width || !box.height) continue;
    seen += 1;
    const [low, high] = [light(getComputedStyle(element).color), light(behind(element))].sort((a, b) => a - b);
    if ((high + 0.05) / (low + 0.05) < 4.5) faint.push(texts.currentNode.data.trim());
  }
  return {seen, faint, width: document.documentElement.scrollWidth, window: window.innerWidth};
}"""


def files(kind: Kind, locale: str, folder: Path) -> dict[str, Path]:
    """Write a preview; return its files by their suffix."""
    return {path.suffix: path for path in write_sample(kind, locale, WORDING, SENDER, folder)}


@pytest.mark.parametrize("kind", KINDS)
def test_a_preview_is_the_mail_in_files(kind: Kind, tmp_path: Path) -> None:
    """The HTML, the text, the message that contains both, and the calendar can each be parsed and agree."""
    found = files(kind, "en", tmp_path)
    message = message_from_bytes(found[".eml"].read_bytes(), policy=policy.default)
    text, page = message.get_body(("plain",)), message.get_body(("html",))
    assert text is not None
    assert page is not None
    assert text.get_content().splitlines() == found[".txt"].read_text().splitlines()
    assert page.get_content().splitlines() == found[".html"].read_text().splitlines()
    if kind is not Kind.REMINDER:
        assert Calendar.from_ical(found[".ics"].read_bytes()).events


@pytest.mark.parametrize("locale", ["en", "de"])
def test_the_calendar_file_is_the_one_in_the_mail(locale: str, tmp_path: Path) -> None:
    """It has the labels of the mail's locale, as the attachment has."""
    found = files(Kind.CONFIRMATION, locale, tmp_path)
    message = message_from_bytes(found[".eml"].read_bytes(), policy=policy.default)
    (attachment,) = message.iter_attachments()
    assert attachment.get_payload(decode=True) == found[".ics"].read_bytes()


def test_the_command_prints_what_it_wrote(tmp_path: Path) -> None:
    """Each path is a line on stdout; an unknown kind is exit 2 and the message lists the known kinds."""
    code, out, err = run("preview", "flight.reminder", "--locale", "de", "--out", str(tmp_path / "new"))
    paths = [Path(line) for line in out.splitlines()]
    assert (code, err) == (0, "")
    assert {path.suffix for path in paths} == {".html", ".txt", ".eml"}
    assert "Erinnerung" in message_from_bytes(paths[-1].read_bytes(), policy=policy.default)["Subject"]
    code, out, err = run("preview", "flight.remainder")
    assert (code, out) == (2, "")
    assert "flight.reminder" in err


def test_own_templates_are_shown(tmp_path: Path) -> None:
    """A preview uses NOTIFIER_TEMPLATES and NOTIFIER_MAIL_FROM; a template with an error is exit 2."""
    (tmp_path / "own" / "en").mkdir(parents=True)
    (tmp_path / "own" / "en" / "flight.reminder.subject").write_text("Off you go")
    environ = {"NOTIFIER_TEMPLATES": str(tmp_path / "own"), "NOTIFIER_MAIL_FROM": "Own Air <own@air.example>"}
    assert run("preview", "flight.reminder", "--out", str(tmp_path / "out"), environ=environ)[0] == 0
    message = message_from_bytes((tmp_path / "out" / "flight.reminder.eml").read_bytes(), policy=policy.default)
    assert (message["Subject"], message["From"]) == ("Off you go", "Own Air <own@air.example>")
    (tmp_path / "own" / "en" / "flight.reminder.txt").write_text("{{ oops }}")
    code, _, err = run("preview", "flight.reminder", environ=environ)
    assert (code, err) == (2, "notifier: NOTIFIER_TEMPLATES: en/flight.reminder.txt, line 1: 'oops' is undefined\n")


def test_the_address_for_replies_is_shown(tmp_path: Path) -> None:
    """A preview has the Reply-To of NOTIFIER_MAIL_REPLY_TO, like every mail of the service."""
    environ = {"NOTIFIER_MAIL_REPLY_TO": "Help <help@air.example>"}
    assert run("preview", "flight.reminder", "--out", str(tmp_path), environ=environ)[0] == 0
    message = message_from_bytes((tmp_path / "flight.reminder.eml").read_bytes(), policy=policy.default)
    assert message["Reply-To"] == "Help <help@air.example>"


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    """The error names the path and the reason."""
    (tmp_path / "file").write_text("")
    with pytest.raises(NotifierError, match="cannot be written"):
        files(Kind.REMINDER, "en", tmp_path / "file" / "below")


async def looked_at(tab: Page, page: Path, picture: str) -> AsyncIterator[tuple[str, int, dict[str, Any]]]:
    """Open a page in each size and scheme; yield the picture's name, the width and what LOOK found."""
    await tab.goto(page.as_uri())
    for size, width in SIZES.items():
        await tab.set_viewport_size({"width": width, "height": 900})
        for scheme in SCHEMES:
            await tab.emulate_media(color_scheme=scheme)
            await tab.screenshot(path=PREVIEWS / f"{picture}.{size}.{scheme}.png", full_page=True)
            yield f"{picture}.{size}.{scheme}", width, await tab.evaluate(LOOK)


async def test_every_mail_can_be_read_everywhere(tmp_path: Path) -> None:
    """In each language, width and colour scheme, no mail overflows the page and all text has enough contrast."""
    PREVIEWS.mkdir(parents=True, exist_ok=True)
    pages = {
        f"{locale}.{kind}": files(kind, locale, tmp_path / locale)[".html"]
        for locale in WORDING.locales
        for kind in KINDS
    }
    async with browser() as running:
        tab = await (await running.new_context(offline=True)).new_page()
        asked: list[str] = []
        tab.on("request", lambda request: asked.append(request.url))
        for picture, page in pages.items():
            async for name, width, found in looked_at(tab, page, picture):
                assert found["seen"] > 10, name
                assert found["faint"] == [], name
                assert found["width"] <= found["window"] == width, name
    assert asked == [page.as_uri() for page in pages.values()]
