"""Wrong changes of `notifier/observability`."""

from support.mutation.mutant import Mutant

_SETTINGS = "tests/integration/test_settings_effect.py"
_LOGS = "tests/unit/observability/test_logs.py"
_FIGURES = "tests/unit/observability/test_status.py"

MUTANTS = (
    Mutant(
        "account-told-in-a-reason",
        "notifier/observability/status.py",
        "return all_masked(reason) if reason else reason",
        "return reason",
        ("tests/integration/test_privacy.py::test_addresses_in_the_reason_of_a_pause_or_a_failure_are_masked",),
    ),
    Mutant(
        "dropped-log-lines-not-told",
        "notifier/observability/logs.py",
        "            self._report_dropped(descriptor)\n",
        "",
        ("tests/unit/observability/test_logs.py::test_a_reader_that_stops_reading_blocks_nothing",),
    ),
    Mutant(
        "count-of-dropped-log-lines-dropped",
        "notifier/observability/logs.py",
        "if threading.current_thread() is self._writer:",
        "if False:",
        ("tests/unit/observability/test_logs.py::test_the_count_of_dropped_lines_is_never_dropped",),
    ),
    Mutant(
        "quota-shown-as-used-up-for-ever",
        "notifier/observability/status.py",
        "    if health.quota_used_up(clock.now()) and not reason:\n",
        "    if health.used_up_until and not reason:\n",
        ("tests/unit/sending/test_transport_health.py::test_a_used_up_quota_is_shown_until_its_time",),
    ),
    Mutant(
        "counts-kept-without-end",
        "notifier/observability/throughput.py",
        "        self._forget(int(now))\n",
        "",
        ("tests/unit/observability/test_throughput.py::test_what_nobody_asks_for_takes_no_more_memory",),
    ),
    Mutant(
        "log-level-ignored",
        "notifier/observability/logs.py",
        "make_filtering_bound_logger(level)",
        "make_filtering_bound_logger(logging.INFO)",
        (f"{_SETTINGS}::test_the_log_has_what_its_level_asks_for",),
    ),
    Mutant(
        "broker-always-connected",
        "notifier/observability/status.py",
        '"connected" if self._broker.connected else "connecting"',
        '"connected"',
        (f"{_FIGURES}::test_a_service_whose_peers_are_unavailable_is_ready_and_says_which",),
    ),
    Mutant(
        "quota-left-not-shown",
        "notifier/observability/status.py",
        "quota_left=health.quota_left,",
        "quota_left=None,",
        (f"{_FIGURES}::test_stats_say_how_the_service_is",),
    ),
    Mutant(
        "value-that-forges-a-line",
        "notifier/observability/logs.py",
        "    text = _escaped(value)\n",
        "    text = value\n",
        (f"{_LOGS}::test_lines_that_are_written_at_once_are_those_of_structlog",),
    ),
    Mutant(
        "lines-written-at-once-not-counted",
        "notifier/observability/logs.py",
        "for line in written]), len(written))",
        "for line in written]))",
        (f"{_LOGS}::test_lines_that_wait_are_counted_also_if_they_are_written_at_once",),
    ),
    Mutant(
        "address-in-the-id-of-a-message-logged",
        "notifier/observability/mail_log.py",
        "_masked(event.event), ",
        "event.event, ",
        ("tests/unit/observability/test_mail_log.py::test_addresses_in_the_ids_of_publishers_are_masked",),
    ),
    Mutant(
        "failed-mails-not-logged-at-warning",
        "notifier/observability/mail_log.py",
        "for event in events if event.status in _WARNINGS",
        "for event in events if not event.status",
        ("tests/unit/observability/test_mail_log.py::test_only_the_levels_that_are_asked_for_are_logged",),
    ),
)
