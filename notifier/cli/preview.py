"""`notifier preview`: a sample mail as its recipient gets it, in files to look at."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from msgspec.structs import replace

from notifier.composing.calendar import calendars
from notifier.composing.message import compose
from notifier.composing.reservation import reservations
from notifier.composing.sample import sample_mail
from notifier.composing.templates import KINDS, MailTemplates
from notifier.domain.mail import Itinerary, Kind
from notifier.errors import NotifierError
from notifier.settings import NamedAddress, PreviewSettings, load_group


def preview(
    kind: Annotated[str, typer.Argument(help=f"One of {', '.join(KINDS)}.")],
    *,
    locale: Annotated[str, typer.Option(help="The recipient's language.")] = "en",
    out: Annotated[Path, typer.Option(help="Folder for the files.")] = Path(),
) -> None:
    """Write a sample mail as HTML, text, .eml and .ics, using your templates if NOTIFIER_TEMPLATES is set."""
    if kind not in KINDS:
        raise typer.BadParameter(f"{kind!r} is not a kind of mail; use one of {', '.join(KINDS)}")
    look = load_group(PreviewSettings, os.environ)
    for path in write_sample(
        Kind(kind), locale, MailTemplates(look.templates), look.sender, out, reply_to=look.reply_to
    ):
        typer.echo(path)


def write_sample(
    kind: Kind,
    locale: str,
    templates: MailTemplates,
    sender: NamedAddress,
    folder: Path,
    *,
    reply_to: NamedAddress | None = None,
) -> Iterator[Path]:
    """Write the page, the text, the whole message and the calendar files of a sample; yield each path once written.

    The folder is created if it does not exist. Raises NotifierError if a file cannot be written.
    """
    mail = sample_mail(kind, locale)
    flights = mail.content.flights if isinstance(mail.content, Itinerary) else ()
    mail = replace(mail, subject=templates.subject(kind, mail.booking or "", flights, locale))
    text, page = templates.body(mail, sender.name, reservations(mail))
    files = {
        f"{kind}.html": (page or "").encode(),
        f"{kind}.txt": text.encode(),
        f"{kind}.eml": compose(mail, templates, sender, reply_to),
        **{
            f"{kind}.{each.method.lower()}.ics": each.body
            for each in calendars(mail, sender.address, templates.labels(mail))
        },
    }
    for name, content in files.items():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        except OSError as error:
            raise NotifierError(
                f"{folder / name} cannot be written: {error.strerror}; choose another folder with --out"
            ) from error
        yield folder / name
