"""A page in headless Chromium over its DevTools protocol: what it logs, how wide it is, what it looks like."""

import asyncio
import base64
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import aiohttp
import pytest

CHROMIUM = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)
FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-port=0",
         "--no-first-run", "--disable-background-networking"]  # fmt: skip


def look(page: Path, width: int, height: int, *, dark: bool = False, picture: Path | None = None, scripts: tuple[str, ...] = ()) -> dict[str, Any]:
    """Open a page in a window of this size: what it logged, and the values of ``scripts``; skips where there is no Chromium."""
    if CHROMIUM is None:
        pytest.skip("no chromium on the path: apt-get install chromium")
    with tempfile.TemporaryDirectory(prefix="pithead-chromium-") as home:
        process = subprocess.Popen([CHROMIUM, *FLAGS, f"--user-data-dir={home}", "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            return asyncio.run(asyncio.wait_for(_look(Path(home), page, (width, height), dark, picture, scripts), 120))
        finally:
            process.terminate()
            process.wait(30)
            for _ in range(50):  # its children write a little longer
                shutil.rmtree(home, ignore_errors=True)


async def _look(home: Path, page: Path, size: tuple[int, int], dark: bool, picture: Path | None, scripts: tuple[str, ...]) -> dict[str, Any]:
    port = home / "DevToolsActivePort"
    while not port.exists() or len(port.read_text().splitlines()) < 2:
        await asyncio.sleep(0.1)
    number = port.read_text().splitlines()[0]
    async with aiohttp.ClientSession() as session:
        async with session.put(f"http://127.0.0.1:{number}/json/new?about:blank") as answer:
            address = (await answer.json())["webSocketDebuggerUrl"]
        async with session.ws_connect(address, max_msg_size=0) as socket:
            return await _Tab(socket).look(page, size, dark, picture, scripts)


class _Tab:
    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket, self._number, self.logged, self.seen = socket, 0, [], []

    async def call(self, method: str, **params: Any) -> Any:
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": params})
        while (said := await self._socket.receive_json()).get("id") != self._number:
            self._take(said)
        assert "error" not in said, said
        return said["result"]

    def _take(self, said: dict[str, Any]) -> None:
        self.seen.append(said.get("method"))
        if said.get("method") in ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown"):
            self.logged.append(said["params"])

    async def look(self, page: Path, size: tuple[int, int], dark: bool, picture: Path | None, scripts: tuple[str, ...]) -> dict[str, Any]:
        width, height = size
        for domain in ("Page", "Runtime", "Log"):
            await self.call(f"{domain}.enable")
        await self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        await self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
        await self.call("Page.navigate", url=page.resolve().as_uri())
        while "Page.loadEventFired" not in self.seen:
            self._take(await self._socket.receive_json())
        values = [(await self.call("Runtime.evaluate", expression=s, returnByValue=True))["result"].get("value") for s in scripts]
        if picture is not None:
            shot = await self.call("Page.captureScreenshot")
            picture.write_bytes(base64.b64decode(shot["data"]))
        return {"logged": self.logged, "values": values}
