"""The Nginx of `deploy/nginx.conf`, with the paths of a test in place of a host's."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAM = shutil.which("nginx") or (
    "/usr/sbin/nginx" if Path("/usr/sbin/nginx").exists() else None
)
_NOBODYS = "#set_real_ip_from 10.0.0.0/16;"


def needs_nginx() -> None:
    """Skip the test where Nginx is missing."""
    if PROGRAM is None:
        pytest.skip("Nginx is missing: apt-get install nginx")


def replaced(text: str, *pairs: tuple[str, str]) -> str:
    """Replace words, each of which must be there."""
    for old, new in pairs:
        assert old in text, f"{old!r} is not in the file any more"
        text = text.replace(old, new)
    return text


class Nginx:
    """One server on one port, in front of the sockets in a folder."""

    def __init__(
        self,
        folder: Path,
        port: int,
        *,
        trusted: Sequence[str] = (),
        certificate: tuple[Path, Path] | None = None,
        plain_port: int = 0,
        sockets: Path | None = None,
    ) -> None:
        """Write the configuration; `trusted` are the networks of load balancers.

        With a certificate and its key the port speaks TLS, and `plain_port` HTTP. The
        sockets of the pools are in the same folder, unless another is named.
        """
        self.folder, self.port = folder, port
        self.sockets = sockets or folder
        self.process: subprocess.Popen[bytes] | None = None
        (folder / "nginx.d").mkdir(parents=True, exist_ok=True)
        self.log = folder / "nginx.log"
        (folder / "nginx.conf").write_text(self._main())
        if certificate is None:
            one = self._plain(trusted)
        else:
            one = self._tls(*certificate, plain_port)
        (folder / "nginx.d" / "one.conf").write_text(one)
        site = (ROOT / "deploy" / "nginx" / "site.conf").read_text()
        (folder / "site.conf").write_text(_here(site))

    def _main(self) -> str:
        return replaced(
            (ROOT / "deploy" / "nginx.conf").read_text(),
            ("user www-data;", f"user {_me()};" if os.geteuid() == 0 else ""),
            ("/etc/holdfast/nginx/*.conf;", f"{self.folder}/nginx.d/*.conf;"),
            ("/run/nginx.pid", f"{self.folder}/nginx.pid"),
            ("/var/log/nginx/error.log", str(self.log)),
            ("/run/holdfast/", f"{self.sockets}/"),
            # So that tests do not need root: these are folders of the host.
            (
                "default_type application/octet-stream;",
                "default_type application/octet-stream;\n"
                + "".join(
                    f"    {kind}_temp_path {self.folder}/{kind};\n"
                    for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
                ),
            ),
        )

    def _plain(self, trusted: Sequence[str]) -> str:
        text = (ROOT / "deploy" / "nginx" / "balancer.conf").read_text()
        believed = "\n".join(f"set_real_ip_from {one};" for one in trusted)
        return replaced(
            _without_ipv6(text),
            (_NOBODYS, believed),
            ("listen 80", f"listen 127.0.0.1:{self.port}"),
            (
                "/opt/holdfast/current/deploy/nginx/site.conf",
                f"{self.folder}/site.conf",
            ),
        )

    def _tls(self, certificate: Path, key: Path, plain_port: int) -> str:
        text = (ROOT / "deploy" / "nginx" / "tls.conf").read_text()
        return replaced(
            _without_ipv6(text),
            ("listen 443", f"listen 127.0.0.1:{self.port}"),
            ("listen 80", f"listen 127.0.0.1:{plain_port}"),
            ("/etc/holdfast/tls/fullchain.pem", str(certificate)),
            ("/etc/holdfast/tls/privkey.pem", str(key)),
            (
                "/opt/holdfast/current/deploy/nginx/site.conf",
                f"{self.folder}/site.conf",
            ),
        )

    def start(self) -> "Nginx":
        """Start it and wait until it listens."""
        assert PROGRAM is not None
        command = [
            *(PROGRAM, "-p", str(self.folder), "-e", str(self.log)),
            *("-c", str(self.folder / "nginx.conf"), "-g", "daemon off;"),
        ]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        end = time.monotonic() + 20
        while not (self.folder / "nginx.pid").exists():
            if self.process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"Nginx did not start:\n{self.log.read_text()}")
            time.sleep(0.02)
        return self

    def quit(self, seconds: float = 60) -> None:
        """Let transfers finish, then end; what is idle ends at once."""
        if self.process is not None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(seconds)
            self.process = None

    def kill(self) -> None:
        """End every process of it with SIGKILL."""
        if self.process is None:
            return
        master = psutil.Process(self.process.pid)
        for one in [master, *master.children(recursive=True)]:
            one.kill()
        self.process.wait()
        self.process = None
        (self.folder / "nginx.pid").unlink(missing_ok=True)


def _here(text: str) -> str:
    return replaced(text, ("/opt/holdfast/current", str(ROOT)))


def _me() -> str:
    return psutil.Process().username()


def _without_ipv6(text: str) -> str:
    lines = [line for line in text.splitlines() if "[::]" not in line]
    return "\n".join(lines) + "\n"
