"""Tables of headers as bytes: any bytes that a publisher sends are either read or refused with ValueError."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import decode
from support.tables import NAMES, TABLES, counted, short

from notifier.gateways.header_table import check_table, entries, with_headers, without_names, write_table
from notifier.gateways.properties import DECODING_ERRORS, made_readable


@given(TABLES)
def test_a_table_is_divided_into_its_entries(table: bytes) -> None:
    """No byte is lost: each entry begins with its name, and all of them together are the table."""
    found = list(entries(table))
    assert all(entry.startswith(short(name)) for name, entry in found)
    assert write_table(entry for _, entry in found) == table


@given(st.binary(max_size=60))
def test_any_bytes_are_a_table_or_malformed(content: bytes) -> None:
    """What is not refused with ValueError is complete, so it can be written into another message."""
    try:
        found = list(entries(counted(content)))
    except ValueError:
        return
    assert write_table(entry for _, entry in found) == counted(content)


@pytest.mark.parametrize("content", [b"\x01aS\0\0\0\x09short", b"\x01aI\0\0", b"\x01a?", b"\x05a", b"\x01aF\0"])
def test_a_malformed_table_is_refused(content: bytes) -> None:
    """The cause is a value that is longer than its table, a type that does not exist, or a name without a value."""
    with pytest.raises(ValueError, match=r"longer than its table|unknown type"):
        list(entries(counted(content)))


@given(TABLES, st.dictionaries(st.sampled_from(("x-notifier-error", "a", "b")), st.binary(max_size=20), max_size=3))
def test_added_headers_replace_those_of_the_same_name(table: bytes, added: Mapping[str, bytes]) -> None:
    """Each is there once, as a text, after all the others, which stay as they were."""
    names = [name.encode() for name in added]
    kept = [entry for name, entry in entries(without_names(table, names))]
    texts = [short(name.encode()) + b"S" + counted(value) for name, value in added.items()]
    assert [entry for _, entry in entries(with_headers(table, added))] == [*kept, *texts]


@given(TABLES, st.sets(NAMES, max_size=3), st.data())
def test_only_the_named_headers_are_removed(table: bytes, names: set[bytes], data: st.DataObject) -> None:
    """All headers of these names are removed, however many there are, and no other."""
    found = list(entries(table))
    names |= set(data.draw(st.lists(st.sampled_from([name for name, _ in found]), max_size=2))) if found else set()
    assert list(entries(without_names(table, names))) == [each for each in found if each[0] not in names]


@given(TABLES)
def test_a_table_that_passes_the_check_can_be_read(table: bytes) -> None:
    """Pamqp decodes every table to its end unless the check has refused it."""
    try:
        check_table(table)
    except DECODING_ERRORS:
        return
    assert decode.field_table(table)[0] == len(table)


@given(st.binary(max_size=60))
def test_the_check_refuses_any_other_bytes(content: bytes) -> None:
    """Whatever the bytes are, the check passes or raises one of DECODING_ERRORS."""
    try:
        check_table(counted(content))
    except DECODING_ERRORS:
        return
    assert decode.field_table(counted(content))[0] == len(content) + 4


def deep(levels: int) -> bytes:
    """Return a table with this many levels of nested tables."""
    table = b""
    for _ in range(levels):
        table = b"\x01aF" + counted(table)
    return counted(table)


def test_a_letter_carries_headers_that_any_client_can_read() -> None:
    """Headers nested as deep as pamqp can read are kept; deeper ones are left out."""
    (kept, none_changed), (_, changed) = (made_readable({"headers": deep(levels)}) for levels in (199, 10_000))
    assert (none_changed, changed) == ([], ["headers"])
    assert decode.field_table(kept["headers"])
