"""With many clients on the feed, no client loses an event because others are many or stuck."""

from support.crowd import Load, measure


async def test_every_client_gets_every_event_in_order_while_some_are_stuck() -> None:
    """Two hundred clients in two processes each get exactly the log; clients that never read are disconnected."""
    outcome = await measure(Load(watchers=200, stuck=10, messages=100, mails=100, every=0.1), processes=2)
    assert (outcome.wrong, outcome.codes) == (0, {})
    assert outcome.seen == [outcome.logged] * 2
    assert len(set(outcome.logged)) == 10_000
    assert outcome.late.total() == 200 * 10_000
    assert outcome.fates.keys() <= {"closed as too slow", "closed without a pong"}
