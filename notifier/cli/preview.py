"""What `notifier preview` writes: a sample mail as its reader gets it, in files to look at."""

from collections.abc import Iterator
from pathlib import Path

from msgspec.structs import replace

from notifier.composing.calendar import calendars
from notifier.composing.message import compose
from notifier.composing.reservation import reservations
from notifier.composing.sample import sample_mail
from notifier.composing.templates import MailTemplates
from notifier.domain.mail import Itinerary, Kind
from notifier.errors import NotifierError
from notifier.settings import Sender


def preview(kind: Kind, locale: str, wording: MailTemplates, sender: Sender, folder: Path) -> Iterator[Path]:
    """Write the page, the text, the whole message and the calendar files of a sample; gives each path as it is written.

    Raises NotifierError where the folder cannot be written.
    """
    mail = sample_mail(kind, locale)
    flights = mail.content.flights if isinstance(mail.content, Itinerary) else ()
    mail = replace(mail, subject=wording.subject(kind, mail.booking or "", flights, locale))
    text, page = wording.body(mail, sender.name, reservations(mail))
    files = {
        f"{kind}.html": (page or "").encode(),
        f"{kind}.txt": text.encode(),
        f"{kind}.eml": compose(mail, wording, sender),
        **{f"{kind}.{each.method.lower()}.ics": each.body for each in calendars(mail, sender.address)},
    }
    for name, content in files.items():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        except OSError as error:
            raise NotifierError(f"{folder / name} cannot be written: {error.strerror}") from error
        yield folder / name
