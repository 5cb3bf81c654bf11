"""A headless Chromium, driven by its own protocol through a pair of pipes: no driver, no port.

What is needed of it is little: open a page, ask it things, press keys, take a picture. The
libraries that do this bring a browser, a runtime or a second program that has to fit the browser;
here is what the installed one understands, NUL-separated JSON on descriptors 3 and 4
(`--remote-debugging-pipe`, https://chromedevtools.github.io/devtools-protocol/).
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from echo.deadline import Deadline
from tests.debian import need
from tests.waiting import seconds, wait_until

if TYPE_CHECKING:
    from pathlib import Path

# `--no-sandbox`: root has none of its own; the pages are ours.
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
    *("--remote-debugging-pipe", "--disable-dev-shm-usage", "--no-first-run"),
)
KEYS = {"Tab": 9, "Enter": 13, "Space": 32}


class Browser:
    """One browser with one tab; `close` ends it. `problems` are what its console complains of."""

    def __init__(self, folder: Path) -> None:
        self.problems: list[str] = []
        self._buffer = b""
        self._number = 0
        self._session = ""
        self._loaded = ""  # the last document that was loaded whole
        theirs_in, self._to = os.pipe()
        self._from, theirs_out = os.pipe()
        self.process = _start(folder, theirs_in, theirs_out)
        for fd in (theirs_in, theirs_out):
            os.close(fd)
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.ask(f"{domain}.enable")
        self.ask("Page.setLifecycleEventsEnabled", enabled=True)

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Have one thing done, and give the answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        left = memoryview(json.dumps(message).encode() + b"\0")
        while left:
            left = left[os.write(self._to, left) :]
        while (answer := self._read()).get("id") != self._number:
            self._notice(answer)
        assert "error" not in answer, answer
        found: dict[str, Any] = answer["result"]
        return found

    def _read(self) -> dict[str, Any]:
        deadline = Deadline(seconds(90))
        while b"\0" not in self._buffer:
            assert select.select([self._from], [], [], deadline.left())[0], "no answer in time"
            chunk = os.read(self._from, 1 << 20)
            assert chunk, f"the browser ended: {self.process.poll()}"
            self._buffer += chunk
        message, _, self._buffer = self._buffer.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found

    def _notice(self, event: dict[str, Any]) -> None:
        if event.get("method") in {"Runtime.exceptionThrown", "Log.entryAdded"}:
            self.problems.append(json.dumps(event["params"]))
        if event.get("method") == "Page.lifecycleEvent" and event["params"]["name"] == "load":
            self._loaded = event["params"]["loaderId"]

    # -- what a reader does ---------------------------------------------------------------

    def open(self, url: str, *, width: int = 1280, height: int = 900) -> None:
        """Go to a page, in a window of this size."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.ask("Emulation.setDeviceMetricsOverride", **size)
        document = self.ask("Page.navigate", url=url)["loaderId"]
        while self._loaded != document:  # the one before may answer until it has gone
            self._notice(self._read())

    def prefer(self, **features: str) -> None:
        """Have the reader's wishes, such as `color_scheme="dark"`."""
        wishes = [
            {"name": f"prefers-{name.replace('_', '-')}", "value": value}
            for name, value in features.items()
        ]
        self.ask("Emulation.setEmulatedMedia", features=wishes)

    def run(self, script: str) -> Any:
        """Return the value of an expression in the page; of a promise, what it comes to."""
        answer = self.ask(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def until(self, script: str, timeout: float = 30) -> Any:
        """Wait until an expression in the page is true, and give its value."""
        return wait_until(lambda: self.run(script), timeout, script)

    def press(self, key: str) -> None:
        """Press a key and let it go."""
        text = {"Enter": "\r", "Space": " "}.get(key, "")
        code = {"key": " " if key == "Space" else key, "code": key}
        code |= {"windowsVirtualKeyCode": KEYS[key], "text": text}
        for kind in ("keyDown", "keyUp"):
            self.ask("Input.dispatchKeyEvent", type=kind, **code)

    def type(self, text: str) -> None:
        """Write into what has the focus."""
        self.ask("Input.insertText", text=text)

    def picture(self) -> bytes:
        """Return what is to be seen, as PNG."""
        return base64.b64decode(self.ask("Page.captureScreenshot", format="png")["data"])

    def close(self) -> None:
        """End the browser."""
        os.close(self._to)  # upon which it ends
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds(10))
        self.process.kill()
        self.process.wait()
        os.close(self._from)


def _start(folder: Path, reads: int, writes: int) -> subprocess.Popen[bytes]:
    # Above 3 and 4, so that the one isn't overwritten with the other.
    reads, writes = (fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in (reads, writes))

    def arrange() -> None:
        os.dup2(reads, 3)
        os.dup2(writes, 4)

    try:
        return subprocess.Popen(
            [need("chromium"), *FLAGS, f"--user-data-dir={folder}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=arrange,
            close_fds=False,  # what isn't meant for it is closed by its own flag
        )
    finally:
        os.close(reads)
        os.close(writes)
