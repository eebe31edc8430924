"""One instance as it runs on a host of its own: Nginx, two pools, and a worker.

It starts the same commands as the units in `deploy/systemd/`, over a data folder that
holds nothing which matters.
"""

import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from deploy.launcher import THRIFT
from support.database import SECRET_KEY
from support.nginx import ROOT, Nginx
from support.server import ServerError, free_port

PATIENCE = 60.0
RESTARTS, RESTART_SECONDS = 60, 2.0
"""How often, and how soon after each failure, it is started again: as in the units."""
GUNICORN = (sys.executable, "-m", "gunicorn", "-c", "deploy/gunicorn.conf.py")
PARTS = {
    "pages": (GUNICORN, {"BIND": "unix:{folder}/web.sock"}),
    "transfers": (
        GUNICORN,
        {"BIND": "unix:{folder}/transfers.sock", "THREADS": "512"},
    ),
    "worker": ((sys.executable, "-m", "flask", "worker"), {}),
}


class Instance:
    """The processes of one host; everything that they say is in `log`."""

    def __init__(
        self,
        folder: Path,
        settings: dict[str, str],
        environment: dict[str, str] | None = None,
        *,
        trusted: Sequence[str] = (),
        parts: Sequence[str] = tuple(PARTS),
    ) -> None:
        """Prepare the folder; `settings` have names without prefix."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.parts = folder, parts
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "log"
        self.nginx = Nginx(folder, self.port, trusted=trusted)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        clean = {k: v for k, v in os.environ.items() if not k.startswith("HOLDFAST_")}
        self._base = clean | {"PYTHONUNBUFFERED": "1"} | (environment or {})
        self.settings = {
            "DATA_DIR": str(folder / "data"),
            "SECRET_KEY": SECRET_KEY,
            "BIND": f"unix:{folder}/web.sock",
            "TRUSTED_PROXIES": "unix",
            "TRANSFERS_BIND": f"unix:{folder}/transfers.sock",
            **settings,
        }

    def __enter__(self) -> "Instance":
        return self.start()

    def __exit__(self, *problem: object) -> None:
        self.stop()

    def environment(self, own: dict[str, str] | None = None) -> dict[str, str]:
        """Return the environment of one of its processes."""
        own = {k: v.format(folder=self.folder) for k, v in (own or {}).items()}
        known = self.settings | own
        return self._base | {f"HOLDFAST_{name}": text for name, text in known.items()}

    def start(self) -> "Instance":
        """Prepare, start everything, and wait until it is ready."""
        self.launch()
        self.wait_ready()
        return self

    def start_again(self) -> "Instance":
        """Start as systemd does: whatever it needs may be away for a while."""
        for _ in range(RESTARTS):
            try:
                return self.start()
            except ServerError as error:
                self.kill()
                said = str(error)
                time.sleep(RESTART_SECONDS)
        raise ServerError(f"Started {RESTARTS} times, in vain: {said}")

    def launch(self) -> None:
        """Prepare and start everything."""
        self.run("-m", "deploy.prepare")
        for name in self.parts:
            self.start_part(name)
        self.nginx.start()

    def start_part(self, name: str) -> None:
        """Start the pages, the transfers or the worker."""
        command, own = PARTS[name]
        with self.log.open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command,
                stdout=subprocess.DEVNULL,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=self.environment(own) | (THRIFT if name == "worker" else {}),
                cwd=ROOT,
                start_new_session=True,
            )

    def kill_part(self, name: str) -> None:
        """End one of them with SIGKILL, and all that it started."""
        _kill_family(self.processes.pop(name))

    def run(self, *arguments: str) -> str:
        """Run a command of Python with its settings, and return what it says."""
        done = subprocess.run(
            [sys.executable, *arguments],
            capture_output=True,
            text=True,
            env=self.environment(),
            cwd=ROOT,
            timeout=600,
            check=False,
        )
        if done.returncode:
            raise ServerError(f"{arguments} failed:\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def flask(self, *arguments: str) -> str:
        """Run a `flask` command."""
        return self.run("-m", "flask", *arguments)

    def ready(self) -> int:
        """Ask /readyz through Nginx; 0 when nobody answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status
        except OSError:
            return 0
        finally:
            connection.close()

    def wait_ready(self, seconds: float = PATIENCE) -> None:
        """Wait for /readyz to say yes: then both pools listen."""
        end = time.monotonic() + seconds
        while self.ready() != 200:
            for name, process in self.processes.items():
                if process.poll() is not None:
                    raise ServerError(f"The {name} ended:\n{self.tail()}")
            if time.monotonic() > end:
                raise ServerError(f"Not ready in {seconds} s:\n{self.tail()}")
            time.sleep(0.05)

    def stop(
        self,
        *,
        drain: float | None = None,
        seconds: float = 60,
        nginx_first: bool = False,
    ) -> list[int]:
        """Stop as the units do: drain, transfers, the others, and Nginx.

        Return the codes of all but Nginx. Or let Nginx quit first, as one may by hand.
        """
        if drain is not None:
            self.flask("drain", "--wait", str(drain))
        try:
            if nginx_first:
                self.nginx.quit(seconds)
            codes = self._end(["transfers"], seconds)
            codes += self._end(list(self.processes), seconds)
            self.nginx.quit(seconds)
            return codes
        finally:
            self.kill()

    def _end(self, names: list[str], seconds: float) -> list[int]:
        ending = [self.processes[name] for name in names if name in self.processes]
        for process in ending:
            process.send_signal(signal.SIGTERM)
        codes = [process.wait(seconds) for process in ending]
        for name in names:
            self.processes.pop(name, None)
        return codes

    def kill(self) -> None:
        """End every process with SIGKILL, as a host does that loses its power."""
        self.nginx.kill()
        for process in self.processes.values():
            _kill_family(process)
        self.processes.clear()

    def pids(self, name: str) -> list[int]:
        """Return the processes of one part: the one that was started, then its own."""
        first = psutil.Process(self.processes[name].pid)
        return [first.pid, *(one.pid for one in first.children(recursive=True))]

    def tail(self, lines: int = 40) -> str:
        """Return the end of the log."""
        if not self.log.exists():
            return "(no log)"
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def _kill_family(process: subprocess.Popen[bytes]) -> None:
    try:
        first = psutil.Process(process.pid)
        family = [first, *first.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for one in family:
        try:
            one.kill()
        except psutil.NoSuchProcess:
            continue
    process.wait()
