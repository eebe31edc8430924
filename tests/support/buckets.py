"""Real S3 servers on loopback, and buckets on them.

moto honours If-None-Match and checks no checksum and no key; ``rclone serve s3`` checks
signatures and Content-MD5 and ignores If-None-Match. Between them they err in opposite
ways, so what passes on both is right for the right reason.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

import psutil
import pytest

from storage.members.s3 import S3Member
from storage.members.s3calls import Budget, Calls
from storage.members.s3url import Bucket, parse_bucket_url

KEY_ID, KEY = "HOLDFASTTESTKEYID000", "holdfast-test-secret-key"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": KEY_ID,
    "AWS_SECRET_ACCESS_KEY": KEY,
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
}
_PATIENCE = 30.0
_MOTO = """
from moto import backends
found = list(backends.list_of_moto_modules())
backends.list_of_moto_modules = lambda: found
from moto.s3.models import FakeKey
FakeKey.__deepcopy__ = lambda self, memo: self
import threading
from moto.s3.models import S3Backend
from moto.s3.utils import _VersionedKeyStore
asked = threading.local()
list_versions, iterlists = S3Backend.list_object_versions, _VersionedKeyStore.iterlists
def list_some(self, *names, prefix="", **more):
    asked.prefix = prefix
    try:
        return list_versions(self, *names, prefix=prefix, **more)
    finally:
        asked.prefix = ""
def iterate_some(self):
    prefix = getattr(asked, "prefix", "")
    return ((name, keys) for name, keys in iterlists(self) if name.startswith(prefix))
S3Backend.list_object_versions, _VersionedKeyStore.iterlists = list_some, iterate_some
from moto.server import main
main()
"""
"""moto lists its own folder twice for each request, a third of the request's time. A
list of versions copies all bytes of the bucket, and keeps the copies for ever; and it
sorts all that the bucket has before it looks at the prefix."""


def give_credentials(patch: pytest.MonkeyPatch) -> None:
    """Give boto3 the keys of the test servers, and nothing of this machine's."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        patch.delenv(name)
    for name, value in CREDENTIALS.items():
        patch.setenv(name, value)


class HurriedCalls(Calls):
    """Requests that never pause, and end early while `hurry` says so.

    Only who waits for a server that hangs should hurry: all others would be slow on a
    machine that has much to do.
    """

    def __init__(self, bucket: Bucket, **options: Any) -> None:
        """Name a bucket; see `Calls`."""
        super().__init__(bucket, sleep=lambda seconds: None, **options)
        self.hurry: float | None = None

    def ask(
        self, operation: str, *, seconds: float | None = None, **more: Any
    ) -> dict[str, Any]:
        """Make a request, with so many seconds for it when there is a hurry."""
        return super().ask(operation, seconds=self.hurry or seconds, **more)

    def refresh(self) -> None:
        """Forget what was spent on retries."""
        self._process().budget = Budget()


@dataclass(eq=False)
class S3Server:
    """A server that runs; `endpoint` is where."""

    name: str
    endpoint: str
    numbers: Iterator[int] = field(default_factory=count)
    pid: int = 0

    @cached_property
    def client(self) -> Any:
        """A client of boto3 for what tests do behind a member's back."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=KEY_ID,
            aws_secret_access_key=KEY,
            config=Config(
                signature_version="s3v4",
                s3={"addressing_style": "path"},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )

    def bucket(self) -> str:
        """Make a bucket that nobody used before and return its name."""
        name = f"bucket-{next(self.numbers)}"
        self.client.create_bucket(Bucket=name)
        return name

    def keeping_bucket(self, *, locked: bool = False) -> str:
        """Make one with versions, or one in which none may be destroyed for years."""
        name = f"bucket-{next(self.numbers)}"
        self.client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=locked)
        if not locked:
            state = {"Status": "Enabled"}
            self.client.put_bucket_versioning(
                Bucket=name, VersioningConfiguration=state
            )
            return name
        rule = {"DefaultRetention": {"Mode": "COMPLIANCE", "Years": 1}}
        self.client.put_object_lock_configuration(
            Bucket=name,
            ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule},
        )
        return name

    def url(self, prefix: str = "a/member", **parameters: str) -> str:
        """Return the URL of a member in a new bucket."""
        more = "".join(f"&{name}={value}" for name, value in parameters.items())
        return f"s3://{self.bucket()}/{prefix}?endpoint={self.endpoint}{more}"

    def member(self, **options: Any) -> S3Member:
        """Return a blank member in a new bucket."""
        return S3Member(parse_bucket_url(self.url()), **options)

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Stop the server where it stands: it takes connections and says nothing."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """End it as a crash would, and wait until it is gone."""
        gone = psutil.Process(self.pid)
        gone.kill()
        gone.wait(10)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def _running(name: str, command: list[str], port: int) -> Iterator[S3Server]:
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        ends = time.monotonic() + _PATIENCE
        while not _listens(process.pid, port):
            assert process.poll() is None, f"{name} ended with {process.returncode}"
            assert time.monotonic() < ends, f"{name} does not answer"
            time.sleep(0.05)
        yield S3Server(name, f"http://127.0.0.1:{port}", pid=process.pid)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _listens(pid: int, port: int) -> bool:
    """Tell whether it is this process that has the port, and not a stranger."""
    try:
        found = psutil.Process(pid).net_connections("tcp")
    except psutil.NoSuchProcess:
        return False
    return any(one.status == "LISTEN" and one.laddr.port == port for one in found)


@contextmanager
def moto() -> Iterator[S3Server]:
    """Run moto's server in a process of its own."""
    port = _free_port()
    command = [sys.executable, "-W", "ignore", "-c", _MOTO]
    with _running("moto", [*command, "-H", "127.0.0.1", "-p", str(port)], port) as it:
        yield it


@contextmanager
def rclone(folder: Path | None = None, port: int | None = None) -> Iterator[S3Server]:
    """Run ``rclone serve s3`` over memory, or over a folder that outlives it."""
    port = port or _free_port()
    program = str(Path(sys.executable).with_name("rclone"))
    command = [program, "serve", "s3", str(folder or ":memory:")]
    command += ["--config", "/dev/null", "--addr", f"127.0.0.1:{port}"]
    command += ["--auth-key", f"{KEY_ID},{KEY}"]
    with _running("rclone", command, port) as server:
        yield server


SERVERS = {"moto": moto, "rclone": rclone}
