"""The body of `/readyz`, for clients with a valid token and for all others."""

import msgspec
import pytest
from msgspec.structs import replace
from support.readings import READINESS
from support.structs import structs_of, takes_positions, undescribed

from notifier.feed.protocol import ReadinessStates, status
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
