"""What holds for every struct that a module of the protocol defines."""

from inspect import Parameter, signature
from types import ModuleType

import msgspec
from msgspec import Struct


def structs_of(module: ModuleType) -> list[type[Struct]]:
    """List the structs with fields that a module defines."""
    found = [each for each in vars(module).values() if isinstance(each, type) and issubclass(each, Struct)]
    return [each for each in found if each.__module__ == module.__name__ and each.__struct_fields__]


def takes_positions(shape: type[Struct]) -> bool:
    """Return whether any field of a struct can be given by position."""
    return any(each.kind is not Parameter.KEYWORD_ONLY for each in signature(shape).parameters.values())


def undescribed(shape: type[Struct]) -> list[str]:
    """List the fields that have no description in the JSON schema of a struct."""
    components = msgspec.json.schema_components((shape,))[1]
    fields = [field for component in components.values() for field in component.get("properties", {}).items()]
    return [name for name, schema in fields if "description" not in schema and name != "type"]
