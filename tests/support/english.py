"""The built-in English words for dates, times and labels."""

from importlib import resources

import msgspec

from notifier.composing.locale_strings import LocaleStrings

ENGLISH = msgspec.toml.decode(
    (resources.files("notifier.composing") / "templates" / "en" / "words.toml").read_bytes(), type=LocaleStrings
)
