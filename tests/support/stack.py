"""The whole deployment on one machine: three instances, and all that they share.

    make stack

PostgreSQL, two S3 servers with two buckets each in RAID-6 (so that one of the servers
may die), three instances of Nginx, two pools and a worker each, and HAProxy in place of
the load balancer. It serves until Ctrl-C, and keeps nothing.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from support.buckets import CREDENTIALS, S3Server, moto, rclone
from support.client import Client
from support.instance import Instance
from support.nginx import needs_nginx
from support.postgres import Postgres
from support.server import free_port
from support.site import until

HAPROXY = shutil.which("haproxy") or (
    "/usr/sbin/haproxy" if Path("/usr/sbin/haproxy").exists() else None
)
ADDRESS = "127.0.0.9"
"""Where the balancer speaks to instances from: they believe it, and nobody else."""
CHECKS = 2
"""Health checks that must fail, one each second, before an instance is left alone."""
NOTICED = CHECKS + 1.5
"""Seconds after which the balancer has noticed; what `flask drain` has to wait."""

_CONFIGURATION = """
global
    maxconn 4096
defaults
    mode http
    timeout connect 2s
    timeout client 180s
    timeout server 180s
    timeout http-keep-alive 180s
    retries 0
frontend people
    bind 127.0.0.1:{port}
    option forwardfor
    http-request set-header X-Forwarded-Proto http
    http-request set-var(txn.a) uuid(),regsub(-,,g)
    http-request set-var(txn.b) var(txn.a),bytes(0,8)
    http-request set-var(txn.c) var(txn.a),bytes(8,24)
    http-request set-header X-Amzn-Trace-Id Root=1-%[var(txn.b)]-%[var(txn.c)]
    default_backend instances
backend instances
    balance leastconn
    option httpchk GET /readyz
    default-server source {address} check inter 1s fall {checks} rise 1
{servers}
"""


def needs_haproxy() -> None:
    """Skip the test where HAProxy is missing."""
    if HAPROXY is None:
        pytest.skip("HAProxy is missing: apt-get install haproxy")


class Balancer:
    """HAProxy: it asks /readyz, keeps no sessions, and repeats no request."""

    def __init__(self, folder: Path, instances: list[Instance]) -> None:
        """Write its configuration."""
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        servers = "\n".join(
            f"    server i{number} 127.0.0.1:{one.port}"
            for number, one in enumerate(instances)
        )
        text = _CONFIGURATION.format(
            port=self.port, checks=CHECKS, servers=servers, address=ADDRESS
        )
        self.file = folder / "haproxy.cfg"
        self.file.write_text(text)
        self.log = folder / "haproxy.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Balancer":
        """Start it and wait until somebody behind it answers."""
        assert HAPROXY is not None
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [HAPROXY, "-db", "-f", str(self.file)], stdout=log, stderr=log
            )
        until(self._serves, 60, what="an instance behind the balancer")
        return self

    def _serves(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        try:
            return Client(self.url).get("/readyz").status == 200
        except OSError:
            return False

    def stop(self) -> None:
        """End it at once."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


class Stack:
    """Everything, started and ended together."""

    def __init__(
        self,
        folder: Path,
        count: int = 3,
        settings: dict[str, str] | None = None,
    ) -> None:
        """Keep all of it in a folder whose path is short."""
        self.folder, self.count = folder, count
        self._settings = settings or {}
        self._stack = ExitStack()

    def __enter__(self) -> "Stack":
        with ExitStack() as stack:
            self.postgres = Postgres()
            stack.callback(self.postgres.close)
            self.moto = stack.enter_context(moto())
            self.disk = self.folder / "rclone"
            self.disk.mkdir()
            self._rclone = ExitStack()
            stack.push(self._rclone)
            self.rclone = self._rclone.enter_context(rclone(self.disk))
            self.instances = [self._instance(number) for number in range(self.count)]
            for one in self.instances:
                stack.callback(one.kill)
                one.launch()
            for one in self.instances:
                one.wait_ready()
            self.balancer = Balancer(self.folder, self.instances).start()
            stack.callback(self.balancer.stop)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *problem: object) -> None:
        self._stack.close()

    @property
    def url(self) -> str:
        """Where people reach it."""
        return self.balancer.url

    def _instance(self, number: int) -> Instance:
        if number == 0:
            servers: list[S3Server] = [self.moto, self.moto, self.rclone, self.rclone]
            self._members = " ".join(one.url() for one in servers)
        settings = {
            "DATABASE_URL": self.postgres.url(),
            "ARRAY_LEVEL": "raid6",
            "ARRAY_MEMBERS": self._members,
            "GRACE_SECONDS": "60",
            **self._settings,
        }
        folder = self.folder / f"i{number}"
        return Instance(folder, settings, CREDENTIALS, trusted=[ADDRESS])

    def bring_back_rclone(self) -> None:
        """Start the S3 server again that was killed, with what it had on its disk."""
        port = int(self.rclone.endpoint.rpartition(":")[2])
        self.rclone = self._rclone.enter_context(rclone(self.disk, port))


def main() -> int:
    """Serve until it is enough."""
    needs_nginx()
    needs_haproxy()
    folder = Path(tempfile.mkdtemp(prefix="hf-"))
    try:
        with Stack(folder) as stack:
            print(f"Holdfast is at {stack.url}, on three instances:")
            for number, one in enumerate(stack.instances):
                print(f"  {number}: {one.url}, log {one.log}")
            print("Ctrl-C ends all of it.", flush=True)
            while True:
                time.sleep(3600)
    except KeyboardInterrupt:
        return 0
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
