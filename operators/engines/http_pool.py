"""Requests to one HTTP server from any number of threads: one loop, one set of connections, one limit that adapts.

The limit grows by addition and shrinks by multiplication (Chiu and Jain 1989, doi:10.1016/0169-7552(89)90019-6).
Waits between tries are drawn by full jitter (Brooker, "Exponential Backoff and Jitter", AWS 2015).
"""

import asyncio
import contextlib
import email.utils
import json
import queue
import random
import threading
import time
import urllib.parse
import urllib.request
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC
from typing import Any, TypeVar

from operators.engines.http_gate import Gate, Trend

T = TypeVar("T")
TRIES = 5  # failures of one request, while others are answered, below which it is never the request's own
FIRST_WAIT, LONGEST_WAIT = 0.25, 20.0  # seconds, upper ends of what a wait is drawn from
UNLIKELY = 1e-4  # chance of so many failures in a row below which they are no accident


class Failed(Exception):
    """A try came to nothing that another one may mend."""

    def __init__(self, why: str, raw: str = "", crowded: bool = False, wait: float = 0, own: bool = True) -> None:
        super().__init__(why)
        self.why, self.raw = why, raw  # raw: what the server sent
        self.crowded = crowded  # the server has too much to do: the limit shrinks
        self.wait = wait  # seconds that the server asks for
        self.own = own  # may be the request's own doing


class GivenUp(Exception):
    """One request fails again and again while the server answers others."""


class Away(Exception):
    """The server has answered nobody for longer than patience lasts."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server answered."""

    status: int
    kind: str  # content type
    body: bytes
    headers: Any

    @property
    def wait(self) -> float:
        """Seconds that Retry-After asks for, as a number or as a date; 0 where it does not."""
        said = str(self.headers.get("Retry-After", "")).strip()
        if said.replace(".", "", 1).isdecimal():
            return float(said)
        with contextlib.suppress(ValueError, TypeError, OverflowError):
            date = email.utils.parsedate_to_datetime(said)
            return max((date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - time.time(), 0.0)
        return 0.0


class Pool:
    """A thread with a loop that talks to one server."""

    def __init__(self, base: str, headers: dict[str, str], concurrency: int, timeout: float, patience: float) -> None:
        self._base, self._headers, self._timeout, self._patience = base.rstrip("/"), headers, timeout, patience
        self.gate, self.trend, self.retries = Gate(concurrency), Trend(), 0
        self._good = time.monotonic()  # when the server last answered anybody
        self._resume = 0.0  # nobody asks before: the server said so
        self._feeding = 0
        self._probing: asyncio.Future[bool] | None = None
        self._exchanging: set[asyncio.Future[Any] | None] = set()
        self._sessions: list[Any] = []  # none or one
        self._proxy, self._within = _proxy(self._base), dict[float, Any]()
        self._loop = asyncio.new_event_loop()
        thread = threading.Thread(target=self._loop.run_forever, name="endpoint", daemon=True)
        thread.start()
        self.close = weakref.finalize(self, _end, self._loop, thread, self._sessions)

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the loop and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def each(self, count: int, ask: Callable[[int], Awaitable[T]], heard: Callable[[int, T], None]) -> None:
        """Ask for 0 … count-1, as many at once as the limit lets; ``heard`` runs in this thread as each comes back.

        An error, of ``heard`` too, ends it: nothing new is sent, what is under way comes back and is heard (it is paid
        for), then it is raised.
        """
        told: queue.SimpleQueue[tuple[int, T] | None] = queue.SimpleQueue()
        errors, halt = list[Exception](), asyncio.Event()
        feed = asyncio.run_coroutine_threadsafe(self._feed(count, ask, told, errors, halt), self._loop)
        try:
            while (found := told.get()) is not None:
                try:
                    heard(*found)
                except Exception as error:
                    errors.append(error)
                    self._loop.call_soon_threadsafe(halt.set)
            if errors:
                raise errors[0]
        finally:
            feed.cancel()

    async def _feed(
        self, count: int, ask: Callable[[int], Awaitable[T]], told: "queue.SimpleQueue[Any]",
        errors: list[Exception], halt: asyncio.Event,
    ) -> None:  # fmt: skip
        left = iter(range(count))

        async def work() -> None:
            for i in left:
                if errors:
                    return
                try:
                    told.put((i, await ask(i)))
                except Exception as error:
                    errors.append(error)
                    halt.set()

        if not self._feeding:
            self._good = time.monotonic()
        self._feeding += 1
        tasks: set[asyncio.Future[Any]] = {asyncio.ensure_future(work()) for _ in range(min(count, self.gate.most))}
        halted: asyncio.Future[Any] = asyncio.ensure_future(halt.wait())
        try:
            while pending := {t for t in tasks if not t.done()}:
                if not halt.is_set():
                    await asyncio.wait(pending | {halted}, return_when=asyncio.FIRST_COMPLETED)
                    continue
                for task in pending - self._exchanging:
                    task.cancel()  # it waits for its turn: nothing of it is under way
                await asyncio.wait(pending, timeout=0.05)
        finally:
            self._feeding -= 1
            for task in [*tasks, halted]:
                task.cancel()
            told.put(None)

    async def settle(self, attempt: Callable[[], Awaitable[T]], probe: Callable[[], Awaitable[Any]]) -> T:
        """Try until it works. `GivenUp` says that the request is at fault, `Away` that the server is.

        Which of them it is shows in whether others are answered, and how often they fail; where nobody else asks,
        ``probe`` does, a harmless request.
        """
        begun = since = time.monotonic()
        tries, own, mine = 0, 0, False
        while True:
            try:
                return await self._try(attempt, tell=not tries)
            except Failed as failed:
                now, others = time.monotonic(), self._good >= since  # since this one's last try somebody was answered
                mine = mine or (not tries and failed.own)
                since, tries, own = now, tries + 1, own + (failed.own and others)
                accident = own < TRIES or self.trend.rate(but=mine) ** own >= UNLIKELY
                if others and (now - begun > self._patience or not accident):
                    raise GivenUp(failed.raw or failed.why) from None
                left = self._good + self._patience - now
                ask = failed.own and (left <= 0 or tries >= TRIES and self._probing is None)
                probed = ask and await self._probe(probe)
                if left <= 0 and not probed:
                    asks = f"{failed.why}, and asks to wait {failed.wait:.0f} s" if failed.wait else failed.why
                    raise Away(asks) from None
                self.retries += 1
                if not probed:
                    await asyncio.sleep(self._pause(tries, failed, left))

    def _pause(self, tries: int, failed: Failed, left: float) -> float:
        drawn = random.uniform(0, min(LONGEST_WAIT, FIRST_WAIT * 2**tries))
        if not failed.wait:
            return min(drawn, left + 0.01)
        asked = failed.wait if failed.wait < left else left / 2 + 0.01  # above patience: asked for again before that ends
        if failed.crowded:
            self._resume = max(self._resume, time.monotonic() + asked)
        return asked + min(drawn, asked / 4)

    async def _probe(self, probe: Callable[[], Awaitable[Any]]) -> bool:
        """Whether the server answers a harmless request; who asks while one is under way hears how that ends."""

        async def once() -> bool:
            try:
                await self._try(probe, tell=True)
            except Failed:
                return False
            finally:
                self._probing = None
            return True

        self._probing = self._probing or asyncio.ensure_future(once())
        return await asyncio.shield(self._probing)

    async def _try(self, attempt: Callable[[], Awaitable[T]], tell: bool) -> T:
        async with self._turn():
            start = time.monotonic()
            try:
                result = await attempt()
            except Failed as failed:
                if failed.crowded:
                    self.gate.shrink(start)
                if tell and failed.own:
                    self.trend.hear(failed=True)
                raise
            if tell:
                self.trend.hear(failed=False)
            self._good = time.monotonic()
            self.gate.grow()
            return result

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        task = asyncio.current_task()
        await self.gate.enter()
        try:
            while (pause := self._resume - time.monotonic()) > 0:
                await asyncio.sleep(pause)
            self._exchanging.add(task)
            yield
        finally:
            self._exchanging.discard(task)
            self.gate.leave()

    async def send(self, method: str, path: str, body: Any = None, timeout: float | None = None) -> Reply:
        """One exchange; `Failed` where no whole answer came."""
        import aiohttp

        if not self._sessions:
            self._sessions.append(_session(aiohttp))
        seconds = timeout or self._timeout
        within = self._within.setdefault(seconds, aiohttp.ClientTimeout(total=seconds))
        data = None if body is None else json.dumps(body).encode()
        try:
            async with self._sessions[0].request(
                method, self._base + path, data=data, headers=self._headers,
                timeout=within, proxy=self._proxy, allow_redirects=False,
            ) as reply:  # fmt: skip
                return Reply(reply.status, reply.content_type, await reply.read(), reply.headers)
        except TimeoutError:
            raise Failed(f"gave no answer within {seconds:g} s", crowded=True) from None
        except (aiohttp.ClientError, OSError) as error:
            name = type(error).__name__ if isinstance(error, aiohttp.ClientPayloadError) else str(error) or type(error).__name__
            raise Failed(f"cut the connection or took none: {name}") from None


def _session(aiohttp: Any) -> Any:
    # The gate bounds connections. Without trust_env no .netrc overwrites the Authorization header.
    connector = aiohttp.TCPConnector(limit=0, ttl_dns_cache=300)
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False)


def _proxy(url: str) -> str | None:
    """The proxy that the environment names for this address."""
    parts = urllib.parse.urlsplit(url)
    found = urllib.request.getproxies_environment().get(parts.scheme)
    return found if found and not urllib.request.proxy_bypass(parts.hostname or "") else None


def _end(loop: asyncio.AbstractEventLoop, thread: threading.Thread, sessions: list[Any]) -> None:
    """Close the connections and end the thread; may be called in it."""

    async def close() -> None:
        for session in sessions:
            await session.close()
        loop.stop()

    asyncio.run_coroutine_threadsafe(close(), loop)
    if threading.current_thread() is not thread:
        thread.join(timeout=1)
