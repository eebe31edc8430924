"""A real Holdfast in processes of its own: the launcher, gunicorn and the worker.

`Server(folder, settings).start()` serves on a free loopback port until `stop`. The
names of settings have no prefix. Everything that the processes say is in `log`.
"""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil

from support.database import SECRET_KEY

ROOT = Path(__file__).resolve().parent.parent.parent
PATIENCE = 60.0


class ServerError(Exception):
    """The server did not do what was asked; the message ends with its log."""


def free_port() -> int:
    """Return a loopback port that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """One data folder and the processes over it."""

    def __init__(
        self,
        data_dir: Path,
        settings: dict[str, str] | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.data_dir = data_dir
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = data_dir.parent / f"{data_dir.name}.log"
        self.environment = self._environment(settings or {}, environment or {})
        self.process: subprocess.Popen[bytes] | None = None
        self.command_seconds = 600.0

    def _environment(
        self, settings: dict[str, str], extra: dict[str, str]
    ) -> dict[str, str]:
        known = {
            "DATA_DIR": str(self.data_dir),
            "SECRET_KEY": SECRET_KEY,
            "BIND": f"127.0.0.1:{self.port}",
            **settings,
        }
        clean = {k: v for k, v in os.environ.items() if not k.startswith("HOLDFAST_")}
        clean |= {f"HOLDFAST_{name}": value for name, value in known.items()}
        return clean | {"PYTHONUNBUFFERED": "1"} | extra

    def __enter__(self) -> "Server":
        return self.start()

    def __exit__(self, *problem: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The process id of the launcher."""
        if self.process is None:
            raise ServerError("The server was not started.")
        return self.process.pid

    def start(self) -> "Server":
        """Start the launcher and wait until the site answers that it is ready."""
        self.launch()
        self.wait_ready()
        return self

    def launch(self) -> None:
        """Start the launcher and return at once."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(ROOT / "deploy" / "launcher.py")],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=self.environment,
                cwd=ROOT,
                start_new_session=True,
            )

    def wait_ready(self, seconds: float = PATIENCE) -> None:
        """Wait for /readyz to say yes."""
        end = time.monotonic() + seconds
        while not self.ready():
            if self.process is None or self.process.poll() is not None:
                raise ServerError(f"The server ended while starting:\n{self.tail()}")
            if time.monotonic() > end:
                self.kill()
                raise ServerError(f"Not ready in {seconds} s:\n{self.tail()}")
            time.sleep(0.05)

    def ready(self) -> bool:
        """Ask /readyz."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def stop(self, seconds: float = 45.0) -> None:
        """End everything as an operator would, and insist after a while."""
        if self.process is None:
            return
        family = self.family()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ServerError(f"Did not end in {seconds} s:\n{self.tail()}") from None
        finally:
            _end(family)
        self.process = None

    def kill(self) -> None:
        """End every process with SIGKILL, as a power cut would."""
        if self.process is None:
            return
        _end([psutil.Process(self.process.pid), *self.family()])
        self.process.wait()
        self.process = None

    def restart(self) -> None:
        """Stop and start again over the same folder."""
        self.stop()
        self.start()

    def family(self) -> list[psutil.Process]:
        """Return every process below the launcher."""
        try:
            return psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def gunicorn_pid(self) -> int:
        """Return the pid of gunicorn's master."""
        return self._child("gunicorn")

    def web_pids(self) -> list[int]:
        """Return the pids of gunicorn's workers."""
        master = psutil.Process(self.gunicorn_pid())
        return [child.pid for child in master.children()]

    def worker_pid(self) -> int:
        """Return the pid of the background worker."""
        return self._child("worker")

    def _child(self, word: str) -> int:
        end = time.monotonic() + 10
        while time.monotonic() < end:
            for child in psutil.Process(self.pid).children():
                if any(word in part for part in _command(child)):
                    return child.pid
            time.sleep(0.05)
        raise ServerError(f"There is no process {word}:\n{self.tail()}")

    def tail(self, lines: int = 40) -> str:
        """Return the end of the log."""
        if not self.log.exists():
            return "(no log)"
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def flask(self, *arguments: str, input: str | None = None) -> str:  # noqa: A002
        """Run a `flask` command with the server's settings and return what it says."""
        done = subprocess.run(
            [sys.executable, "-m", "flask", *arguments],
            input=input,
            capture_output=True,
            text=True,
            env=self.environment,
            cwd=ROOT,
            timeout=self.command_seconds,
            check=False,
        )
        if done.returncode:
            said = f"{done.stdout}\n{done.stderr}"
            raise ServerError(f"flask {' '.join(arguments)} failed:\n{said}")
        return done.stdout


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _end(processes: list[psutil.Process]) -> None:
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(processes, timeout=10)
