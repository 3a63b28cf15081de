"""Renders subjects, texts and HTML of a booking's mails: a folder of templates per locale, which users can override.

A file is looked up in the reader's locale, in its language, and in English: for
`pt-BR` in `pt-BR/`, `pt/`, `en/`. Overriding templates run in a sandbox. It does not limit
their time, because only the operator of the service can write them.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
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

from notifier.composing.flat_loader import FlatLoader
from notifier.composing.locale_strings import LocaleStrings
from notifier.composing.sample import dated_mails, sample_mails
from notifier.composing.view import mail_view, subject_view
from notifier.domain.mail import AirportTime, Flight, Itinerary, Kind, Mail
from notifier.errors import Misconfigured, Problem

log = structlog.get_logger(__name__)

DEFAULT = "en"
MAX_SUBJECT = 200
"""Characters of a subject; a longer one is truncated."""
KINDS = (Kind.CONFIRMATION, Kind.CHANGE, Kind.CANCELLATION, Kind.REMINDER)

_SHARED = ("layout.html", "layout.txt", "card.html")
_PARTS = ("subject", "txt", "html")
_OF_A_LOCALE = ("words.toml", *(f"{kind}.{part}" for kind in KINDS for part in _PARTS))
_PACKAGE = ("notifier.composing", "templates")
_BUILT_IN = resources.files(_PACKAGE[0]) / _PACKAGE[1]
_REFERENCE = "\0"
"""Stands for a booking's reference while a subject is rendered; no text of a message can contain it."""
_LOCALE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")
_GAP, _GAPS = "\n\n\n", re.compile(r"\n{3,}")
_T = TypeVar("_T")


class Body(NamedTuple):
    """The content of a mail."""

    text: str
    """The text part."""
    page: str | None
    """The HTML part; None for a notification without one."""


class MailTemplates:
    """Renders subjects, texts and HTML; the files in `folder` override the built-in ones.

    Raises Misconfigured with every fault of the folder, each with its file and, in a
    template, its line: every file is tried with sample mails. If an overriding file fails
    later with some mail, the built-in words and templates render that mail. Without a folder,
    each template is compiled by `load` or when it is first used.
    """

    def __init__(self, folder: Path | None = None) -> None:
        loader: BaseLoader = FlatLoader(*_PACKAGE)
        if folder:
            loader = ChoiceLoader([FileSystemLoader(folder), PackageLoader(*_PACKAGE)])
        kind = ImmutableSandboxedEnvironment if folder else Environment
        self._environment = kind(loader=loader, autoescape=_is_page, undefined=StrictUndefined, auto_reload=False)
        self._folder = folder
        self._built_in = _built_in_templates() if folder else None
        self._templates: dict[tuple[str, str], Template] = {}
        self._words: dict[str, LocaleStrings] = {}
        self._nearest = lru_cache(maxsize=1024)(self._find_nearest)
        self._around = lru_cache(maxsize=4096)(self._render_around)
        try:
            faults = list(_unknown_files(folder)) if folder else []
            self.locales = sorted({each.name for each in _locale_folders(folder)})
            self._spellings = {each.lower(): each for each in self.locales}
            twice = (each for each in self.locales if self._spellings[each.lower()] != each)
            faults += [f"{each}: is the same locale as {self._spellings[each.lower()]}" for each in twice]
        except OSError as error:
            raise Misconfigured([Problem("NOTIFIER_TEMPLATES", str(error))]) from error
        # Tests try the built-in files. To do that at each start would take longer than everything else.
        faults += self._faults() if folder else ()
        if faults:
            # One line of a template can fail for several samples.
            raise Misconfigured([Problem("NOTIFIER_TEMPLATES", fault) for fault in dict.fromkeys(faults)])

    def load(self) -> None:
        """Compile the templates of the default locale; each takes as long as composing a hundred mails."""
        for kind in KINDS:
            for part in _PARTS:
                self._template(DEFAULT, f"{kind}.{part}")

    def subject(self, kind: Kind, booking: str, flights: Sequence[Flight], locale: str | None) -> str:
        """Return the subject of a mail, on one line."""
        if self._folder is None:
            # Our own templates write the reference as it is, and of the flights the first one and their number.
            first = flights[0] if flights else None
            shown = (first.number, first.origin, first.destination, first.departs) if first else None
            return _line(booking.join(self._around(kind, self._known(locale), shown, len(flights))))
        return self._rendered_or_built_in(
            locale, lambda templates: MailTemplates._subject(templates, kind, booking, flights, locale)
        )

    def body(self, mail: Mail, sender: str = "", reservations: str = "") -> Body:
        """Return the text and the HTML of a mail, which contain the same facts.

        `sender` is a name; `reservations` are JSON-LD, safe inside a script element.
        """
        content = mail.content
        if not isinstance(content, Itinerary):
            return Body(content.text, content.html)
        return self._rendered_or_built_in(
            content.locale, lambda templates: MailTemplates._body(templates, mail, content, sender, reservations)
        )

    def labels(self, mail: Mail) -> Mapping[str, str]:
        """Return the labels of the mail's locale; those of English for a notification, which has no locale."""
        locale = mail.content.locale if isinstance(mail.content, Itinerary) else None
        return self._words_of(self._known(locale)).labels

    def _rendered_or_built_in(self, locale: str | None, write: Callable[["MailTemplates"], _T]) -> _T:
        """Render with these templates, or with the built-in ones if that fails: no fault may lose a mail."""
        try:
            return write(self)
        except Exception as error:
            if self._built_in is None:
                raise
            where = _where(error) or f"{self._known(locale)}/words.toml"
            log.warning("template failed; using the built-in one", template=where, reason=_reason(error))
            return write(self._built_in)

    def _subject(self, kind: Kind, booking: str, flights: Sequence[Flight], locale: str | None) -> str:
        known = self._known(locale)
        view = subject_view(booking, flights, self._words_of(known))
        return _line(self._rendered(known, f"{kind}.subject", view))

    def _render_around(
        self, kind: Kind, locale: str, shown: tuple[str, str, str, AirportTime] | None, flights: int
    ) -> list[str]:
        """Return the parts of a subject between which its booking's reference stands."""
        view = subject_view(_REFERENCE, [Flight(*shown)] * flights if shown else [], self._words_of(locale))
        return self._rendered(locale, f"{kind}.subject", view).split(_REFERENCE)

    def _body(self, mail: Mail, content: Itinerary, sender: str, reservations: str) -> Body:
        known = self._known(content.locale)
        view = mail_view(mail, content, self._words_of(known))
        text = self._rendered(known, f"{mail.kind}.txt", view)
        page = self._rendered(known, f"{mail.kind}.html", {**view, "sender": sender, "reservations": reservations})
        text = text if _GAP not in text else _GAPS.sub("\n\n", text)
        return Body(text.strip("\n") + "\n", page)

    def _rendered(self, locale: str, name: str, view: Mapping[str, Any]) -> str:
        """Render a template. Raises whatever the template raises, or ValueError if its text is not valid Unicode."""
        found = self._template(locale, name).render(view)
        found.encode()
        return found

    def _known(self, locale: str | None) -> str:
        """Return the available locale that is nearest to the one wanted, which can be any text."""
        return self._nearest(locale)[0]

    def _find_nearest(self, locale: str | None) -> list[str]:
        """Return the available locales, nearest first; case does not matter (RFC 5646 section 2.1.1)."""
        known = self._spellings
        return [*(known[each] for each in _locale_and_parents((locale or "").lower()) if each in known), DEFAULT]

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
        """Yield the faults of the words and of every template of every locale."""
        for locale in self.locales:
            try:
                faults = [f"{locale}/words.toml: {fault}" for fault in self._words_of(locale).faults()]
            except (msgspec.MsgspecError, ValueError, OSError) as error:
                faults = [f"{locale}/words.toml: {error}"]
            if faults:
                yield from faults
                continue
            for mail, content in chain(sample_mails(locale), dated_mails(locale)):
                for part in _PARTS:
                    yield from self._fault(locale, mail, content, part)

    def _fault(self, locale: str, mail: Mail, content: Itinerary, part: str) -> Iterator[str]:
        """Render one part of a sample, and yield what is wrong with it."""
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
                yield f"{name}: must not be empty"
        except TemplateSyntaxError as error:
            yield f"{error.name}, line {error.lineno}: {error.message}"
        except Exception as error:  # noqa: BLE001 - a template can raise anything
            yield f"{_where(error) or name}: {_reason(error)}"


@cache
def _built_in_templates() -> MailTemplates:
    """Return the built-in templates, which are compiled only once because that takes long."""
    return MailTemplates()


def _line(found: str) -> str:
    """Return a rendered text as one line of at most MAX_SUBJECT characters."""
    if not found.isprintable():
        found = "".join(char if char.isprintable() else " " for char in found)
    return " ".join(found.split())[:MAX_SUBJECT]


def _where(error: Exception) -> str:
    """Return the file and line of the template in which an error was raised; empty if it was elsewhere."""
    found, trace = "", error.__traceback__
    while trace:
        file = trace.tb_frame.f_code.co_filename
        if file.endswith((".html", ".txt", ".subject")):
            found = f"{'/'.join(Path(file).parts[-2:])}, line {trace.tb_lineno}"
        trace = trace.tb_next
    return found


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, TemplateError) else f"{type(error).__name__}: {error}"


def _is_page(name: str | None) -> bool:
    return bool(name and name.endswith(".html"))


def _locale_and_parents(locale: str) -> list[str]:
    """Return a locale and its parents, for example `pt-br` and `pt`; nothing if it is malformed."""
    written = locale.replace("_", "-")
    if not _LOCALE.fullmatch(written):
        return []
    parts = written.split("-")
    return ["-".join(parts[:count]) for count in range(len(parts), 0, -1)]


def _locale_folders(folder: Path | None) -> Iterator[Any]:
    for root in filter(None, (_BUILT_IN, folder)):
        if root.is_dir():
            yield from (each for each in root.iterdir() if each.is_dir() and _LOCALE.fullmatch(each.name))


def _unknown_files(folder: Path) -> Iterator[str]:
    """Yield the files that would never be used, most likely because their names are misspelt."""
    if not folder.is_dir():
        yield f"{folder} is not a folder; name the folder with your templates"
        return
    for file in sorted(file for file in folder.rglob("*") if file.is_file() and not file.name.startswith(".")):
        name = file.relative_to(folder)
        of_a_locale = len(name.parts) == 2 and _LOCALE.fullmatch(name.parts[0]) and name.name in _OF_A_LOCALE  # noqa: PLR2004 - folder and file
        if str(name) not in _SHARED and not of_a_locale:
            yield f"{name}: unknown file name; the known ones are {', '.join((*_SHARED, *_OF_A_LOCALE))}"
