"""Which types a value inside a shape can have."""

from typing import Annotated

import pytest
from msgspec import Meta, Struct, inspect

from notifier.domain.expected import options_at


class _Seat(Struct):
    row: int
    letter: Annotated[str, Meta(extra_json_schema={"description": "a letter from A to K"})]


class _Flight(Struct, rename={"origin": "from"}):
    origin: str
    seats: list[_Seat] | None = None
    price: Annotated[int | float, Meta(extra_json_schema={"description": "an amount"})] = 0


@pytest.mark.parametrize(
    ("path", "types", "descriptions"),
    [
        ("", [inspect.StructType], [None]),
        (".from", [inspect.StrType], [None]),
        (".seats", [inspect.ListType, inspect.NoneType], [None, None]),
        (".seats[3]", [inspect.StructType], [None]),
        (".seats[0].letter", [inspect.StrType], ["a letter from A to K"]),
        (".price", [inspect.IntType, inspect.FloatType], ["an amount", "an amount"]),
        (".origin", [], []),
        (".seats.row", [], []),
    ],
)
def test_a_path_leads_to_every_type_of_its_value(
    path: str, types: list[type[inspect.Type]], descriptions: list[str | None]
) -> None:
    """Fields have their names in JSON; a path that the shape does not have leads nowhere."""
    found = options_at(_Flight, path)
    assert [type(kind) for kind, _ in found] == types
    assert [description for _, description in found] == descriptions
