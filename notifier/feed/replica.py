"""A client's copy of the mails that it watches, kept up to date by the frames of the feed. Pure."""

from collections.abc import Mapping

from notifier.feed.protocol import EventsFrame, FilterFields, PublicMail, SnapshotFrame


class Replica:
    """The mails that pass a filter (as in `hello`), by their ids, as the frames so far have described them."""

    def __init__(self, wanted: FilterFields | None = None) -> None:
        self.mails: dict[str, PublicMail] = {}
        self.wanted = wanted or FilterFields()

    def apply(self, frame: object) -> list[PublicMail]:
        """Apply a frame of any type; return the mails that it has added or changed, the latest last."""
        match frame:
            case SnapshotFrame():
                before, self.mails = self.mails, {mail.id: mail for mail in frame.mails}
                return [mail for mail in reversed(frame.mails) if _is_newer(mail, before)]
            case EventsFrame():
                return [event.data.mail for event in frame.events if self._change(event.data.mail)]
        return []

    def _change(self, mail: PublicMail) -> bool:
        if not _is_newer(mail, self.mails):
            return False
        if self._passes(mail):
            self.mails[mail.id] = mail
        else:
            self.mails.pop(mail.id, None)
        return True

    def _passes(self, mail: PublicMail) -> bool:
        """Return whether a mail that passed the filter still does: only its status can have changed."""
        statuses = self.wanted.status or mail.status
        return mail.status in (statuses if isinstance(statuses, list) else [statuses])


def _is_newer(mail: PublicMail, known: Mapping[str, PublicMail]) -> bool:
    return mail.id not in known or mail.rev > known[mail.id].rev
