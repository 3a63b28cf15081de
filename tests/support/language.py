"""Find retired words in what people read: pages, docstrings, comments, log and error texts, names, the dashboard.

Identifiers, data and code are not searched, apart from the names of functions and classes. Run as a program it prints
each retired word with its file and line, and exits 1 if there is one.
"""

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from support.manual import PAGES
from support.places import ROOT

_UNAVAILABLE = "(?:is|are|was|were|be|been|being|stays?|stayed|broker|server|peers?|database) away"
_RETIRED = (
    "told|heed(?:s|ed|ing)?|mend(?:s|ed|ing)?|rests|news|decent|that (?:is|are) none|in good order|by itself"
    f"|as the case may be|{_UNAVAILABLE}"
)
RETIRED = re.compile(rf"\b({_RETIRED})\b".replace(" ", r"\s+"), re.IGNORECASE)
"""Words that have a plainer or more exact one. `away` is retired where it means unavailable."""
FIRST_VERB = re.compile(r"\s*(gives?|tells?)\b", re.IGNORECASE)
"""A docstring begins with `Return` or `Yield` instead."""
_LOG_METHODS = frozenset({"debug", "info", "warning", "error", "exception", "critical"})
_SCRIPT_TEXT = re.compile(r"//[^\n]*|/\*.*?\*/|\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'|`[^`]*`", re.DOTALL)
_CODE = re.compile(r"^( *)```.*?^\1```$|`[^`\n]*`|\]\([^)\n]*\)", re.MULTILINE | re.DOTALL)


class Allowed(NamedTuple):
    """A place where a retired word stands with a reason: the file, and the words around it."""

    file: str
    words: str
    reason: str


ALLOWED: tuple[Allowed, ...] = ()


class Passage(NamedTuple):
    """A text of a file that people read, and the line where it begins."""

    line: int
    text: str
    is_docstring: bool = False


class Finding(NamedTuple):
    """A retired word, and where it is."""

    file: str
    line: int
    word: str


def findings() -> Iterator[Finding]:
    """Yield every retired word of the project that is not allowed."""
    for path in files():
        name = str(path.relative_to(ROOT))
        for passage in passages(path):
            yield from retired(name, passage)


def files() -> Iterator[Path]:
    """Yield the files that are searched."""
    yield from PAGES
    for folder in ("notifier", "tests", "docs/examples"):
        yield from sorted((ROOT / folder).rglob("*.py"))
    yield from sorted((ROOT / "notifier" / "dashboard").glob("*.js"))
    yield from sorted((ROOT / "notifier" / "dashboard").glob("*.html"))
    yield from sorted(path for path in (ROOT / "scripts").iterdir() if not path.suffix)


def passages(path: Path) -> Iterator[Passage]:
    """Yield what people read in a file."""
    source = path.read_text(encoding="utf-8")
    match path.suffix:
        case ".md":
            yield _page(source, unreleased_only=path.name == "CHANGELOG.md")
        case ".py":
            yield from _texts(source)
            yield from _comments(source)
        case ".js":
            yield from _script_texts(source)
        case _:
            yield Passage(1, source)


def retired(name: str, passage: Passage) -> Iterator[Finding]:
    """Yield the retired words of a passage that are not allowed in the file `name`."""
    text = passage.text
    for allowed in ALLOWED:
        if allowed.file == name:
            text = text.replace(allowed.words, " " * len(allowed.words))
    found = list(RETIRED.finditer(text))
    if passage.is_docstring and (verb := FIRST_VERB.match(text)):
        found.insert(0, verb)
    for match in found:
        yield Finding(name, passage.line + text.count("\n", 0, match.start(1)), " ".join(match[1].split()))


def _page(source: str, *, unreleased_only: bool) -> Passage:
    """Blank out code and targets of links, and of the changelog everything that has been released."""
    if unreleased_only:
        released = [match.start() for match in re.finditer(r"^## ", source, re.MULTILINE)][1:]
        source = source[: released[0]] if released else source
    return Passage(1, _CODE.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), source))


def _texts(source: str) -> Iterator[Passage]:
    """Yield docstrings, log texts, error texts, and the names of functions and classes."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Expr(value=ast.Constant(value=str() as text)):
                yield Passage(node.lineno, text, is_docstring=True)
            case ast.Raise(exc=ast.Call() as call):
                yield from _strings(call)
            case ast.Call(func=ast.Attribute(attr=method)) if method in _LOG_METHODS:
                yield from _strings(node)
            case ast.Call(keywords=keywords):
                for each in keywords:
                    if each.arg == "help":
                        yield from _strings(each.value)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield Passage(node.lineno, name.replace("_", " "))


def _strings(node: ast.AST) -> Iterator[Passage]:
    for each in ast.walk(node):
        if isinstance(each, ast.Constant) and isinstance(each.value, str):
            yield Passage(each.lineno, each.value)


def _comments(source: str) -> Iterator[Passage]:
    """Yield comments; those of consecutive lines are one, because a sentence can go over several."""
    begun: Passage | None = None
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        text = token.string.lstrip("#")
        if begun and token.start[0] == begun.line + begun.text.count("\n") + 1:
            begun = begun._replace(text=f"{begun.text}\n{text}")
            continue
        if begun:
            yield begun
        begun = Passage(token.start[0], text)
    if begun:
        yield begun


def _script_texts(source: str) -> Iterator[Passage]:
    """Yield comments and strings with more than one word; others are names and codes."""
    for match in _SCRIPT_TEXT.finditer(source):
        if " " in match[0]:
            yield Passage(1 + source.count("\n", 0, match.start()), match[0])


def main() -> None:
    """Print each finding; exit 1 if there is one."""
    found = list(findings())
    for each in found:
        print(f"{each.file}:{each.line}: retired word: {each.word}")  # noqa: T201 - the output of a program
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
