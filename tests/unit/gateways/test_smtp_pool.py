"""The connections to an SMTP account: how many there may be, and which deliveries share a login."""

import asyncio
from collections.abc import Sequence

import pytest
from support.outgoing import MAIL, smtp_pool
from support.parts import PATIENCE
from support.scripted import Answer, HungUpError, Limited, Scripted, logins, silent_at

from notifier.errors import Busy, Unreachable
from notifier.gateways import smtp_pool as gateway
from notifier.gateways.smtp_pool import SmtpPool, smtp_pools
from notifier.sending.dialogue import DialogueResult
from notifier.settings import load


async def deliver(pool: SmtpPool, count: int) -> list[DialogueResult | BaseException]:
    """Deliver several messages at the same time; return how each ended."""
    deliveries = [pool.deliver(MAIL) for _ in range(count)]
    return await asyncio.gather(*deliveries, return_exceptions=True)


def accepted(results: Sequence[DialogueResult | BaseException]) -> int:
    """Count the messages that were accepted; for each of the others no connection was free."""
    found = [result for result in results if not isinstance(result, Busy)]
    assert all(isinstance(result, DialogueResult) and result.accepted for result in found), found
    return len(found)


async def test_a_server_that_allows_few_connections_gets_no_more() -> None:
    """The login that shows the limit is no fault, and deliveries beyond it raise Busy at once."""
    limited = Limited(2)
    async with Scripted.running(limited) as server, smtp_pool(server.url) as pool:
        first = await deliver(pool, 8)
        assert pool.capacity == 2
        assert [accepted(await deliver(pool, 2)) for _ in range(3)] == [2, 2, 2]
    assert accepted(first) >= 2
    assert (limited.most, limited.refused) == (2, 1)


async def test_the_limit_of_a_server_is_forgotten_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connections of another program may have been too many."""
    monkeypatch.setattr(gateway, "LIMIT_HOLDS", 0.2)
    limited = Limited(1)
    async with Scripted.running(limited) as server, smtp_pool(server.url) as pool:
        await deliver(pool, 2)
        assert pool.capacity == 1
        limited._limit = 2
        async with asyncio.timeout(PATIENCE):
            while pool.capacity == 1:  # noqa: ASYNC110 - time passes, and nothing else happens
                await asyncio.sleep(0.01)
        assert accepted(await deliver(pool, 2)) == 2
    assert limited.most == 2


@pytest.mark.parametrize("words", [b"", b"421 4.3.2 Service shutting down\r\n", b"554 5.7.1 not from here\r\n"])
async def test_only_the_words_of_a_server_are_a_limit_of_connections(words: bytes) -> None:
    """A login that is rejected for another reason, or without any, is a fault, although a connection is in use."""
    is_refusing = False

    def answer(phase: str, _line: bytes) -> bytes | None:
        if phase == "CONNECT" and is_refusing:
            if not words:
                raise HungUpError
            return words
        return None

    async with Scripted.running(answer) as server, smtp_pool(server.url) as pool:
        in_use = await pool.acquire()
        is_refusing = True
        (found,) = await deliver(pool, 1)
        assert isinstance(found, Unreachable)
        assert pool.capacity == 2
        assert f"127.0.0.1:{server.port}: " in str(found)
        assert "None" not in str(found)
        pool.release(in_use)
        assert accepted(await deliver(pool, 1)) == 1


async def test_a_cancelled_probe_leaves_no_connection_behind() -> None:
    """The QUITs that it waited for go on, and each ends with its connection closed and no longer counted."""
    leaving, go_on = asyncio.Event(), asyncio.Event()

    async def answer(phase: str, _line: bytes) -> bytes | None:
        if phase == "QUIT":
            leaving.set()
            await go_on.wait()
        return None

    async with Scripted.running(answer) as server, smtp_pool(server.url) as pool:
        await deliver(pool, 1)
        probe = asyncio.create_task(pool.probe())
        await leaving.wait()
        quitting = list(pool._quitting)
        probe.cancel()
        await asyncio.wait({probe})
        go_on.set()
        await asyncio.wait(quitting)
        assert [task.cancelled() for task in quitting] == [False]
        assert (pool.capacity, pool._open_connections()) == (1, 0)
        assert accepted(await deliver(pool, 1)) == 1


async def test_a_login_of_another_delivery_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """A delivery that has waited for LOGIN_WAIT raises Busy, so that its mail can be claimed again."""
    monkeypatch.setattr(gateway, "LOGIN_WAIT", 0.1)
    reached = asyncio.Event()
    async with Scripted.running(silent_at("EHLO", reached)) as server, smtp_pool(server.url, TIMEOUT="1h") as pool:
        first = asyncio.create_task(pool.deliver(MAIL))
        await reached.wait()
        second = asyncio.create_task(pool.deliver(MAIL))
        done, _ = await asyncio.wait({second}, timeout=PATIENCE)
        first.cancel()
        second.cancel()
        await asyncio.wait({first, second})
    assert [type(task.exception()) for task in done] == [Busy]


async def test_a_login_that_fails_without_any_connection_is_a_fault() -> None:
    """No delivery waits for connections that do not exist, and the error has the server's own words."""
    limited = Limited(0)
    async with Scripted.running(limited) as server, smtp_pool(server.url) as pool:
        results = await deliver(pool, 3)
    assert [result.said for result in results if isinstance(result, Unreachable)] == ["4.7.0 Too many connections"] * 3
    assert limited.refused == 1


async def test_a_probe_closes_idle_connections_before() -> None:
    """Otherwise the server could reject the probe as one connection too many."""
    limited = Limited(1)
    async with Scripted.running(limited) as server, smtp_pool(server.url) as pool:
        await deliver(pool, 1)
        await pool.probe()
    assert (limited.refused, server.connections) == (0, 2)


async def test_a_probe_beside_connections_in_use_says_why_it_failed() -> None:
    """It does not wait for them."""
    limited = Limited(1)
    async with Scripted.running(limited) as server, smtp_pool(server.url) as pool:
        in_use = await pool.acquire()
        with pytest.raises(Unreachable, match="421"):
            await pool.probe()
        pool.release(in_use)
        assert accepted(await deliver(pool, 1)) == 1


async def test_deliveries_at_the_same_time_share_a_rejected_login() -> None:
    """Eight mails that find no open connection cost one attempt, and each gets the reason."""
    answer: Answer = lambda at, _line: b"535 5.7.8 no\r\n" if at == "AUTH" else None  # noqa: E731
    async with Scripted.running(answer) as server, smtp_pool(server.url_with_login) as pool:
        results = await asyncio.gather(*(pool.deliver(MAIL) for _ in range(8)), return_exceptions=True)
    assert logins(server) == ["AUTH PLAIN"]
    assert all(isinstance(result, Unreachable) and "535" in str(result) for result in results)


async def test_one_login_is_under_way_at_a_time() -> None:
    """Mails that arrive together get connections one after the other."""
    under_way = most = 0

    async def answer(at: str, _line: bytes) -> bytes | None:
        nonlocal under_way, most
        if at == "AUTH":
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0.01)
            under_way -= 1
        return None

    async with Scripted.running(answer) as server, smtp_pool(server.url_with_login) as pool:
        results = await asyncio.gather(*(pool.deliver(MAIL) for _ in range(5)))
    assert all(result.accepted for result in results)
    assert most == 1


async def test_after_a_cancelled_login_the_next_delivery_logs_in() -> None:
    """A delivery that waited for the login does not fail with it."""
    reached, stuck = asyncio.Event(), True

    async def answer(at: str, _line: bytes) -> bytes | None:
        if at == "EHLO" and stuck:
            reached.set()
            await asyncio.Event().wait()
        return None

    async with Scripted.running(answer) as server, smtp_pool(server.url, TIMEOUT="1h") as pool:
        first, second = (asyncio.create_task(pool.deliver(MAIL)) for _ in range(2))
        await reached.wait()
        stuck = False
        first.cancel()
        async with asyncio.timeout(PATIENCE):
            result = await second
        await asyncio.gather(first, return_exceptions=True)
    assert result.accepted
    assert server.connections == 2


async def test_a_connection_that_is_released_before_its_dialogue_serves_the_next_mail() -> None:
    """A mail that must not start after all leaves the connection in step, and the server never sees it."""
    async with Scripted.running() as server, smtp_pool(server.url) as pool:
        pool.release(await pool.acquire())
        assert (await pool.deliver(MAIL)).accepted
    assert (server.connections, server.count("MAIL")) == (1, 1)


async def test_a_connection_that_is_released_within_its_dialogue_is_closed() -> None:
    """The next mail has a new one, although the server had accepted sender and recipient on the first."""
    async with Scripted.running() as server, smtp_pool(server.url) as pool:
        connection = await pool.acquire()
        assert await connection.send_envelope(MAIL) is None
        pool.release(connection)
        assert (connection.is_open, pool.capacity) == (False, 1)
        assert (await pool.deliver(MAIL)).accepted
    assert (server.connections, len(server.messages)) == (2, 1)


def test_accounts_at_one_server_have_different_names() -> None:
    """Names never show the account, and quotas are counted by account."""
    url = "smtp://a:secret@mail.example.com:587,smtp://b:secret@mail.example.com:587"
    settings = load({"NOTIFIER_SMTP_URL": url, "NOTIFIER_MAIL_FROM": "fly@example.org"})
    first, second = smtp_pools(settings.smtp, "example.org")
    assert (first.name, second.name) == ("mail.example.com:587", "mail.example.com:587 (2)")
    assert first.server.account != second.server.account
