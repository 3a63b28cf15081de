"""The shapes of messages: each field has a rule in words, which dead letters and the AsyncAPI document show."""

from collections.abc import Iterator

import pytest
from msgspec import Struct, inspect

from notifier.domain.legacy_messages import LegacyMail
from notifier.domain.message_shapes import SHAPES, Event


def undescribed(kind: inspect.Type, where: str = "") -> Iterator[str]:
    """Yield the parts of a shape that have no description; an object describes itself by its fields."""
    match kind:
        case inspect.Metadata() if (kind.extra_json_schema or {}).get("description"):
            yield from undescribed_entries(kind.type, where)
        case inspect.UnionType():
            for each in kind.types:
                yield from undescribed(each, where)
        case inspect.StructType():
            for field in kind.fields:
                yield from undescribed(field.type, f"{where}.{field.encode_name}")
        case inspect.NoneType() | inspect.AnyType():
            pass
        case _:
            yield where


def undescribed_entries(kind: inspect.Type, where: str) -> Iterator[str]:
    """Yield the entries of a described list that have no description."""
    for each in kind.types if isinstance(kind, inspect.UnionType) else (kind,):
        if isinstance(each, inspect.ListType):
            yield from undescribed(each.item_type, f"{where}[]")


@pytest.mark.parametrize("shape", [*dict.fromkeys(SHAPES.values()), LegacyMail])
def test_every_field_has_a_rule_in_words(shape: type[Struct]) -> None:
    """Without a description, the detail of a dead letter could not say what the field must be."""
    assert list(undescribed(inspect.type_info(shape))) == []


def test_the_envelope_has_a_rule_for_all_but_the_data() -> None:
    """The type is checked against the known ones, and the data against the shape of its type."""
    assert list(undescribed(inspect.type_info(Event))) == [".type", ".data"]
