"""Records outcomes in the store, and keeps them for as long as the store cannot take them."""

import asyncio
from collections.abc import Sequence

import structlog
from msgspec.structs import replace

from notifier import clock
from notifier.domain.mail import Mail
from notifier.errors import StoreUnusable
from notifier.storage.store import Store

log = structlog.get_logger(__name__)

RECORD_AGAIN = 1.0
"""Seconds between two attempts to record outcomes."""
LAST_RECORDS = 30.0
"""Seconds for which an outcome is kept during a shutdown; a mail whose outcome is given up becomes an orphan."""


class OutcomeRecorder:
    """Records outcomes; those that become ready together share a transaction."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._outcomes: list[Mail] = []
        self._is_ending = False
        self._give_up_at: float | None = None
        self._again_at = 0.0

    @property
    def retry_in(self) -> float:
        """Seconds until outcomes that the store could not take are tried again."""
        return max(0.0, self._again_at - _monotonic())

    def add(self, outcomes: Sequence[Mail]) -> None:
        """Keep outcomes until they are recorded."""
        self._outcomes += outcomes

    def end(self) -> None:
        """Keep outcomes for no longer than LAST_RECORDS from now on."""
        self._is_ending = True

    async def record(self) -> bool:
        """Record all outcomes that were added before; return False if the store cannot take them now.

        The store is tried again no sooner than after RECORD_AGAIN. During a shutdown outcomes are given up in the end.
        """
        if not self._outcomes:
            return True
        if self.retry_in:
            return False
        if await self._record_ready():
            self._give_up_at = None
            return True
        self._again_at = _monotonic() + RECORD_AGAIN
        # Counted from the first failure during the shutdown: the store may be locked for a moment just then.
        if self._is_ending and self._give_up_at is None:
            self._give_up_at = _monotonic() + LAST_RECORDS
        if self._give_up_at is None or _monotonic() < self._give_up_at:
            return False
        log.error("outcomes cannot be recorded before the service ends", mails=len(self._outcomes))
        self._outcomes.clear()
        return True

    async def _record_ready(self) -> bool:
        """Record all that is ready; return False if the store cannot take anything now."""
        ready = list(self._outcomes)
        try:
            await self._store.record(ready, clock.now())
        except StoreUnusable as error:
            _log_unrecorded(error)
            return False
        except Exception:  # noqa: BLE001 - one that cannot be stored must not hold up the others
            return await self._record_singly(ready)
        del self._outcomes[: len(ready)]
        return True

    async def _record_singly(self, ready: Sequence[Mail]) -> bool:
        """Record outcomes one at a time because one of them cannot be stored."""
        for mail in ready:
            try:
                await self._record_without_words(mail)
            except StoreUnusable as error:
                _log_unrecorded(error)
                return False
            self._outcomes.remove(mail)
        return True

    async def _record_without_words(self, mail: Mail) -> None:
        """Record an outcome, if necessary without the server's reply and the error, but with its status."""
        for each in (mail, replace(mail, smtp=None, error=None)):
            try:
                await self._store.record([each], clock.now())
            except StoreUnusable:
                raise
            except Exception:
                log.exception("outcome cannot be stored as it is", status=mail.status, mail_id=mail.id)
            else:
                return


def _log_unrecorded(error: StoreUnusable) -> None:
    log.warning("outcomes cannot be recorded; nothing is sent until they are", reason=str(error))


def _monotonic() -> float:
    return asyncio.get_running_loop().time()
