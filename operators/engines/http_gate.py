"""What a pool of requests knows of its server: how many it bears at once, and how often it fails of late."""

import asyncio
import time
from collections import deque

SHRINK = 0.5
LATE = 128  # tries that are remembered


class Trend:
    """How often the tries fail that say something of the server: first ones of a request, and harmless ones."""

    def __init__(self) -> None:
        self._failed: deque[bool] = deque(maxlen=LATE)

    def hear(self, failed: bool) -> None:
        """How such a try ended."""
        self._failed.append(failed)

    def rate(self, but: bool) -> float:
        """The share that fails, smoothed by one of each; ``but``: one failure among them is the asker's own."""
        failed = sum(self._failed)
        own = int(but and failed > 0)
        return (failed - own + 1) / (len(self._failed) - own + 2)


class Gate:
    """Lets so many through at once; the number adapts between 1 and ``most``. Belongs to one loop."""

    def __init__(self, most: int) -> None:
        self.most, self.limit, self.active = most, float(most), 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._shrunk = 0.0

    async def enter(self) -> None:
        """Wait for a place."""
        if self.active < int(self.limit) and not self._waiting:
            self.active += 1
            return
        place = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self.leave()
            raise

    def leave(self) -> None:
        """Give the place to who waits longest."""
        self.active -= 1
        while self._waiting and self.active < int(self.limit):
            place = self._waiting.popleft()
            if not place.done():
                self.active += 1
                place.set_result(None)

    def grow(self) -> None:
        """A success: one more place for each round of them."""
        self.limit = min(self.limit + 1 / self.limit, float(self.most))

    def shrink(self, since: float) -> None:
        """A sign of crowding, of a request sent at ``since``: those sent before the last cut are no news."""
        if since > self._shrunk:
            self._shrunk, self.limit = time.monotonic(), max(self.limit * SHRINK, 1.0)
