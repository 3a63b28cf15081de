"""The wrong changes that `./scripts/mutants` makes: what would hurt most, were it to pass the tests."""

from typing import NamedTuple


class Mutant(NamedTuple):
    """A wrong change: in `file` the text `right`, which is there once, becomes `wrong`; one of `tests` must notice."""

    name: str
    file: str
    right: str
    wrong: str
    tests: tuple[str, ...]


MUTANTS = (
    Mutant(
        "acknowledge-before-commit",
        "notifier/actors/consumer.py",
        """\
    refused += await _store(messages, store)
    unusable = {id(each.delivery) for each in refused}
    await session.acknowledge([delivery for delivery in batch if id(delivery) not in unusable])
""",
        """\
    await session.acknowledge(batch)
    refused += await _store(messages, store)
""",
        ("tests/actors/test_consumer.py::test_what_could_not_be_committed_is_delivered_again",),
    ),
    Mutant(
        "acknowledge-before-dead-letter",
        "notifier/actors/consumer.py",
        """\
        await session.dead_letter(delivery, reason.code, reason.detail)
        await session.acknowledge([delivery])
""",
        """\
        await session.acknowledge([delivery])
        await session.dead_letter(delivery, reason.code, reason.detail)
""",
        ("tests/actors/test_consumer.py::test_what_could_not_be_put_aside_is_delivered_again",),
    ),
    Mutant(
        "publish-without-confirmation",
        "notifier/gateways/amqp.py",
        "self._channel = await open_channel(self._connection, confirms=True)",
        "self._channel = await open_channel(self._connection, confirms=False)",
        ("tests/gateways/test_amqp.py::test_a_message_that_nobody_can_take_is_not_lost_silently",),
    ),
    Mutant(
        "message-handled-twice",
        "notifier/storage/changes.py",
        "    if new.rowcount:\n",
        "    if new.rowcount >= 0:\n",
        ("tests/storage/test_store.py::test_a_repeat_after_its_mail_was_purged_makes_no_mail",),
    ),
    Mutant(
        "outdated-outcome-wins",
        "notifier/storage/changes.py",
        'rev = ? AND address = ?"\n    before = db.execute(sql, (mail.id, mail.rev - 1, mail.to))',
        'address = ?"\n    before = db.execute(sql, (mail.id, mail.to))',
        ("tests/storage/test_store.py::test_a_change_of_an_outdated_mail_is_ignored",),
    ),
    Mutant(
        "sent-mail-may-be-pending",
        "notifier/mail.py",
        "    Status.SENT: frozenset(),\n",
        "    Status.SENT: frozenset({Status.PENDING}),\n",
        ("tests/test_mail.py::test_the_steps_of_a_mail_are_those_of_the_contract",),
    ),
    Mutant(
        "sent-mail-goes-again-after-a-restart",
        "notifier/storage/sqlite.py",
        "    migrate(db)\n",
        "    migrate(db)\n"
        "    db.execute(\"UPDATE mails SET status = 'pending', due_at = 0 WHERE status IN ('sending', 'sent')\")\n",
        ("tests/actors/test_sender.py::test_what_was_sent_is_not_sent_again_after_a_restart",),
    ),
    Mutant(
        "orphans-forgotten",
        "notifier/actors/sender.py",
        "        await self._adopt_orphans()\n",
        "",
        ("tests/actors/test_sender.py::test_mails_of_a_dead_process_are_sent_again_unchanged",),
    ),
    Mutant(
        "stop-cuts-dialogues",
        "notifier/actors/sender.py",
        "        await asyncio.gather(*self._deliveries, return_exceptions=True)\n",
        "",
        ("tests/actors/test_sender.py::test_stopping_waits_for_the_reply_to_a_message_that_is_gone",),
    ),
    Mutant(
        "sent-before-the-reply",
        "notifier/actors/sender.py",
        "        if self._limits.retry.hold_uncertain:\n            await self._store.mark(mail)\n",
        "        from notifier.mail import Reply, sent\n"
        '        await self._record([sent(mail, Reply(250, "2.0.0 OK"), clock.now())])\n',
        ("tests/actors/test_sender.py::test_a_lost_reply_to_the_message_is_sent_again_to_the_byte",),
    ),
    Mutant(
        "no-guard-after-a-stall",
        "notifier/actors/sender.py",
        "        self._guard.started(_monotonic())\n",
        "",
        ("tests/actors/test_sender.py::test_the_rate_holds_after_a_stall",),
    ),
    Mutant(
        "rate-forgotten-between-claims",
        "notifier/storage/claiming.py",
        "schedule(datetime.fromisoformat(next_start) if next_start else None, len(due), rate, now)",
        "schedule(None, len(due), rate, now)",
        ("tests/storage/test_store.py::test_the_rate_is_kept_in_the_store",),
    ),
    Mutant(
        "expired-mail-claimed",
        "notifier/storage/claiming.py",
        'live = "due_at <= ? AND (expires_at IS NULL OR expires_at > ?)"',
        'live = "due_at <= ? AND ? > 0"',
        ("tests/storage/test_store.py::test_more_expired_mail_than_one_portion_is_not_claimed_either",),
    ),
    Mutant(
        "new-message-id-per-attempt",
        "notifier/composing/message.py",
        'f"Message-ID: {mail.message_id}',
        'f"Message-ID: <{mail.attempt}.{mail.message_id[1:]}',
        ("tests/actors/test_sender.py::test_a_lost_reply_to_the_message_is_sent_again_to_the_byte",),
    ),
    Mutant(
        "wrong-login-fails-the-mail",
        "notifier/replies.py",
        "_LOGIN_CODES = frozenset({530, 534, 535, 538})",
        "_LOGIN_CODES = frozenset({530, 534, 538})",
        ("tests/test_replies.py::test_what_speaks_of_ourselves_rests_the_transport",),
    ),
    Mutant(
        "unknown-outcome-repeated-despite-hold",
        "notifier/lane.py",
        "unknown(replace(mail, past_data=True)",
        "unknown(replace(mail, past_data=False)",
        ("tests/test_lane.py::test_a_reply_lost_after_the_message_leaves_the_outcome_unknown",),
    ),
    Mutant(
        "nobody-reprieved",
        "notifier/lane.py",
        "[*map(due_again, self.cohort.reprieved()), again]",
        "[again]",
        ("tests/test_lane.py::test_the_same_refusal_for_several_gives_those_that_had_failed_another_chance",),
    ),
    Mutant(
        "everyone-refused-for-good",
        "notifier/cohort.py",
        "        return len(self._recipients) >= (MANY if speaks_of_the_recipient(reply) else SEVERAL)\n",
        "        return False\n",
        ("tests/actors/test_sender.py::test_a_refusal_that_meets_everyone_fails_nobody",),
    ),
    Mutant(
        "quota-of-this-process-alone",
        "notifier/storage/sqlite.py",
        "    migrate(db)\n",
        '    migrate(db)\n    db.execute("DELETE FROM starts")\n',
        ("tests/storage/test_store.py::test_a_quota_outlives_mails_and_the_process",),
    ),
    Mutant(
        "no-timeout-after-the-dot",
        "notifier/gateways/smtp.py",
        "read_response(timeout=self._dot_timeout)",
        "read_response()",
        ("tests/gateways/test_smtp.py::test_a_dialogue_that_breaks_says_where",),
    ),
    Mutant(
        "dots-not-stuffed",
        "notifier/gateways/smtp.py",
        r'stuffed = message.replace(b"\r\n.", b"\r\n..")',
        "stuffed = message",
        ("tests/gateways/test_smtp.py::test_a_message_arrives_as_it_was_composed",),
    ),
    Mutant(
        "local-time-read-as-utc",
        "notifier/airports.py",
        "given.replace(tzinfo=zone).astimezone(UTC)",
        "given.replace(tzinfo=UTC)",
        ("tests/test_airports.py::test_the_same_departure_in_three_spellings_is_one_moment",),
    ),
    Mutant(
        "older-revision-applied",
        "notifier/replica.py",
        'mail["rev"] > known[mail["id"]]["rev"]',
        'mail["rev"] != known[mail["id"]]["rev"]',
        ("tests/test_replica.py::test_an_older_revision_is_not_taken",),
    ),
    Mutant(
        "mail-kept-that-left-the-filter",
        "notifier/replica.py",
        '            self.mails.pop(mail["id"], None)\n',
        '            self.mails[mail["id"]] = mail\n',
        ("tests/test_replica.py::test_a_mail_that_leaves_the_filter_leaves_the_view",),
    ),
    Mutant(
        "event-skipped-on-resume",
        "notifier/gateways/session.py",
        "store.events(place.seq, MOST_REPLAYED)",
        "store.events(place.seq + 1, MOST_REPLAYED)",
        ("tests/gateways/test_websocket.py::test_a_client_resumes_where_it_was",),
    ),
    Mutant(
        "cursor-of-another-filter",
        "notifier/client.py",
        'not (self._awaited and "cursor" in frame)',
        "True",
        ("tests/test_client.py::test_what_belongs_to_the_filter_before_is_not_told",),
    ),
    Mutant(
        "silence-not-noticed",
        "notifier/client.py",
        'patience = SILENCES * frame["heartbeat"]',
        "patience = 3600.0",
        ("tests/test_client.py::test_a_silent_connection_is_taken_for_lost",),
    ),
    Mutant(
        "withdrawn-mail-comes-back",
        "notifier/mail.py",
        "            return mail, cancelled(mail, reason)\n",
        "            return (mail,)\n",
        ("tests/test_booking.py",),
    ),
    Mutant(
        "newer-messages-ignored-on-return",
        "notifier/storage/changes.py",
        "returns = mail.status is Status.PENDING and amendment is not None",
        "returns = False",
        ("tests/storage/test_store.py",),
    ),
    Mutant(
        "newer-messages-forget-what-is-being-sent",
        "notifier/planning.py",
        "_AMENDABLE = frozenset({Status.SENDING, Status.FAILED, Status.UNCERTAIN})",
        "_AMENDABLE = frozenset({Status.FAILED, Status.UNCERTAIN})",
        ("tests/test_booking.py",),
    ),
    Mutant(
        "unknown-outcome-rewritten",
        "notifier/mail.py",
        "        case Rewritten() if not mail.maybe_sent:\n",
        "        case Rewritten():\n",
        ("tests/storage/test_store.py::test_a_mail_of_unknown_outcome_is_sent_again_as_it_was",),
    ),
    Mutant(
        "rewritten-without-a-revision",
        "notifier/mail.py",
        "    return replace(_saying(mail, amendment), rev=mail.rev + 1)\n",
        "    return _saying(mail, amendment)\n",
        ("tests/storage/test_store.py::test_a_rewritten_mail_raises_its_revision_and_says_so_in_the_log",),
    ),
    Mutant(
        "id-of-a-reminder-given-out-again",
        "notifier/booking.py",
        "        if self._sequence:\n",
        "        if self._sequence < 0:\n",
        ("tests/test_booking.py::test_no_id_is_given_out_again_after_a_purge",),
    ),
    Mutant(
        "id-of-a-stored-mail-given-out-again",
        "notifier/booking.py",
        "named, message.source, message.id) if id_ in self._taken else id_",
        "named, message.source, message.id) if id_ in () else id_",
        ("tests/test_booking.py::test_a_state_that_comes_into_force_again_is_told_again",),
    ),
    Mutant(
        "given-up-counted-from-send-at",
        "notifier/mail.py",
        "again > max(mail.send_at, since) + policy.give_up_after",
        "again > mail.send_at + policy.give_up_after",
        ("tests/test_mail.py",),
    ),
    Mutant(
        "newer-wins-not-transitive",
        "notifier/booking.py",
        "    if unversioned is None or message.time >= unversioned.time:\n",
        "    if unversioned is None or message.time:\n",
        ("tests/test_booking.py::test_versions_and_times_mixed_end_in_one_state",),
    ),
    Mutant(
        "reply-kept-as-it-came",
        "notifier/gateways/smtp.py",
        '    valid = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace").translate(_CONTROLS)\n',
        "    valid = text\n",
        ("tests/actors/test_sender_account.py::test_a_reply_that_is_not_utf_8_holds_up_nobody",),
    ),
    Mutant(
        "second-reply-taken-for-the-next",
        "notifier/gateways/smtp.py",
        "return bool(client.protocol and client.protocol._buffer)",
        "return bool(client.protocol and False)",
        ("tests/gateways/test_smtp_replies.py::test_a_second_reply_is_never_taken_for_that_of_another_command",),
    ),
    Mutant(
        "one-outcome-holds-up-all",
        "notifier/actors/sender.py",
        "            return await self._record_singly(ready)\n",
        "            raise\n",
        ("tests/actors/test_sender_account.py::test_an_outcome_that_cannot_be_stored_is_stored_without_its_words",),
    ),
    Mutant(
        "one-failure-cuts-dialogues",
        "notifier/actors/sender.py",
        "await asyncio.gather(*self._deliveries, return_exceptions=True)",
        "await asyncio.gather(*self._deliveries)",
        ("tests/actors/test_sender_account.py::test_a_delivery_that_fails_cancels_no_other",),
    ),
    Mutant(
        "words-before-the-recipient",
        "notifier/replies.py",
        "    if phase is not Phase.MAIL and _names_the_recipient(reply, phase):\n",
        "    if phase is None:\n",
        ("tests/test_replies.py::test_what_names_the_recipient_is_the_recipient_s",),
    ),
    Mutant(
        "recipient-before-our-account",
        "notifier/replies.py",
        "    if _can_only_be_our_account(reply):\n        return True\n",
        "",
        ("tests/test_replies.py::test_what_can_only_be_our_account_is_the_transport_s",),
    ),
    Mutant(
        "lone-recipient-pauses-for-ever",
        "notifier/cohort.py",
        "        return times >= LONE\n",
        "        return False\n",
        ("tests/actors/test_sender_account.py::test_a_recipient_that_pauses_the_account_alone_is_judged_alone",),
    ),
    Mutant(
        "lone-recipient-goes-first",
        "notifier/lane.py",
        "Judgement([handed_back(mail, self.circuit.until)], paused)",
        "Judgement([handed_back(mail)], paused)",
        ("tests/actors/test_sender_account.py::test_a_mail_that_paused_the_account_lets_others_go_first",),
    ),
    Mutant(
        "smtputf8-is-the-mail-s-rejection",
        "notifier/gateways/smtp.py",
        "unsupported=True)",
        "unsupported=False)",
        ("tests/actors/test_sender_account.py::test_addresses_that_no_server_can_take_fail_and_pause_nobody",),
    ),
    Mutant(
        "smtputf8-of-others-not-tried",
        "notifier/actors/sender.py",
        "        others = [other for other in self._lanes if other is not lane]\n",
        "        others: list[Lane] = []\n",
        ("tests/actors/test_sender_account.py::test_an_address_beyond_ascii_goes_by_the_transport_that_can_take_it",),
    ),
    Mutant(
        "started-after-expiry",
        "notifier/actors/sender.py",
        "if has_expired or self._is_ending:",
        "if self._is_ending:",
        ("tests/actors/test_sender_account.py::test_nothing_starts_after_its_expiry",),
    ),
    Mutant(
        "no-second-look-before-a-second-start",
        "notifier/gateways/smtp.py",
        "                client, reused = await self._take(fresh=True)\n",
        "                client, _ = await self._take(fresh=True)\n"
        "                return await self._dialogue(client, envelope, message, before_data)\n",
        ("tests/actors/test_sender_account.py::test_nothing_starts_a_second_time_after_its_expiry",),
    ),
    Mutant(
        "login-by-every-mechanism",
        "notifier/gateways/smtp.py",
        "await client.auth_plain(username, password)",
        "await client.login(username, password)",
        ("tests/gateways/test_smtp_replies.py::test_a_login_tries_one_mechanism",),
    ),
    Mutant(
        "login-by-every-delivery",
        "notifier/gateways/smtp.py",
        "            login = self._login\n",
        "            login = None\n",
        ("tests/actors/test_sender_account.py::test_a_rejected_password_costs_one_login_a_step",),
    ),
    Mutant(
        "no-trial-after-a-pause",
        "notifier/circuit.py",
        "self.state, self.reason, self.until = State.HALF_OPEN, None, None",
        "self.state, self.reason, self.until = State.READY, None, None",
        ("tests/actors/test_sender_account.py::test_a_daily_limit_costs_one_mail_a_step",),
    ),
    Mutant(
        "all-mails-on-trial",
        "notifier/circuit.py",
        "        self._on_trial = True\n",
        "        self._on_trial = False\n",
        ("tests/actors/test_sender_account.py::test_while_an_account_recovers_the_next_one_has_the_rest",),
    ),
    Mutant(
        "stop-waits-for-logins",
        "notifier/actors/sender.py",
        "        while self._waiting:\n",
        "        while not self._deliveries:\n",
        ("tests/actors/test_sender_account.py::test_a_stop_abandons_mails_that_wait_for_a_connection",),
    ),
    Mutant(
        "close-waits-for-the-peer",
        "notifier/gateways/smtp.py",
        '        cast("asyncio.WriteTransport", transport).abort()\n',
        "        transport.close()\n",
        ("tests/gateways/test_smtp_replies.py::test_a_server_that_reads_no_more_is_cut_off_at_once",),
    ),
    Mutant(
        "end-of-a-connection-counts-an-attempt",
        "notifier/gateways/smtp.py",
        "return result.reply.code == _CLOSING and result.phase is not Phase.DOT",
        "return False",
        ("tests/gateways/test_smtp_replies.py::test_a_421_on_a_used_connection_is_no_rejection",),
    ),
    Mutant(
        "failed-mails-kept-without-end",
        "notifier/cohort.py",
        "deque(maxlen=REMEMBERED)",
        "deque()",
        ("tests/test_cohort.py::test_one_address_that_is_refused_for_ever_takes_no_more_memory",),
    ),
    Mutant(
        "login-ends-by-a-fault-of-ours",
        "notifier/actors/sender.py",
        "        except Exception as error:\n            if not isinstance(error, Unreachable):\n",
        "        except Unreachable as error:\n            if not isinstance(error, Unreachable):\n",
        ("tests/actors/test_sender_account.py::test_a_login_that_fails_in_an_unknown_way_is_tried_again",),
    ),
    Mutant(
        "quadratic-words",
        "notifier/cohort.py",
        '    return " ".join(word for word in text.casefold().split() if not _VARIES.search(word))\n',
        '    return re.sub(r"\\S*[@\\d<]\\S*", "", text).casefold()\n',
        ("tests/test_cohort.py::test_the_kind_of_a_rejection_is_found_in_proportional_time",),
    ),
)
