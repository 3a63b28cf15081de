"""Settings from variables without their prefix, on top of what is required, and the problems of wrong ones."""

import pytest

from notifier.errors import Misconfigured, Problem
from notifier.settings import Settings, load

REQUIRED = {"NOTIFIER_SMTP_URL": "smtp://user:secret@mail.example.com", "NOTIFIER_MAIL_FROM": "Air <fly@example.org>"}


def loaded(**values: str) -> Settings:
    """Load the required settings and these."""
    return load({**REQUIRED, **{f"NOTIFIER_{name}": value for name, value in values.items()}})


def problems(**values: str) -> tuple[Problem, ...]:
    """Load the required settings and these, of which at least one is wrong, and return every problem."""
    with pytest.raises(Misconfigured) as wrong:
        loaded(**values)
    return wrong.value.problems
