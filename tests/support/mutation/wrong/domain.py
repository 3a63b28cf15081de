"""Wrong changes of `notifier/domain`."""

from support.mutation.mutant import Mutant

MUTANTS = (
    Mutant(
        "airports-without-an-icao-code-are-missing",
        "notifier/domain/airports.py",
        '        if line.split(",", column + 1)[column] != _NO_CODE:\n',
        "        if _NO_CODE not in line:\n",
        ("tests/unit/domain/test_airports.py::test_the_table_has_every_airport_of_the_package",),
    ),
    Mutant(
        "address-checker-imported-by-every-command",
        "notifier/domain/addresses.py",
        "from urllib.parse import quote\n",
        "from urllib.parse import quote\n\nimport email_validator\n",
        ("tests/unit/cli/test_app.py::test_a_client_command_imports_nothing_of_the_service",),
    ),
    Mutant(
        "sent-mail-may-be-pending",
        "notifier/domain/mail.py",
        "    Status.SENT: frozenset(),\n",
        "    Status.SENT: frozenset({Status.PENDING}),\n",
        ("tests/unit/domain/test_mail.py::test_the_steps_of_a_mail_are_those_of_the_contract",),
    ),
    Mutant(
        "local-time-read-as-utc",
        "notifier/domain/airports.py",
        "given.replace(tzinfo=zone).astimezone(UTC)",
        "given.replace(tzinfo=UTC)",
        ("tests/unit/domain/test_airports.py::test_the_same_departure_in_three_spellings_is_one_moment",),
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
        "newer-messages-forget-what-is-being-sent",
        "notifier/domain/planning.py",
        "_AMENDABLE = frozenset({Status.SENDING, Status.FAILED, Status.UNCERTAIN})",
        "_AMENDABLE = frozenset({Status.FAILED, Status.UNCERTAIN})",
        (
            "tests/unit/domain/test_booking.py::test_a_mail_that_was_being_sent_when_its_booking_changed_gets_the_new_content",
        ),
    ),
    Mutant(
        "unknown-outcome-rewritten",
        "notifier/domain/mail.py",
        "        case Rewritten() if not mail.maybe_sent:\n",
        "        case Rewritten():\n",
        ("tests/unit/storage/sqlite/test_changes.py::test_a_mail_of_unknown_outcome_is_sent_again_as_it_was",),
    ),
    Mutant(
        "rewritten-without-a-revision",
        "notifier/domain/mail.py",
        "    return replace(_saying(mail, amendment), rev=mail.rev + 1)\n",
        "    return _saying(mail, amendment)\n",
        (
            "tests/unit/storage/sqlite/test_changes.py::test_a_rewritten_mail_raises_its_revision_and_says_so_in_the_log",
        ),
    ),
    Mutant(
        "id-of-a-reminder-given-out-again",
        "notifier/domain/drafts.py",
        "        if self._sequence:\n",
        "        if self._sequence < 0:\n",
        ("tests/unit/domain/test_drafts.py::test_no_id_is_given_out_again_after_a_purge",),
    ),
    Mutant(
        "id-of-a-stored-mail-given-out-again",
        "notifier/domain/drafts.py",
        "named, message.source, message.id) if id_ in self._taken else id_",
        "named, message.source, message.id) if id_ in () else id_",
        (
            "tests/unit/domain/test_drafts.py::test_a_message_that_was_forgotten_makes_mails_with_other_ids_than_those_that_are_stored",
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
        "notifier/domain/precedence.py",
        "    if unversioned is None or message.time >= unversioned.time:\n",
        "    if unversioned is None or message.time:\n",
        ("tests/unit/domain/test_precedence.py::test_versions_and_times_mixed_end_in_one_state",),
    ),
    Mutant(
        "alias-shown-to-viewers",
        "notifier/domain/public_mail.py",
        "return all_masked(without(mail.to, text))",
        "return without(mail.to, text)",
        ("tests/integration/test_privacy.py::test_other_addresses_in_a_servers_words_are_masked",),
    ),
    Mutant(
        "masking-begins-anew-at-each-letter",
        "notifier/domain/addresses.py",
        "_WORD.sub(lambda word: _ADDRESS.sub(_masked, word[0]), text)",
        r"""re.sub(r"[^\s<>\"(),:;@]+@[^\s<>\"'(),:;@]+", lambda found: masked(found[0]), text)""",
        ("tests/unit/domain/test_addresses.py::test_masking_takes_time_linear_in_the_text",),
    ),
    Mutant(
        "domain-checked-each-time",
        "notifier/domain/addresses.py",
        "@lru_cache(maxsize=1024)\ndef _international",
        "@lru_cache(maxsize=0)\ndef _international",
        ("tests/unit/domain/test_addresses.py::test_an_international_domain_is_checked_once",),
    ),
    Mutant(
        "plain-domain-checked-each-time",
        "notifier/domain/addresses.py",
        "@lru_cache(maxsize=1024)\ndef _plain_domain",
        "@lru_cache(maxsize=0)\ndef _plain_domain",
        ("tests/unit/domain/test_addresses.py::test_a_plain_domain_is_checked_once",),
    ),
    Mutant(
        "capital-role-addresses-kept",
        "notifier/domain/addresses.py",
        """_PLAIN_LOCAL = re.compile(r"[a-z0-9""",
        """_PLAIN_LOCAL = re.compile(r"[A-Za-z0-9""",
        ("tests/unit/domain/test_addresses.py::test_an_ascii_address_is_checked_as_a_whole_address_is",),
    ),
    Mutant(
        "address-of-any-length-with-a-plain-name",
        "notifier/domain/addresses.py",
        "if len(address) <= MAX_LENGTH and _PLAIN",
        "if _PLAIN",
        ("tests/unit/domain/test_addresses.py::test_an_ascii_address_is_checked_as_a_whole_address_is",),
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
        "notifier/domain/drafts.py",
        "            error=content.note,",
        "            error=message.note,",
        ("tests/unit/domain/test_drafts.py::test_every_notice_keeps_what_was_wrong_with_its_message",),
    ),
    Mutant(
        "ids-limited-in-characters",
        "notifier/domain/fields.py",
        'if len(text.encode(errors="replace")) > MAX_ID_BYTES:',
        "if len(text) > MAX_ID_BYTES:",
        ("tests/unit/domain/test_messages.py::test_ids_are_limited_in_bytes",),
    ),
    Mutant(
        "ids-of-requests-come-back",
        "notifier/domain/notification.py",
        ", now.isoformat())",
        ")",
        ("tests/unit/storage/sqlite/test_purging.py::test_no_id_comes_back_after_everything_was_forgotten",),
    ),
    Mutant(
        "ids-of-bookings-come-back",
        "notifier/domain/drafts.py",
        "(message.source, message.id, now.isoformat())",
        "(message.source, message.id)",
        ("tests/unit/storage/sqlite/test_purging.py::test_no_id_comes_back_after_everything_was_forgotten",),
    ),
    Mutant(
        "forgotten-request-makes-a-second-mail",
        "notifier/domain/notification.py",
        "if who not in present and mail.id not in stored",
        "if mail.id not in stored",
        (
            "tests/unit/storage/sqlite/test_purging.py::test_a_request_that_is_forgotten_but_not_sent_makes_no_second_mail",
        ),
    ),
    Mutant(
        "unmailable-address-reported-again",
        "notifier/domain/booking.py",
        "    reported |= addresses.keys()\n",
        "",
        ("tests/unit/storage/sqlite/test_purging.py::test_an_address_that_no_mail_can_go_to_is_reported_once",),
    ),
    Mutant(
        "far-departure-leaves-the-calendar",
        "notifier/domain/drafts.py",
        "min(max(now, last_departure(flights) or now), _FAR) + policy.remember",
        "max(now, last_departure(flights) or now) + policy.remember",
        ("tests/unit/domain/test_drafts.py::test_every_departure_can_be_planned_with_every_setting",),
    ),
    Mutant(
        "far-send-at-leaves-the-calendar",
        "notifier/domain/mail.py",
        "again - max(mail.send_at, since) > policy.give_up_after",
        "again > max(mail.send_at, since) + policy.give_up_after",
        ("tests/unit/domain/test_mail.py::test_every_time_and_setting_can_be_retried",),
    ),
    Mutant(
        "short-name-is-shown",
        "notifier/domain/addresses.py",
        "if not name or not (is_name_masked or domain.lower() in lowered):",
        "if not name or not is_name_masked:",
        ("tests/unit/domain/test_addresses.py::test_a_recipient_is_masked_however_its_at_is_written",),
    ),
    Mutant(
        "event-with-the-recipients-address",
        "notifier/domain/public_mail.py",
        "to=masked(mail.to),",
        "to=mail.to,",
        ("tests/unit/domain/test_events.py::test_an_event_is_a_cloud_event",),
    ),
    Mutant(
        "recipients-name-alone-is-shown",
        "notifier/domain/addresses.py",
        "len(name) >= SHORTEST_NAME\n",
        "len(name) >= 10 * SHORTEST_NAME\n",
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
        "unknown-time-zone-left-out-of-the-last-departure",
        "notifier/domain/drafts.py",
        "max((flight.departs_by for flight in flights), default=None)",
        "max((flight.departs_at for flight in flights if flight.departs_at), default=None)",
        (
            "tests/unit/domain/test_drafts.py::test_an_unknown_time_zone_counts_as_the_westernmost",
            "tests/unit/domain/test_drafts.py::test_a_change_of_a_return_from_an_unknown_zone_is_sent_after_the_outbound_departure",
        ),
    ),
    Mutant(
        "reminders-rendered-in-a-second-try",
        "notifier/domain/booking_update.py",
        "                yield Kind.REMINDER, self.booking, (flight,), locale\n",
        "                pass\n",
        ("tests/unit/domain/test_booking_update.py::test_the_subjects_of_a_first_message_are_all_expected",),
    ),
    Mutant(
        "erased-address-of-a-cancellation-not-mailed",
        "notifier/domain/booking.py",
        "        if not before.address:\n",
        "        if before.address:\n",
        ("tests/unit/domain/test_booking.py::test_a_message_that_names_an_erased_address_can_be_mailed_to_it",),
    ),
    Mutant(
        "mails-outside-the-thread-of-their-confirmation",
        "notifier/domain/booking.py",
        "addresses[who] = drafts.addressee(party, before)",
        "addresses[who] = drafts.addressee(party, None)",
        ("tests/unit/domain/test_booking.py::test_every_mail_to_an_address_is_in_the_thread_of_its_confirmation",),
    ),
    Mutant(
        "restored-message-without-its-price",
        "notifier/domain/precedence.py",
        "        price=outdone.price,\n",
        "        price=message.price,\n",
        ("tests/unit/domain/test_precedence.py::test_an_outdone_message_keeps_all_that_its_mails_need",),
    ),
    Mutant(
        "time-of-an-older-publisher-in-the-machine-s-zone",
        "notifier/domain/legacy_messages.py",
        "found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)",
        "found.astimezone(UTC)",
        ("tests/unit/domain/test_legacy_messages.py::test_a_time_without_an_offset_is_utc_on_every_machine",),
    ),
    Mutant(
        "outdated-messages-read-mails",
        "notifier/domain/booking.py",
        "return not isinstance(in_force(self, before), BookingState)",
        "return in_force(self, before) is not None",
        (
            "tests/unit/storage/sqlite/test_queries.py::test_an_outdated_or_repeated_message_costs_nothing_by_the_size_of_its_booking",
        ),
    ),
    Mutant(
        "change-notices-pile-up",
        "notifier/domain/booking.py",
        "(mail, SUPERSEDED if notices.is_superseded(mail) else drafts.amendment(mail, wanted, addresses))",
        "(mail, drafts.amendment(mail, wanted, addresses))",
        (
            "tests/unit/storage/sqlite/test_queries.py::test_a_message_about_a_booking_costs_no_more_after_many_others",
            "tests/unit/domain/test_booking.py::test_a_newer_change_notice_supersedes_those_that_wait",
        ),
    ),
    Mutant(
        "superseding-notice-goes-to-the-end-of-the-queue",
        "notifier/domain/booking.py",
        "return replace(notice, content=content, send_at=min(waiting.send_at, notice.send_at))",
        "return replace(notice, content=content)",
        ("tests/unit/domain/test_booking.py::test_a_newer_change_notice_supersedes_those_that_wait",),
    ),
    Mutant(
        "outdone-state-not-erased",
        "notifier/domain/planning.py",
        "return replace(state, outdone=None) if in_outdone else state",
        "return state",
        (
            "tests/unit/storage/sqlite/test_erasure.py::test_an_address_is_erased_from_a_state_that_never_came_into_force",
        ),
    ),
    Mutant(
        "cancellation-expires-with-its-flight",
        "notifier/domain/drafts.py",
        "max(last, self._now + CANCELLATION_NOTICE_LIFETIME) if last and kind",
        "last if last and kind",
        ("tests/unit/domain/test_drafts.py::test_a_cancellation_notice_can_be_sent_for_a_day_at_least",),
    ),
    Mutant(
        "removal-notice-expires-with-the-old-flight",
        "notifier/domain/drafts.py",
        "last = last_departure((*shown, *self._flights))",
        "last = last_departure(shown)",
        (
            "tests/unit/domain/test_drafts.py::test_a_removal_notice_expires_with_the_later_of_the_old_and_new_departures",
        ),
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
        "notifier/domain/drafts.py",
        """\
        if in_force.restored:
""",
        """\
        if not in_force:
""",
        ("tests/unit/domain/test_drafts.py::test_no_id_of_a_restored_state_is_given_out_again_after_a_purge",),
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
)
