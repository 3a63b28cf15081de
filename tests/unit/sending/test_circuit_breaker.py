from datetime import timedelta

from support.samples import NOW

from notifier.sending.circuit_breaker import SUSPECTED_PAUSE, CircuitBreaker, State, Trial

PAUSES = [timedelta(seconds=2), timedelta(seconds=5), timedelta(minutes=1)]


def closed() -> CircuitBreaker:
    breaker = CircuitBreaker(PAUSES)
    breaker.begin_probe()
    breaker.login_succeeded()
    breaker.worked()
    return breaker


def test_an_account_logs_in_before_its_first_mail() -> None:
    """A new breaker is open with no time left, and has no fault to report."""
    breaker = CircuitBreaker(PAUSES)
    assert (breaker.state, breaker.seconds_until_login(0.0), breaker.reason, breaker.until) == (
        State.OPEN,
        0.0,
        None,
        None,
    )


def test_a_login_under_way_is_waited_for() -> None:
    """While a login is under way, no second one is due."""
    breaker = CircuitBreaker(PAUSES)
    breaker.begin_probe()
    assert (breaker.state, breaker.seconds_until_login(1000.0)) == (State.PROBING, None)


def test_a_first_login_ends_no_fault() -> None:
    """The first login lets one mail start, and there is no recovery to report."""
    breaker = CircuitBreaker(PAUSES)
    breaker.begin_probe()
    assert not breaker.login_succeeded()
    assert (breaker.state, breaker.seconds_until_login(0.0), breaker.room(8)) == (State.HALF_OPEN, None, 1)
    assert not breaker.tries_newest
    assert not breaker.is_recovering


def test_a_fault_pauses_the_account() -> None:
    """A fault is reported with its reason and its end, and the wait shrinks to zero."""
    breaker = closed()
    assert breaker.fault("421 too many", 100.0, NOW)
    assert (breaker.state, breaker.reason, breaker.until) == (State.OPEN, "421 too many", NOW + PAUSES[0])
    assert [breaker.seconds_until_login(at) for at in (100.0, 101.5, 102.0, 500.0)] == [2.0, 0.5, 0.0, 0.0]


def test_a_pause_that_a_server_asks_for_before_the_first_login_is_obeyed() -> None:
    """An account that was never used has no pause that would be longer."""
    breaker = CircuitBreaker(PAUSES)
    assert breaker.fault("closed", 100.0, NOW, asked=timedelta(seconds=1))
    assert breaker.seconds_until_login(100.0) == 1.0


def test_deliveries_that_fail_at_the_same_time_are_one_fault() -> None:
    """A fault during a pause changes nothing and is not reported."""
    breaker = closed()
    breaker.fault("first", 100.0, NOW)
    assert not breaker.fault("second", 101.0, NOW + timedelta(seconds=1))
    assert (breaker.reason, breaker.until, breaker.seconds_until_login(101.0)) == ("first", NOW + PAUSES[0], 1.0)


def test_each_failed_login_waits_longer_and_the_last_pause_repeats() -> None:
    """Each login that fails takes the next pause, and none of them is reported again."""
    breaker = closed()
    reported, waits = [], []
    for at in range(0, 5000, 1000):
        reported.append(breaker.fault("no answer", float(at), NOW))
        waits.append(breaker.seconds_until_login(float(at)))
        breaker.begin_probe()
    assert waits == [2.0, 5.0, 60.0, 60.0, 60.0]
    assert reported == [True, False, False, False, False]


def test_a_login_after_a_fault_ends_it() -> None:
    """A login that succeeds ends the fault, once, and clears its reason and time."""
    breaker = closed()
    breaker.fault("no answer", 0.0, NOW)
    breaker.begin_probe()
    assert breaker.login_succeeded()
    assert (breaker.state, breaker.reason, breaker.until) == (State.HALF_OPEN, None, None)
    assert breaker.is_recovering


def test_a_login_alone_does_not_shorten_the_next_pause() -> None:
    """An account that logs in but whose mail is rejected gets the next, longer pause."""
    breaker = closed()
    breaker.fault("limit", 0.0, NOW)
    breaker.begin_probe()
    breaker.login_succeeded()
    breaker.fault("limit", 10.0, NOW)
    assert breaker.seconds_until_login(10.0) == 5.0


def test_a_delivered_mail_goes_back_to_the_first_pause() -> None:
    """After an accepted mail the next fault begins with the shortest pause."""
    breaker = closed()
    breaker.fault("limit", 0.0, NOW)
    breaker.begin_probe()
    breaker.login_succeeded()
    breaker.delivered()
    breaker.fault("limit", 10.0, NOW)
    assert breaker.seconds_until_login(10.0) == 2.0


def test_a_time_that_the_server_asked_for_is_obeyed() -> None:
    """A pause that the server asks for replaces the step, whether it is shorter or longer."""
    breaker = CircuitBreaker((timedelta(seconds=2), timedelta(seconds=5)))
    breaker.begin_probe()
    breaker.fault("later", 100.0, NOW, asked=timedelta(minutes=5))
    assert breaker.seconds_until_login(100.0) == 300
    assert breaker.until == NOW + timedelta(minutes=5)


def test_a_fault_that_lasts_takes_the_last_pause() -> None:
    """After a daily limit the account is not tried again in two seconds."""
    breaker = CircuitBreaker((timedelta(seconds=2), timedelta(minutes=15)))
    breaker.begin_probe()
    breaker.fault("daily limit", 100.0, NOW, for_long=True)
    assert breaker.seconds_until_login(100.0) == 900


def half_open() -> CircuitBreaker:
    breaker = closed()
    breaker.fault("limit", 0.0, NOW)
    breaker.begin_probe()
    breaker.login_succeeded()
    return breaker


def test_a_half_open_breaker_has_room_for_one_mail_at_a_time() -> None:
    """While that mail is being sent there is no room, however many connections are free; an open breaker has none."""
    breaker = half_open()
    assert [breaker.room(free) for free in (0, 1, 8)] == [0, 1, 1]
    trial = breaker.begin_trial()
    assert trial
    assert breaker.room(8) == 0
    breaker.end_trial(trial)
    assert breaker.room(8) == 1
    breaker.fault("limit", 1.0, NOW)
    assert breaker.room(8) == 0


def test_an_accepted_mail_closes_the_breaker() -> None:
    """From then on every free connection is used, and no more mails are on trial."""
    breaker = half_open()
    breaker.begin_trial()
    breaker.delivered()
    assert (breaker.state, breaker.room(8), breaker.begin_trial()) == (State.CLOSED, 8, None)


def test_a_rejection_of_the_recipient_closes_the_breaker_and_keeps_the_step() -> None:
    """The account works as far as is known, but only an accepted mail makes the next pause short again."""
    breaker = half_open()
    breaker.worked()
    assert (breaker.state, breaker.room(8)) == (State.CLOSED, 8)
    breaker.fault("limit", 10.0, NOW)
    assert breaker.seconds_until_login(10.0) == 5.0


def test_a_mail_on_trial_stays_on_trial_through_a_pause() -> None:
    """A mail that a slow server still has not answered is not joined by a second one after the next login."""
    breaker = half_open()
    breaker.begin_trial()
    breaker.fault("limit", 1.0, NOW)
    breaker.begin_probe()
    breaker.login_succeeded()
    assert breaker.room(8) == 0


def test_a_mail_that_was_accepted_during_a_pause_does_not_end_it() -> None:
    """A mail that is accepted while the account is paused or logs in only shortens the next pause."""
    breaker = closed()
    breaker.fault("limit", 0.0, NOW)
    breaker.delivered()
    found = [breaker.state]
    breaker.begin_probe()
    breaker.delivered()
    assert [*found, breaker.state] == [State.OPEN, State.PROBING]


def test_a_cancelled_login_is_due_again_at_once() -> None:
    """It takes no step, because it showed nothing about the account; a pause that began meanwhile stays."""
    breaker = half_open()
    breaker.fault("limit", 0.0, NOW)
    breaker.begin_probe()
    breaker.cancel_probe()
    assert (breaker.state, breaker.seconds_until_login(5.0)) == (State.OPEN, 0.0)
    breaker.begin_probe()
    breaker.fault("limit", 10.0, NOW)
    breaker.cancel_probe()
    assert breaker.seconds_until_login(10.0) == 60.0


def test_a_mail_that_was_claimed_before_a_pause_starts_neither_in_it_nor_beside_a_trial() -> None:
    """Only the mail on trial starts while the breaker is half-open, and none while it is open."""
    breaker = closed()
    starts = [breaker.lets_start(None)]
    breaker.fault("limit", 0.0, NOW)
    starts += [breaker.lets_start(None), breaker.lets_start(Trial())]
    breaker.begin_probe()
    breaker.login_succeeded()
    starts += [breaker.lets_start(None), breaker.lets_start(breaker.begin_trial())]
    assert starts == [True, False, False, False, True]


def test_a_trial_is_ended_by_its_own_mail_only() -> None:
    """A mail that ends its trial twice, because another account sent it, does not end the trial of the next mail."""
    breaker = half_open()
    first = breaker.begin_trial()
    assert breaker.begin_trial() is None
    breaker.end_trial(first)
    second = breaker.begin_trial()
    breaker.end_trial(first)
    breaker.end_trial(None)
    assert (breaker.room(8), breaker.lets_start(first), breaker.lets_start(second)) == (0, False, True)


def test_a_longer_pause_that_is_asked_for_replaces_a_shorter_one() -> None:
    """A longer pause is reported and takes no step; one that is not longer changes nothing."""
    breaker = closed()
    breaker.fault("limit", 100.0, NOW)
    assert breaker.fault("closed for an hour", 101.0, NOW, asked=timedelta(hours=1))
    assert (breaker.reason, breaker.seconds_until_login(101.0)) == ("closed for an hour", 3600.0)
    assert not breaker.fault("closed", 102.0, NOW, asked=timedelta(hours=1))
    assert not breaker.fault("limit", 103.0, NOW)
    assert breaker.seconds_until_login(103.0) == 3598.0
    breaker.begin_probe()
    breaker.login_succeeded()
    breaker.fault("limit", 5000.0, NOW)
    assert breaker.seconds_until_login(5000.0) == 5.0


def test_a_login_does_not_end_a_fault_that_came_meanwhile() -> None:
    """The late reply to an earlier mail pauses the account although a login is under way."""
    breaker = half_open()
    breaker.fault("limit", 0.0, NOW)
    breaker.begin_probe()
    breaker.fault("closed for an hour", 1.0, NOW, asked=timedelta(hours=1))
    assert not breaker.login_succeeded()
    assert (breaker.state, breaker.seconds_until_login(1.0)) == (State.OPEN, 3600.0)


def test_a_suspicion_pauses_for_a_minute_at_most() -> None:
    """It takes the same steps up to a minute, so that a known fault after many suspicions begins with a short pause."""
    breaker = CircuitBreaker([timedelta(seconds=2), timedelta(seconds=5), timedelta(minutes=1), timedelta(minutes=15)])
    waits, reports = [], []
    for _ in range(5):
        breaker.begin_probe()
        breaker.login_succeeded()
        reports.append(breaker.suspect("rejected", 100.0, NOW))
        waits.append(breaker.seconds_until_login(100.0))
    assert waits == [2.0, 5.0, 60.0, 60.0, 60.0]
    assert all(reports)
    assert (breaker.state, breaker.reason, breaker.until) == (State.OPEN, "rejected", NOW + SUSPECTED_PAUSE)
    breaker.begin_probe()
    breaker.login_succeeded()
    breaker.fault("limit", 100.0, NOW)
    assert breaker.seconds_until_login(100.0) == 60.0


def test_a_suspicion_is_short_even_if_all_pauses_are_long() -> None:
    """The account recovers from it like from any fault, so that the next account gets the rest."""
    breaker = CircuitBreaker([timedelta(minutes=5)])
    breaker.begin_probe()
    breaker.login_succeeded()
    breaker.suspect("rejected", 100.0, NOW)
    assert breaker.seconds_until_login(100.0) == 60.0
    breaker.begin_probe()
    breaker.login_succeeded()
    assert breaker.is_recovering


def test_rejections_at_the_same_time_are_one_suspicion() -> None:
    """During a pause no further step is taken, and a suspicion during a login is not reported again."""
    breaker = closed()
    assert breaker.suspect("first", 100.0, NOW)
    assert not breaker.suspect("second", 101.0, NOW)
    assert (breaker.reason, breaker.seconds_until_login(101.0)) == ("first", 1.0)
    breaker.begin_probe()
    assert not breaker.suspect("third", 103.0, NOW)
    assert breaker.seconds_until_login(103.0) == 5.0


def test_an_accepted_mail_ends_a_suspicion_at_once() -> None:
    """The next login is due, and the pauses start over; a pause for a known fault stays as it is."""
    breaker = closed()
    breaker.suspect("rejected", 100.0, NOW)
    breaker.delivered()
    assert (breaker.state, breaker.seconds_until_login(100.0)) == (State.OPEN, 0.0)
    assert breaker.fault("closed for a second", 100.0, NOW, asked=timedelta(seconds=1))
    breaker.delivered()
    assert breaker.seconds_until_login(100.0) == 1.0


def test_a_known_fault_takes_the_place_of_a_suspicion() -> None:
    """Then accepted mail does not end the pause, and the mail on trial is the oldest one again."""
    breaker = closed()
    breaker.suspect("rejected", 100.0, NOW)
    assert not breaker.fault("limit", 100.0, NOW)
    breaker.delivered()
    assert breaker.seconds_until_login(100.0) == 2.0
    breaker.begin_probe()
    breaker.login_succeeded()
    assert not breaker.tries_newest


def test_the_newest_mail_is_on_trial_if_the_account_is_suspected() -> None:
    """This holds while the breaker is half-open; after an accepted mail the usual order applies."""
    breaker = closed()
    found = [breaker.tries_newest]
    breaker.suspect("rejected", 100.0, NOW)
    found.append(breaker.tries_newest)
    breaker.begin_probe()
    breaker.login_succeeded()
    found.append(breaker.tries_newest)
    breaker.delivered()
    found.append(breaker.tries_newest)
    assert found == [False, False, True, False]
