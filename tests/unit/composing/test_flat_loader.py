from itertools import chain

import pytest
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from support.samples import WORDING

from notifier.composing.flat_loader import FlatLoader
from notifier.composing.sample import dated_mails, sample_mails
from notifier.composing.view import mail_view, subject_view

PLACE = ("notifier.composing", "templates")


def environment(loader: PackageLoader) -> Environment:
    """Build an environment as `MailTemplates` does."""
    return Environment(loader=loader, autoescape=select_autoescape(["html"]), undefined=StrictUndefined)


@pytest.mark.parametrize("locale", WORDING.locales)
def test_flat_templates_write_what_jinja_s_inheritance_writes(locale: str) -> None:
    """Every part of every sample is the same to the byte, so it does not matter which loader a template comes from."""
    flat, inheriting = environment(FlatLoader(*PLACE)), environment(PackageLoader(*PLACE))
    for mail, content in chain(sample_mails(locale), dated_mails(locale)):
        words = WORDING._words_of(locale)
        page = {**mail_view(mail, content, words), "sender": "Example <Air>", "reservations": "[]"}
        views = {"subject": subject_view("R&D", content.flights, words), "txt": page, "html": page}
        for part, view in views.items():
            name = f"{locale}/{mail.kind}.{part}"
            assert flat.get_template(name).render(view) == inheriting.get_template(name).render(view)


@pytest.mark.parametrize("locale", WORDING.locales)
def test_nothing_is_left_to_be_looked_up(locale: str) -> None:
    """A flat template neither extends nor includes another one and has no block."""
    flat = environment(FlatLoader(*PLACE))
    for mail, _ in sample_mails(locale):
        for part in ("txt", "html"):
            source, _, _ = FlatLoader(*PLACE).get_source(flat, f"{locale}/{mail.kind}.{part}")
            assert not any(word in source for word in ("extends", "include", "block %}", "{% block"))
