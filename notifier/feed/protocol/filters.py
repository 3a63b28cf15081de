"""Filters as clients write them, and the way from there to a `MailFilter`. Pure."""

from collections.abc import Mapping
from datetime import UTC
from typing import Annotated, TypeVar
from zlib import crc32

import msgspec
from msgspec import Meta, Struct

from notifier.domain.airports import parse
from notifier.domain.events import MailFilter
from notifier.domain.mail import Kind, Status
from notifier.feed.protocol.errors import BadFrame
from notifier.feed.protocol.fields import MAX_VALUES
from notifier.feed.protocol.mismatch import mismatch

_T = TypeVar("_T")
_Statuses = Annotated[list[Status], Meta(max_length=MAX_VALUES)]
_Kinds = Annotated[list[Kind], Meta(max_length=MAX_VALUES)]
_Texts = Annotated[list[str], Meta(max_length=MAX_VALUES)]


class FilterFields(Struct, frozen=True, omit_defaults=True):
    """Which mails a client wants to see. The fields are ANDed, the values of one field are ORed; null matches all."""

    status: Annotated[Status | _Statuses | None, Meta(description="The mail's status")] = None
    kind: Annotated[Kind | _Kinds | None, Meta(description="The mail's kind")] = None
    booking: Annotated[str | _Texts | None, Meta(description="Booking references")] = None
    mail: Annotated[str | _Texts | None, Meta(description="Ids of mails")] = None
    since: Annotated[str | None, Meta(description="Earliest time of creation, RFC 3339 with offset")] = None


_decode = msgspec.json.Decoder(FilterFields | None).decode


def read_filter(given: FilterFields | Mapping[str, object] | msgspec.Raw | None) -> MailFilter:
    """Read a filter, given as JSON (`msgspec.Raw`), as a mapping, or as fields whose `since` is not parsed yet.

    Raises BadFrame.
    """
    try:
        fields = _decode(given) if isinstance(given, msgspec.Raw) else msgspec.convert(given, FilterFields | None)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadFrame(mismatch(error, FilterFields | None, "filter")) from None
    try:
        since = parse(fields.since) if fields and fields.since is not None else None
    except ValueError as error:
        raise BadFrame(f"filter.since: {error}") from None
    if since and since.tzinfo is None:
        raise BadFrame("filter.since: needs an offset such as +05:30, or Z")
    return (
        MailFilter(
            status=_set(fields.status),
            kind=_set(fields.kind),
            booking=_set(fields.booking),
            mail=_set(fields.mail),
            since=since and since.astimezone(UTC),
        )
        if fields
        else MailFilter()
    )


def filter_hash(wanted: MailFilter) -> str:
    """Return eight hex digits that identify a filter in a cursor."""
    parts = [sorted(wanted.status), sorted(wanted.kind), sorted(wanted.booking), sorted(wanted.mail), wanted.since]
    return f"{crc32(msgspec.json.encode(parts)):08x}"


def _set(given: _T | list[_T] | None) -> frozenset[_T]:
    return frozenset(given if isinstance(given, list) else () if given is None else (given,))
