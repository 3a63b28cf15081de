"""An empty store of each engine for the tests of its files."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.stores import opened

from notifier.storage.store import Store


@pytest.fixture(params=["sqlite"])
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """Return an empty store."""
    async with opened(tmp_path / "notifier.db") as store:
        yield store
