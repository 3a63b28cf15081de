"""The building blocks of the schemas mean what their names say to a validator of JSON Schema."""

from typing import Any

import jsonschema_rs
import pytest

from notifier.asyncapi.schemas import REFS, TEXT, Schema, constant, one_of, record, ref


def accepts(schema: Schema, value: Any) -> bool:
    """Return whether a value is valid by a schema in a document that also has the schema `Name`."""
    components = {"schemas": {"Name": constant("Asha")}}
    return bool(jsonschema_rs.Draft7Validator({**schema, "components": components}).is_valid(value))


@pytest.mark.parametrize(
    ("value", "valid"),
    [
        ({"id": "a"}, True),
        ({"id": "a", "note": "b"}, True),
        ({"id": "a", "unknown": 1}, True),
        ({"note": "b"}, False),
        ({"id": 1}, False),
        ({"id": "a", "note": 1}, False),
        ([], False),
    ],
)
def test_a_record_is_open(value: Any, *, valid: bool) -> None:
    """Required fields must be there, optional ones must be valid if they are, and unknown ones are accepted."""
    assert accepts(record({"id": TEXT}, {"note": TEXT}), value) is valid


def test_a_constant_is_exactly_one_value() -> None:
    """The number 0 is not False."""
    assert [accepts(constant(0), value) for value in (0, 1, False, None)] == [True, False, False, False]


def test_one_of_several_words_is_a_text() -> None:
    """Each value is described by its text, whatever its type is."""
    assert [accepts(one_of((250, "ok")), value) for value in ("250", "ok", 250, "other")] == [True, True, False, False]


def test_a_reference_leads_to_a_schema_of_the_document() -> None:
    """The schema with that name applies."""
    assert ref("Name") == {"$ref": f"{REFS}Name"}
    assert (accepts(ref("Name"), "Asha"), accepts(ref("Name"), "Ravi")) == (True, False)
