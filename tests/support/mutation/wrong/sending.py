"""Wrong changes of `notifier/sending`."""

from support.mutation.mutant import Mutant

_ACCOUNTS = "tests/unit/actors/test_sender_accounts.py"
_ROOM = "tests/unit/actors/test_sender_room.py"
_SETTINGS = "tests/integration/test_settings_effect.py"
_WIRING = "tests/integration/test_wiring.py"

MUTANTS = (
    Mutant(
        "end-of-a-connection-counts-an-attempt",
        "notifier/sending/dialogue.py",
        "return self.reply.code == CLOSING and self.phase is not Phase.DOT",
        "return False",
        ("tests/unit/actors/test_sender_account.py::test_a_421_on_a_used_connection_is_no_rejection",),
    ),
    Mutant(
        "used-up-connection-is-a-fault",
        "notifier/sending/dialogue.py",
        "        if self.phase is Phase.MAIL and is_used_up(self.reply):\n            return True\n",
        "",
        ("tests/unit/actors/test_sender_account.py::test_a_connection_that_takes_no_more_mails_is_replaced",),
    ),
    Mutant(
        "wrong-login-fails-the-mail",
        "notifier/sending/replies.py",
        "_LOGIN_CODES = frozenset({530, 534, 535, 538})",
        "_LOGIN_CODES = frozenset({530, 534, 538})",
        ("tests/unit/sending/test_replies.py::test_a_rejection_of_our_account_pauses_it",),
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
            "tests/unit/sending/test_transport_health.py::test_the_same_rejection_for_several_recipients_reprieves_their_mails",
        ),
    ),
    Mutant(
        "everyone-refused-for-good",
        "notifier/sending/refusals.py",
        "        if self._suspects_account:\n            return Cause.ACCOUNT\n",
        "",
        ("tests/unit/actors/test_sender.py::test_a_refusal_that_meets_everyone_fails_nobody",),
    ),
    Mutant(
        "words-before-the-recipient",
        "notifier/sending/replies.py",
        "    if phase is not Phase.MAIL and _names_recipient(reply, phase):\n",
        "    if phase is None:\n",
        ("tests/unit/sending/test_replies.py::test_a_reply_that_names_the_recipient_is_about_the_recipient",),
    ),
    Mutant(
        "recipient-before-our-account",
        "notifier/sending/replies.py",
        "    if _can_only_be_about_account(reply):\n        return True\n",
        "",
        ("tests/unit/sending/test_replies.py::test_words_that_can_only_be_about_the_account_prevail",),
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
        "no-trial-after-a-pause",
        "notifier/sending/circuit_breaker.py",
        "self.state, self.reason, self.until = State.HALF_OPEN, None, None",
        "self.state, self.reason, self.until = State.CLOSED, None, None",
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
        "failed-mails-kept-without-end",
        "notifier/sending/refusals.py",
        "deque(maxlen=REMEMBERED)",
        "deque()",
        ("tests/unit/sending/test_refusals.py::test_memory_for_one_recipient_is_bounded",),
    ),
    Mutant(
        "quadratic-words",
        "notifier/sending/refusals.py",
        '    return " ".join(word for word in text.casefold().split() if not _VARIES.search(word))\n',
        '    return re.sub(r"\\S*[@\\d<]\\S*", "", text).casefold()\n',
        ("tests/unit/sending/test_refusals.py::test_the_kind_of_a_rejection_is_found_in_proportional_time",),
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
        "self.breaks.add(mail, SEVERAL) is Cause.ACCOUNT and self._suspect(why, at)",
        "False",
        (
            "tests/unit/sending/test_transport_health.py::test_dialogues_that_break_for_every_recipient_pause_the_account",
        ),
    ),
    Mutant(
        "deferrals-never-pause",
        "notifier/sending/transport_health.py",
        "else self.deferrals.add(mail, MANY)",
        "else Cause.MAIL",
        ("tests/unit/sending/test_transport_health.py::test_deferrals_of_very_many_recipients_pause_the_account",),
    ),
    Mutant(
        "hang-up-at-mail-goes-first",
        "notifier/sending/transport_health.py",
        """            paused = self._known_fault(result.fault or "", at)
            return Judgement([handed_back(mail, self._others_first(at))], paused)""",
        """            paused = self._known_fault(result.fault or "", at)
            return Judgement([handed_back(mail)], paused)""",
        (
            "tests/unit/sending/test_transport_health.py::test_a_dialogue_that_breaks_at_mail_from_for_one_recipient_alone_is_the_mails",
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
        "one-request-suspects-the-account",
        "notifier/sending/refusals.py",
        " and len(self._aggregates) >= SEVERAL",
        "",
        (f"{_ACCOUNTS}::test_a_request_whose_content_is_rejected_holds_up_nobody",),
    ),
    Mutant(
        "next-streak-as-short-as-the-innocent-one",
        "notifier/sending/refusals.py",
        "            self._extra = min(2 * len(self._recipients), MAX_EXTRA)\n",
        "            pass\n",
        ("tests/unit/sending/test_refusals.py::test_a_streak_after_a_wrong_suspicion_must_be_longer",),
    ),
    Mutant(
        "words-about-a-mail-obeyed-for-the-account",
        "notifier/sending/transport_health.py",
        "return self.breaker.suspect(reason, at.monotonic, at.now)",
        "return self._known_fault(reason, at, said=reason)",
        (
            "tests/unit/sending/test_transport_health.py::test_a_time_in_a_reply_about_a_mail_does_not_pause_the_account_for_that_long",
        ),
    ),
    Mutant(
        "suspicion-pauses-without-bound",
        "notifier/sending/circuit_breaker.py",
        "pause = min(self._next_pause(), SUSPECTED_PAUSE)",
        "pause = self._next_pause()",
        ("tests/unit/sending/test_circuit_breaker.py::test_a_suspicion_is_short_even_if_all_pauses_are_long",),
    ),
    Mutant(
        "accepted-mail-does-not-end-a-suspicion",
        "notifier/sending/circuit_breaker.py",
        "            self._pause, self._retry_at = timedelta(0), 0.0\n",
        "",
        (f"{_ACCOUNTS}::test_an_accepted_mail_ends_a_suspicion",),
    ),
    Mutant(
        "cleared-rejections-fail-for-good",
        "notifier/sending/transport_health.py",
        "        if cause is not Cause.MAIL and not is_about_recipient(reply):\n",
        "        if False:\n",
        ("tests/unit/sending/test_transport_health.py::test_rejections_after_the_account_was_cleared_pause_nothing",),
    ),
    Mutant(
        "lone-rejection-fails-for-good",
        "notifier/sending/transport_health.py",
        "            return Judgement([_later(mail, reply, at)])\n        paused",
        "            return Judgement([failed(mail, reply, None)])\n        paused",
        ("tests/unit/sending/test_transport_health.py::test_a_rejection_that_meets_no_other_recipient_pauses_nothing",),
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
        "mails-crowd-at-a-used-up-quota",
        "notifier/sending/transport_health.py",
        "(QUOTA_AGAIN if waits_for_quota else OTHER_ACCOUNT)",
        "OTHER_ACCOUNT",
        ("tests/unit/sending/test_transport_health.py::test_mails_that_wait_for_a_quota_do_not_crowd",),
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
        "pauses-never-begin-anew",
        "notifier/sending/transport_health.py",
        "        self.breaker.delivered()\n",
        "",
        (f"{_SETTINGS}::test_pauses_begin_anew_after_a_delivered_mail",),
    ),
    Mutant(
        "no-pace-below-the-limit",
        "notifier/sending/pacing.py",
        "PACE = 0.985\n",
        "PACE = 1.0\n",
        ("tests/unit/sending/test_pacing.py::test_the_pace_is_below_the_limit",),
    ),
    Mutant(
        "four-wrong-addresses-pause-the-account",
        "notifier/sending/refusals.py",
        "MANY = 12\n",
        "MANY = 4\n",
        (f"{_WIRING}::test_wrong_addresses_in_a_row_pause_no_account",),
    ),
)
