"""Holds calls of the store, to observe the service while they are in progress."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import pytest
from support.parts import PATIENCE

from notifier.storage.sqlite.store import SqliteStore


class Gate:
    """Holds the calls of one method of the store until the gate is opened."""

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
        """Hold the calls of a method; the gate is opened within the block or at its end."""
        gate = cls(monkeypatch, method)
        try:
            yield gate
        finally:
            gate.open()

    def open(self) -> None:
        """Let all calls continue."""
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
        """Wait until exactly `inside` calls are held."""
        async with asyncio.timeout(PATIENCE):
            while self.inside != inside:  # noqa: ASYNC110 - held calls send no signal
                await asyncio.sleep(0.01)
