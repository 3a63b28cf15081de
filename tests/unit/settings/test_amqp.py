"""How the names of queues and exchanges are checked, and how the broker's URL is shown."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from pamqp import commands
from support.configured import loaded, problems

from notifier.errors import Misconfigured


def test_each_queue_with_an_invalid_name_is_a_problem() -> None:
    """Each name that the AMQP library cannot write is a problem of the setting that contains it."""
    found = problems(AMQP_QUEUE="a|b", AMQP_EXTRA_QUEUES="ok,b|ro,notifier.dead,{x}")
    assert [problem.setting for problem in found] == ["NOTIFIER_AMQP_QUEUE", *["NOTIFIER_AMQP_EXTRA_QUEUES"] * 3]
    texts = ("'a|b'", "'b|ro'", "notifier.dead cannot", "'{x}'")
    assert all(text in problem.wrong for text, problem in zip(texts, found, strict=True))


def _succeeds(call: Callable[[], object]) -> bool:
    try:
        call()
    except (Misconfigured, ValueError, TypeError):
        return False
    return True


def test_a_name_is_valid_if_the_library_can_write_it() -> None:
    """Names of queues and exchanges are tried with all characters up to U+017F and lengths around the limits."""
    names = [f"q{chr(code)}q" for code in range(0x180)] + ["q" * length for length in (1, 127, 128, 255, 256, 257)]
    for name in names:
        queue, exchange = (
            _written(commands.Queue.Declare, queue=name),
            _written(commands.Exchange.Declare, exchange=name),
        )
        assert _succeeds(partial(loaded, AMQP_QUEUE=name)) == _succeeds(queue), name
        assert _succeeds(partial(loaded, AMQP_EXCHANGE=name)) == _succeeds(exchange), name


def _written(kind: Callable[..., Any], **names: str) -> Callable[[], object]:
    return lambda: kind(**names).marshal()


@pytest.mark.parametrize("password", ["top:secret", "secret@home", "a:secret@b:c", "s%40secret", "a/secret"])
def test_an_odd_password_is_hidden_whole(password: str) -> None:
    """A password is hidden even if it contains characters that should have been percent-encoded."""
    try:
        shown = loaded(AMQP_URL=f"amqp://user:{password}@host/vhost").shown()["NOTIFIER_AMQP_URL"]
    except Misconfigured as wrong:
        assert "secret" not in str(wrong)  # noqa: PT017 - both ends are allowed
    else:
        assert shown == "amqp://user:***@host/vhost"


def test_the_query_of_a_broker_url_is_not_shown() -> None:
    """The query of a URL can contain a password too."""
    shown = loaded(AMQP_URL="amqps://user:secret@host/vhost?password=secret").shown()["NOTIFIER_AMQP_URL"]
    assert shown == "amqps://user:***@host/vhost"
