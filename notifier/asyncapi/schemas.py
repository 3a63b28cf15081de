"""Building blocks of the JSON Schemas in the AsyncAPI document. Pure.

Objects are open: a reader ignores fields that it does not know.
"""

from typing import Any

Schema = dict[str, Any]
"""A JSON Schema, draft 7, of which AsyncAPI's schema object is a superset."""

REFS = "#/components/schemas/"
"""What precedes the name of a schema in a reference to it."""
TEXT: Schema = {"type": "string"}


def ref(name: str) -> Schema:
    """Refer to a schema of the document."""
    return {"$ref": f"{REFS}{name}"}


def record(required: dict[str, Schema], optional: dict[str, Schema] | None = None) -> Schema:
    """Describe an object by its fields."""
    return {"type": "object", "required": [*required], "properties": {**required, **(optional or {})}}


def constant(value: Any) -> Schema:
    """Describe exactly one value."""
    return {"const": value}


def one_of(values: Any) -> Schema:
    """Describe one of several words."""
    return {"enum": [str(value) for value in values]}
