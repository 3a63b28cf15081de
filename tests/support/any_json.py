"""A hypothesis strategy for any JSON value, often with the field names of the feed."""

from hypothesis import strategies as st

FIELDS = ["type", "id", "token", "resume", "filter", "snapshot", "stats", "name", "args", "status", "kind", "since"]
WORDS = st.sampled_from(["hello", "filter", "command", "sent", "flight.reminder", "2026-11-24T10:00:00Z", *FIELDS])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
JSON = st.recursive(
    SCALARS | WORDS,
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.sampled_from(FIELDS) | st.text(), inner),
    max_leaves=25,
)
