"""Works that share a transaction: their order, their effects, and what happens if one of them fails."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from support.samples import NOW, RULES
from support.stores import ACCEPTED, claimed, opened, request

from notifier.domain.mail import Mail, Status, sent
from notifier.errors import StoreUnusable
from notifier.storage.sqlite import queries, transactions
from notifier.storage.sqlite.store import SqliteStore
from notifier.storage.sqlite.transactions import MAX_SHARED
from notifier.storage.sqlite.writes import Writes


@asynccontextmanager
async def traced(path: Path) -> AsyncIterator[tuple[SqliteStore, list[str]]]:
    """Open a store and list its statements."""
    async with opened(path) as store:
        statements: list[str] = []
        await store._writer.set_trace_callback(statements.append)
        yield store, statements
        await store._writer.set_trace_callback(lambda _: None)


@asynccontextmanager
async def busy(store: SqliteStore) -> AsyncIterator[None]:
    """Keep the store from beginning anything until the end of the block."""
    go = threading.Event()
    work = asyncio.create_task(store._run(lambda _: go.wait(10)))
    await asyncio.sleep(0.01)
    try:
        yield
    finally:
        go.set()
        await work


def set_meta(name: str) -> Callable[[Writes], str]:
    """Return a work that stores a name and returns it."""

    def work(writes: Writes) -> str:
        writes.db.execute("INSERT INTO meta VALUES (?, '')", (name,))
        return name

    return work


async def names(store: SqliteStore) -> list[str]:
    """List what `set_meta` has stored, in order."""
    return await store._run(
        lambda db: [name for (name,) in db.execute("SELECT name FROM meta WHERE name LIKE 'w%' ORDER BY name")]
    )


async def test_an_outcome_and_the_claim_after_it_are_one_transaction(tmp_path: Path) -> None:
    """If both are asked for in the same turn of the loop, one commit has both, and the claim sees the outcome."""
    async with traced(tmp_path / "n.db") as (store, statements):
        await store.add([request(1)], RULES, NOW)
        (mail,) = await claimed(store)
        statements.clear()
        events, claim = await asyncio.gather(store.record([sent(mail, ACCEPTED, NOW)], NOW), store.claim(8, 0, NOW))
        assert statements.count("COMMIT") == 1
        assert (len(events), claim.starts) == (1, ())
        assert (await store.span()).head == 3


async def test_what_is_asked_meanwhile_is_done_in_order_in_one_transaction(tmp_path: Path) -> None:
    """Works that wait share the next commit, each caller gets its own result, and effects are in order."""
    async with traced(tmp_path / "n.db") as (store, statements):
        effects: list[str] = []
        async with busy(store):
            asked = [asyncio.create_task(store._transact("x", set_meta(f"w{n}"), effects.append)) for n in range(9)]
            await asyncio.sleep(0.01)
        assert await asyncio.gather(*asked) == effects == [f"w{n}" for n in range(9)]
        assert statements.count("COMMIT") == 1
        assert [each.split("'")[1] for each in statements if "INTO meta" in each] == effects


async def test_a_work_that_fails_fails_alone(tmp_path: Path) -> None:
    """The others are on disk, the caller of the one that failed gets the error, and nothing of it is left."""
    path = tmp_path / "n.db"
    async with opened(path) as store:

        def fails(writes: Writes) -> str:
            writes.db.execute("INSERT INTO meta VALUES ('w half', '')")
            raise ValueError("no")

        def refused(writes: Writes) -> str:
            writes.db.execute("INSERT INTO nowhere VALUES (1)")
            return ""

        effects: list[str] = []
        async with busy(store):
            works = (set_meta("w1"), fails, set_meta("w2"), refused, set_meta("w3"))
            asked = [asyncio.create_task(store._transact("x", work, effects.append)) for work in works]
            await asyncio.sleep(0.01)
        first, no, second, unusable, third = await asyncio.gather(*asked, return_exceptions=True)
        assert [first, second, third] == effects == ["w1", "w2", "w3"]
        assert isinstance(no, ValueError)
        assert isinstance(unusable, StoreUnusable)
    async with opened(path) as store:
        assert await names(store) == ["w1", "w2", "w3"]


async def test_an_error_that_no_future_takes_keeps_nobody_waiting(tmp_path: Path) -> None:
    """A work that raises StopIteration fails alone, with an error that its caller can be given."""
    async with opened(tmp_path / "n.db") as store:

        def ends(_: Writes) -> str:
            return next(iter(()))

        async with asyncio.timeout(5):
            asked = [store._transact("x", work) for work in (set_meta("w1"), ends, set_meta("w2"))]
            first, no, second = await asyncio.gather(*asked, return_exceptions=True)
        assert [first, second] == await names(store) == ["w1", "w2"]
        assert isinstance(no, RuntimeError)


async def test_a_cancelled_caller_takes_nothing_from_the_others(tmp_path: Path) -> None:
    """Its work is part of the commit, with its effects, and the others get their results."""
    async with opened(tmp_path / "n.db") as store:
        effects: list[str] = []
        async with busy(store):
            asked = [asyncio.create_task(store._transact("x", set_meta(f"w{n}"), effects.append)) for n in range(3)]
            await asyncio.sleep(0.01)
            asked[1].cancel()
        results = await asyncio.gather(*asked, return_exceptions=True)
        assert [results[0], results[2]] == ["w0", "w2"]
        assert isinstance(results[1], asyncio.CancelledError)
        assert effects == await names(store) == ["w0", "w1", "w2"]


async def test_an_effect_that_fails_keeps_nobody_waiting(tmp_path: Path) -> None:
    """The loop reports its error, and the caller still gets the result."""
    async with opened(tmp_path / "n.db") as store:
        reported: list[BaseException | None] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context.get("exception")))

        def effect(_: str) -> None:
            raise ZeroDivisionError

        async with asyncio.timeout(5):
            assert await store._transact("x", set_meta("w"), effect) == "w"
        assert [type(each) for each in reported] == [ZeroDivisionError]


async def test_a_shared_transaction_is_bounded(tmp_path: Path) -> None:
    """Together the works of one need no more than MAX_SHARED mails; one that needs more is alone."""
    sizes = [MAX_SHARED // 2, MAX_SHARED // 2, 1, MAX_SHARED + 1, 1, 1]
    async with traced(tmp_path / "n.db") as (store, statements):
        async with busy(store):
            asked = [
                asyncio.create_task(store._transact("x", set_meta(f"w{n}"), mails=mails))
                for n, mails in enumerate(sizes)
            ]
            await asyncio.sleep(0.01)
        await asyncio.gather(*asked)
        written = [each for each in statements if each == "COMMIT" or each.startswith("INSERT INTO meta")]
        assert [len(each.split()) > 1 for each in written] == [
            *(True, True, False),
            *(True, False),
            *(True, False),
            *(True, True, False),
        ]


async def test_a_clock_that_was_set_back_is_noticed_once_by_works_that_share(tmp_path: Path) -> None:
    """Two claims in one transaction do not move the times of waiting mails back twice."""
    ahead = NOW + timedelta(hours=3)
    async with opened(tmp_path / "n.db") as store:
        await store.add([request(1)], RULES, NOW)
        (mail,) = await claimed(store, now=ahead)
        await store.record([retry_in_an_hour(mail)], ahead)
        await asyncio.gather(store.claim(0, 0, NOW), store.claim(0, 0, NOW))
        assert await claimed(store, now=NOW + timedelta(minutes=59)) == []
        assert len(await claimed(store, now=NOW + timedelta(minutes=61))) == 1


def retry_in_an_hour(mail: Mail) -> Mail:
    """Return a mail that is tried again an hour after NOW plus 3 hours."""
    return mail.become(Status.PENDING, next_attempt_at=NOW + timedelta(hours=4))


async def test_a_clock_that_was_set_back_is_noticed_again_after_a_failure(tmp_path: Path) -> None:
    """If the transaction that moved the times is rolled back, the next one moves them."""
    ahead = NOW + timedelta(hours=3)

    def fails(_: Writes) -> None:
        raise ValueError("no")

    async with opened(tmp_path / "n.db") as store:
        await store.add([request(1)], RULES, NOW)
        (mail,) = await claimed(store, now=ahead)
        await store.record([retry_in_an_hour(mail)], ahead)
        with pytest.raises(ValueError, match="no"):
            await store._transact("claim", fails, now=NOW)
        assert await claimed(store, now=NOW) == []
        assert len(await claimed(store, now=NOW + timedelta(minutes=61))) == 1


async def test_a_cursor_is_written_with_the_next_commit(tmp_path: Path) -> None:
    """Moving it needs no commit of its own, and the process itself sees the new place at once."""
    async with traced(tmp_path / "n.db") as (store, statements):
        await store.move_cursor("reader", 1)
        await store.move_cursor("reader", 2)
        assert await store.cursor("reader") == 2
        assert statements.count("COMMIT") == 0
        await store.check()
        assert statements.count("COMMIT") == 1
        assert await written(store) == 2
        await store.check()
        assert sum("INTO cursors" in each for each in statements) == 1


async def written(store: SqliteStore) -> int | None:
    """Return the place of the reader as it is in the database."""
    place: int | None = await store._run(lambda db: queries.one(db, "SELECT seq FROM cursors WHERE reader = 'reader'"))
    return place


async def until_written(store: SqliteStore, seq: int) -> None:
    """Wait until the place of the reader is this one in the database."""
    while await written(store) != seq:  # noqa: ASYNC110 - a row sends no signal
        await asyncio.sleep(0.01)


async def test_a_cursor_is_written_soon_if_nothing_else_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is on disk after at most MAX_DEFERRED seconds."""
    monkeypatch.setattr(transactions, "MAX_DEFERRED", 0.02)
    async with opened(tmp_path / "n.db") as store, asyncio.timeout(5):
        await store.move_cursor("reader", 7)
        await until_written(store, 7)
        await store.move_cursor("reader", 8)
        await until_written(store, 8)


async def test_a_cursor_that_cannot_be_written_is_written_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure takes no other work with it, shows as the store's fault, and it is tried again."""
    monkeypatch.setattr(transactions, "MAX_DEFERRED", 0.02)
    async with opened(tmp_path / "n.db") as store, asyncio.timeout(5):
        await store._run(lambda db: db.execute("ALTER TABLE cursors RENAME TO lost").close())
        await store.move_cursor("reader", 1)
        await store.check()
        while store.fault is None:  # noqa: ASYNC110 - a fault sends no signal
            await asyncio.sleep(0.01)
        await store._run(lambda db: db.execute("ALTER TABLE lost RENAME TO cursors").close())
        await until_written(store, 1)
        assert store.fault is None


async def test_a_cursor_is_written_when_the_store_is_closed(tmp_path: Path) -> None:
    """Nothing else needs to be committed then."""
    async with opened(tmp_path / "n.db") as store:
        await store.move_cursor("reader", 5)
    async with opened(tmp_path / "n.db") as store:
        assert await store.cursor("reader") == 5


async def test_closing_does_everything_that_was_asked_for(tmp_path: Path) -> None:
    """What waits is committed first; what is asked for afterwards is refused."""
    async with opened(tmp_path / "n.db") as store:
        asked = [asyncio.create_task(store._transact("x", set_meta(f"w{n}"))) for n in range(3)]
        await asyncio.sleep(0)
    assert await asyncio.gather(*asked) == ["w0", "w1", "w2"]
    with pytest.raises(StoreUnusable, match="closed"):
        await store.check()
    async with opened(tmp_path / "n.db") as store:
        assert await names(store) == ["w0", "w1", "w2"]


async def test_closing_that_is_cancelled_leaves_nobody_waiting(tmp_path: Path) -> None:
    """What was committed equals what returned, the others are refused, and no thread keeps the process from ending."""
    path = tmp_path / "n.db"
    async with opened(path) as store:
        go = threading.Event()
        first = asyncio.create_task(store._run(lambda _: go.wait(10)))
        await asyncio.sleep(0.01)
        asked = [asyncio.create_task(store._transact("x", set_meta(f"w{n}"))) for n in range(3)]
        closing = asyncio.create_task(store.close())
        await asyncio.sleep(0.05)
        closing.cancel()
        await asyncio.sleep(0)
        go.set()
        async with asyncio.timeout(5):
            results = await asyncio.gather(first, *asked, return_exceptions=True)
            await asyncio.gather(closing, return_exceptions=True)
        assert results[0] is True
        done = [each for each in results[1:] if not isinstance(each, StoreUnusable)]
        assert not store._writer._thread.is_alive()
    async with opened(path) as store:
        assert await names(store) == done
