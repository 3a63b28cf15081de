"""The documentation for tests: its pages, and the commands, names and links in them."""

import re
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

from support.places import ROOT

PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / ".github").glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]

_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_CONTINUED = re.compile(r"(?: *\\\n|(?<=\|)\n) *")
_COMMENT = re.compile(r"(^|\s+)#\s.*$")


def text(page: Path) -> str:
    """Read a page."""
    return page.read_text(encoding="utf-8")


def blocks(language: str) -> Iterator[tuple[Path, str]]:
    """Yield the fenced blocks in a language, each with its page."""
    for page in PAGES:
        for match in _FENCE.finditer(text(page)):
            if match[2] == language:
                yield page, dedent(match[3])


def commands() -> list[str]:
    """Return every command of every shell block, without its comment."""
    lines = [line for _, block in blocks("sh") for line in _CONTINUED.sub(" ", block).splitlines()]
    return sorted({command for line in lines if (command := _COMMENT.sub("", line).strip())})


def links(page: Path) -> list[str]:
    """Return the targets of a page's links within the repository."""
    prose = _FENCE.sub("", text(page))
    return [target for target in _LINK.findall(prose) if "://" not in target]


def anchors(page: Path) -> set[str]:
    """Return the fragments of a page, made from its headings as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", text(page)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def table(page: Path, first: str) -> list[list[str]]:
    """Return the rows of the table whose heading begins with a word, each as a list of cells."""
    lines = text(page).partition(f"\n| {first} |")[2].partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
