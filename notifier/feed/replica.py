"""A client's copy of the mails that it watches, kept up to date by the frames of the feed. Pure."""

from collections.abc import Mapping
from typing import Any

Fields = dict[str, Any]
"""A mail as the feed shows it."""


class Replica:
    """The mails that pass a filter (as in `hello`), by their ids, as far as the frames have told."""

    def __init__(self, wanted: Mapping[str, Any] | None = None) -> None:
        self.mails: dict[str, Fields] = {}
        self.wanted = wanted or {}

    def apply(self, frame: Mapping[str, Any]) -> list[Fields]:
        """Take in a frame, of any type; gives the mails that it made known or changed, the latest last."""
        match frame["type"]:
            case "snapshot":
                before, self.mails = self.mails, {mail["id"]: mail for mail in frame["mails"]}
                return [mail for mail in reversed(frame["mails"]) if _is_newer(mail, before)]
            case "events":
                return [mail for event in frame["events"] if self._change(mail := event["data"]["mail"])]
        return []

    def _change(self, mail: Fields) -> bool:
        if not _is_newer(mail, self.mails):
            return False
        if self._passes(mail):
            self.mails[mail["id"]] = mail
        else:
            self.mails.pop(mail["id"], None)
        return True

    def _passes(self, mail: Fields) -> bool:
        """Say whether a mail that passed still does: of all that a filter looks at only the status can change."""
        statuses = self.wanted.get("status") or mail["status"]
        return mail["status"] in ([statuses] if isinstance(statuses, str) else statuses)


def _is_newer(mail: Fields, known: Mapping[str, Fields]) -> bool:
    return mail["id"] not in known or mail["rev"] > known[mail["id"]]["rev"]
