"""The connections to an SMTP account: opened when needed, used again, and closed when idle.

A delivery never waits for a connection that another one uses: `SmtpPool.capacity` says how many can be under way,
and `acquire` raises Busy for any more.
"""

import asyncio
import sys

from notifier.domain.addresses import ascii_domain
from notifier.errors import Busy, Unreachable
from notifier.gateways.smtp_dialogue import ConnectionState, Pipelining, ReplyObserver, ReplyTimeouts, SmtpConnection
from notifier.gateways.smtp_login import Admission, LoggedIn, SmtpLogin, tls_context
from notifier.sending.dialogue import ComposedMail, DialogueResult
from notifier.sending.replies import Phase, is_connection_limit
from notifier.settings import SmtpServer, SmtpSettings

IDLE_TIMEOUT = 30.0
"""Seconds after which an idle connection is closed; servers count idle ones against the account."""
LIMIT_HOLDS = 600.0
"""Seconds for which no more connections are opened than a server has said to allow."""
LOGIN_WAIT = 5.0
"""Seconds that `acquire` waits for the logins of others before it raises Busy."""


class SmtpPool:
    """The connections to one account.

    Only one login is under way at any time. All that wait for it share its failure, so that a rejected
    password costs one attempt, however many mails are due. If the server says that one more connection is
    too many, no other one is opened for a while.

    `observe` is called for each login that succeeds and for each reply of a dialogue.
    """

    def __init__(
        self,
        name: str,
        server: SmtpServer,
        login: SmtpLogin,
        *,
        timeouts: ReplyTimeouts,
        observe: ReplyObserver | None = None,
    ) -> None:
        self.name = name
        self.server = server
        self._login = login
        self._timeouts = timeouts
        self._pipelining = Pipelining()
        self._observe = observe
        self._idle: dict[SmtpConnection, asyncio.TimerHandle] = {}
        self._connected: set[SmtpConnection] = set()
        self._limit = sys.maxsize
        self._limit_until = 0.0
        self._login_under_way: asyncio.Future[Unreachable | None] | None = None
        self._quitting: set[asyncio.Task[None]] = set()

    @property
    def capacity(self) -> int:
        """How many connections can be in use: those that are open, and one more if the server allows another login.

        It grows with each login that succeeds.
        """
        return min(self._current_limit(), len(self._connected) + 1)

    async def probe(self) -> Admission:
        """Prove that the server lets us in, and keep that connection.

        Idle connections are closed before, because the server may count them. Raises Unreachable with what
        the server answered.
        """
        await self.close()
        while self._login_under_way is not None:
            await asyncio.wait({self._login_under_way})
        logged_in = await self._log_in()
        self._keep(self._connection(logged_in))
        return logged_in.admission

    async def acquire(self, *, fresh: bool = False) -> SmtpConnection:
        """Return a connection for one dialogue; the caller must give it back with `release`.

        It is an idle one if there is any, unless `fresh` asks for a new one and the server allows that.
        Raises Unreachable if the login fails, also if it is the login of another delivery, and Busy if there
        is no connection for so many deliveries. If it is cancelled, no connection is left behind.
        """
        give_up_at = asyncio.get_running_loop().time() + LOGIN_WAIT
        while True:
            if not fresh and (connection := self._take_idle()):
                return connection
            if self._login_under_way is not None:
                if error := await self._login_of_another(self._login_under_way, give_up_at):
                    self._note_limit(error)
            elif self._open_connections() < self._current_limit():
                try:
                    return self._connection(await self._log_in())
                except Unreachable as error:
                    self._note_limit(error)
            elif self._quitting:
                await asyncio.wait(self._quitting, return_when=asyncio.FIRST_COMPLETED)
            else:
                raise Busy(f"{self.name}: all connections that the server allows are in use")
            fresh = False

    def release(self, connection: SmtpConnection) -> None:
        """Take a connection back: keep it for the next mail, or end it if its dialogue has not left it in step."""
        match connection.state:
            case ConnectionState.IN_STEP:
                self._keep(connection)
            case ConnectionState.USED_UP:
                self._quit(connection)
            case ConnectionState.OUT_OF_STEP:
                self._discard(connection)

    async def deliver(self, mail: ComposedMail) -> DialogueResult:
        """Deliver one mail at once, without a slot or a retry; raises like `acquire`.

        The sending actor waits between these steps, and so takes them itself.
        """
        while True:
            connection = await self.acquire()
            try:
                lacking = connection.check_support(mail)
                result = lacking or await connection.send_envelope(mail) or await connection.send_content(mail)
            finally:
                self.release(connection)
            if not result.out_of_step:
                return result

    async def close(self) -> None:
        """End every idle connection with QUIT, which takes at most QUIT_TIMEOUT seconds."""
        for connection in list(self._idle):
            self._quit(connection)
        if self._quitting:
            # Not gather(), which would cancel them with whoever waits here.
            await asyncio.wait(self._quitting)

    def _take_idle(self) -> SmtpConnection | None:
        while self._idle:
            connection, timer = self._idle.popitem()
            timer.cancel()
            if connection.is_open:
                connection.reused = True
                return connection
            self._discard(connection)
        return None

    async def _login_of_another(
        self, login: asyncio.Future[Unreachable | None], give_up_at: float
    ) -> Unreachable | None:
        """Wait for a login under way and return how it failed; raises Busy if it takes too long."""
        await asyncio.wait({login}, timeout=max(0.0, give_up_at - asyncio.get_running_loop().time()))
        if not login.done():
            raise Busy(f"{self.name}: another login is under way")
        error = login.result()
        # Each delivery raises an exception of its own, because raising adds to its traceback.
        return Unreachable(str(error), said=error.said) if error else None

    def _open_connections(self) -> int:
        """Return how many connections the server counts, including those that wait for the reply to QUIT."""
        return len(self._connected) + len(self._quitting)

    def _current_limit(self) -> int:
        return self._limit if asyncio.get_running_loop().time() < self._limit_until else sys.maxsize

    def _note_limit(self, error: Unreachable) -> None:
        """Note how many connections the server allows if a login failed because of that; otherwise raise its error.

        Only the server's own words can say so: a server that restarts refuses connections as well.
        """
        allowed = self._open_connections()
        if not (allowed and is_connection_limit(error.said)):
            raise error
        self._limit, self._limit_until = allowed, asyncio.get_running_loop().time() + LIMIT_HOLDS

    async def _log_in(self) -> LoggedIn:
        """Log in on a new connection, while all others that want one wait."""
        under_way = self._login_under_way = asyncio.get_running_loop().create_future()
        began = asyncio.get_running_loop().time()
        error: Unreachable | None = None
        try:
            logged_in = await self._login.connect()
        except Unreachable as found:
            error = found
            raise
        finally:
            self._login_under_way = None
            under_way.set_result(error)
        if self._observe:
            self._observe(self.name, Phase.CONNECT, asyncio.get_running_loop().time() - began)
        return logged_in

    def _connection(self, logged_in: LoggedIn) -> SmtpConnection:
        connection = SmtpConnection(self.name, logged_in, self._timeouts, self._pipelining, self._observe)
        self._connected.add(connection)
        return connection

    def _keep(self, connection: SmtpConnection) -> None:
        self._idle[connection] = asyncio.get_running_loop().call_later(IDLE_TIMEOUT, self._quit, connection)

    def _quit(self, connection: SmtpConnection) -> None:
        if timer := self._idle.pop(connection, None):
            timer.cancel()
        self._connected.discard(connection)
        task = asyncio.create_task(connection.quit(), name="smtp quit")
        self._quitting.add(task)
        task.add_done_callback(self._quitting.discard)

    def _discard(self, connection: SmtpConnection) -> None:
        self._connected.discard(connection)
        connection.abort()


def smtp_pools(settings: SmtpSettings, domain: str, observe: ReplyObserver | None = None) -> list[SmtpPool]:
    """Return a pool for each account, in the order of the settings; `domain` is what we call ourselves in EHLO.

    Accounts at one server are numbered in their names. Raises Misconfigured if the file of certificate
    authorities cannot be used.
    """
    tls = tls_context(settings)
    timeouts = ReplyTimeouts(settings.timeout.total_seconds(), settings.dot_timeout.total_seconds())
    pools: list[SmtpPool] = []
    for server in settings.servers:
        twins = sum(pool.server.name == server.name for pool in pools)
        name = f"{server.name} ({twins + 1})" if twins else server.name
        login = SmtpLogin(name, server, ascii_domain(domain), tls, timeouts.command)
        pools.append(SmtpPool(name, server, login, timeouts=timeouts, observe=observe))
    return pools
