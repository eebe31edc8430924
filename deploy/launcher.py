"""One command that serves: prepares, then watches over gunicorn, one worker and, where
METRICS_BIND asks for it, the server of metrics.

It stays small (standard library only) and holds no state: whatever happens to it, the
site's processes are told to end. What dies is started again, ever more slowly. Ctrl-C
ends everything at once, SIGTERM lets running transfers finish.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HASTE = 5.0
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0
HEALTHY = 60.0
THRIFT = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"}
"""No cache of free memory for each thread of the worker; see storage/heap.py."""
_SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD}
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def _python(*arguments: str) -> list[str]:
    return [sys.executable, "-m", *arguments]


PREPARE = _python("deploy.prepare")
SITE = _python("gunicorn", "-c", "deploy/gunicorn.conf.py")
WORKER = _python("flask", "worker")
METRICS = _python("flask", "metrics")


def _become_child() -> None:
    """Take signals as usual again, and end when the launcher does."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def patience() -> float:
    """Return a little more than gunicorn's own graceful_timeout."""
    return float(os.environ.get("HOLDFAST_GRACE_SECONDS", "30")) + 5.0


def say(text: str) -> None:
    """Tell the operator something."""
    print(text, file=sys.stderr, flush=True)


class Child:
    """A process that is started again when it dies."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        haste: int = signal.SIGTERM,
        defaults: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.command = command
        # Of its environment, where the operator has not said something else.
        self.defaults = defaults or {}
        # The signal that ends it without waiting for what it does.
        self.haste = haste
        self.process: subprocess.Popen[bytes] | None = None
        self.started = 0.0
        self.due = 0.0
        self.pause = FIRST_PAUSE

    def start(self) -> None:
        """Start it in a group of its own, so that Ctrl-C reaches the launcher alone."""
        self.started = time.monotonic()
        self.process = subprocess.Popen(  # noqa: S603 - our own programs
            self.command,
            cwd=ROOT,
            env={**self.defaults, **os.environ},
            start_new_session=True,
            # The launcher has one thread, so this is safe between fork and exec.
            preexec_fn=_become_child,
        )

    def watch(self) -> None:
        """Start it again if it died, after a pause that grows while it keeps dying."""
        now = time.monotonic()
        if self.process is not None and self.process.poll() is not None:
            self._plan(now, self.process.returncode)
        if self.process is None and now >= self.due:
            self.start()

    def _plan(self, now: float, code: int) -> None:
        if now - self.started > HEALTHY:
            self.pause = FIRST_PAUSE
        say(f"The {self.name} ended ({code}); it starts again in {self.pause:.0f} s.")
        self.process = None
        self.due = now + self.pause
        self.pause = min(self.pause * 2, LONGEST_PAUSE)

    def signal(self, number: int) -> None:
        """Send it a signal if it lives."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def end(self, deadline: float) -> None:
        """Wait for its end; after the deadline kill it and what it started."""
        if self.process is None:
            return
        try:
            self.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            say(f"The {self.name} did not end in time and is killed.")
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


class Launcher:
    """Start the children, watch them, and end them together."""

    def __init__(self, children: Sequence[Child]) -> None:
        self.children = children

    def run(self) -> int:
        """Serve until a signal says that it is enough."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        for child in self.children:
            child.start()
        while True:
            got = signal.sigtimedwait(_SIGNALS, 1.0)
            if got is not None and got.si_signo != signal.SIGCHLD:
                return self._end(signal.Signals(got.si_signo))
            for child in self.children:
                child.watch()

    def _end(self, reason: signal.Signals) -> int:
        hurry = reason == signal.SIGINT
        say("Holdfast is ending." + ("" if hurry else " Running transfers may finish."))
        for child in self.children:
            child.signal(child.haste if hurry else signal.SIGTERM)
        deadline = time.monotonic() + (HASTE if hurry else patience())
        for child in self.children:
            child.end(deadline)
        return 0


def main() -> int:
    """Prepare, then serve."""
    os.chdir(ROOT)
    try:
        prepared = subprocess.run(PREPARE, check=False)  # noqa: S603 - our own program
    except KeyboardInterrupt:
        return 130
    if prepared.returncode:
        return prepared.returncode
    site = Child("site", SITE, haste=signal.SIGINT)
    children = [site, Child("worker", WORKER, defaults=THRIFT)]
    if os.environ.get("HOLDFAST_METRICS_BIND", "none").strip() != "none":
        children.append(Child("metrics", METRICS))
    return Launcher(children).run()


if __name__ == "__main__":
    sys.exit(main())
