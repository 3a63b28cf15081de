"""The body of `/readyz`, for clients with a valid token and for all others."""

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from support.readings import READINESS, STATS
from support.structs import structs_of, takes_positions, undescribed

from notifier.feed.protocol import Readiness, ReadinessStates, status
from notifier.feed.protocol.status import PartState


def test_a_service_is_ready_only_if_its_status_is_ok() -> None:
    """The state of the broker or of an SMTP account has no influence on it."""
    assert not READINESS.is_ready
    assert replace(READINESS, status="ok").is_ready


def test_everyone_can_read_the_states_of_the_parts() -> None:
    """The body with all its reasons can also be read as the one that clients without a token get."""
    found = msgspec.json.decode(msgspec.json.encode(READINESS), type=ReadinessStates)
    assert found == ReadinessStates(
        status="not ready",
        store=PartState(state="unusable"),
        actors={"sender": PartState(state="running"), "consumer": PartState(state="waiting")},
    )


@pytest.mark.parametrize(
    "body", [b"", b"ok", b"{}", b'{"status":"ok"}', b'{"status":"ok","store":"ok","actors":{}}', b"<html></html>"]
)
def test_the_body_of_another_service_is_refused(body: bytes) -> None:
    """A client that has reached another service by mistake can recognise it."""
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(body, type=ReadinessStates)


@pytest.mark.parametrize("shape", structs_of(status))
def test_every_field_is_given_by_name_and_described(shape: type[msgspec.Struct]) -> None:
    """Two fields of one type cannot be mixed up, and the document says what each one is."""
    assert shape in (PartState, ReadinessStates) or not takes_positions(shape)
    assert undescribed(shape) == []


@pytest.mark.parametrize("shown", [READINESS, STATS])
def test_the_state_of_a_service_is_read_as_it_was_written(shown: Any) -> None:
    """Every field is found under its name."""
    assert msgspec.json.decode(msgspec.json.encode(shown), type=type(shown)) == shown
    assert set(msgspec.to_builtins(READINESS)) == {"status", "store", "actors", "broker", "dead_letters", "smtp"}


def test_the_words_for_a_state_are_in_the_document() -> None:
    """Clients read some of them as texts, because a newer service can have more."""
    schemas = msgspec.json.schema_components((Readiness,))[1]
    words = {name: schemas[name]["properties"]["state"].get("enum") for name in schemas if name != "Readiness"}
    assert words == {
        "StoreState": ["ok", "unusable"],
        "ActorState": None,
        "BrokerState": ["connected", "connecting", "off"],
        "DeadLettersState": ["held", "off", "ok"],
        "TransportState": ["ready", "paused"],
    }
    assert schemas["Readiness"]["properties"]["status"]["enum"] == ["not ready", "ok"]


@pytest.mark.parametrize("word", ["ok", "not ready", "x"])
def test_a_service_says_that_it_is_ready_or_not(word: str) -> None:
    """No other word is read."""
    body = {**msgspec.to_builtins(READINESS), "status": word}
    if word == "x":
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(body, Readiness)
    else:
        assert msgspec.convert(body, Readiness).is_ready is (word == "ok")
