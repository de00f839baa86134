"""A headless Chromium driven over its debugging pipe: JSON messages that end in NUL on file descriptors 3 and 4."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from edgecomp import tools

SECONDS = 60.0
OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
    "--remote-debugging-pipe",
)  # fmt: skip


@dataclass(kw_only=True)
class Tab:
    """One page: what it logged, what it asked for, and ways to ask it."""

    source: int
    sink: int
    session: str = ""
    buffer: bytes = b""
    last: int = 0
    events: list[dict[str, Any]] = field(default_factory=list)

    def call(self, method: str, **params: object) -> dict[str, Any]:
        """A command's result; events that come meanwhile are kept."""
        self.last += 1
        message = {"id": self.last, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.sink, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self.last:
                assert "error" not in answer, f"{method}: {answer['error']}"
                result: dict[str, Any] = answer["result"]
                return result
            self.events.append(answer)

    def _read(self) -> dict[str, Any]:
        until = time.monotonic() + SECONDS
        while b"\0" not in self.buffer:
            ready, _, _ = select.select([self.source], [], [], max(0.0, until - time.monotonic()))
            assert ready, "Chromium does not answer"
            more = os.read(self.source, 1 << 20)
            assert more, "Chromium has gone"
            self.buffer += more
        text, _, self.buffer = self.buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        return message

    def of(self, method: str) -> list[dict[str, Any]]:
        """The parameters of the events of one kind so far."""
        return [event["params"] for event in self.events if event.get("method") == method]

    def open(self, page: Path, *, width: int, dark: bool = False) -> None:
        """Load a page in a window of `width` pixels, as a phone does below 600, and wait until it is there."""
        self.events.clear()
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1,
                  mobile=width < 600)  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media="", features=[scheme])
        self.call("Page.navigate", url=page.absolute().as_uri())
        while not self.of("Page.loadEventFired"):
            self.events.append(self._read())

    def value(self, expression: str) -> Any:
        """The value of a script that the tester, not the page, runs."""
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"]["value"]

    def complaints(self) -> list[object]:
        """Whatever reached the console: messages, log entries, exceptions."""
        kinds = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
        return [event for kind in kinds for event in self.of(kind)]

    def picture(self) -> bytes:
        """A PNG of the whole page."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        return base64.b64decode(shot["data"])


@contextmanager
def chromium() -> Iterator[Tab]:
    """A tab of a fresh Chromium that is gone afterwards."""
    program = tools.need("chromium", hint="apt-get install chromium")
    ours, theirs = os.pipe(), os.pipe()
    reads, writes = (fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (ours[0], theirs[1]))
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        launch = f'exec "$0" "$@" 3<&{reads} 4>&{writes}'  # bash takes descriptors of two digits, unlike dash
        arguments = [str(program), *OPTIONS, f"--user-data-dir={folder}"]
        process = subprocess.Popen(["bash", "-c", launch, *arguments], pass_fds=(reads, writes),
                                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)  # fmt: skip
        for end in (reads, writes, ours[0], theirs[1]):
            os.close(end)
        try:
            tab = Tab(source=theirs[0], sink=ours[1])
            target = tab.call("Target.createTarget", url="about:blank")["targetId"]
            tab.session = tab.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Log", "Network"):
                tab.call(f"{domain}.enable")
            yield tab
        finally:
            process.kill()
            process.wait()
            os.close(theirs[0])
            os.close(ours[1])
