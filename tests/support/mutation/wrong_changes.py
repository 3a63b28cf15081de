"""The wrong changes that `./scripts/mutants` makes: what would hurt most, were it to pass the tests."""

from typing import NamedTuple


class Mutant(NamedTuple):
    """A wrong change: in `file` the text `right`, which is there once, becomes `wrong`; one of `tests` must notice."""

    name: str
    file: str
    right: str
    wrong: str
    tests: tuple[str, ...]


_ACCOUNTS = "tests/unit/actors/test_sender_accounts.py"
_ROOM = "tests/unit/actors/test_sender_room.py"
_CONNECTIONS = "tests/unit/gateways/test_smtp_connections.py"

MUTANTS = (
    Mutant(
        "acknowledge-before-commit",
        "notifier/actors/consumer.py",
        "        refused = await self._stored(part.messages)\n",
        """\
        await self._session.acknowledge([delivery for delivery, _ in part.messages])
        refused = await self._stored(part.messages)
""",
        ("tests/unit/actors/test_consumer.py::test_what_could_not_be_committed_is_delivered_again",),
    ),
    Mutant(
        "acknowledge-before-dead-letter",
        "notifier/actors/dead_letters.py",
        "        reasons = await self._session.dead_letter(batch)\n",
        """\
        await self._session.acknowledge([letter.delivery for letter in batch])
        reasons = await self._session.dead_letter(batch)
""",
        ("tests/unit/actors/test_consumer.py::test_what_could_not_be_put_aside_is_delivered_again",),
    ),
    Mutant(
        "publish-without-confirmation",
        "notifier/gateways/publisher.py",
        "self._channel = await open_channel(self._connection, confirms=True)",
        "self._channel = await open_channel(self._connection, confirms=False)",
        ("tests/unit/gateways/test_rabbitmq.py::test_a_message_that_nobody_can_take_is_not_lost_silently",),
    ),
    Mutant(
        "message-handled-twice",
        "notifier/storage/sqlite/changes.py",
        'if one(db, "SELECT 1 FROM messages',
        'if False and one(db, "SELECT 1 FROM messages',
        ("tests/unit/storage/sqlite/test_store.py::test_a_repeat_after_its_mail_was_purged_makes_no_mail",),
    ),
    Mutant(
        "outdated-outcome-wins",
        "notifier/storage/sqlite/changes.py",
        'rev = ? AND address = ?"\n    before = db.execute(sql, (mail.id, mail.rev - 1, mail.to))',
        'address = ?"\n    before = db.execute(sql, (mail.id, mail.to))',
        ("tests/unit/storage/sqlite/test_store.py::test_a_change_of_an_outdated_mail_is_ignored",),
    ),
    Mutant(
        "sent-mail-may-be-pending",
        "notifier/domain/mail.py",
        "    Status.SENT: frozenset(),\n",
        "    Status.SENT: frozenset({Status.PENDING}),\n",
        ("tests/unit/domain/test_mail.py::test_the_steps_of_a_mail_are_those_of_the_contract",),
    ),
    Mutant(
        "sent-mail-goes-again-after-a-restart",
        "notifier/storage/sqlite/store.py",
        "    migrate(db)\n",
        "    migrate(db)\n"
        "    db.execute(\"UPDATE mails SET status = 'pending', due_at = 0 WHERE status IN ('sending', 'sent')\")\n",
        ("tests/unit/actors/test_sender.py::test_what_was_sent_is_not_sent_again_after_a_restart",),
    ),
    Mutant(
        "orphans-forgotten",
        "notifier/actors/sender.py",
        "        await self._adopt_orphans()\n",
        "",
        ("tests/unit/actors/test_sender.py::test_mails_of_a_dead_process_are_sent_again_unchanged",),
    ),
    Mutant(
        "stop-cuts-dialogues",
        "notifier/actors/sender.py",
        "        await asyncio.gather(*self._deliveries, return_exceptions=True)\n",
        "",
        ("tests/unit/actors/test_sender.py::test_stopping_waits_for_the_reply_to_a_message_that_is_gone",),
    ),
    Mutant(
        "sent-before-the-reply",
        "notifier/actors/sender.py",
        "        if self._limits.retry.hold_uncertain:\n            await self._store.mark(mail)\n",
        "        from notifier.mail import Reply, sent\n"
        '        await self._record([sent(mail, Reply(250, "2.0.0 OK"), clock.now())])\n',
        ("tests/unit/actors/test_sender.py::test_a_lost_reply_to_the_message_is_sent_again_to_the_byte",),
    ),
    Mutant(
        "no-guard-after-a-stall",
        "notifier/actors/sender.py",
        "        self._guard.started(_monotonic())\n",
        "",
        ("tests/unit/actors/test_sender.py::test_the_rate_holds_after_a_stall",),
    ),
    Mutant(
        "rate-forgotten-between-claims",
        "notifier/storage/sqlite/claiming.py",
        "reserve_slots(datetime.fromisoformat(next_start) if next_start else None, len(due.mails), rate, now)",
        "reserve_slots(None, len(due.mails), rate, now)",
        ("tests/unit/storage/sqlite/test_store.py::test_the_rate_is_kept_in_the_store",),
    ),
    Mutant(
        "expired-mail-claimed",
        "notifier/storage/sqlite/claiming.py",
        '_LIVE = "due_at <= ? AND (expires_at IS NULL OR expires_at > ?)"',
        '_LIVE = "due_at <= ? AND ? > 0"',
        ("tests/unit/storage/sqlite/test_store.py::test_more_expired_mail_than_one_portion_is_not_claimed_either",),
    ),
    Mutant(
        "new-message-id-per-attempt",
        "notifier/composing/message.py",
        'f"Message-ID: {mail.message_id}',
        'f"Message-ID: <{mail.attempt}.{mail.message_id[1:]}',
        ("tests/unit/actors/test_sender.py::test_a_lost_reply_to_the_message_is_sent_again_to_the_byte",),
    ),
    Mutant(
        "wrong-login-fails-the-mail",
        "notifier/sending/replies.py",
        "_LOGIN_CODES = frozenset({530, 534, 535, 538})",
        "_LOGIN_CODES = frozenset({530, 534, 538})",
        ("tests/unit/sending/test_replies.py::test_what_speaks_of_ourselves_rests_the_transport",),
    ),
    Mutant(
        "unknown-outcome-repeated-despite-hold",
        "notifier/sending/transport_health.py",
        "unknown(replace(mail, past_data=True)",
        "unknown(replace(mail, past_data=False)",
        (
            "tests/unit/sending/test_transport_health.py::test_a_reply_lost_after_the_message_leaves_the_outcome_unknown",
        ),
    ),
    Mutant(
        "nobody-reprieved",
        "notifier/sending/transport_health.py",
        "[*again, handed_back(mail, until)]",
        "[handed_back(mail, until)]",
        (
            "tests/unit/sending/test_transport_health.py::test_the_same_refusal_for_several_gives_those_that_had_failed_another_chance",
        ),
    ),
    Mutant(
        "everyone-refused-for-good",
        "notifier/sending/refusals.py",
        "        if self._is_long:\n            return Cause.ACCOUNT\n",
        "",
        ("tests/unit/actors/test_sender.py::test_a_refusal_that_meets_everyone_fails_nobody",),
    ),
    Mutant(
        "quota-of-this-process-alone",
        "notifier/storage/sqlite/store.py",
        "    migrate(db)\n",
        '    migrate(db)\n    db.execute("DELETE FROM starts")\n',
        ("tests/unit/storage/sqlite/test_store.py::test_a_quota_outlives_mails_and_the_process",),
    ),
    Mutant(
        "no-timeout-after-the-dot",
        "notifier/gateways/smtp.py",
        "read_response(timeout=self._dot_timeout)",
        "read_response()",
        ("tests/unit/gateways/test_smtp.py::test_a_dialogue_that_breaks_says_where",),
    ),
    Mutant(
        "dots-not-stuffed",
        "notifier/gateways/smtp.py",
        r'stuffed = message.replace(b"\r\n.", b"\r\n..")',
        "stuffed = message",
        ("tests/unit/gateways/test_smtp.py::test_a_message_arrives_as_it_was_composed",),
    ),
    Mutant(
        "local-time-read-as-utc",
        "notifier/domain/airports.py",
        "given.replace(tzinfo=zone).astimezone(UTC)",
        "given.replace(tzinfo=UTC)",
        ("tests/unit/domain/test_airports.py::test_the_same_departure_in_three_spellings_is_one_moment",),
    ),
    Mutant(
        "older-revision-applied",
        "notifier/feed/replica.py",
        'mail["rev"] > known[mail["id"]]["rev"]',
        'mail["rev"] != known[mail["id"]]["rev"]',
        ("tests/unit/feed/test_replica.py::test_an_older_revision_is_not_taken",),
    ),
    Mutant(
        "mail-kept-that-left-the-filter",
        "notifier/feed/replica.py",
        '            self.mails.pop(mail["id"], None)\n',
        '            self.mails[mail["id"]] = mail\n',
        ("tests/unit/feed/test_replica.py::test_a_mail_that_leaves_the_filter_leaves_the_view",),
    ),
    Mutant(
        "event-skipped-on-resume",
        "notifier/feed/session.py",
        "self.after = place.seq",
        "self.after = place.seq + 1",
        ("tests/unit/feed/test_session.py::test_a_client_resumes_where_it_was",),
    ),
    Mutant(
        "cursor-of-another-filter",
        "notifier/feed/client.py",
        'not (self._awaited and "cursor" in frame)',
        "True",
        ("tests/unit/feed/test_client.py::test_what_belongs_to_the_filter_before_is_not_told",),
    ),
    Mutant(
        "silence-not-noticed",
        "notifier/feed/client.py",
        "patience = SILENCES * heartbeat",
        "patience = 3600.0",
        ("tests/unit/feed/test_client.py::test_a_silent_connection_is_taken_for_lost",),
    ),
    Mutant(
        "withdrawn-mail-comes-back",
        "notifier/domain/mail.py",
        "            return mail, cancelled(mail, reason)\n",
        "            return (mail,)\n",
        (
            "tests/unit/domain/test_booking.py::test_a_mail_that_was_being_sent_when_its_booking_was_cancelled_is_not_sent_again",
        ),
    ),
    Mutant(
        "newer-messages-ignored-on-return",
        "notifier/storage/sqlite/changes.py",
        "returns = mail.status is Status.PENDING and amendment is not None",
        "returns = False",
        (
            "tests/unit/storage/sqlite/test_store.py::test_a_mail_that_comes_back_after_its_booking_was_cancelled_is_cancelled",
        ),
    ),
    Mutant(
        "newer-messages-forget-what-is-being-sent",
        "notifier/domain/planning.py",
        "_AMENDABLE = frozenset({Status.SENDING, Status.FAILED, Status.UNCERTAIN})",
        "_AMENDABLE = frozenset({Status.FAILED, Status.UNCERTAIN})",
        (
            "tests/unit/domain/test_booking.py::test_a_mail_that_was_being_sent_when_its_booking_changed_says_what_holds_now",
        ),
    ),
    Mutant(
        "unknown-outcome-rewritten",
        "notifier/domain/mail.py",
        "        case Rewritten() if not mail.maybe_sent:\n",
        "        case Rewritten():\n",
        ("tests/unit/storage/sqlite/test_store.py::test_a_mail_of_unknown_outcome_is_sent_again_as_it_was",),
    ),
    Mutant(
        "rewritten-without-a-revision",
        "notifier/domain/mail.py",
        "    return replace(_saying(mail, amendment), rev=mail.rev + 1)\n",
        "    return _saying(mail, amendment)\n",
        ("tests/unit/storage/sqlite/test_store.py::test_a_rewritten_mail_raises_its_revision_and_says_so_in_the_log",),
    ),
    Mutant(
        "id-of-a-reminder-given-out-again",
        "notifier/domain/booking.py",
        "        if self._sequence:\n",
        "        if self._sequence < 0:\n",
        ("tests/unit/domain/test_booking.py::test_no_id_is_given_out_again_after_a_purge",),
    ),
    Mutant(
        "id-of-a-stored-mail-given-out-again",
        "notifier/domain/booking.py",
        "named, message.source, message.id) if id_ in self._taken else id_",
        "named, message.source, message.id) if id_ in () else id_",
        (
            "tests/unit/domain/test_booking.py::test_a_message_that_was_forgotten_makes_mails_with_other_ids_than_those_that_are_stored",
        ),
    ),
    Mutant(
        "given-up-counted-from-send-at",
        "notifier/domain/mail.py",
        "again - max(mail.send_at, since) > policy.give_up_after",
        "again - mail.send_at > policy.give_up_after",
        ("tests/unit/domain/test_mail.py::test_a_mail_that_was_late_before_its_first_attempt_has_all_the_time",),
    ),
    Mutant(
        "newer-wins-not-transitive",
        "notifier/domain/booking.py",
        "    if unversioned is None or message.time >= unversioned.time:\n",
        "    if unversioned is None or message.time:\n",
        ("tests/unit/domain/test_booking.py::test_versions_and_times_mixed_end_in_one_state",),
    ),
    Mutant(
        "reply-kept-as-it-came",
        "notifier/gateways/smtp.py",
        '    valid = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace").translate(_CONTROLS)\n',
        "    valid = text\n",
        ("tests/unit/actors/test_sender_account.py::test_a_reply_that_is_not_utf_8_holds_up_nobody",),
    ),
    Mutant(
        "second-reply-taken-for-the-next",
        "notifier/gateways/smtp.py",
        "return bool(client.protocol and client.protocol._buffer)",
        "return bool(client.protocol and False)",
        ("tests/unit/gateways/test_smtp_replies.py::test_a_second_reply_is_never_taken_for_that_of_another_command",),
    ),
    Mutant(
        "one-outcome-holds-up-all",
        "notifier/actors/sender.py",
        "            return await self._record_singly(ready)\n",
        "            raise\n",
        (
            "tests/unit/actors/test_sender_account.py::test_an_outcome_that_cannot_be_stored_is_stored_without_its_words",
        ),
    ),
    Mutant(
        "one-failure-cuts-dialogues",
        "notifier/actors/sender.py",
        "await asyncio.gather(*self._deliveries, return_exceptions=True)",
        "await asyncio.gather(*self._deliveries)",
        ("tests/unit/actors/test_sender_account.py::test_a_delivery_that_fails_cancels_no_other",),
    ),
    Mutant(
        "words-before-the-recipient",
        "notifier/sending/replies.py",
        "    if phase is not Phase.MAIL and _names_the_recipient(reply, phase):\n",
        "    if phase is None:\n",
        ("tests/unit/sending/test_replies.py::test_what_names_the_recipient_is_the_recipient_s",),
    ),
    Mutant(
        "recipient-before-our-account",
        "notifier/sending/replies.py",
        "    if _can_only_be_our_account(reply):\n        return True\n",
        "",
        ("tests/unit/sending/test_replies.py::test_what_can_only_be_our_account_is_the_transport_s",),
    ),
    Mutant(
        "lone-recipient-pauses-for-ever",
        "notifier/sending/refusals.py",
        "        return times >= LONE\n",
        "        return False\n",
        ("tests/unit/actors/test_sender_account.py::test_a_recipient_that_pauses_the_account_alone_is_judged_alone",),
    ),
    Mutant(
        "lone-recipient-goes-first",
        "notifier/sending/transport_health.py",
        """at, said=reply.text)
        return Judgement([handed_back(mail, self._others_first(at))], paused)""",
        """at, said=reply.text)
        return Judgement([handed_back(mail)], paused)""",
        ("tests/unit/actors/test_sender_account.py::test_a_mail_that_paused_the_account_lets_others_go_first",),
    ),
    Mutant(
        "smtputf8-is-the-mail-s-rejection",
        "notifier/gateways/smtp.py",
        "unsupported=True)",
        "unsupported=False)",
        ("tests/unit/actors/test_sender_account.py::test_addresses_that_no_server_can_take_fail_and_pause_nobody",),
    ),
    Mutant(
        "smtputf8-of-others-not-tried",
        "notifier/actors/sender.py",
        "        for other in self._lanes:\n            if other is lane:\n",
        "        for other in self._lanes:\n            if True:\n",
        (
            "tests/unit/actors/test_sender_account.py::test_an_address_beyond_ascii_goes_by_the_transport_that_can_take_it",
        ),
    ),
    Mutant(
        "started-after-expiry",
        "notifier/actors/sender.py",
        "if has_expired or is_late",
        "if is_late",
        ("tests/unit/actors/test_sender_account.py::test_nothing_starts_after_its_expiry",),
    ),
    Mutant(
        "no-second-look-before-a-second-start",
        "notifier/gateways/smtp.py",
        "                client, reused = await self._take(fresh=True)\n",
        "                client, _ = await self._take(fresh=True)\n"
        "                return await self._dialogue(client, envelope, message, before_data)\n",
        ("tests/unit/actors/test_sender_account.py::test_nothing_starts_a_second_time_after_its_expiry",),
    ),
    Mutant(
        "login-by-every-mechanism",
        "notifier/gateways/smtp.py",
        "await client.auth_plain(username, password)",
        "await client.login(username, password)",
        ("tests/unit/gateways/test_smtp_replies.py::test_a_login_tries_one_mechanism",),
    ),
    Mutant(
        "login-by-every-delivery",
        "notifier/gateways/smtp.py",
        "            if self._login is not None:\n                if error",
        "            if False:\n                if error",
        (f"{_CONNECTIONS}::test_a_login_that_fails_without_any_connection_is_a_fault",),
    ),
    Mutant(
        "no-trial-after-a-pause",
        "notifier/sending/circuit_breaker.py",
        "self.state, self.reason, self.until = State.HALF_OPEN, None, None",
        "self.state, self.reason, self.until = State.READY, None, None",
        ("tests/unit/actors/test_sender_account.py::test_a_daily_limit_costs_one_mail_a_step",),
    ),
    Mutant(
        "all-mails-on-trial",
        "notifier/sending/circuit_breaker.py",
        " if self.state is State.HALF_OPEN and self._trial is None else 0",
        " if self.state is State.HALF_OPEN else 0",
        ("tests/unit/actors/test_sender_account.py::test_while_an_account_recovers_the_next_one_has_the_rest",),
    ),
    Mutant(
        "stop-waits-for-logins",
        "notifier/actors/sender.py",
        "        while self._waiting:\n",
        "        while not self._deliveries:\n",
        ("tests/unit/actors/test_sender_account.py::test_a_stop_abandons_mails_that_wait_for_a_connection",),
    ),
    Mutant(
        "close-waits-for-the-peer",
        "notifier/gateways/smtp.py",
        '        cast("asyncio.WriteTransport", transport).abort()\n',
        "        transport.close()\n",
        ("tests/unit/gateways/test_smtp_replies.py::test_a_server_that_reads_no_more_is_cut_off_at_once",),
    ),
    Mutant(
        "end-of-a-connection-counts-an-attempt",
        "notifier/gateways/smtp.py",
        "return result.reply.code == _CLOSING and result.phase is not Phase.DOT",
        "return False",
        ("tests/unit/gateways/test_smtp_replies.py::test_a_421_on_a_used_connection_is_no_rejection",),
    ),
    Mutant(
        "failed-mails-kept-without-end",
        "notifier/sending/refusals.py",
        "deque(maxlen=REMEMBERED)",
        "deque()",
        ("tests/unit/sending/test_refusals.py::test_one_address_that_is_refused_for_ever_takes_no_more_memory",),
    ),
    Mutant(
        "login-ends-by-a-fault-of-ours",
        "notifier/actors/sender.py",
        "        except Exception as error:\n            if not isinstance(error, Unreachable):\n",
        "        except Unreachable as error:\n            if not isinstance(error, Unreachable):\n",
        ("tests/unit/actors/test_sender_account.py::test_a_login_that_fails_in_an_unknown_way_is_tried_again",),
    ),
    Mutant(
        "quadratic-words",
        "notifier/sending/refusals.py",
        '    return " ".join(word for word in text.casefold().split() if not _VARIES.search(word))\n',
        '    return re.sub(r"\\S*[@\\d<]\\S*", "", text).casefold()\n',
        ("tests/unit/sending/test_refusals.py::test_the_kind_of_a_rejection_is_found_in_proportional_time",),
    ),
    Mutant(
        "large-first-frame",
        "notifier/feed/connection_limiter.py",
        "and self._received > MAX_HELLO:",
        "and self._received > 32 * MAX_HELLO:",
        ("tests/unit/feed/test_server.py::test_a_hello_that_is_too_large_is_closed_with_1009",),
    ),
    Mutant(
        "large-request",
        "notifier/feed/connection_limiter.py",
        "and self._received > MAX_HANDSHAKE:",
        "and self._received > 64 * MAX_HANDSHAKE:",
        ("tests/unit/feed/test_server.py::test_a_request_with_large_headers_is_refused_with_431",),
    ),
    Mutant(
        "much-behind-a-wrong-token",
        "notifier/feed/connection_limiter.py",
        "(self._stage is Stage.HELLO and self._has_hello)",
        "(self._stage is Stage.HELLO and not self._stage)",
        ("tests/integration/test_feed_memory.py::test_strangers_take_little_memory",),
    ),
    Mutant(
        "flood-closes-the-connections-of-others",
        "notifier/feed/connection_limiter.py",
        "max(self._waiting, key=lambda network: len(self._waiting[network]))",
        "next(iter(self._waiting))",
        ("tests/integration/test_feed_misbehaviour.py::test_a_flood_from_one_network_closes_its_own_connections",),
    ),
    Mutant(
        "short-token-taken",
        "notifier/settings.py",
        "if len(token) < SHORTEST_TOKEN:",
        "if len(token) < 1:",
        ("tests/unit/test_settings.py::test_a_token_that_is_easy_to_guess_is_refused",),
    ),
    Mutant(
        "wrong-token-answered-at-once",
        "notifier/feed/auth.py",
        "FIRST_DELAY * 2.0 ** min(doublings, 10)",
        "0 * 2.0 ** min(doublings, 10)",
        ("tests/unit/feed/test_auth.py::test_each_further_wrong_token_is_answered_later",),
    ),
    Mutant(
        "wrong-tokens-not-counted",
        "notifier/feed/auth.py",
        "        self._failed()\n",
        "",
        ("tests/unit/feed/test_auth.py::test_wrong_tokens_are_counted_and_logged",),
    ),
    Mutant(
        "stop-waits-for-wrong-tokens",
        "notifier/feed/connection_limiter.py",
        "                await self.wait_closed()\n",
        "                await asyncio.sleep(seconds)\n",
        ("tests/unit/feed/test_auth.py::test_a_right_token_is_never_delayed",),
    ),
    Mutant(
        "viewer-with-many-queries",
        "notifier/feed/session.py",
        "self._queries = asyncio.Semaphore(1)",
        "self._queries = asyncio.Semaphore(50)",
        ("tests/unit/feed/test_share.py::test_a_client_has_few_queries_under_way",),
    ),
    Mutant(
        "slow-client-counted-for-each-frame",
        "notifier/feed/session.py",
        "code == TOO_SLOW and not self._is_dropped",
        "code == TOO_SLOW",
        ("tests/unit/feed/test_server.py::test_a_client_that_is_too_slow_in_two_ways_is_counted_once",),
    ),
    Mutant(
        "readiness-tells-everyone-everything",
        "notifier/feed/pages.py",
        "shown = parts if role else",
        "shown = parts if parts else",
        ("tests/unit/feed/test_auth.py::test_readiness_shows_states_only_to_those_without_a_token",),
    ),
    Mutant(
        "alias-told-to-viewers",
        "notifier/domain/events.py",
        "return all_masked(without(mail.to, text))",
        "return without(mail.to, text)",
        ("tests/integration/test_privacy.py::test_other_addresses_in_a_servers_words_are_masked",),
    ),
    Mutant(
        "account-told-in-a-reason",
        "notifier/observability/status.py",
        "return all_masked(reason) if reason else reason",
        "return reason",
        ("tests/integration/test_privacy.py::test_addresses_in_the_reason_of_a_pause_or_a_failure_are_masked",),
    ),
    Mutant(
        "masking-begins-anew-at-each-letter",
        "notifier/domain/addresses.py",
        "_WORD.sub(lambda word: _ADDRESS.sub(_masked, word[0]), text)",
        r"""re.sub(r"[^\s<>\"(),:;@]+@[^\s<>\"'(),:;@]+", lambda found: masked(found[0]), text)""",
        ("tests/unit/domain/test_addresses.py::test_masking_takes_time_linear_in_the_text",),
    ),
    Mutant(
        "erased-address-taken-from-the-command-line-alone",
        "notifier/cli/app.py",
        'if address == "-":',
        'if address == "--":',
        ("tests/integration/test_erasure.py::test_the_files_of_the_service_forget_whom_they_knew",),
    ),
    Mutant(
        "watcher-that-fails-silences-the-others",
        "notifier/actors/broadcaster.py",
        'except Exception:\n            log.exception("a watcher',
        'except KeyError:\n            log.exception("a watcher',
        ("tests/unit/actors/test_broadcaster.py::test_a_subscriber_that_fails_costs_the_others_nothing",),
    ),
    Mutant(
        "observer-that-fails-blinds-the-others",
        "notifier/actors/broadcaster.py",
        'except Exception:\n                    log.exception("an observer',
        'except KeyError:\n                    log.exception("an observer',
        ("tests/unit/actors/test_broadcaster.py::test_an_observer_that_fails_costs_the_others_nothing",),
    ),
    Mutant(
        "log-that-nobody-reads-stops-the-service",
        "notifier/cli/app.py",
        "    with logs.STDERR.from_a_thread():\n",
        "    with suppress():\n",
        ("tests/unit/observability/test_logs.py::test_the_service_works_and_ends_although_nobody_reads_its_log",),
    ),
    Mutant(
        "dropped-log-lines-not-told",
        "notifier/observability/logs.py",
        "            self._report_dropped(descriptor)\n",
        "",
        ("tests/unit/observability/test_logs.py::test_a_reader_that_stops_reading_stops_nothing",),
    ),
    Mutant(
        "count-of-dropped-log-lines-dropped",
        "notifier/observability/logs.py",
        "if threading.current_thread() is self._writer:",
        "if False:",
        ("tests/unit/observability/test_logs.py::test_the_count_of_dropped_lines_is_never_dropped",),
    ),
    Mutant(
        "conflict-for-a-mail-that-was-rewritten",
        "notifier/feed/commands.py",
        "CHANGE_LOOKS = 3",
        "CHANGE_LOOKS = 1",
        ("tests/unit/feed/test_commands.py::test_a_mail_that_others_rewrite_meanwhile_is_looked_at_again",),
    ),
    Mutant(
        "actor-ends-silently",
        "notifier/supervisor.py",
        "if isinstance(error, asyncio.CancelledError) and _is_cancelled():",
        "if isinstance(error, asyncio.CancelledError):",
        ("tests/unit/test_supervisor.py::test_whatever_ends_an_actor_restarts_it",),
    ),
    Mutant(
        "starting-for-ever-is-healthy",
        "notifier/supervisor.py",
        "return _monotonic() - self._started[name] < STARTING_LIMIT",
        "return True",
        ("tests/unit/test_supervisor.py::test_an_actor_that_does_not_come_to_run_is_not_healthy_for_long",),
    ),
    Mutant(
        "stop-waits-for-a-stuck-actor",
        "notifier/supervisor.py",
        "timeout=CANCEL_GRACE",
        "timeout=None",
        (
            "tests/unit/test_supervisor.py::test_an_actor_that_ignores_its_cancellation_does_not_keep_the_service_from_ending",
        ),
    ),
    Mutant(
        "remote-call-without-limit",
        "notifier/gateways/connection.py",
        "timeout=within,",
        "timeout=None,",
        ("tests/unit/gateways/test_rabbitmq.py::test_acknowledging_has_a_time_limit",),
    ),
    Mutant(
        "acknowledgement-outlives-its-session",
        "notifier/gateways/queue_consumer.py",
        "within=within, unless=self._calls.ended)",
        "within=within)",
        ("tests/unit/gateways/test_rabbitmq.py::test_acknowledging_ends_with_the_session",),
    ),
    Mutant(
        "letter-without-its-properties",
        "notifier/gateways/dead_letters.py",
        "    kept, changed = readable(apart(wire))\n",
        '    kept, changed = readable(apart(wire))\n    kept.pop("headers", None)\n',
        ("tests/unit/gateways/test_rabbitmq.py::test_a_dead_letter_keeps_its_properties_and_says_why",),
    ),
    Mutant(
        "continuation-bit-obeyed",
        "notifier/gateways/properties.py",
        'self.class_id, self.weight, self.body_size = struct.unpack(">HHQ", data[:12].ljust(12, b"\\0"))\n',
        'self.class_id, self.weight, self.body_size = struct.unpack(">HHQ", data[:12].ljust(12, b"\\0"))\n'
        "    ContentHeader._get_flags(data[12:])\n",
        ("tests/unit/gateways/test_properties.py::test_a_continuation_bit_is_ignored",),
    ),
    Mutant(
        "headers-decoded-on-receipt",
        "notifier/gateways/properties.py",
        """\
        case "table":
            return None
""",
        """\
        case "table":
            return decode.field_table(value)[1]
""",
        ("tests/unit/gateways/test_properties.py::test_headers_are_not_decoded_when_a_message_is_received",),
    ),
    Mutant(
        "close-waits-for-a-broker-that-reads-nothing",
        "notifier/gateways/connection.py",
        "            _transports[connection].abort()\n",
        "            pass\n",
        ("tests/unit/gateways/test_rabbitmq.py::test_a_broker_that_reads_nothing_cannot_keep_a_connection_open",),
    ),
    Mutant(
        "publish-without-a-limit",
        "notifier/gateways/publisher.py",
        "within=CONFIRM_TIMEOUT",
        "within=1000.0",
        ("tests/unit/gateways/test_rabbitmq.py::test_a_publish_that_is_not_confirmed_has_a_time_limit",),
    ),
    Mutant(
        "reason-with-an-address-in-memory",
        "notifier/gateways/connection.py",
        '_ADDRESS.sub("", _OBJECT',
        "str(_OBJECT",
        ("tests/unit/gateways/test_rabbitmq.py::test_a_wrong_virtual_host_is_unreachable",),
    ),
    Mutant(
        "broker-port-not-checked",
        "notifier/settings.py",
        "and url.hostname and url.port != 0",
        "and url.hostname",
        ("tests/unit/test_settings.py::test_a_fault_says_what_was_given_or_expected",),
    ),
    Mutant(
        "dead-letters-consumed",
        "notifier/settings.py",
        "    if queue == DEAD_LETTERS:\n",
        "    if not queue:\n",
        ("tests/unit/test_settings.py::test_a_fault_says_what_was_given_or_expected",),
    ),
    Mutant(
        "large-message-decoded-on-the-loop",
        "notifier/actors/consumer.py",
        "return await asyncio.to_thread(_timed, delivery)",
        "return _timed(delivery)",
        ("tests/unit/actors/test_consumer.py::test_other_tasks_run_while_a_large_message_is_decoded",),
    ),
    Mutant(
        "invalid-messages-decoded-without-a-pause",
        "notifier/actors/consumer.py",
        "            await asyncio.sleep(0)\n            return\n",
        "            return\n",
        ("tests/unit/actors/test_consumer.py::test_other_tasks_run_between_small_messages",),
    ),
    Mutant(
        "part-not-bounded-by-decoding",
        "notifier/actors/consumer.py",
        "            part.decoding += seconds\n",
        "",
        ("tests/unit/actors/test_consumer.py::test_good_messages_do_not_wait_for_those_behind_them",),
    ),
    Mutant(
        "domain-checked-each-time",
        "notifier/domain/addresses.py",
        "@lru_cache(maxsize=1024)",
        "@lru_cache(maxsize=0)",
        ("tests/unit/domain/test_addresses.py::test_an_international_domain_is_checked_once",),
    ),
    Mutant(
        "locked-extra-queue-ends-the-session",
        "notifier/gateways/rabbitmq.py",
        "                if queue == self._ours or self._ended.done():\n",
        "                if queue or self._ended.done():\n",
        ("tests/unit/gateways/test_rabbitmq.py::test_an_extra_queue_that_is_locked_keeps_nobody_from_work",),
    ),
    Mutant(
        "lost-extra-queue-ends-the-session",
        "notifier/gateways/rabbitmq.py",
        "        if consumer.queue == self._ours:\n            self.lose(reason)\n",
        "        if consumer:\n            self.lose(reason)\n",
        ("tests/unit/gateways/test_rabbitmq.py::test_an_extra_queue_whose_channel_is_closed_does_not_end_the_session",),
    ),
    Mutant(
        "lost-extra-queue-is-acknowledged",
        "notifier/gateways/rabbitmq.py",
        "            if consumer.queue == self._ours or self._lost is not None:\n",
        "            if consumer:\n",
        ("tests/unit/gateways/test_rabbitmq.py::test_an_extra_queue_whose_channel_is_closed_does_not_end_the_session",),
    ),
    Mutant(
        "stream-consumed",
        "notifier/gateways/queue_consumer.py",
        ", arguments=_NOT_A_STREAM",
        "",
        ("tests/unit/gateways/test_rabbitmq.py::test_a_stream_is_not_consumed",),
    ),
    Mutant(
        "refused-letter-is-acknowledged",
        "notifier/actors/dead_letters.py",
        "[letter for letter, reason in zip(batch, reasons, strict=True) if reason is None]",
        "list(batch)",
        ("tests/unit/actors/test_consumer.py::test_a_refused_letter_is_held_and_published_later",),
    ),
    Mutant(
        "refused-letter-keeps-others-back",
        "notifier/actors/dead_letters.py",
        "            self._batch_size = 1\n",
        "",
        ("tests/unit/actors/test_consumer.py::test_a_letter_that_is_always_refused_keeps_no_other_back",),
    ),
    Mutant(
        "held-without-bound",
        "notifier/actors/dead_letters.py",
        "        within = len(self._waiting) <= MAX_HELD and self._bytes <= MAX_HELD_BYTES\n",
        "        within = True\n",
        ("tests/unit/actors/test_consumer.py::test_too_many_held_letters_make_no_room",),
    ),
    Mutant(
        "held-letters-stop-good-messages",
        "notifier/gateways/rabbitmq.py",
        "                    await self._renew(consumer)\n",
        "                    pass\n",
        ("tests/unit/actors/test_consumer.py::test_good_messages_pass_many_that_cannot_be_dead_lettered",),
    ),
    Mutant(
        "letters-not-bounded-by-bytes",
        "notifier/actors/dead_letters.py",
        "if batch and size > BATCH_BYTES:",
        "if batch and size < 0:",
        ("tests/unit/actors/test_consumer.py::test_letters_share_a_confirmation",),
    ),
    Mutant(
        "returned-letter-is-lost",
        "notifier/gateways/publisher.py",
        "                    if returned:\n",
        "                    if not numbers:\n",
        ("tests/unit/gateways/test_rabbitmq.py::test_a_letter_that_reaches_no_queue_is_published_to_the_queue_itself",),
    ),
    Mutant(
        "equal-message-ids-share-a-confirmation",
        "notifier/gateways/publisher.py",
        "        if not runs or letter.properties.message_id in seen:\n",
        "        if not runs:\n",
        ("tests/unit/gateways/test_rabbitmq.py::test_a_letter_that_reaches_no_queue_is_published_to_the_queue_itself",),
    ),
    Mutant(
        "full-queue-closes-the-publisher",
        "notifier/gateways/publisher.py",
        "if any(isinstance(result, BaseException) and not _is_nack(result) for",
        "if any(isinstance(result, BaseException) for",
        ("tests/unit/gateways/test_rabbitmq.py::test_a_refused_letter_says_why_and_the_others_are_published",),
    ),
    Mutant(
        "large-body-kept-whole",
        "notifier/gateways/oversized.py",
        "    if len(body) <= MAX_BYTES:\n",
        "    if body:\n",
        ("tests/unit/gateways/test_rabbitmq.py::test_of_a_body_over_the_limit_the_beginning_is_kept",),
    ),
    Mutant(
        "room-of-a-large-body-not-given-back",
        "notifier/gateways/rabbitmq.py",
        "            self._room.give_back(consumer.channel.number, size)\n",
        "            pass\n",
        ("tests/unit/gateways/test_rabbitmq.py::test_of_a_body_over_the_limit_the_beginning_is_kept",),
    ),
    Mutant(
        "room-until-the-letter-is-confirmed",
        "notifier/gateways/rabbitmq.py",
        "            self._room.give_back(consumer.channel.number, size)\n",
        "            await self._publisher._lock.acquire()\n",
        ("tests/unit/gateways/test_rabbitmq.py::test_bodies_that_are_not_acknowledged_keep_none_from_arriving",),
    ),
    Mutant(
        "room-of-a-closed-channel-kept",
        "notifier/gateways/rabbitmq.py",
        "add_done_callback(lambda _: self._room.forget(number))",
        "add_done_callback(lambda _: number)",
        ("tests/unit/gateways/test_rabbitmq.py::test_a_body_that_arrives_on_a_closed_channel_keeps_no_memory",),
    ),
    Mutant(
        "slow-connection-ends-the-session",
        "notifier/gateways/connection.py",
        "            if done or received() == before:\n",
        "            if before >= 0:\n",
        ("tests/unit/gateways/test_rabbitmq.py::test_a_slow_connection_ends_no_session",),
    ),
    Mutant(
        "progress-in-frames",
        "notifier/gateways/oversized.py",
        "piece = await self.reader.read(size - len(data))",
        "piece = await self.reader.readexactly(size)",
        ("tests/unit/gateways/test_rabbitmq.py::test_the_watchdog_waits_for_large_bodies",),
    ),
    Mutant(
        "look-on-a-closed-channel",
        "notifier/gateways/rabbitmq.py",
        "                    self._channel = None  # aiormq closes a channel on which a call was given up\n",
        "",
        ("tests/unit/gateways/test_rabbitmq.py::test_a_look_without_an_answer_concerns_one_queue",),
    ),
    Mutant(
        "left-out-consumer-stays-open",
        "notifier/gateways/rabbitmq.py",
        "            await self._consumption.close_left_out()\n",
        "",
        ("tests/unit/gateways/test_rabbitmq.py::test_a_queue_that_is_left_out_has_no_channel",),
    ),
    Mutant(
        "queue-consumed-anew-for-ever",
        "notifier/gateways/rabbitmq.py",
        "min(2 * patience, MAX_IDLE_LOOKS)",
        "patience",
        ("tests/unit/gateways/test_rabbitmq.py::test_a_queue_whose_active_consumer_is_another_one_is_left_alone",),
    ),
    Mutant(
        "headers-of-held-letters-not-counted",
        "notifier/actors/dead_letters.py",
        "return len(delivery.body) + len(delivery.wire)",
        "return len(delivery.body)",
        ("tests/unit/actors/test_consumer.py::test_headers_count_as_bodies_do",),
    ),
    Mutant(
        "letters-of-a-closed-channel-held",
        "notifier/actors/dead_letters.py",
        "if not self._session.will_return(letter.delivery)]",
        "if letter]",
        ("tests/unit/actors/test_consumer.py::test_a_held_message_that_is_delivered_again_is_one_letter",),
    ),
    Mutant(
        "closed-channel-taken-for-open",
        "notifier/gateways/rabbitmq.py",
        "return delivery.consumer.channel.is_closed",
        "return self._ended.done()",
        ("tests/unit/actors/test_consumer.py::test_letters_of_a_closed_channel_are_not_held",),
    ),
    Mutant(
        "letter-copied-to-any-queue",
        "notifier/gateways/publisher.py",
        "without_headers(letter.properties, COPY_HEADERS)",
        "without_headers(letter.properties, ())",
        ("tests/unit/gateways/test_rabbitmq.py::test_a_letter_to_the_queue_itself_goes_nowhere_else",),
    ),
    Mutant(
        "full-queue-of-somebody-else-is-a-lost-broker",
        "notifier/gateways/publisher.py",
        "                if isinstance(result, BaseException) and not _is_nack(result):\n",
        "                if isinstance(result, BaseException):\n",
        (
            "tests/unit/actors/test_reporter.py::test_a_full_queue_of_somebody_else_holds_results_back_until_it_has_room",
        ),
    ),
    Mutant(
        "refused-results-repeat-the-confirmed-ones",
        "notifier/actors/reporter.py",
        "            if confirmed:\n",
        "            if confirmed == len(events):\n",
        ("tests/unit/actors/test_reporter.py::test_what_a_queue_refuses_is_tried_alone",),
    ),
    Mutant(
        "refused-result-is-lost",
        "notifier/actors/reporter.py",
        "cursor = events[confirmed - 1].seq",
        "cursor = events[-1].seq",
        ("tests/unit/actors/test_reporter.py::test_what_a_queue_refuses_is_tried_alone",),
    ),
    Mutant(
        "queue-name-not-checked",
        "notifier/settings.py",
        "if not _AMQP_NAME.fullmatch(text) or",
        "if",
        ("tests/unit/test_settings.py::test_each_queue_with_a_wrong_name_is_a_fault",),
    ),
    Mutant(
        "forbidden-to-declare-is-unreachable",
        "notifier/gateways/topology.py",
        "        for refusal in (ChannelPreconditionFailed, ChannelNotFoundEntity, ChannelAccessRefused):",
        "        for refusal in (ChannelPreconditionFailed, ChannelNotFoundEntity):",
        ("tests/unit/gateways/test_rabbitmq.py::test_what_is_missing_and_may_not_be_declared_is_named",),
    ),
    Mutant(
        "dead-letters-come-back",
        "notifier/gateways/topology.py",
        "    await _refused(connection, settings.queue, _without_dead_letters(settings.queue))\n",
        "",
        ("tests/unit/gateways/test_rabbitmq.py::test_dead_letters_do_not_come_back_through_an_old_binding",),
    ),
    Mutant(
        "dead-letters-as-the-publishers-exchange",
        "notifier/settings.py",
        "if exchange in (DEAD_LETTERS, RESULTS):",
        "if exchange == RESULTS:",
        ("tests/unit/test_settings.py::test_a_fault_says_what_was_given_or_expected",),
    ),
    Mutant(
        "parameters-of-an-account-ignored",
        "notifier/settings.py",
        """if "?" in text or "#" in text:""",
        """if "#" in text:""",
        ("tests/unit/test_settings.py::test_an_smtp_url_that_cannot_be_used_is_a_fault",),
    ),
    Mutant(
        "second-sender-ignored",
        "notifier/settings.py",
        "if len(found) != 1 or ",
        "if ",
        ("tests/unit/test_settings.py::test_a_fault_says_what_was_given_or_expected",),
    ),
    Mutant(
        "query-of-the-broker-shown",
        "notifier/settings.py",
        """flags=re.DOTALL).partition("?")[0]""",
        "flags=re.DOTALL)",
        ("tests/unit/test_settings.py::test_the_query_of_a_broker_url_is_not_shown",),
    ),
    Mutant(
        "locale-in-one-case-only",
        "notifier/composing/templates.py",
        '_nearer_and_nearer((locale or "").lower())',
        '_nearer_and_nearer(locale or "")',
        ("tests/unit/composing/test_templates.py::test_a_subject_says_what_the_mail_says",),
    ),
    Mutant(
        "lone-cr-on-the-wire",
        "notifier/composing/message.py",
        '.replace("\\r", "\\n").rstrip(',
        ".rstrip(",
        ("tests/unit/composing/test_message.py::test_no_template_puts_a_lone_cr_on_the_wire",),
    ),
    Mutant(
        "kelvin-sign-in-a-domain",
        "notifier/domain/addresses.py",
        "re.ASCII | re.IGNORECASE",
        "re.IGNORECASE",
        ("tests/unit/domain/test_addresses.py::test_what_no_mail_can_go_to_is_refused_with_a_reason",),
    ),
    Mutant(
        "encoded-address-of-any-length",
        "notifier/domain/addresses.py",
        'return _not_too_long(f"{_checked_local(local)}@{domain.lower()}")',
        'return f"{_checked_local(local)}@{domain.lower()}"',
        ("tests/unit/domain/test_addresses.py::test_what_no_mail_can_go_to_is_refused_with_a_reason",),
    ),
    Mutant(
        "reminder-with-a-note",
        "notifier/domain/booking.py",
        "            error=content.note,",
        "            error=message.note,",
        ("tests/unit/domain/test_booking.py::test_every_notice_keeps_what_was_wrong_with_its_message",),
    ),
    Mutant(
        "document-without-the-limits-of-a-source",
        "notifier/asyncapi/amqp.py",
        """            "source": {**TEXT, **WORD},""",
        """            "source": TEXT,""",
        ("tests/unit/asyncapi/test_document.py::test_the_document_takes_what_the_decoder_takes",),
    ),
    Mutant(
        "letter-longer-than-a-frame",
        "notifier/gateways/dead_letters.py",
        'fault = "they are too long" if len(properties.marshal()) > frame_max - _FRAME_OVERHEAD else None',
        "fault = None",
        ("tests/unit/gateways/test_dead_letters.py::test_headers_that_fill_a_frame_are_left_out",),
    ),
    Mutant(
        "encoding-error-taken-for-a-lost-broker",
        "notifier/gateways/publisher.py",
        "        messages = [_writable(message) for message in messages]\n",
        "        messages = list(messages)\n",
        ("tests/unit/gateways/test_rabbitmq.py::test_what_cannot_be_written_is_left_out",),
    ),
    Mutant(
        "ids-limited-in-characters",
        "notifier/domain/messages.py",
        'if len(text.encode(errors="replace")) > MAX_ID_BYTES:',
        "if len(text) > MAX_ID_BYTES:",
        ("tests/unit/domain/test_messages.py::test_ids_are_limited_in_bytes",),
    ),
    Mutant(
        "result-without-correlation-id",
        "notifier/service.py",
        "correlation_id=cut(event.correlation or event.event, MAX_SHORT_STRING)",
        "correlation_id=event.correlation or event.event",
        ("tests/unit/test_service.py::test_a_long_correlation_id_stops_no_result",),
    ),
    Mutant(
        "consume-before-the-store-works",
        "notifier/actors/consumer.py",
        "    await store.check()\n",
        "",
        ("tests/unit/actors/test_consumer.py::test_nothing_is_consumed_until_the_store_can_be_written",),
    ),
    Mutant(
        "consume-while-the-store-fails",
        "notifier/actors/consumer.py",
        "                    await self._session.suspend()\n",
        "",
        ("tests/unit/actors/test_consumer.py::test_while_the_store_cannot_write_deliveries_are_held",),
    ),
    Mutant(
        "unlimited-deliveries-that-mean-none",
        "notifier/gateways/topology.py",
        "DELIVERY_LIMIT = 1_000_000\n",
        "DELIVERY_LIMIT = -1\n",
        ("tests/unit/gateways/test_rabbitmq.py::test_our_queue_has_a_delivery_limit_chosen_on_purpose",),
    ),
    Mutant(
        "deliveries-lost-instead-of-returned",
        "notifier/gateways/rabbitmq.py",
        "            await consumption.give_back()\n",
        "",
        ("tests/unit/gateways/test_rabbitmq.py::test_deliveries_are_given_back_at_the_end_of_a_session",),
    ),
    Mutant(
        "bodies-fill-the-memory",
        "notifier/gateways/oversized.py",
        "return len(sizes) > 1 and sum(sizes) > ROOM",
        "return False",
        ("tests/unit/gateways/test_rabbitmq.py::test_bodies_over_the_limit_come_as_fast_as_they_are_cut",),
    ),
    Mutant(
        "transaction-of-any-size",
        "notifier/actors/consumer.py",
        "self._rows + message.rows <= MAX_ROWS and ",
        "",
        ("tests/unit/actors/test_consumer.py::test_a_transaction_is_bounded_by_the_mails_it_writes",),
    ),
    Mutant(
        "stop-after-the-whole-batch",
        "notifier/actors/consumer.py",
        "            if self._stop.is_set():\n                return True\n",
        "",
        ("tests/unit/actors/test_consumer.py::test_a_stop_is_answered_between_two_transactions",),
    ),
    Mutant(
        "prefetch-for-each-queue",
        "notifier/gateways/rabbitmq.py",
        "share = max(1, settings.prefetch // len(queues))",
        "share = settings.prefetch",
        ("tests/unit/gateways/test_rabbitmq.py::test_prefetch_is_shared_by_all_queues",),
    ),
    Mutant(
        "any-consumer-will-do",
        "notifier/gateways/rabbitmq.py",
        "if self._idle.get(consumer, 0) >= patience:",
        "if self._idle.get(consumer, 0) < 0:",
        ("tests/unit/gateways/test_rabbitmq.py::test_a_consumer_that_the_broker_has_lost_is_noticed",),
    ),
    Mutant(
        "queue-that-appears-is-ignored",
        "notifier/gateways/rabbitmq.py",
        "                    await self._consumption.consume(queue)\n",
        "                    del queue\n",
        ("tests/unit/gateways/test_rabbitmq.py::test_an_extra_queue_that_appears_later_is_consumed",),
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
        ("tests/unit/storage/sqlite/test_store.py::test_what_is_too_old_is_not_looked_at",),
    ),
    Mutant(
        "due-mails-counted-one-by-one",
        "notifier/storage/sqlite/queries.py",
        """\
    if fresh + tried > VISITS:
""",
        """\
    if fresh + tried < 0:
""",
        (
            "tests/unit/storage/sqlite/test_store.py::test_what_is_due_is_counted_by_the_minute_if_very_many_are_due_in_one",
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
        ("tests/unit/storage/sqlite/test_store.py::test_a_short_quota_goes_to_the_earliest_deadlines",),
    ),
    Mutant(
        "every-due-hour-merged",
        "notifier/storage/sqlite/claiming.py",
        "(at // _HOUR_LONG, _LOOKED_AT, _MERGED)",
        "(at // _HOUR_LONG, -1, -1)",
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
        ("tests/unit/storage/sqlite/test_store.py::test_starts_of_an_account_without_a_quota_are_purged",),
    ),
    Mutant(
        "purge-looks-at-all-that-is-unreported",
        "notifier/storage/sqlite/purging.py",
        "(rows.millis(finished_before), _BATCH_SIZE))",
        "(rows.millis(finished_before), -1))",
        ("tests/unit/storage/sqlite/test_queries.py::test_no_query_takes_longer_because_there_are_more_mails",),
    ),
    Mutant(
        "news-overtakes-what-it-changes",
        "notifier/storage/sqlite/claiming.py",
        """\
            if key not in taken:
""",
        """\
            if n not in chosen:
""",
        ("tests/unit/storage/sqlite/test_store.py::test_mails_of_one_booking_to_one_address_go_one_after_the_other",),
    ),
    Mutant(
        "news-before-an-older-mail",
        "notifier/storage/sqlite/claiming.py",
        "chosen.append(one(db, _OLDEST, matter, address, at, at))",
        "chosen.append(n)",
        ("tests/unit/storage/sqlite/test_store.py::test_an_older_mail_that_is_due_again_goes_before_newer_ones",),
    ),
    Mutant(
        "effects-of-a-commit-left-to-the-caller",
        "notifier/storage/sqlite/store.py",
        """\
            if committed:
                self._loop.call_soon_threadsafe(committed, result)
            return result
""",
        """\
            return result
""",
        ("tests/unit/storage/sqlite/test_connection.py::test_who_leaves_after_asking_leaves_nothing_half_done",),
    ),
    Mutant(
        "mail-that-is-pending-again-wakes-nobody",
        "notifier/storage/sqlite/store.py",
        'await self._transact("record", work, wake=any(mail.status is Status.PENDING for mail in changed))',
        'await self._transact("record", work)',
        ("tests/unit/storage/sqlite/test_connection.py::test_who_leaves_after_asking_leaves_nothing_half_done",),
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
        ("tests/unit/storage/sqlite/test_reader.py::test_watchers_who_ask_the_same_share_an_answer",),
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
        ("tests/unit/storage/sqlite/test_reader.py::test_a_batch_is_divided_by_the_mails_that_it_makes",),
    ),
    Mutant(
        "large-mails-weigh-as-much-as-small-ones",
        "notifier/storage/sqlite/portions.py",
        "return 1 + size // HEAVY + events // EVENTS",
        "return 1 + events // EVENTS",
        ("tests/unit/storage/sqlite/test_reader.py::test_large_mails_weigh_as_much_as_several_in_every_portion",),
    ),
    Mutant(
        "withdrawals-of-large-mails-weigh-nothing",
        "notifier/storage/sqlite/changes.py",
        "rows=max(message.rows, read))",
        "rows=message.rows)",
        ("tests/unit/storage/sqlite/test_reader.py::test_a_withdrawal_of_large_mails_weighs_as_much_as_they_do",),
    ),
    Mutant(
        "lists-read-what-mails-say",
        "notifier/storage/sqlite/queries.py",
        "found = page(db, wanted, before, limit, contents=False)",
        "found = page(db, wanted, before, limit)",
        ("tests/unit/storage/sqlite/test_reader.py::test_a_list_does_not_read_what_mails_say",),
    ),
    Mutant(
        "expired-mail-waits-for-the-next-tick",
        "notifier/actors/sender.py",
        "if any(claim.more_expired for claim in claims):",
        "if False:",
        ("tests/unit/actors/test_sender.py::test_all_that_has_expired_ends_while_sending_is_paused",),
    ),
    Mutant(
        "erased-address-stays-in-bookings-meanwhile",
        "notifier/storage/sqlite/store.py",
        """\
            step = await self._transact("erase", partial(erasure.erase_bookings, who=who, after=place))
            place, bookings = step.next, bookings + step.bookings
        place = 0
        while place is not None:
            step = await self._transact("erase", partial(erasure.erase_mails, who=who, after=place, now=now))
            place, found = step.next, [*found, *step.found]
""",
        """\
            step = await self._transact("erase", partial(erasure.erase_mails, who=who, after=place or 0, now=now))
            place, found = step.next, [*found, *step.found]
        place = ""
        while place is not None:
            step = await self._transact("erase", partial(erasure.erase_bookings, who=who, after=place))
            place, bookings = step.next, bookings + step.bookings
""",
        (
            "tests/unit/storage/sqlite/test_store.py::test_a_message_in_the_middle_of_erasing_writes_to_nobody_who_is_erased",
        ),
    ),
    Mutant(
        "notice-that-came-back-is-forgotten",
        "notifier/storage/sqlite/changes.py",
        "if before[2] == _written(SUPERSEDED):",
        "if False:",
        ("tests/unit/storage/sqlite/test_store.py::test_a_notice_says_what_one_that_came_back_would_have_said",),
    ),
    Mutant(
        "ends-stay-in-the-future",
        "notifier/storage/sqlite/claiming.py",
        '(("mails", "finished_at"), ("messages", "handled_at"))',
        '(("messages", "handled_at"),)',
        ("tests/unit/storage/sqlite/test_store.py::test_what_a_clock_far_ahead_wrote_is_given_up_and_purged_in_time",),
    ),
    Mutant(
        "tries-count-from-the-future",
        "notifier/storage/sqlite/claiming.py",
        '"due_at IS NOT NULL AND attempt > 0", ',
        "",
        ("tests/unit/storage/sqlite/test_store.py::test_what_a_clock_far_ahead_wrote_is_given_up_and_purged_in_time",),
    ),
    Mutant(
        "ids-of-requests-come-back",
        "notifier/domain/notification.py",
        ", now.isoformat())",
        ")",
        ("tests/unit/storage/sqlite/test_store.py::test_no_id_comes_back_after_everything_was_forgotten",),
    ),
    Mutant(
        "ids-of-bookings-come-back",
        "notifier/domain/booking.py",
        "(message.source, message.id, now.isoformat())",
        "(message.source, message.id)",
        ("tests/unit/storage/sqlite/test_store.py::test_no_id_comes_back_after_everything_was_forgotten",),
    ),
    Mutant(
        "forgotten-request-makes-a-second-mail",
        "notifier/domain/notification.py",
        "if who not in present and mail.id not in stored",
        "if mail.id not in stored",
        (
            "tests/unit/storage/sqlite/test_store.py::test_a_request_that_is_forgotten_but_not_sent_makes_no_second_mail",
        ),
    ),
    Mutant(
        "unmailable-address-reported-again",
        "notifier/domain/booking.py",
        "    reported |= told.keys()\n",
        "",
        ("tests/unit/storage/sqlite/test_store.py::test_an_address_that_no_mail_can_go_to_is_reported_once",),
    ),
    Mutant(
        "damaged-mail-stops-all-others",
        "notifier/storage/sqlite/queries.py",
        "except (ValueError, TypeError) as error:",
        "except ZeroDivisionError as error:",
        ("tests/unit/storage/sqlite/test_store.py::test_a_mail_that_cannot_be_decoded_stops_no_other",),
    ),
    Mutant(
        "damaged-mail-comes-up-again",
        "notifier/storage/sqlite/claiming.py",
        "change(db, failed(attempt, None, UNREADABLE), now)",
        "pass",
        ("tests/unit/storage/sqlite/test_store.py::test_a_mail_that_cannot_be_decoded_stops_no_other",),
    ),
    Mutant(
        "large-messages-queue-before-everybody",
        "notifier/storage/sqlite/store.py",
        "some := await self._add_some(rest, rules, now, large=False)",
        "some := await self._add_some(rest, rules, now, large=True)",
        (
            "tests/unit/storage/sqlite/test_reader.py::test_many_of_the_largest_messages_delay_nobody_for_longer_than_one_of_them",
        ),
    ),
    Mutant(
        "erased-copy-in-the-temporary-folder",
        "notifier/storage/sqlite/store.py",
        "PRAGMA temp_store_directory = ",
        "PRAGMA no_such_pragma = ",
        ("tests/unit/storage/sqlite/test_reader.py::test_the_copy_that_erasing_makes_is_beside_the_database",),
    ),
    Mutant(
        "full-disk-looks-healthy",
        "notifier/storage/sqlite/store.py",
        """\
            return await run(self._writer, work)
""",
        """\
            result = await run(self._writer, work)
            self._fault = None
            return result
""",
        (
            "tests/unit/storage/sqlite/test_connection.py::test_a_failing_transaction_changes_nothing_and_shows_as_the_stores_fault",
        ),
    ),
    Mutant(
        "missed-events-left-out-after-a-purge",
        "notifier/feed/session.py",
        "if portion.purged_through > self.after:",
        "if portion.purged_through > self.after and not portion.events:",
        ("tests/unit/feed/test_server.py::test_missed_events_that_are_deleted_meanwhile_close_with_4508",),
    ),
    Mutant(
        "repeated-rejection-pauses-again",
        "notifier/sending/refusals.py",
        "            return Cause.REPEATED\n",
        "            return Cause.ACCOUNT\n",
        ("tests/unit/sending/test_transport_health.py::test_wrong_addresses_alone_pause_the_account_once",),
    ),
    Mutant(
        "cleared-recipients-suspect-the-account-again",
        "notifier/sending/refusals.py",
        "            self._cleared |= self._recipients\n",
        "            pass\n",
        ("tests/unit/sending/test_refusals.py::test_recipients_of_a_streak_are_cleared_by_an_accepted_mail",),
    ),
    Mutant(
        "reprieved-mails-go-first",
        "notifier/sending/transport_health.py",
        "due_again(each, until)",
        "due_again(each)",
        ("tests/unit/sending/test_transport_health.py::test_wrong_addresses_alone_pause_the_account_once",),
    ),
    Mutant(
        "broken-dialogues-never-pause",
        "notifier/sending/transport_health.py",
        "self.breaks.add(mail, SEVERAL) is Cause.ACCOUNT and self._suspected(why, at)",
        "False",
        ("tests/unit/sending/test_transport_health.py::test_dialogues_that_break_for_everybody_pause_the_account",),
    ),
    Mutant(
        "deferrals-never-pause",
        "notifier/sending/transport_health.py",
        "else self.deferrals.add(mail, MANY)",
        "else Cause.MAIL",
        ("tests/unit/sending/test_transport_health.py::test_deferrals_of_very_many_pause_the_account",),
    ),
    Mutant(
        "hang-up-at-mail-goes-first",
        "notifier/sending/transport_health.py",
        """            paused = self._paused(result.fault or "", at)
            return Judgement([handed_back(mail, self._others_first(at))], paused)""",
        """            paused = self._paused(result.fault or "", at)
            return Judgement([handed_back(mail)], paused)""",
        (
            "tests/unit/sending/test_transport_health.py::test_a_dialogue_that_breaks_at_mail_for_one_recipient_alone_is_its_own",
        ),
    ),
    Mutant(
        "limit-of-one-account-holds-the-mail",
        "notifier/sending/transport_health.py",
        "return min(ends if at.elsewhere is None else [*ends, at.elsewhere])",
        "return min(ends)",
        (f"{_ACCOUNTS}::test_mail_that_meets_the_limit_of_an_account_goes_by_the_next_one",),
    ),
    Mutant(
        "our-own-words-name-a-limit",
        "notifier/sending/transport_health.py",
        "asked, for_long = wait_named(said), is_daily_limit(said)",
        "asked, for_long = wait_named(reason), is_daily_limit(reason)",
        ("tests/unit/sending/test_transport_health.py::test_only_the_words_of_the_server_name_a_time",),
    ),
    Mutant(
        "stuck-account-keeps-the-rest",
        "notifier/actors/sender.py",
        " and (room or stalls_in):",
        ":",
        (f"{_ACCOUNTS}::test_an_account_that_is_stuck_leaves_the_rest_to_the_next_one",),
    ),
    Mutant(
        "connections-of-all-accounts-together",
        "notifier/actors/sender.py",
        "            room = lane.room(self._limits.connections)\n",
        "            room = lane.circuit.room(self._limits.connections - len(self._deliveries))\n",
        (f"{_ACCOUNTS}::test_each_account_has_connections_of_its_own",),
    ),
    Mutant(
        "quota-of-the-account-that-claimed",
        "notifier/actors/sender.py",
        "        if lane.quota is None and other.quota is None:\n",
        "        if True:\n",
        (f"{_ACCOUNTS}::test_a_quota_counts_for_the_account_that_sends",),
    ),
    Mutant(
        "trial-waits-for-another-account",
        "notifier/actors/sender.py",
        "            lane.circuit.end_trial(trial)\n            self._store.wake.set()\n",
        "            pass\n",
        (f"{_ACCOUNTS}::test_a_trial_that_cannot_take_an_address_does_not_wait_for_another_account",),
    ),
    Mutant(
        "mails-begin-while-sending-is-paused",
        "notifier/actors/sender.py",
        " and not self._store.paused",
        "",
        (f"{_ACCOUNTS}::test_no_mail_begins_after_an_operator_has_paused_sending",),
    ),
    Mutant(
        "late-outcome-has-no-time",
        "notifier/actors/sender.py",
        "give_up_after = _monotonic() + LAST_RECORDS",
        "give_up_after = _monotonic()",
        (f"{_ACCOUNTS}::test_an_outcome_during_the_stop_has_its_own_time_to_be_recorded",),
    ),
    Mutant(
        "outcomes-dropped-while-the-store-is-locked",
        "notifier/actors/sender.py",
        "if self._is_ending and give_up_after is None:",
        "if give_up_after is None:",
        (f"{_ACCOUNTS}::test_outcomes_are_kept_while_the_store_cannot_be_written",),
    ),
    Mutant(
        "each-run-with-a-guard-of-its-own",
        "notifier/service.py",
        "await Sender(store, lanes, limits, guard).run(",
        "await Sender(store, lanes, limits, BurstGuard(mail.rate)).run(",
        (f"{_ACCOUNTS}::test_all_runs_of_the_sender_share_one_guard",),
    ),
    Mutant(
        "one-request-suspects-the-account",
        "notifier/sending/refusals.py",
        " and len(self._matters) >= SEVERAL",
        "",
        (f"{_ACCOUNTS}::test_a_request_whose_content_is_rejected_holds_up_nobody",),
    ),
    Mutant(
        "next-streak-as-short-as-the-innocent-one",
        "notifier/sending/refusals.py",
        "            self._spared = min(2 * len(self._recipients), MAX_SPARED)\n",
        "            pass\n",
        ("tests/unit/sending/test_refusals.py::test_a_streak_after_an_innocent_one_must_be_longer",),
    ),
    Mutant(
        "words-about-a-mail-obeyed-for-the-account",
        "notifier/sending/transport_health.py",
        "return self.circuit.suspect(reason, at.monotonic, at.now)",
        "return self._paused(reason, at, said=reason)",
        ("tests/unit/sending/test_transport_health.py::test_what_is_said_of_a_mail_is_not_obeyed_for_the_account",),
    ),
    Mutant(
        "suspicion-pauses-without-bound",
        "notifier/sending/circuit_breaker.py",
        "pause = min(self._next_pause(), SUSPECTED_PAUSE)",
        "pause = self._next_pause()",
        ("tests/unit/sending/test_circuit_breaker.py::test_a_suspicion_is_cut_short_where_all_pauses_are_long",),
    ),
    Mutant(
        "accepted-mail-does-not-end-a-suspicion",
        "notifier/sending/circuit_breaker.py",
        "            self._pause, self._retry_at = timedelta(0), 0.0\n",
        "",
        (f"{_ACCOUNTS}::test_an_accepted_mail_ends_a_suspicion",),
    ),
    Mutant(
        "oldest-mail-tries-a-suspected-account",
        "notifier/actors/sender.py",
        "newest=newest)",
        "newest=False)",
        (f"{_ACCOUNTS}::test_mail_that_comes_after_a_batch_of_rejected_ones_is_tried_next",),
    ),
    Mutant(
        "mails-of-a-batch-tried-again-first",
        "notifier/storage/sqlite/claiming.py",
        "                if is_new:\n                    break\n",
        "                break\n",
        ("tests/unit/storage/sqlite/test_store.py::test_the_mail_on_trial_is_the_one_that_became_due_last",),
    ),
    Mutant(
        "cleared-rejections-fail-for-good",
        "notifier/sending/transport_health.py",
        "        if cause is not Cause.MAIL and not speaks_of_the_recipient(reply):\n",
        "        if False:\n",
        ("tests/unit/sending/test_transport_health.py::test_rejections_after_the_account_was_cleared_pause_nothing",),
    ),
    Mutant(
        "lone-rejection-fails-for-good",
        "notifier/sending/transport_health.py",
        "            return Judgement([_later(mail, reply, at)])\n        paused",
        "            return Judgement([failed(mail, reply, None)])\n        paused",
        ("tests/unit/sending/test_transport_health.py::test_a_rejection_that_meets_nobody_else_pauses_nothing",),
    ),
    Mutant(
        "hourly-limit-is-the-mail-s-rejection",
        "notifier/sending/replies.py",
        "(e-?mails|messages|recipients)",
        "(messages|recipients)",
        (f"{_ACCOUNTS}::test_a_limit_that_lets_some_mails_through_fails_none",),
    ),
    Mutant(
        "window-of-a-limit-is-a-pause",
        "notifier/sending/replies.py",
        r'r"\b(?:for|wait|next',
        r'r"\b(?:in|for|wait|next',
        ("tests/unit/sending/test_replies.py::test_a_time_that_a_server_names_is_read",),
    ),
    Mutant(
        "quota-of-another-account-never-free-again",
        "notifier/actors/sender.py",
        "            if not other.room(self._limits.connections):\n",
        "            if not other.room(self._limits.connections) or other.quota_left == 0:\n",
        (f"{_ACCOUNTS}::test_a_quota_that_is_free_again_is_used_for_mail_that_no_other_account_can_send",),
    ),
    Mutant(
        "mails-crowd-at-a-used-up-quota",
        "notifier/sending/transport_health.py",
        "(QUOTA_AGAIN if waits_for_quota else OTHER_TRANSPORT)",
        "OTHER_TRANSPORT",
        ("tests/unit/sending/test_transport_health.py::test_mails_that_wait_for_a_quota_do_not_crowd",),
    ),
    Mutant(
        "used-up-quota-not-noted",
        "notifier/actors/sender.py",
        "        if other.rebooked(again_at):\n",
        "        if False:\n",
        (f"{_ACCOUNTS}::test_a_quota_that_is_free_again_is_used_for_mail_that_no_other_account_can_send",),
    ),
    Mutant(
        "quota-shown-as-used-up-for-ever",
        "notifier/observability/status.py",
        "    if lane.quota_used_up(clock.now()) and not reason:\n",
        "    if lane.used_up_until and not reason:\n",
        ("tests/unit/sending/test_transport_health.py::test_a_used_up_quota_is_shown_until_its_time",),
    ),
    Mutant(
        "login-ends-a-later-fault",
        "notifier/sending/circuit_breaker.py",
        "        if self.state is not State.PROBING:\n            return False\n",
        "",
        ("tests/unit/sending/test_circuit_breaker.py::test_a_login_does_not_end_a_fault_that_came_meanwhile",),
    ),
    Mutant(
        "longer-pause-ignored",
        "notifier/sending/circuit_breaker.py",
        "            if named is None or named <= self._pause:\n                return False\n",
        "            if True:\n                return False\n",
        ("tests/unit/sending/test_circuit_breaker.py::test_a_longer_pause_that_is_asked_for_replaces_a_shorter_one",),
    ),
    Mutant(
        "one-connection-too-many-is-a-fault",
        "notifier/gateways/smtp.py",
        "        if not (allowed and is_connection_limit(error.said)):\n",
        "        if True:\n",
        (f"{_CONNECTIONS}::test_a_server_that_allows_few_connections_gets_no_more",),
    ),
    Mutant(
        "any-refused-login-is-a-limit",
        "notifier/gateways/smtp.py",
        "        if not (allowed and is_connection_limit(error.said)):\n",
        "        if not allowed:\n",
        (f"{_CONNECTIONS}::test_only_the_words_of_a_server_are_a_limit_of_connections",),
    ),
    Mutant(
        "farewells-end-with-the-probe",
        "notifier/gateways/smtp.py",
        "            await asyncio.wait(self._farewells)\n",
        "            await asyncio.gather(*self._farewells)\n",
        (f"{_CONNECTIONS}::test_a_cancelled_probe_leaves_no_connection_behind",),
    ),
    Mutant(
        "login-of-another-waited-for-without-end",
        "notifier/gateways/smtp.py",
        "timeout=max(0.0, give_up_at - asyncio.get_running_loop().time())",
        "timeout=None",
        (f"{_CONNECTIONS}::test_a_login_of_another_delivery_is_not_waited_for_long",),
    ),
    Mutant(
        "claims-beyond-the-connections",
        "notifier/sending/transport_health.py",
        "min(connections, self.transport.capacity) - self.under_way",
        "connections - self.under_way",
        (f"{_ROOM}::test_a_server_that_allows_few_connections_pauses_nobody",),
    ),
    Mutant(
        "another-account-without-room",
        "notifier/actors/sender.py",
        "            if not other.room(self._limits.connections):\n",
        "            if not other.circuit.room(1):\n",
        (f"{_ROOM}::test_no_account_gets_more_mails_at_a_time_than_it_has_connections",),
    ),
    Mutant(
        "started-long-after-its-claim",
        "notifier/actors/sender.py",
        "if has_expired or is_late or",
        "if has_expired or",
        (f"{_ROOM}::test_a_mail_that_waited_for_a_login_is_decided_anew",),
    ),
    Mutant(
        "run-ends-with-the-store",
        "notifier/actors/sender.py",
        "            if str(error) != self._unclaimable:\n",
        "            raise\n            if str(error) != self._unclaimable:\n",
        (f"{_ROOM}::test_mail_goes_on_beside_a_dialogue_when_the_store_can_be_written_again",),
    ),
    Mutant(
        "room-after-a-login-unused",
        "notifier/actors/sender.py",
        "            if lane.transport.capacity > capacity:\n",
        "            if False:\n",
        (f"{_ACCOUNTS}::test_each_account_has_connections_of_its_own",),
    ),
    Mutant(
        "trial-ended-by-another-mail",
        "notifier/sending/circuit_breaker.py",
        "        if trial is self._trial:\n",
        "        if True:\n",
        ("tests/unit/sending/test_circuit_breaker.py::test_a_trial_is_ended_by_its_own_mail_only",),
    ),
    Mutant(
        "two-mails-on-one-trial",
        "notifier/sending/circuit_breaker.py",
        "        if self.state is not State.HALF_OPEN or self._trial is not None:\n",
        "        if self.state is not State.HALF_OPEN:\n",
        ("tests/unit/sending/test_circuit_breaker.py::test_a_trial_is_ended_by_its_own_mail_only",),
    ),
    Mutant(
        "unsent-message-is-in-doubt",
        "notifier/gateways/smtp.py",
        "                protocol = _still_open(client)\n                phase = Phase.DOT\n",
        "                phase = Phase.DOT\n                protocol = _still_open(client)\n",
        (f"{_CONNECTIONS}::test_a_connection_that_is_lost_before_the_message_leaves_no_doubt",),
    ),
    Mutant(
        "greeted-beyond-ascii",
        "notifier/gateways/smtp.py",
        "settings, ascii_domain(domain), tls",
        "settings, domain, tls",
        (f"{_CONNECTIONS}::test_a_server_is_greeted_in_ascii",),
    ),
    Mutant(
        "next-address-only-after-a-refusal",
        "notifier/gateways/dial.py",
        "patience = NEXT_AFTER if untried else None",
        "patience = None",
        ("tests/unit/gateways/test_dial.py::test_an_address_that_drops_packets_does_not_hide_the_next_one",),
    ),
    Mutant(
        "counts-kept-without-end",
        "notifier/observability/throughput.py",
        "        self._forget(int(now))\n",
        "",
        ("tests/unit/observability/test_throughput.py::test_what_nobody_asks_for_takes_no_more_memory",),
    ),
    Mutant(
        "probe-beside-idle-connections",
        "notifier/gateways/smtp.py",
        "        await self.close()\n        while self._login is not None:\n",
        "        while self._login is not None:\n",
        ("tests/unit/gateways/test_smtp_connections.py::test_a_probe_closes_idle_connections_before",),
    ),
    Mutant(
        "used-up-connection-is-a-fault",
        "notifier/gateways/smtp.py",
        "    if result.phase is Phase.MAIL and is_used_up(result.reply):\n        return True\n",
        "",
        ("tests/unit/gateways/test_smtp_connections.py::test_a_connection_that_takes_no_more_mails_is_replaced",),
    ),
    Mutant(
        "connection-kept-after-a-rejected-mail",
        "notifier/gateways/smtp.py",
        "            if phase is Phase.MAIL:\n                self._dismiss(client)\n",
        "            if phase is Phase.MAIL:\n                self._put_back(client)\n",
        ("tests/unit/gateways/test_smtp.py::test_a_refusal_says_in_which_phase_and_the_connection_stays",),
    ),
    Mutant(
        "unexpected-reply-taken-as-an-answer",
        "notifier/gateways/smtp.py",
        "            _check_expected(phase, reply)\n",
        "",
        ("tests/unit/gateways/test_smtp_connections.py::test_a_reply_that_fits_no_command_breaks_the_dialogue",),
    ),
    Mutant(
        "started-on-a-paused-account",
        "notifier/actors/sender.py",
        "lane.circuit.lets_start(trial) and not self._store.paused",
        "not self._store.paused",
        (
            "tests/unit/actors/test_sender_account.py::test_a_mail_that_waits_does_not_start_on_an_account_that_was_paused",
        ),
    ),
    Mutant(
        "given-up-login-waited-for",
        "notifier/actors/sender.py",
        "            lane.circuit.abandon_probe()\n",
        "",
        ("tests/unit/actors/test_sender_account.py::test_a_login_that_was_given_up_is_tried_by_the_next_run",),
    ),
    Mutant(
        "own-words-lose-mails",
        "notifier/composing/templates.py",
        "            if self._built_in is None:\n",
        '            if self._built_in is None or _words(error).startswith("ValueError"):\n',
        ("tests/unit/composing/test_templates.py::test_own_words_that_fail_with_a_mail_do_not_lose_it",),
    ),
    Mutant(
        "a-missing-weekday-is-no-fault",
        "notifier/composing/words.py",
        "            if len(found) != expected:\n",
        "            if len(found) > expected:\n",
        ("tests/unit/composing/test_templates.py::test_wrong_words_are_found_at_the_start",),
    ),
    Mutant(
        "templates-tried-on-one-date",
        "notifier/composing/templates.py",
        "dated_mails(locale) if self._folder else ()",
        "()",
        ("tests/unit/composing/test_templates.py::test_a_template_is_tried_on_every_weekday",),
    ),
    Mutant(
        "durations-without-a-bound",
        "notifier/settings.py",
        "    if seconds > MAX_LENGTH.total_seconds():\n",
        "    if seconds > 25 * MAX_LENGTH.total_seconds():\n",
        ("tests/unit/test_settings.py::test_a_duration_of_more_than_100_years_is_a_fault",),
    ),
    Mutant(
        "rate-close-to-0",
        "notifier/settings.py",
        "    if 0 < rate < SLOWEST:\n",
        "    if 0 < rate < SLOWEST / 1000:\n",
        ("tests/unit/test_settings.py::test_a_rate_close_to_0_is_a_fault",),
    ),
    Mutant(
        "far-departure-leaves-the-calendar",
        "notifier/domain/booking.py",
        "min(max(now, _last_departure(flights) or now), _FAR) + rules.remember",
        "max(now, _last_departure(flights) or now) + rules.remember",
        ("tests/unit/domain/test_booking.py::test_every_departure_can_be_planned_with_every_setting",),
    ),
    Mutant(
        "far-send-at-leaves-the-calendar",
        "notifier/domain/mail.py",
        "again - max(mail.send_at, since) > policy.give_up_after",
        "again > max(mail.send_at, since) + policy.give_up_after",
        ("tests/unit/domain/test_mail.py::test_every_time_and_setting_can_be_retried",),
    ),
    Mutant(
        "reply-to-needs-smtputf8",
        "notifier/settings.py",
        "not found.address.isascii()",
        "not found.address.isprintable()",
        ("tests/unit/test_settings.py::test_a_fault_says_what_was_given_or_expected",),
    ),
    Mutant(
        "bearer-token-in-latin-1",
        "notifier/feed/client.py",
        'f"Bearer {token}".encode()}',
        'f"Bearer {token}"}',
        ("tests/unit/feed/test_client.py::test_a_token_of_any_letters_is_known_on_every_way",),
    ),
    Mutant(
        "token-that-no-header-carries",
        "notifier/settings.py",
        "if not token.isprintable() or token != token.strip():",
        "if token != token.strip():",
        ("tests/unit/test_settings.py::test_a_token_that_no_header_can_carry_is_refused",),
    ),
    Mutant(
        "bearer-token-cut-like-a-text",
        "notifier/feed/pages.py",
        'token.strip(" \\t").encode',
        "token.strip().encode",
        ("tests/unit/feed/test_client.py::test_a_token_of_any_letters_is_known_on_every_way",),
    ),
    Mutant(
        "all-mails-in-one-list",
        "notifier/cli/terminal.py",
        "ids[first : first + MAX_MAILS], wanted",
        "ids, wanted",
        ("tests/unit/cli/test_app.py::test_send_waits_for_more_mails_than_one_list_has",),
    ),
    Mutant(
        "events-between-two-lists-are-missed",
        "notifier/cli/terminal.py",
        "        list(_newer(frame, wanted, mails))\n",
        "",
        ("tests/unit/feed/test_client.py::test_a_mail_that_is_sent_between_two_lists_is_known_to_be_sent",),
    ),
    Mutant(
        "recipients-name-alone-is-shown",
        "notifier/domain/addresses.py",
        "len(name) >= SHORTEST_NAME:",
        "len(name) >= 10 * SHORTEST_NAME:",
        ("tests/unit/domain/test_addresses.py::test_a_recipient_is_masked_where_its_name_stands_alone",),
    ),
    Mutant(
        "encoded-at-is-no-at",
        "notifier/domain/addresses.py",
        "(?:@|%40|[+=]40|",
        "(?:@|%40|[=]40|",
        ("tests/unit/domain/test_addresses.py::test_a_recipient_is_masked_however_its_at_is_written",),
    ),
    Mutant(
        "part-of-a-word-is-masked",
        "notifier/domain/addresses.py",
        '(?!\\w)(?![.-]\\w)"',
        '(?!\\w)"',
        ("tests/unit/domain/test_addresses.py::test_ordinary_words_are_not_masked",),
    ),
    Mutant(
        "address-behind-an-at-is-shown",
        "notifier/domain/addresses.py",
        """_ADDRESS = re.compile(r"([^@]+)@[^'@]+|[^@]+|@")""",
        """_ADDRESS = re.compile(r"([^@]+)@[^'@]+|[^@]+|@[^@]*")""",
        ("tests/unit/domain/test_addresses.py::test_masking_finds_what_a_search_finds",),
    ),
    Mutant(
        "health-of-another-service",
        "notifier/feed/client.py",
        "        msgspec.convert(parts, _Readiness)\n",
        "",
        ("tests/unit/cli/test_app.py::test_health_takes_no_other_service_for_notifier",),
    ),
    Mutant(
        "filter-checked-by-the-service-alone",
        "notifier/cli/app.py",
        "        read_filter(wanted)\n",
        "        wanted.copy()\n",
        ("tests/integration/test_exit_codes.py::test_wrong_values_are_exit_2",),
    ),
    Mutant(
        "argument-that-cannot-be-encoded",
        "notifier/cli/app.py",
        "    _check_encodable(message)\n",
        "",
        ("tests/integration/test_exit_codes.py::test_wrong_values_are_exit_2",),
    ),
    Mutant(
        "deep-json-is-a-traceback",
        "notifier/cli/app.py",
        "    except (OSError, ValueError, RecursionError) as error:\n",
        "    except (OSError, ValueError) as error:\n",
        ("tests/integration/test_exit_codes.py::test_what_is_no_json_is_exit_2",),
    ),
    Mutant(
        "too-large-message-cannot-be-reached",
        "notifier/feed/client.py",
        "    if code == _TOO_LARGE:\n",
        "    if code == _TOO_LARGE + 1:\n",
        ("tests/unit/cli/test_app.py::test_a_message_that_is_too_large_is_exit_1",),
    ),
    Mutant(
        "sender-that-no-header-carries",
        "notifier/settings.py",
        "\\u2028\\u2029\\ud800-\\udfff]",
        "\\u2028\\u2029]",
        ("tests/unit/test_settings.py::test_a_fault_says_what_was_given_or_expected",),
    ),
    Mutant(
        "unknown-time-zone-left-out-of-the-last-departure",
        "notifier/domain/booking.py",
        "max((flight.departs_by for flight in flights), default=None)",
        "max((flight.departs_at for flight in flights if flight.departs_at), default=None)",
        (
            "tests/unit/domain/test_booking.py::test_an_unknown_time_zone_counts_as_the_westernmost",
            "tests/unit/domain/test_booking.py::test_a_change_of_a_return_from_an_unknown_zone_is_sent_after_the_outbound_departure",
        ),
    ),
    Mutant(
        "outdated-messages-read-mails",
        "notifier/domain/booking.py",
        "return not isinstance(_in_force(self, before), BookingState)",
        "return _in_force(self, before) is not None",
        (
            "tests/unit/storage/sqlite/test_queries.py::test_an_outdated_or_repeated_message_costs_nothing_by_the_size_of_its_booking",
        ),
    ),
    Mutant(
        "finished-mails-read-for-each-message",
        "notifier/storage/sqlite/changes.py",
        '_OPEN_OF = f"INDEXED BY mails_open WHERE matter = ? AND {OPEN} AND ',
        '_OPEN_OF = f"WHERE matter = ? AND ',
        ("tests/unit/storage/sqlite/test_queries.py::test_a_message_about_a_booking_costs_no_more_after_many_others",),
    ),
    Mutant(
        "change-notices-pile-up",
        "notifier/domain/booking.py",
        "(mail, SUPERSEDED if notices.is_superseded(mail) else drafts.amendment(mail, wanted, told))",
        "(mail, drafts.amendment(mail, wanted, told))",
        (
            "tests/unit/storage/sqlite/test_queries.py::test_a_message_about_a_booking_costs_no_more_after_many_others",
            "tests/unit/domain/test_booking.py::test_a_newer_change_notice_supersedes_those_that_wait",
        ),
    ),
    Mutant(
        "mails-that-are-read-cost-nothing",
        "notifier/storage/sqlite/changes.py",
        "spent += max(work.read + done.wrote, 1)",
        "spent += max(done.wrote, 1)",
        ("tests/unit/storage/sqlite/test_reader.py::test_a_batch_is_divided_by_the_mails_that_it_reads",),
    ),
    Mutant(
        "superseding-notice-goes-to-the-end-of-the-queue",
        "notifier/domain/booking.py",
        "return replace(notice, content=content, send_at=min(waiting.send_at, notice.send_at))",
        "return replace(notice, content=content)",
        ("tests/unit/domain/test_booking.py::test_a_newer_change_notice_supersedes_those_that_wait",),
    ),
    Mutant(
        "set-back-clock-suppresses-ticks",
        "notifier/clock.py",
        "if 0 <= (at - last).total_seconds() < _EARLY:",
        "if (at - last).total_seconds() < _EARLY:",
        ("tests/unit/test_clock.py::test_a_clock_that_is_set_back_does_not_suppress_ticks",),
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
            "tests/unit/storage/sqlite/test_store.py::test_after_a_clock_was_set_back_changes_of_a_mail_do_not_let_it_wait_for_the_old_time",
        ),
    ),
    Mutant(
        "retry-time-not-set-back",
        "notifier/storage/sqlite/claiming.py",
        'due_at - ?, next_attempt_at = next_attempt_at - ?"',
        'due_at - ?, next_attempt_at = next_attempt_at + 0 * ?"',
        (
            "tests/unit/storage/sqlite/test_store.py::test_after_a_clock_was_set_back_changes_of_a_mail_do_not_let_it_wait_for_the_old_time",
        ),
    ),
    Mutant(
        "starts-ahead-of-the-clock",
        "notifier/storage/sqlite/claiming.py",
        "UPDATE starts SET at = at - ? WHERE",
        "UPDATE starts SET at = at - 0 * ? WHERE",
        (
            "tests/unit/storage/sqlite/test_store.py::test_after_a_clock_was_set_back_a_quota_recovers_a_day_after_its_starts",
        ),
    ),
    Mutant(
        "outdone-state-not-erased",
        "notifier/domain/planning.py",
        "return replace(known, outdone=None) if in_outdone else known",
        "return known",
        (
            "tests/unit/storage/sqlite/test_connection.py::test_an_address_is_erased_from_a_state_that_never_came_into_force",
        ),
    ),
    Mutant(
        "one-owner-for-each-link",
        "notifier/storage/sqlite/store.py",
        """\
    path = path.resolve()
""",
        """\
    path = path.absolute()
""",
        ("tests/unit/storage/sqlite/test_connection.py::test_a_second_process_cannot_open_the_file_by_another_name",),
    ),
    Mutant(
        "hard-link-is-another-file",
        "notifier/storage/sqlite/store.py",
        'for each in (Path(f"{path}.lock"), path):',
        'for each in (Path(f"{path}.lock"),):',
        ("tests/unit/storage/sqlite/test_connection.py::test_a_second_process_cannot_open_the_file_by_another_name",),
    ),
    Mutant(
        "capital-letters-not-erased",
        "notifier/storage/sqlite/erasure.py",
        "in written.decode().lower() else None",
        "in written.decode() else None",
        (
            "tests/unit/storage/sqlite/test_connection.py::test_an_address_is_erased_from_a_state_that_never_came_into_force",
        ),
    ),
    Mutant(
        "cancellation-expires-with-its-flight",
        "notifier/domain/booking.py",
        "max(last, self._now + CANCELLATION_NOTICE_LIFETIME) if last and kind",
        "last if last and kind",
        ("tests/unit/domain/test_booking.py::test_a_cancellation_notice_can_be_sent_for_a_day_at_least",),
    ),
    Mutant(
        "farewell-expires-with-the-old-flight",
        "notifier/domain/booking.py",
        "last = _last_departure((*shown, *self._flights))",
        "last = _last_departure(shown)",
        ("tests/unit/domain/test_booking.py::test_a_farewell_expires_with_the_later_of_the_old_and_new_departures",),
    ),
    Mutant(
        "farewell-with-two-ids",
        "notifier/domain/booking.py",
        """\
mail.status is Status.PENDING and not mail.maybe_sent

""",
        """\
mail.status is Status.PENDING

""",
        ("tests/unit/domain/test_booking.py::test_a_cancellation_notice_that_may_have_been_sent_stays_the_only_one",),
    ),
    Mutant(
        "cancellation-counts-as-confirmation",
        "notifier/domain/booking.py",
        "if before is None or not before.confirmed:",
        "if before is None:",
        ("tests/unit/domain/test_booking.py::test_an_address_that_only_a_cancellation_named_is_confirmed_later",),
    ),
    Mutant(
        "id-of-a-restored-state-given-out-again",
        "notifier/domain/booking.py",
        """\
        if found.restored:
""",
        """\
        if not found:
""",
        ("tests/unit/domain/test_booking.py::test_no_id_of_a_restored_state_is_given_out_again_after_a_purge",),
    ),
    Mutant(
        "cancellation-refused-for-its-addresses",
        "notifier/domain/messages.py",
        """\
        if all(passenger.fault for passenger in passengers):
""",
        """\
    if True:
        if passengers and all(passenger.fault for passenger in passengers):
""",
        ("tests/unit/domain/test_messages.py::test_a_cancellation_needs_no_usable_address",),
    ),
    Mutant(
        "id-of-any-type",
        "notifier/feed/protocol.py",
        "_Id = str | int | float | None",
        "_Id = Any",
        ("tests/unit/feed/test_protocol.py::test_an_id_of_any_other_type_is_bad",),
    ),
    Mutant(
        "malformed-host-is-our-fault",
        "notifier/feed/pages.py",
        """    except ValueError:
        return None
""",
        """    except KeyError:
        return None
""",
        ("tests/unit/feed/test_pages.py::test_a_malformed_header_is_the_clients_fault",),
    ),
    Mutant(
        "stats-end-with-one-failed-read",
        "notifier/feed/session.py",
        "            with suppress(StoreUnusable):  # a store",
        "            with suppress(TimeoutError):  # a store",
        ("tests/unit/feed/test_session.py::test_stats_go_on_after_a_failed_read",),
    ),
    Mutant(
        "task-of-a-session-ends-silently",
        "notifier/feed/session.py",
        """\
        except ConnectionClosed:
            return
        except Exception:
            log.exception("session failed")
            await self._close(FAULT, "a fault of notifier's")

    def""",
        """\
        except Exception:
            return

    def""",
        ("tests/unit/feed/test_session.py::test_a_fault_of_ours_in_the_stats_of_a_session_ends_only_that",),
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
        "operator-waits-behind-viewers",
        "notifier/feed/commands.py",
        'urgent=role == "operator")',
        "urgent=False)",
        ("tests/unit/feed/test_share.py::test_what_operators_ask_goes_before_what_viewers_ask",),
    ),
    Mutant(
        "every-filter-looks-at-every-event",
        "notifier/actors/broadcaster.py",
        "if not subscriber.wanted.may_pass(batch):",
        "if False:",
        ("tests/unit/actors/test_broadcaster.py::test_subscribers_whom_no_event_concerns_cost_nearly_nothing",),
    ),
    Mutant(
        "viewers-are-sent-all-they-ask-for",
        "notifier/feed/session.py",
        "await self._feed.viewers.take(size)",
        "pass",
        ("tests/unit/feed/test_share.py::test_the_share_of_viewers_concerns_their_answers_alone",),
    ),
    Mutant(
        "portions-of-the-log-not-shared",
        "notifier/storage/sqlite/queries.py",
        "(after // BATCH_SIZE + 1) * BATCH_SIZE",
        "after + BATCH_SIZE",
        (
            "tests/unit/storage/sqlite/test_reader.py::test_what_is_counted_and_replayed_is_what_passes_the_filter",
            "tests/unit/feed/test_share.py::test_those_who_resume_share_the_reading_of_the_log",
        ),
    ),
    Mutant(
        "waiting-client-gives-up",
        "notifier/feed/client.py",
        "patience, heartbeat = FIRST_STATE_TIMEOUT, float(HEARTBEAT)",
        "patience, heartbeat = SILENCES * HEARTBEAT, float(HEARTBEAT)",
        ("tests/unit/feed/test_client.py::test_a_client_that_waits_for_its_first_state_does_not_give_up",),
    ),
    Mutant(
        "viewer-with-large-frames",
        "notifier/feed/connection_limiter.py",
        "            self.protocol.max_message_size = MAX_VIEWER_FRAME\n",
        "            pass\n",
        ("tests/unit/feed/test_connection_limiter.py::test_a_frame_of_a_viewer_has_at_most_64_kib",),
    ),
    Mutant(
        "viewers-fill-the-memory",
        "notifier/feed/connection_limiter.py",
        "while self.incoming > MAX_INCOMING:",
        "while False:",
        ("tests/unit/feed/test_connection_limiter.py::test_all_viewers_together_occupy_a_bounded_number_of_bytes",),
    ),
    Mutant(
        "viewer-with-endless-commands",
        "notifier/feed/session.py",
        "while not self._is_operator and len(self._tasks) > MAX_FRAMES:",
        "while False:",
        ("tests/unit/feed/test_connection_limiter.py::test_a_viewer_has_a_bounded_number_of_commands_in_memory",),
    ),
    Mutant(
        "frames-decoded-before-the-token-is-judged",
        "notifier/feed/protocol.py",
        "        type_ = _read_type(text).type\n",
        '        type_ = msgspec.json.decode(text)["type"]\n',
        ("tests/unit/feed/test_protocol.py::test_nothing_is_built_of_what_is_not_asked_for",),
    ),
    Mutant(
        "arguments-of-viewers-decoded-at-will",
        "notifier/feed/commands.py",
        "_decoded(args, _List | None) or _List()",
        "msgspec.convert(_decoded(args, Any), _List | None) or _List()",
        ("tests/unit/feed/test_commands.py::test_nothing_is_built_of_arguments_that_a_list_does_not_have",),
    ),
    Mutant(
        "viewer-sends-any-number-of-bytes",
        "notifier/feed/session.py",
        " or sum(each for _, each in self._recent) > MAX_VIEWER_BYTES:",
        ":",
        ("tests/unit/feed/test_connection_limiter.py::test_a_viewer_may_send_512_kib_in_ten_seconds",),
    ),
    Mutant(
        "abandoned-query-is-asked",
        "notifier/storage/sqlite/reader.py",
        "                del queue.waiting[key]\n",
        "                pass\n",
        ("tests/unit/storage/sqlite/test_reader.py::test_a_query_that_nobody_waits_for_any_more_is_not_begun",),
    ),
    Mutant(
        "client-that-hung-up-is-still-served",
        "notifier/feed/session.py",
        "await asyncio.wait((serving, gone), return",
        "await asyncio.wait((serving,), return",
        ("tests/unit/feed/test_session_leaving.py::test_a_viewer_that_hangs_up_takes_its_query_with_it",),
    ),
    Mutant(
        "command-of-an-operator-lost-midway",
        "notifier/feed/session.py",
        "        return await asyncio.shield(working)\n",
        "        return await working\n",
        ("tests/unit/feed/test_session_leaving.py::test_what_an_operator_has_begun_is_done_although_it_hangs_up",),
    ),
    Mutant(
        "endless-command-delays-the-end",
        "notifier/feed/server.py",
        "            task.cancel()\n",
        "            pass\n",
        ("tests/unit/feed/test_session_leaving.py::test_a_command_that_takes_too_long_does_not_delay_the_end",),
    ),
    Mutant(
        "late-handshake-delays-the-end",
        "notifier/feed/server.py",
        "        way_in.close()\n        await asyncio.gather(*(session.leave() for session in sessions))\n",
        "        await asyncio.gather(*(session.leave() for session in sessions))\n        way_in.close()\n",
        ("tests/unit/feed/test_session_leaving.py::test_a_handshake_that_completes_as_the_feed_closes_is_cut",),
    ),
    Mutant(
        "abandoned-answer-keeps-its-share",
        "notifier/feed/share.py",
        "                self._free_at -= _cost(size)\n",
        "",
        ("tests/unit/feed/test_session_leaving.py::test_an_answer_that_nobody_waits_for_any_more_costs_no_share",),
    ),
    Mutant(
        "unfinished-message-held-for-ever",
        "notifier/feed/connection_limiter.py",
        "            self._set_deadline(MESSAGE_TIMEOUT)\n        self.door",
        "            pass\n        self.door",
        ("tests/unit/feed/test_session_leaving.py::test_a_viewer_must_complete_what_it_begins",),
    ),
    Mutant(
        "ping-is-an-unfinished-message",
        "notifier/feed/connection_limiter.py",
        "        if not self._parts:  # no message is under way\n",
        "        if False:\n",
        ("tests/unit/feed/test_session_leaving.py::test_a_viewer_must_complete_what_it_begins",),
    ),
    Mutant(
        "message-of-any-number-of-parts",
        "notifier/feed/connection_limiter.py",
        "if self._parts > MAX_PARTS:",
        "if False:",
        ("tests/unit/feed/test_session_leaving.py::test_a_message_has_a_bounded_number_of_parts",),
    ),
    Mutant(
        "latest-answer-gives-way",
        "notifier/feed/connection_limiter.py",
        "next(iter(self._bodies)).cut()",
        "next(reversed(self._bodies)).cut()",
        ("tests/unit/feed/test_session_leaving.py::test_the_oldest_answers_give_way",),
    ),
    Mutant(
        "viewers-lock-operators-out",
        "notifier/feed/connection_limiter.py",
        "inside = self._viewers if is_viewer else self._operators",
        "inside = self._viewers",
        ("tests/integration/test_feed_misbehaviour.py::test_beyond_the_most_viewers_one_is_asked_to_come_later",),
    ),
    Mutant(
        "download-of-an-answer-is-slowness",
        "notifier/feed/session.py",
        "get_write_buffer_size() - self._under_way)",
        "get_write_buffer_size())",
        ("tests/unit/feed/test_session_leaving.py::test_a_client_that_downloads_its_own_answer_is_not_too_slow",),
    ),
)
