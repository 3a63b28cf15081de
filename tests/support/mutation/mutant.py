"""The definition of a wrong change."""

from typing import NamedTuple


class Mutant(NamedTuple):
    """A wrong change: in `file`, the text `right` (which occurs once) becomes `wrong`; one of `tests` must fail."""

    name: str
    file: str
    right: str
    wrong: str
    tests: tuple[str, ...]
