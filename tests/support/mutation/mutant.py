"""What a wrong change is."""

from typing import NamedTuple


class Mutant(NamedTuple):
    """A wrong change: in `file` the text `right`, which is there once, becomes `wrong`; one of `tests` must notice."""

    name: str
    file: str
    right: str
    wrong: str
    tests: tuple[str, ...]
