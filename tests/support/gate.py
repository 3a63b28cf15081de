"""Holds calls of the store, to see what happens while they are under way."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import pytest
from support.parts import PATIENCE

from notifier.storage.sqlite.store import SqliteStore


class Gate:
    """Lets the calls of one method of the store begin, and holds them until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
        self.inside = 0
        self.most = 0
        self._open = asyncio.Event()
        self._call = getattr(SqliteStore, method)
        gate = self

        async def held(store: SqliteStore, *args: Any, **options: Any) -> Any:
            async with gate:
                return await gate._call(store, *args, **options)

        monkeypatch.setattr(SqliteStore, method, held)

    @classmethod
    @contextmanager
    def before(cls, monkeypatch: pytest.MonkeyPatch, method: str) -> Iterator[Self]:
        """Put one before a method of the store, to be opened within the block or at its end."""
        gate = cls(monkeypatch, method)
        try:
            yield gate
        finally:
            gate.open()

    def open(self) -> None:
        """Let all go on."""
        self._open.set()

    async def __aenter__(self) -> None:
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            await self._open.wait()
        except asyncio.CancelledError:
            self.inside -= 1
            raise

    async def __aexit__(self, *_: object) -> None:
        self.inside -= 1

    async def until(self, inside: int) -> None:
        """Wait until so many are held."""
        async with asyncio.timeout(PATIENCE):
            while self.inside != inside:  # noqa: ASYNC110 - the calls that are held know no event
                await asyncio.sleep(0.01)
