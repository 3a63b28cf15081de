"""The words of a booking's mail: one folder of templates for each locale, single files of which can be overridden.

A file is looked for in the reader's locale, in its language, and in English: for
`pt-BR` in `pt-BR/`, `pt/`, `en/`. What is overridden runs in a sandbox; it can
still take its time, for nobody but whoever runs the service writes it.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from importlib import resources
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec
import structlog
from jinja2 import (
    BaseLoader,
    ChoiceLoader,
    Environment,
    FileSystemLoader,
    PackageLoader,
    StrictUndefined,
    Template,
    TemplateError,
    TemplateSyntaxError,
)
from jinja2.sandbox import ImmutableSandboxedEnvironment

from notifier.composing.sample import dated_mails, sample_mails
from notifier.composing.view import mail_view, subject_view
from notifier.composing.words import LocaleStrings
from notifier.domain.mail import Flight, Itinerary, Kind, Mail
from notifier.errors import Misconfigured, Problem

log = structlog.get_logger(__name__)

DEFAULT = "en"
MAX_SUBJECT = 200
"""Characters; a longer one is cut."""
KINDS = (Kind.CONFIRMATION, Kind.CHANGE, Kind.CANCELLATION, Kind.REMINDER)

_SHARED = ("layout.html", "layout.txt", "card.html")
_OF_A_LOCALE = ("words.toml", *(f"{kind}.{part}" for kind in KINDS for part in ("subject", "txt", "html")))
_BUILT_IN = resources.files("notifier.composing") / "templates"
_LOCALE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")
_GAP = re.compile(r"\n{3,}")
_T = TypeVar("_T")


class Body(NamedTuple):
    """What a mail says: as text and, but for a notification that came without, as HTML."""

    text: str
    page: str | None


class MailTemplates:
    """Writes subjects, texts and pages; `folder` has what is overridden.

    Raises Misconfigured with every fault of the folder, each with its file and, in a
    template, its line: everything in it is tried with sample mails. If it still fails
    with some mail, the built-in words and templates write that mail.
    """

    def __init__(self, folder: Path | None = None) -> None:
        built_in = PackageLoader("notifier.composing", "templates")
        loader: BaseLoader = ChoiceLoader([FileSystemLoader(folder), built_in]) if folder else built_in
        kind = ImmutableSandboxedEnvironment if folder else Environment
        self._environment = kind(loader=loader, autoescape=_is_page, undefined=StrictUndefined, auto_reload=False)
        self._folder = folder
        self._built_in = _built_in_wording() if folder else None
        self._templates: dict[tuple[str, str], Template] = {}
        self._words: dict[str, LocaleStrings] = {}
        try:
            faults = list(_strangers(folder)) if folder else []
            self.locales = sorted({each.name for each in _locale_folders(folder)})
            self._spellings = {each.lower(): each for each in self.locales}
            twice = (each for each in self.locales if self._spellings[each.lower()] != each)
            faults += [f"{each}: the same locale as {self._spellings[each.lower()]}" for each in twice]
        except OSError as error:
            raise Misconfigured([Problem("NOTIFIER_TEMPLATES", str(error))]) from error
        faults += self._faults()
        if faults:
            # One line of a template can fail for several samples.
            raise Misconfigured([Problem("NOTIFIER_TEMPLATES", fault) for fault in dict.fromkeys(faults)])

    def subject(self, kind: Kind, booking: str, flights: Sequence[Flight], locale: str | None) -> str:
        """Say in one line what the mail says."""
        return self._written(locale, lambda wording: MailTemplates._subject(wording, kind, booking, flights, locale))

    def body(self, mail: Mail, sender: str = "", reservations: str = "") -> Body:
        """Write the text, which says all that the page says, and the page.

        `sender` is a name; `reservations` are JSON-LD, safe inside a script element.
        """
        content = mail.content
        if not isinstance(content, Itinerary):
            return Body(content.text, content.html)
        return self._written(
            content.locale, lambda wording: MailTemplates._body(wording, mail, content, sender, reservations)
        )

    def labels(self, mail: Mail) -> Mapping[str, str]:
        """Return the labels of the mail's locale; those of English for a notification, which has no locale."""
        locale = mail.content.locale if isinstance(mail.content, Itinerary) else None
        return self._words_of(self._known(locale)).labels

    def _written(self, locale: str | None, write: Callable[["MailTemplates"], _T]) -> _T:
        """Write with these words and templates, or with the built-in ones if that fails: no fault may lose a mail."""
        try:
            return write(self)
        except Exception as error:
            if self._built_in is None:
                raise
            where = _where(error) or f"{self._known(locale)}/words.toml"
            log.warning("template failed, using the built-in ones", template=where, reason=_words(error))
            return write(self._built_in)

    def _subject(self, kind: Kind, booking: str, flights: Sequence[Flight], locale: str | None) -> str:
        known = self._known(locale)
        view = subject_view(booking, flights, self._words_of(known))
        return _line(self._rendered(known, f"{kind}.subject", view))

    def _body(self, mail: Mail, content: Itinerary, sender: str, reservations: str) -> Body:
        known = self._known(content.locale)
        view = mail_view(mail, content, self._words_of(known))
        text = self._rendered(known, f"{mail.kind}.txt", view)
        page = self._rendered(known, f"{mail.kind}.html", {**view, "sender": sender, "reservations": reservations})
        return Body(_GAP.sub("\n\n", text).strip("\n") + "\n", page)

    def _rendered(self, locale: str, name: str, view: Mapping[str, Any]) -> str:
        """Render a template. Raises whatever it raises, or ValueError if it wrote what no message can contain."""
        found = self._template(locale, name).render(view)
        found.encode()
        return found

    def _known(self, locale: str | None) -> str:
        """Choose the locale that is there and nearest to the one wanted, which a stranger wrote."""
        return self._nearest(locale)[0]

    def _nearest(self, locale: str | None) -> list[str]:
        """List the locales that are there, nearest first, whatever the case of the letters (RFC 5646 section 2.1.1)."""
        known = self._spellings
        return [*(known[each] for each in _nearer_and_nearer((locale or "").lower()) if each in known), DEFAULT]

    def _template(self, locale: str, name: str) -> Template:
        if (locale, name) not in self._templates:
            names = [f"{each}/{name}" for each in self._nearest(locale)]
            self._templates[locale, name] = self._environment.select_template(names)
        return self._templates[locale, name]

    def _words_of(self, locale: str) -> LocaleStrings:
        if locale not in self._words:
            names = [f"{each}/words.toml" for each in self._nearest(locale)]
            roots = [self._folder, _BUILT_IN] if self._folder else [_BUILT_IN]
            file = next(root / name for name in names for root in roots if (root / name).is_file())
            self._words[locale] = msgspec.toml.decode(file.read_bytes(), type=LocaleStrings)
        return self._words[locale]

    def _faults(self) -> Iterator[str]:
        """Try the words and every template of every locale."""
        for locale in self.locales:
            try:
                faults = [f"{locale}/words.toml: {fault}" for fault in self._words_of(locale).faults()]
            except (msgspec.MsgspecError, ValueError, OSError) as error:
                faults = [f"{locale}/words.toml: {error}"]
            if faults:
                yield from faults
                continue
            # The built-in templates on every date are for the tests to try; each start would take longer.
            for mail, content in chain(sample_mails(locale), dated_mails(locale) if self._folder else ()):
                for part in ("subject", "txt", "html"):
                    yield from self._fault(locale, mail, content, part)

    def _fault(self, locale: str, mail: Mail, content: Itinerary, part: str) -> Iterator[str]:
        """Write one part of a sample as it is written for a mail."""
        name = f"{locale}/{mail.kind}.{part}"
        words = self._words_of(locale)
        try:
            if part == "subject":
                view = subject_view(mail.booking or "", content.flights, words)
            else:
                view = mail_view(mail, content, words)
            if part == "html":
                view |= {"sender": "Sender", "reservations": "[]"}
            found = self._rendered(locale, f"{mail.kind}.{part}", view)
            if not (_line(found) if part == "subject" else found.strip()):
                yield f"{name}: at least one word is expected"
        except TemplateSyntaxError as error:
            yield f"{error.name}, line {error.lineno}: {error.message}"
        except Exception as error:  # noqa: BLE001 - a template can raise anything
            yield f"{_where(error) or name}: {_words(error)}"


@cache
def _built_in_wording() -> MailTemplates:
    """Return the built-in words and templates, whose compilation takes longer than that of a folder's."""
    return MailTemplates()


def _line(found: str) -> str:
    """Turn what a template wrote into one line, not too long for a subject."""
    return " ".join("".join(char if char.isprintable() else " " for char in found).split())[:MAX_SUBJECT]


def _where(error: Exception) -> str:
    """Find the line of the template in which an error came up."""
    found, trace = "", error.__traceback__
    while trace:
        file = trace.tb_frame.f_code.co_filename
        if file.endswith((".html", ".txt", ".subject")):
            found = f"{'/'.join(Path(file).parts[-2:])}, line {trace.tb_lineno}"
        trace = trace.tb_next
    return found


def _words(error: Exception) -> str:
    return str(error) if isinstance(error, TemplateError) else f"{type(error).__name__}: {error}"


def _is_page(name: str | None) -> bool:
    return bool(name and name.endswith(".html"))


def _nearer_and_nearer(locale: str) -> list[str]:
    """List a locale and what is above it: pt-br, pt."""
    written = locale.replace("_", "-")
    if not _LOCALE.fullmatch(written):
        return []
    parts = written.split("-")
    return ["-".join(parts[:count]) for count in range(len(parts), 0, -1)]


def _locale_folders(folder: Path | None) -> Iterator[Any]:
    for root in filter(None, (_BUILT_IN, folder)):
        if root.is_dir():
            yield from (each for each in root.iterdir() if each.is_dir() and _LOCALE.fullmatch(each.name))


def _strangers(folder: Path) -> Iterator[str]:
    """Name what nobody would ever read: most likely a template whose name is misspelt."""
    if not folder.is_dir():
        yield f"{folder} is no folder"
        return
    for file in sorted(file for file in folder.rglob("*") if file.is_file() and not file.name.startswith(".")):
        name = file.relative_to(folder)
        of_a_locale = len(name.parts) == 2 and _LOCALE.fullmatch(name.parts[0]) and name.name in _OF_A_LOCALE  # noqa: PLR2004 - folder and file
        if str(name) not in _SHARED and not of_a_locale:
            yield f"{name}: no template is called that; there are {', '.join((*_SHARED, *_OF_A_LOCALE))}"
