"""Wrong changes of `notifier/storage`."""

from support.mutation.mutant import Mutant

MUTANTS = (
    Mutant(
        "message-handled-twice",
        "notifier/storage/sqlite/changes.py",
        "    if (message.source, message.id) in known.handled:",
        "    if False:",
        ("tests/unit/storage/sqlite/test_purging.py::test_a_repeat_after_its_mail_was_purged_makes_no_mail",),
    ),
    Mutant(
        "events-of-a-change-not-returned",
        "notifier/storage/sqlite/store.py",
        "return changes.change(writes, changed, now)",
        "return changes.change(writes, changed, now)[:1]",
        (
            "tests/unit/storage/sqlite/test_changes.py::test_a_mail_that_comes_back_after_its_booking_was_cancelled_is_cancelled",
        ),
    ),
    Mutant(
        "clock-set-back-noticed-by-claims-alone",
        "notifier/storage/sqlite/store.py",
        'return await self._transact("expire", partial(claiming.expire, now=now), now=now, mails=MAX_WEIGHT)',
        'return await self._transact("expire", partial(claiming.expire, now=now), mails=MAX_WEIGHT)',
        (
            "tests/unit/storage/sqlite/test_claiming_clock.py::test_a_clock_that_is_set_back_is_noticed_while_nothing_is_claimed",
        ),
    ),
    Mutant(
        "templates-rendered-in-a-transaction",
        "notifier/storage/sqlite/changes.py",
        "    policy = replace(policy, subject=subjects)\n",
        "",
        ("tests/unit/storage/sqlite/test_changes.py::test_no_subject_is_rendered_in_a_transaction",),
    ),
    Mutant(
        "mails-without-the-subject-that-was-missing",
        "notifier/storage/sqlite/changes.py",
        "        if subjects.lacks:\n            if plan",
        "        if False:\n            if plan",
        ("tests/unit/storage/sqlite/test_changes.py::test_no_subject_is_rendered_in_a_transaction",),
    ),
    Mutant(
        "batch-divided-by-missing-subjects",
        "notifier/storage/sqlite/changes.py",
        "            spent += work.rows\n            continue\n",
        "            break\n",
        ("tests/unit/storage/sqlite/test_portions.py::test_subjects_that_depend_on_bookings_do_not_divide_a_batch",),
    ),
    Mutant(
        "missing-subjects-found-without-the-messages-before",
        "notifier/storage/sqlite/changes.py",
        "                ahead[message.aggregate] = plan.state\n",
        "                pass\n",
        ("tests/unit/storage/sqlite/test_portions.py::test_subjects_that_depend_on_bookings_do_not_divide_a_batch",),
    ),
    Mutant(
        "outdated-outcome-wins",
        "notifier/storage/sqlite/changes.py",
        "(found.rev, found.address) != (mail.rev - 1, mail.to):",
        "found.address != mail.to:",
        ("tests/unit/storage/sqlite/test_changes.py::test_a_change_of_an_outdated_mail_is_ignored",),
    ),
    Mutant(
        "sent-mail-goes-again-after-a-restart",
        "notifier/storage/sqlite/store.py",
        "    migrate(db)\n",
        "    migrate(db)\n"
        "    db.execute(\"UPDATE mails SET status = 'pending', due_at = 0 WHERE status IN ('sending', 'sent')\")\n",
        ("tests/unit/actors/test_sender.py::test_a_mail_that_was_sent_is_not_sent_again_after_a_restart",),
    ),
    Mutant(
        "rate-forgotten-between-claims",
        "notifier/storage/sqlite/claiming.py",
        "reserve_slots(datetime.fromisoformat(next_start) if next_start else None, len(due.mails), rate, now)",
        "reserve_slots(None, len(due.mails), rate, now)",
        ("tests/unit/storage/sqlite/test_claiming.py::test_the_rate_is_kept_in_the_store",),
    ),
    Mutant(
        "expired-mail-claimed",
        "notifier/storage/sqlite/claiming.py",
        '_LIVE = "due_at <= ? AND (expires_at IS NULL OR expires_at > ?)"',
        '_LIVE = "due_at <= ? AND ? > 0"',
        ("tests/unit/storage/sqlite/test_claiming.py::test_more_expired_mail_than_one_portion_is_not_claimed_either",),
    ),
    Mutant(
        "quota-of-this-process-alone",
        "notifier/storage/sqlite/store.py",
        "    migrate(db)\n",
        '    migrate(db)\n    db.execute("DELETE FROM starts")\n',
        ("tests/unit/storage/sqlite/test_claiming_quota.py::test_a_quota_outlives_mails_and_the_process",),
    ),
    Mutant(
        "newer-messages-ignored-on-return",
        "notifier/storage/sqlite/changes.py",
        "if mail.status is Status.PENDING and found.amendment is not None:",
        "if False:",
        (
            "tests/unit/storage/sqlite/test_changes.py::test_a_mail_that_comes_back_after_its_booking_was_cancelled_is_cancelled",
        ),
    ),
    Mutant(
        "list-reads-every-mail",
        "notifier/storage/sqlite/queries.py",
        '"status = ? AND kind = ?"',
        '"+status = ? AND +kind = ?"',
        ("tests/unit/storage/sqlite/test_queries.py::test_no_query_takes_longer_because_there_are_more_mails",),
    ),
    Mutant(
        "since-reads-every-mail",
        "notifier/storage/sqlite/queries.py",
        """\
if wanted.since else 0
""",
        """\
if wanted.since is True else 0
""",
        ("tests/unit/storage/sqlite/test_queries_answers.py::test_mails_that_are_too_old_are_not_read",),
    ),
    Mutant(
        "due-mails-counted-one-by-one",
        "notifier/storage/sqlite/queries.py",
        """\
    if fresh + tried > MAX_ROWS:
""",
        """\
    if fresh + tried < 0:
""",
        (
            "tests/unit/storage/sqlite/test_queries_answers.py::test_what_is_due_is_counted_by_the_minute_if_very_many_are_due_in_one",
        ),
    ),
    Mutant(
        "quota-counts-every-start",
        "notifier/storage/sqlite/claiming.py",
        '"SELECT mails FROM used WHERE account = ?"',
        '"SELECT count(*) FROM starts WHERE account = ?"',
        ("tests/unit/storage/sqlite/test_queries.py::test_no_query_takes_longer_because_there_are_more_mails",),
    ),
    Mutant(
        "short-quota-goes-by-due-time",
        "notifier/storage/sqlite/claiming.py",
        "short=left is not None and left < _are_due(db, at)",
        "short=False",
        ("tests/unit/storage/sqlite/test_claiming_quota.py::test_a_short_quota_goes_to_the_earliest_deadlines",),
    ),
    Mutant(
        "every-due-hour-merged",
        "notifier/storage/sqlite/claiming.py",
        "(at // _HOUR_MS, _MAX_HOURS, _MAX_MERGED_HOURS)",
        "(at // _HOUR_MS, -1, -1)",
        (
            "tests/unit/storage/sqlite/test_queries.py::test_a_claim_costs_no_more_because_mails_are_due_since_very_many_hours",
        ),
    ),
    Mutant(
        "hours-without-the-earliest-deadlines",
        "notifier/storage/sqlite/claiming.py",
        "ORDER BY (SELECT min({_DEADLINE}) {_OF_HOUR} = hour) LIMIT ?",
        "ORDER BY hour LIMIT ?",
        (
            "tests/unit/storage/sqlite/test_queries.py::test_a_short_quota_goes_to_the_earliest_deadlines_of_very_many_hours",
        ),
    ),
    Mutant(
        "starts-of-an-unset-quota-kept",
        "notifier/storage/sqlite/store.py",
        """\
                purging.forget_starts(db, now),
""",
        """\
                0,
""",
        ("tests/unit/storage/sqlite/test_purging.py::test_starts_of_an_account_without_a_quota_are_purged",),
    ),
    Mutant(
        "purge-looks-at-all-that-is-unreported",
        "notifier/storage/sqlite/purging.py",
        "(rows.millis(finished_before), _BATCH_SIZE))",
        "(rows.millis(finished_before), -1))",
        ("tests/unit/storage/sqlite/test_queries.py::test_no_query_takes_longer_because_there_are_more_mails",),
    ),
    Mutant(
        "notice-overtakes-the-mail-before-it",
        "notifier/storage/sqlite/claiming.py",
        """\
                if key not in taken:
""",
        """\
                if oldest not in chosen:
""",
        (
            "tests/unit/storage/sqlite/test_claiming.py::test_mails_of_one_booking_to_one_address_go_one_after_the_other",
        ),
    ),
    Mutant(
        "newer-mail-before-an-older-one",
        "notifier/storage/sqlite/claiming.py",
        "SELECT min(n) FROM mails INDEXED BY mails_open",
        "SELECT max(n) FROM mails INDEXED BY mails_open",
        ("tests/unit/storage/sqlite/test_claiming.py::test_an_older_mail_that_is_due_again_goes_before_newer_ones",),
    ),
    Mutant(
        "effects-of-a-commit-left-to-the-caller",
        "notifier/storage/sqlite/store.py",
        """\
            if committed:
                committed(result)
""",
        "",
        ("tests/unit/storage/sqlite/test_store.py::test_a_cancelled_call_leaves_nothing_half_done",),
    ),
    Mutant(
        "mail-that-is-pending-again-wakes-nobody",
        "notifier/storage/sqlite/store.py",
        'await self._transact("record", work, wake=wake, mails=len(changed))',
        'await self._transact("record", work, mails=len(changed))',
        ("tests/unit/storage/sqlite/test_store.py::test_a_cancelled_call_leaves_nothing_half_done",),
    ),
    Mutant(
        "watchers-use-the-connection-that-writes",
        "notifier/storage/sqlite/store.py",
        "store._reader = await Reader.open(path)",
        "store._reader = Reader(connection)",
        ("tests/unit/storage/sqlite/test_reader.py::test_actors_never_wait_for_a_watcher",),
    ),
    Mutant(
        "watchers-may-write",
        "notifier/storage/sqlite/reader.py",
        '?mode=ro"',
        '?mode=rw"',
        ("tests/unit/storage/sqlite/test_reader.py::test_the_connection_of_watchers_cannot_write",),
    ),
    Mutant(
        "snapshot-of-several-states",
        "notifier/storage/sqlite/reader.py",
        """\
        db.execute("BEGIN")
        try:
            answer = query(db, *args)
        finally:
            db.execute("ROLLBACK")
""",
        """\
        answer = query(db, *args)
""",
        ("tests/unit/storage/sqlite/test_reader.py::test_a_snapshot_is_one_state_of_the_store",),
    ),
    Mutant(
        "each-watcher-has-a-query-of-its-own",
        "notifier/storage/sqlite/reader.py",
        """\
        future = queue.waiting.get(key)
""",
        """\
        future = None
""",
        ("tests/unit/storage/sqlite/test_reader.py::test_watchers_with_the_same_query_share_an_answer",),
    ),
    Mutant(
        "answer-older-than-the-question",
        "notifier/storage/sqlite/reader.py",
        """\
        future = queue.waiting.pop(key)
""",
        """\
        future = queue.waiting[key]
        future.add_done_callback(lambda _: queue.waiting.pop(key, None))
""",
        ("tests/unit/storage/sqlite/test_reader.py::test_an_answer_is_not_older_than_its_question",),
    ),
    Mutant(
        "batch-of-any-size-is-one-transaction",
        "notifier/storage/sqlite/portions.py",
        "MAX_WEIGHT = 500\n",
        "MAX_WEIGHT = 500_000\n",
        ("tests/unit/storage/sqlite/test_portions.py::test_a_batch_is_divided_by_the_mails_that_it_makes",),
    ),
    Mutant(
        "large-mails-weigh-as-much-as-small-ones",
        "notifier/storage/sqlite/portions.py",
        "return 1 + size // BYTES_PER_MAIL + events // EVENTS_PER_MAIL",
        "return 1 + events // EVENTS_PER_MAIL",
        ("tests/unit/storage/sqlite/test_portions.py::test_large_mails_weigh_as_much_as_several_in_every_portion",),
    ),
    Mutant(
        "withdrawals-of-large-mails-weigh-nothing",
        "notifier/storage/sqlite/changes.py",
        "rows=max(message.rows, read))",
        "rows=message.rows)",
        ("tests/unit/storage/sqlite/test_portions.py::test_a_withdrawal_of_large_mails_weighs_as_much_as_they_do",),
    ),
    Mutant(
        "lists-read-what-mails-say",
        "notifier/storage/sqlite/queries.py",
        "found = page(db, wanted, before, limit, contents=False)",
        "found = page(db, wanted, before, limit)",
        ("tests/unit/storage/sqlite/test_reader.py::test_a_list_does_not_read_what_mails_say",),
    ),
    Mutant(
        "erased-address-stays-in-bookings-meanwhile",
        "notifier/storage/sqlite/store.py",
        """\
            step = await self._erase_step(partial(erasure.erase_bookings, who=who, after=place))
            place, bookings = step.next, bookings + step.bookings
        place = 0
        while place is not None:
            step = await self._erase_step(partial(erasure.erase_mails, who=who, after=place, now=now))
            place, found = step.next, [*found, *step.found]
""",
        """\
            step = await self._erase_step(partial(erasure.erase_mails, who=who, after=place or 0, now=now))
            place, found = step.next, [*found, *step.found]
        place = ""
        while place is not None:
            step = await self._erase_step(partial(erasure.erase_bookings, who=who, after=place))
            place, bookings = step.next, bookings + step.bookings
""",
        (
            "tests/unit/storage/sqlite/test_erasure.py::test_a_message_in_the_middle_of_erasing_writes_to_nobody_who_is_erased",
        ),
    ),
    Mutant(
        "notice-that-came-back-is-forgotten",
        "notifier/storage/sqlite/changes.py",
        "if amendment == SUPERSEDED:",
        "if False:",
        ("tests/unit/storage/sqlite/test_changes.py::test_a_notice_takes_over_the_changes_of_one_that_came_back",),
    ),
    Mutant(
        "ends-stay-in-the-future",
        "notifier/storage/sqlite/claiming.py",
        '(("mails", "finished_at"), ("messages", "handled_at"))',
        '(("messages", "handled_at"),)',
        (
            "tests/unit/storage/sqlite/test_claiming_clock.py::test_mails_from_a_clock_far_ahead_are_given_up_and_purged_in_time",
        ),
    ),
    Mutant(
        "tries-count-from-the-future",
        "notifier/storage/sqlite/claiming.py",
        '"due_at IS NOT NULL AND attempt > 0", ',
        "",
        (
            "tests/unit/storage/sqlite/test_claiming_clock.py::test_mails_from_a_clock_far_ahead_are_given_up_and_purged_in_time",
        ),
    ),
    Mutant(
        "damaged-mail-stops-all-others",
        "notifier/storage/sqlite/queries.py",
        "except (ValueError, TypeError) as error:",
        "except ZeroDivisionError as error:",
        ("tests/unit/storage/sqlite/test_claiming.py::test_a_mail_that_cannot_be_decoded_stops_no_other",),
    ),
    Mutant(
        "damaged-mail-comes-up-again",
        "notifier/storage/sqlite/claiming.py",
        "change(writes, [attempt, failed(attempt, None, UNREADABLE)], now)",
        "pass",
        ("tests/unit/storage/sqlite/test_claiming.py::test_a_mail_that_cannot_be_decoded_stops_no_other",),
    ),
    Mutant(
        "large-messages-queue-before-everybody",
        "notifier/storage/sqlite/store.py",
        "some = await self._add_some(rest, policy, now, subjects, large=False)",
        "some = await self._add_some(rest, policy, now, subjects, large=True)",
        (
            "tests/unit/storage/sqlite/test_portions.py::test_many_of_the_largest_messages_delay_nobody_for_longer_than_one_of_them",
        ),
    ),
    Mutant(
        "erased-copy-in-the-temporary-folder",
        "notifier/storage/sqlite/store.py",
        "PRAGMA temp_store_directory = ",
        "PRAGMA no_such_pragma = ",
        ("tests/unit/storage/sqlite/test_erasure.py::test_the_copy_that_erasing_makes_is_beside_the_database",),
    ),
    Mutant(
        "full-disk-looks-healthy",
        "notifier/storage/sqlite/store.py",
        """\
        if isinstance(error, StoreUnusable):
""",
        """\
        self.fault = None
        if isinstance(error, StoreUnusable):
""",
        (
            "tests/unit/storage/sqlite/test_store.py::test_a_failing_transaction_changes_nothing_and_shows_as_the_stores_fault",
        ),
    ),
    Mutant(
        "mails-of-a-batch-tried-again-first",
        "notifier/storage/sqlite/claiming.py",
        "                if is_new:\n                    break\n",
        "                break\n",
        ("tests/unit/storage/sqlite/test_claiming.py::test_the_mail_on_trial_is_the_one_that_became_due_last",),
    ),
    Mutant(
        "finished-mails-read-for-each-message",
        "notifier/storage/sqlite/changes.py",
        '_OPEN_OF = f"INDEXED BY mails_open WHERE aggregate = ? AND {OPEN} AND ',
        '_OPEN_OF = f"WHERE aggregate = ? AND ',
        ("tests/unit/storage/sqlite/test_queries.py::test_a_message_about_a_booking_costs_no_more_after_many_others",),
    ),
    Mutant(
        "mails-that-are-read-cost-nothing",
        "notifier/storage/sqlite/changes.py",
        "spent += max(work.read + done.wrote, 1)",
        "spent += max(done.wrote, 1)",
        ("tests/unit/storage/sqlite/test_portions.py::test_a_batch_is_divided_by_the_mails_that_it_reads",),
    ),
    Mutant(
        "handed-back-mail-waits-for-the-old-time",
        "notifier/storage/rows.py",
        """\
        at = min(at, now)
""",
        """\
        at = max(at, mail.send_at)
""",
        (
            "tests/unit/storage/sqlite/test_claiming_clock.py::test_after_a_clock_was_set_back_changes_of_a_mail_do_not_let_it_wait_for_the_old_time",
        ),
    ),
    Mutant(
        "retry-time-not-set-back",
        "notifier/storage/sqlite/claiming.py",
        "next_attempt_at = next_attempt_at - ? WHERE",
        "next_attempt_at = next_attempt_at + 0 * ? WHERE",
        (
            "tests/unit/storage/sqlite/test_claiming_clock.py::test_after_a_clock_was_set_back_changes_of_a_mail_do_not_let_it_wait_for_the_old_time",
        ),
    ),
    Mutant(
        "starts-ahead-of-the-clock",
        "notifier/storage/sqlite/claiming.py",
        "UPDATE starts SET at = at - ? WHERE",
        "UPDATE starts SET at = at - 0 * ? WHERE",
        (
            "tests/unit/storage/sqlite/test_claiming_clock.py::test_after_a_clock_was_set_back_a_quota_recovers_a_day_after_its_starts",
        ),
    ),
    Mutant(
        "one-owner-for-each-link",
        "notifier/storage/sqlite/file_lock.py",
        """\
    path = path.resolve()
""",
        """\
    path = path.absolute()
""",
        ("tests/unit/storage/sqlite/test_file_lock.py::test_a_second_process_cannot_open_the_file_by_another_name",),
    ),
    Mutant(
        "hard-link-is-another-file",
        "notifier/storage/sqlite/file_lock.py",
        'for each in (Path(f"{path}.lock"), path):',
        'for each in (Path(f"{path}.lock"),):',
        ("tests/unit/storage/sqlite/test_file_lock.py::test_a_second_process_cannot_open_the_file_by_another_name",),
    ),
    Mutant(
        "capital-letters-not-erased",
        "notifier/storage/sqlite/erasure.py",
        "in written.decode().lower() else None",
        "in written.decode() else None",
        (
            "tests/unit/storage/sqlite/test_erasure.py::test_an_address_is_erased_from_a_state_that_never_came_into_force",
        ),
    ),
    Mutant(
        "viewers-and-operators-in-one-queue",
        "notifier/storage/sqlite/reader.py",
        "queue = self._urgent if urgent or key in self._urgent.waiting else self._others",
        "queue = self._others",
        ("tests/unit/storage/sqlite/test_reader.py::test_operators_and_the_service_are_answered_before_viewers",),
    ),
    Mutant(
        "rest-for-everybody",
        "notifier/storage/sqlite/reader.py",
        "        queue.rested_at = asyncio",
        "        self._urgent.rested_at = queue.rested_at = asyncio",
        (
            "tests/unit/storage/sqlite/test_reader.py::test_only_the_processor_time_of_a_query_is_rested_and_only_by_its_own_kind",
        ),
    ),
    Mutant(
        "portions-of-the-log-not-shared",
        "notifier/storage/sqlite/queries.py",
        "(after // BATCH_SIZE + 1) * BATCH_SIZE",
        "after + BATCH_SIZE",
        (
            "tests/unit/storage/sqlite/test_reader.py::test_what_is_counted_and_replayed_is_what_passes_the_filter",
            "tests/unit/feed/test_session_queries.py::test_those_who_resume_share_the_reading_of_the_log",
        ),
    ),
    Mutant(
        "abandoned-query-is-asked",
        "notifier/storage/sqlite/reader.py",
        "                del queue.waiting[key]\n",
        "                pass\n",
        ("tests/unit/storage/sqlite/test_reader.py::test_a_query_that_nobody_waits_for_any_more_does_not_run",),
    ),
    Mutant(
        "deleted-rows-stay-on-disk",
        "notifier/storage/sqlite/store.py",
        "PRAGMA secure_delete = ON",
        "PRAGMA secure_delete = OFF",
        ("tests/unit/storage/sqlite/test_purging.py::test_purged_mails_are_gone_from_the_disk",),
    ),
    Mutant(
        "commits-not-synchronised",
        "notifier/storage/sqlite/store.py",
        "PRAGMA synchronous = FULL",
        "PRAGMA synchronous = NORMAL",
        ("tests/unit/storage/sqlite/test_store.py::test_a_commit_is_on_the_disk",),
    ),
    Mutant(
        "recent-events-with-a-gap",
        "notifier/storage/recent_events.py",
        "        if events[0].seq != self._last + 1:\n            self.clear()\n",
        "",
        ("tests/unit/storage/test_recent_events.py::test_a_gap_is_never_filled_with_what_comes_later",),
    ),
    Mutant(
        "ring-that-drops-an-event-unseen",
        "notifier/storage/recent_events.py",
        "        if seq < self._last - len(self._events):\n",
        "        if seq < self._last - len(self._events) - 1:\n",
        ("tests/unit/storage/test_recent_events.py::test_the_newest_events_are_kept",),
    ),
    Mutant(
        "recent-events-of-any-size",
        "notifier/storage/recent_events.py",
        " or self._bytes > MAX_RECENT_BYTES:",
        ":",
        ("tests/unit/storage/test_recent_events.py::test_large_events_are_fewer",),
    ),
    Mutant(
        "erased-events-stay-in-memory",
        "notifier/storage/sqlite/store.py",
        "            if step.found:\n                self._recent.clear()\n",
        "            pass\n",
        ("tests/unit/storage/sqlite/test_store.py::test_erased_events_are_no_longer_in_memory",),
    ),
    Mutant(
        "recent-events-read-from-the-database",
        "notifier/storage/sqlite/store.py",
        "return recent if recent is not None else await",
        "return await",
        ("tests/unit/storage/sqlite/test_store.py::test_new_events_are_read_without_the_database",),
    ),
    Mutant(
        "status-before-a-step-still-counted",
        "notifier/storage/sqlite/changes.py",
        "    writes.count(prev, -1)\n",
        "",
        ("tests/unit/storage/sqlite/test_counts.py::test_counts_are_those_of_the_rows",),
    ),
    Mutant(
        "wait-before-a-step-still-counted",
        "notifier/storage/sqlite/changes.py",
        "    writes.count_waiting(before.due_at, before.attempt, -1)\n",
        "",
        ("tests/unit/storage/sqlite/test_counts.py::test_counts_are_those_of_the_rows",),
    ),
    Mutant(
        "purged-mails-still-counted",
        "notifier/storage/sqlite/purging.py",
        "        writes.count(status, -1)\n",
        "        pass\n",
        ("tests/unit/storage/sqlite/test_counts.py::test_counts_are_those_of_the_rows",),
    ),
    Mutant(
        "counts-do-not-follow-the-clock",
        "notifier/storage/sqlite/claiming.py",
        "    _count_as_due(db, str(at), at_once, at)\n",
        "",
        ("tests/unit/storage/sqlite/test_counts.py::test_counts_are_those_of_the_rows",),
    ),
    Mutant(
        "purged-starts-still-counted",
        "notifier/storage/sqlite/purging.py",
        "                count_starts(db, name, -found)\n",
        "                pass\n",
        ("tests/unit/storage/sqlite/test_counts.py::test_counts_are_those_of_the_rows",),
    ),
    Mutant(
        "purged-mails-leave-what-they-say",
        "notifier/storage/sqlite/purging.py",
        ', ("contents", "n")',
        "",
        ("tests/unit/storage/sqlite/test_purging.py::test_purged_mails_are_gone_from_the_disk",),
    ),
    Mutant(
        "erased-mails-keep-what-they-say",
        "notifier/storage/sqlite/erasure.py",
        '    db.execute("UPDATE contents SET content = ? WHERE n = ?", (rows.content_value(left), n))\n',
        "",
        ("tests/unit/storage/sqlite/test_erasure.py::test_an_erased_address_is_nowhere_on_the_disk",),
    ),
    Mutant(
        "second-step-of-a-mail-lost",
        "notifier/storage/sqlite/changes.py",
        "                # The row that was read is the one before its first step.\n                break\n",
        "                continue\n",
        ("tests/unit/storage/sqlite/test_changes.py::test_two_steps_of_one_mail_can_be_recorded_together",),
    ),
    Mutant(
        "handled-messages-scanned",
        "notifier/storage/sqlite/changes.py",
        "CROSS JOIN messages ON source = asked.column1",
        "CROSS JOIN messages ON +source = asked.column1",
        ("tests/unit/storage/sqlite/test_plans.py::test_no_statement_reads_a_whole_table",),
    ),
    Mutant(
        "mails-of-a-batch-read-before-they-are-written",
        "notifier/storage/sqlite/changes.py",
        "    known.writes.flush()\n    sizes",
        "    sizes",
        ("tests/unit/storage/sqlite/test_changes.py::test_messages_of_one_booking_in_a_batch_see_each_other",),
    ),
    Mutant(
        "last-rows-of-a-statement-lost",
        "notifier/storage/sqlite/statements.py",
        "    while start < len(rows):\n",
        "    while start < len(rows) - 1:\n",
        ("tests/unit/storage/sqlite/test_statements.py::test_every_row_is_written_and_read_once",),
    ),
    Mutant(
        "each-work-commits-alone",
        "notifier/storage/sqlite/transactions.py",
        "            if works and mails > MAX_SHARED:\n",
        "            if works:\n",
        ("tests/unit/storage/sqlite/test_transactions.py::test_an_outcome_and_the_claim_after_it_are_one_transaction",),
    ),
    Mutant(
        "shared-transaction-of-any-size",
        "notifier/storage/sqlite/transactions.py",
        "            if works and mails > MAX_SHARED:\n",
        "            if works and mails < 0:\n",
        ("tests/unit/storage/sqlite/test_transactions.py::test_a_shared_transaction_is_bounded",),
    ),
    Mutant(
        "failure-of-one-work-is-that-of-all",
        "notifier/storage/sqlite/transactions.py",
        """\
            if len(works) == 1:
                return [_failed(works[0], error)]
""",
        """\
            return [_failed(work, error) for work in works]
""",
        ("tests/unit/storage/sqlite/test_transactions.py::test_a_work_that_fails_fails_alone",),
    ),
    Mutant(
        "works-before-the-failure-done-twice",
        "notifier/storage/sqlite/transactions.py",
        """\
            if db.in_transaction:
                db.execute("ROLLBACK")
""",
        """\
            if db.in_transaction:
                db.execute("COMMIT")
""",
        ("tests/unit/storage/sqlite/test_transactions.py::test_a_work_that_fails_fails_alone",),
    ),
    Mutant(
        "clock-followed-by-each-work-of-a-transaction",
        "notifier/storage/sqlite/transactions.py",
        "                    latest = work.now\n",
        "                    pass\n",
        (
            "tests/unit/storage/sqlite/test_transactions.py::test_a_clock_that_was_set_back_is_noticed_once_by_works_that_share",
        ),
    ),
    Mutant(
        "clock-followed-by-a-transaction-that-failed",
        "notifier/storage/sqlite/transactions.py",
        "                    latest = work.now\n",
        "                    latest = self.latest = work.now\n",
        (
            "tests/unit/storage/sqlite/test_transactions.py::test_a_clock_that_was_set_back_is_noticed_again_after_a_failure",
        ),
    ),
    Mutant(
        "cursor-lost-at-a-stop",
        "notifier/storage/sqlite/transactions.py",
        "        self._closed = True\n        self._do_deferred()\n",
        "        self._closed = True\n",
        ("tests/unit/storage/sqlite/test_transactions.py::test_a_cursor_is_written_when_the_store_is_closed",),
    ),
    Mutant(
        "cursor-given-up-after-a-failure",
        "notifier/storage/sqlite/transactions.py",
        "            if work.future.exception() and not self._closed:\n",
        "            if False:\n",
        ("tests/unit/storage/sqlite/test_transactions.py::test_a_cursor_that_cannot_be_written_is_written_later",),
    ),
    Mutant(
        "cursor-waits-for-other-commits",
        "notifier/storage/sqlite/transactions.py",
        "        self._deferred_is_due = bool(self._deferred)\n",
        "        self._deferred_is_due = False\n",
        ("tests/unit/storage/sqlite/test_transactions.py::test_a_cursor_is_written_soon_if_nothing_else_is",),
    ),
    Mutant(
        "error-that-no-future-takes",
        "notifier/storage/sqlite/transactions.py",
        "    elif isinstance(error, StopIteration):\n",
        "    elif False:\n",
        ("tests/unit/storage/sqlite/test_transactions.py::test_an_error_that_no_future_takes_keeps_nobody_waiting",),
    ),
    Mutant(
        "closing-that-is-cancelled-ends-the-work",
        "notifier/storage/sqlite/transactions.py",
        "                await asyncio.wait((self._worker,))\n",
        "                await self._worker\n",
        ("tests/unit/storage/sqlite/test_transactions.py::test_closing_that_is_cancelled_leaves_nobody_waiting",),
    ),
)
