"""The feed's side of the AsyncAPI document, generated from the structs of `notifier.feed.protocol`. Pure."""

import json
from typing import Any

import msgspec

from notifier.asyncapi.schemas import REFS, Schema, constant, ref
from notifier.feed.protocol import (
    COMMANDS,
    ByeFrame,
    CloseCode,
    CommandFrame,
    CommandSpec,
    EventsFrame,
    FilterFields,
    FilterFrame,
    HelloFrame,
    PublicEvent,
    ResultFrame,
    SnapshotFrame,
    StatsFrame,
    WelcomeFrame,
)
from notifier.feed.protocol.frames import ErrorFrame

CLIENT: dict[str, type[msgspec.Struct]] = {"hello": HelloFrame, "filter": FilterFrame, "command": CommandFrame}
"""What a client sends, by the `type` of the frame."""
SERVER: dict[str, type[msgspec.Struct]] = {
    "welcome": WelcomeFrame,
    "snapshot": SnapshotFrame,
    "events": EventsFrame,
    "stats": StatsFrame,
    "result": ResultFrame,
    "error": ErrorFrame,
    "bye": ByeFrame,
}
"""What the server sends, by the `type` of the frame."""


def schemas() -> dict[str, Schema]:
    """Return the schema of every struct of the protocol, by its name."""
    types = [*CLIENT.values(), *SERVER.values(), FilterFields, PublicEvent]
    for spec in COMMANDS.values():
        types += [spec.args, spec.value]
    _, found = msgspec.json.schema_components(types, ref_template=REFS + "{name}")
    named: dict[str, Schema] = json.loads(json.dumps(found))
    # A reader can leave the field out, which changes nothing, but whoever writes the frame means to set a filter.
    named["FilterFrame"]["required"].append("filter")
    return named


def messages() -> dict[str, Any]:
    """Return the messages of the feed, by the `type` of the frame."""
    named = schemas()
    payloads = {name: ref(type_.__name__) for name, type_ in {**CLIENT, **SERVER}.items()}
    payloads["command"] = {"anyOf": [_command(named, name, spec) for name, spec in COMMANDS.items()]}
    values = dict.fromkeys(spec.value.__name__ for spec in COMMANDS.values())
    payloads["result"] = {"anyOf": [*(_success(named, value) for value in values), _failure(named)]}
    return {
        name: {"name": name, "title": name, "summary": _summary(type_), "payload": payloads[name]}
        for name, type_ in {**CLIENT, **SERVER}.items()
    }


def close_codes() -> str:
    """Describe the close codes in one line."""
    return "; ".join(f"{code.value}: {code.meaning}" for code in CloseCode)


def _summary(type_: type[msgspec.Struct]) -> str:
    return (type_.__doc__ or "").partition("\n")[0].rstrip(".")


def _command(named: dict[str, Schema], name: str, spec: CommandSpec) -> Schema:
    """Narrow the frame of a command to one name and its arguments; args without a required field can be left out."""
    frame, args = named["CommandFrame"], spec.args.__name__
    properties = {**frame["properties"], "name": constant(name), "args": ref(args)}
    required = ["type", "name", *(["args"] if named[args]["required"] else [])]
    return {**frame, "title": name, "description": f"{spec.summary} ({spec.role})", "properties": properties} | {
        "required": required
    }


def _success(named: dict[str, Schema], value: str) -> Schema:
    return _narrowed(named["ResultFrame"], value, ok=True, value=ref(value))


def _failure(named: dict[str, Schema]) -> Schema:
    return _narrowed(named["ResultFrame"], "Failure", ok=False, error=ref("Failure"))


def _narrowed(result: Schema, title: str, *, ok: bool, **content: Schema) -> Schema:
    """Narrow the frame of a result to success with one kind of value, or to failure."""
    properties = {name: result["properties"][name] for name in ("type", "id")} | {"ok": constant(ok), **content}
    return {"title": title, "type": "object", "properties": properties, "required": [*properties]}
