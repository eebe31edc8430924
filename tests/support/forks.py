"""Children that are killed: forked from a warm process, journalled through a pipe.

What a child sent before it died was promised to somebody; the parent, which lives,
remembers it. A fork costs milliseconds where a new Python costs half a second.
"""

import gc
import json
import logging
import os
import select
import signal
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Send = Callable[..., None]
PATIENCE = 60.0


class Failed(AssertionError):
    """A child found something that must not be; its text is the child's traceback."""


@dataclass
class Told:
    """What a child said, and how it ended: `killed`, or by itself with a number."""

    messages: list[list[Any]] = field(default_factory=list)
    killed: bool = False
    code: int = 0

    def last(self, word: str) -> list[Any] | None:
        """Return what was said with the last message of a kind."""
        found = [message for message in self.messages if message[0] == word]
        return found[-1][1:] if found else None


def fork(
    work: Callable[[Send], None], after: str = "", seconds: float | None = None
) -> Told:
    """Run work in a child; SIGKILL it so many seconds after it said a word.

    Without a word the time starts with the child. Raises `Failed` when it says so.
    """
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        # Newer Pythons warn of threads: those of pytest hold nothing that we use.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        os.close(reading)
        _child(work, writing)
    os.close(writing)
    told = _listen(pid, reading, after, seconds)
    _, status = os.waitpid(pid, 0)
    told.killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    told.code = 0 if told.killed else os.waitstatus_to_exitcode(status)
    failure = told.last("fail")
    if failure is not None:
        raise Failed(failure[0])
    return told


def _child(work: Callable[[Send], None], writing: int) -> None:
    def send(*message: object) -> None:
        os.write(writing, json.dumps(message).encode() + b"\n")

    code = 0
    try:
        gc.disable()
        logging.disable(logging.CRITICAL)
        work(send)
    except BaseException:
        send("fail", traceback.format_exc()[-3500:])
        code = 1
    finally:
        os._exit(code)


def _listen(pid: int, reading: int, after: str, seconds: float | None) -> Told:
    """Read until the child is gone, and kill it when its time is over."""
    told, buffer = Told(), b""
    end = time.monotonic() + PATIENCE
    deadline = None if seconds is None or after else time.monotonic() + seconds
    while True:
        until = end if deadline is None else deadline
        ready, _, _ = select.select([reading], [], [], max(0, until - time.monotonic()))
        if not ready:
            os.kill(pid, signal.SIGKILL)
            if deadline is None:
                told.messages.append(["fail", f"A child hung after {told.messages}"])
            deadline, end = None, time.monotonic() + PATIENCE
            continue
        piece = os.read(reading, 1 << 16)
        if not piece:
            os.close(reading)
            return told
        *lines, buffer = (buffer + piece).split(b"\n")
        told.messages += [json.loads(line) for line in lines]
        if after and any(message[0] == after for message in told.messages):
            after = ""
            deadline = time.monotonic() + (seconds or 0)
