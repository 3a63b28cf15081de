"""How From and Reply-To are read."""

from typing import Any

import pytest
from support.configured import loaded

from notifier.settings import NamedAddress


@pytest.mark.parametrize(
    ("text", "sender"),
    [
        ("Air <fly@example.org>", NamedAddress("Air", "fly@example.org")),
        ("fly@Example.ORG", NamedAddress("", "fly@example.org")),
        ('"Air, Inc." <fly@example.org>', NamedAddress("Air, Inc.", "fly@example.org")),
        ('"Air: India; \\"The\\" (1)" <fly@example.org>', NamedAddress('Air: India; "The" (1)', "fly@example.org")),
        ("Air (EU, UK) <fly@example.org>", NamedAddress("Air (EU, UK)", "fly@example.org")),
        ("Größe <fly@bücher.example>", NamedAddress("Größe", "fly@xn--bcher-kva.example")),
    ],
)
def test_a_sender_is_a_name_and_an_address(text: str, sender: NamedAddress) -> None:
    """The name can be missing or quoted, and the address is normalised."""
    found: Any = loaded(MAIL_FROM=text).mail.sender
    assert found == sender
    assert found.domain == sender.address.split("@")[1]


def test_replies_can_go_to_a_domain_in_any_script() -> None:
    """The domain is written in its ASCII form, so that no server needs SMTPUTF8 for it."""
    found = loaded(MAIL_REPLY_TO="Bücher <help@bücher.example>").mail.reply_to
    assert found == NamedAddress("Bücher", "help@xn--bcher-kva.example")
