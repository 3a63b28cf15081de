"""Wrong changes of `notifier/composing`."""

from support.mutation.mutant import Mutant

MUTANTS = (
    Mutant(
        "every-mail-has-the-blocks-of-the-layout",
        "notifier/composing/flat_loader.py",
        "blocks.get(block[1], block[2])",
        "block[2]",
        ("tests/unit/composing/test_flat_loader.py::test_flat_templates_write_what_jinja_s_inheritance_writes",),
    ),
    Mutant(
        "included-part-keeps-its-last-line-end",
        "notifier/composing/flat_loader.py",
        '.removesuffix("\\n")',
        "",
        ("tests/unit/composing/test_flat_loader.py::test_flat_templates_write_what_jinja_s_inheritance_writes",),
    ),
    Mutant(
        "own-subjects-are-remembered-too",
        "notifier/composing/templates.py",
        "        if self._folder is None:\n            # Our own",
        "        if True:\n            # Our own",
        ("tests/unit/composing/test_templates.py::test_an_own_subject_sees_all_of_the_booking",),
    ),
    Mutant(
        "subject-remembered-without-the-number-of-flights",
        "notifier/composing/templates.py",
        "self._around(kind, self._known(locale), shown, len(flights))",
        "self._around(kind, self._known(locale), shown, 1)",
        ("tests/unit/composing/test_templates.py::test_a_subject_is_the_same_when_its_parts_are_known",),
    ),
    Mutant(
        "subject-remembered-without-the-departure",
        "notifier/composing/templates.py",
        "(first.number, first.origin, first.destination, first.departs) if",
        "(first.number, first.origin, first.destination, flights[-1].departs) if",
        ("tests/unit/composing/test_templates.py::test_a_subject_is_the_same_when_its_parts_are_known",),
    ),
    Mutant(
        "line-encoded-as-if-none-followed",
        "notifier/composing/message.py",
        'return b2a_qp(f"{line}\\r\\n".encode(), istext=True)',
        'return b2a_qp(line.encode(), istext=True) + b"\\r\\n"',
        ("tests/unit/composing/test_message.py::test_a_page_is_encoded_by_line_as_it_is_as_a_whole",),
    ),
    Mutant(
        "character-divided-between-encoded-words",
        "notifier/composing/message.py",
        'part = octets[:room].decode(errors="ignore").encode()',
        "part = octets[:room]",
        ("tests/unit/composing/test_message.py::test_long_words_are_folded_between_characters",),
    ),
    Mutant(
        "new-message-id-per-attempt",
        "notifier/composing/message.py",
        'f"Message-ID: {mail.message_id}',
        'f"Message-ID: <{mail.attempt}.{mail.message_id[1:]}',
        ("tests/unit/actors/test_sender.py::test_a_mail_whose_reply_was_lost_is_sent_again_with_the_same_bytes",),
    ),
    Mutant(
        "locale-in-one-case-only",
        "notifier/composing/templates.py",
        '_locale_and_parents((locale or "").lower())',
        '_locale_and_parents(locale or "")',
        ("tests/unit/composing/test_templates.py::test_a_subject_says_what_the_mail_says",),
    ),
    Mutant(
        "lone-cr-on-the-wire",
        "notifier/composing/message.py",
        '.replace("\\r", "\\n") if',
        " if",
        ("tests/unit/composing/test_message.py::test_no_template_puts_a_lone_cr_on_the_wire",),
    ),
    Mutant(
        "own-words-lose-mails",
        "notifier/composing/templates.py",
        "            if self._built_in is None:\n",
        "            if self._built_in is None or isinstance(error, ValueError):\n",
        ("tests/unit/composing/test_templates.py::test_own_words_that_fail_with_a_mail_do_not_lose_it",),
    ),
    Mutant(
        "a-missing-weekday-is-no-fault",
        "notifier/composing/locale_strings.py",
        "            if len(found) != expected:\n",
        "            if len(found) > expected:\n",
        ("tests/unit/composing/test_templates.py::test_wrong_words_are_found_at_the_start",),
    ),
    Mutant(
        "templates-tried-on-one-date",
        "notifier/composing/templates.py",
        "chain(sample_mails(locale), dated_mails(locale))",
        "sample_mails(locale)",
        ("tests/unit/composing/test_templates.py::test_a_template_is_tried_on_every_weekday",),
    ),
    Mutant(
        "one-calendar-event-for-two-bookings",
        "notifier/composing/calendar.py",
        "mail_id(mail.booking or '', 'event',",
        "mail_id('', 'event',",
        ("tests/unit/composing/test_calendar.py::test_the_same_flight_of_two_bookings_is_two_events",),
    ),
)
