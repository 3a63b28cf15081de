"""`notifier topology` on the broker of the tests."""

from support.cli import run_async
from support.rabbit import Rabbit
from yarl import URL


async def test_the_topology_is_checked_and_declared(rabbit: Rabbit) -> None:
    """`check` creates nothing and exits 1 if something is missing; `declare` creates it."""
    code, out, _ = await run_async("topology", "check", environ=rabbit.environ)
    assert (code, f"{rabbit.queue}: missing" in out.splitlines()) == (1, True)
    code, out, _ = await run_async("topology", "declare", environ=rabbit.environ)
    assert code == 0
    assert {line.partition(": ")[2] for line in out.splitlines()} == {"as wanted"}
    assert (await run_async("topology", "check", environ=rabbit.environ))[:2] == (0, out)
    unreachable = {**rabbit.environ, "NOTIFIER_AMQP_URL": "amqp://127.0.0.1:9/"}
    code, out, err = await run_async("topology", "check", environ=unreachable)
    assert (code, out, len(err.splitlines())) == (4, "", 1)
    assert "check NOTIFIER_AMQP_URL" in err
    assert (await run_async("topology", "check", environ={}))[0] == 2


async def test_a_refused_login_is_one_sentence(rabbit: Rabbit) -> None:
    """It has the reason of the broker and what to check, without the password."""
    refused = str(URL(rabbit.url).with_password("wrong-password"))
    code, out, err = await run_async("topology", "check", environ={"NOTIFIER_AMQP_URL": refused})
    assert (code, out, len(err.splitlines())) == (4, "", 1)
    assert "ACCESS_REFUSED" in err
    assert "; check NOTIFIER_AMQP_URL" in err
    assert ".;" not in err
    assert "wrong-password" not in err
