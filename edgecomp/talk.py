"""What the program says: talk and progress to stderr, data to stdout."""

from __future__ import annotations

import math
import sys
import time
from contextlib import suppress

import click

from edgecomp.errors import DiskError, printable

BAR, BAR_SECONDS, LINE_SECONDS = 30, 0.1, 5.0


class Talk:
    """Progress, on stderr: each stage as it starts, with the seconds so far."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._told = -math.inf

    def stage(self, name: str) -> None:
        say(f"[{time.monotonic() - self._start:6.1f} s] {name}")

    def advance(self, done: int, total: int, said: str) -> None:
        """A bar on a terminal; elsewhere a line every few seconds."""
        terminal, now = sys.stderr.isatty(), time.monotonic()
        if done < total and now - self._told < (BAR_SECONDS if terminal else LINE_SECONDS):
            return
        self._told = now
        if not terminal:
            self.stage(f"{done} of {total} {said}")
            return
        filled = BAR * done // total
        with suppress(OSError):
            bar = f"\r[{'#' * filled}{'.' * (BAR - filled)}] {done} of {total} {printable(said)}\x1b[K"
            click.echo(bar, err=True, nl=done == total)


def say(text: str) -> None:
    """Talk goes to stderr; whoever has closed it misses the talk, and the work goes on."""
    with suppress(OSError):
        click.echo(printable(text), err=True)


def deliver(text: str) -> None:
    """Data goes to stdout. A reader that has gone is no failure; a full disk is."""
    try:
        click.echo(printable(text).rstrip("\n"))
        sys.stdout.flush()
    except BrokenPipeError:
        sys.stdout = open("/dev/null", "w")  # noqa: SIM115  lives until the interpreter flushes stdout at its end
    except OSError as error:
        raise DiskError(f"cannot write to standard output: {error.strerror}") from error
