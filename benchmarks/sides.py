"""The two sides of a comparison over buckets: an array, and boto3 alone."""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.common import MIB
from raid.writer import erase
from storage import blobs
from storage.db import transaction
from storage.models import Blob
from storage.runtime import runtime
from support import database
from support.buckets import KEY, KEY_ID, S3Server
from support.store import wanted

PART = 3 * MIB
"""What a shard of a full segment holds of a file in RAID-5 over four."""


class Ours:
    """An array over buckets, in this process."""

    def __init__(self, folder: Path, urls: list[str]) -> None:
        folder.mkdir()
        self.app = database.application(folder, None, {"ARRAY_MEMBERS": " ".join(urls)})

    def put(self, path: Path) -> tuple[Blob, float]:
        """Store a file; the blob and the seconds until it is visible."""
        said = wanted(b"", size=path.stat().st_size)
        begun = time.perf_counter()
        with (
            self.app.app_context(),
            path.open("rb", buffering=0) as source,
            blobs.receive(said, source, lambda _: None) as incoming,  # type: ignore[arg-type]
            transaction() as session,
        ):
            blob = incoming.commit(session)
        return blob, time.perf_counter() - begun

    def get(self, blob: Blob, hasher: Any = None) -> float:
        """Read it, every unit verified; seconds."""
        count, begun = 0, time.perf_counter()
        with self.app.app_context():
            for piece in blobs.open_blob(blob).chunks():
                count += len(piece)
                if hasher is not None:
                    hasher.update(piece)
        assert count == blob.size, f"{count} of {blob.size} bytes came"
        return time.perf_counter() - begun

    def first_byte(self, blob: Blob) -> float:
        """Open it; seconds until its first bytes are there."""
        begun = time.perf_counter()
        with self.app.app_context():
            chunks = blobs.open_blob(blob).chunks()
            assert next(chunks)
            seconds = time.perf_counter() - begun
            chunks.close()  # type: ignore[attr-defined]
        return seconds

    def drop(self, blob: Blob) -> None:
        """Make room on the servers."""
        with self.app.app_context():
            erase(runtime().array(), blob.uuid)

    def close(self) -> None:
        """End its threads."""
        database.close(self.app)


class Plain:
    """boto3 alone: the parts of a file, in turn over a bucket of each server."""

    def __init__(self, servers: list[S3Server], threads: int) -> None:
        self._places = [(server.client, server.bucket()) for server in servers]
        self._threads = threads
        self._usual = _usual_client(servers[0])

    def put(self, path: Path, name: str) -> float:
        """Store the parts; seconds."""
        with path.open("rb") as file:

            def send(number: int) -> None:
                client, bucket = self._places[number % len(self._places)]
                body = os.pread(file.fileno(), PART, number * PART)
                client.put_object(Bucket=bucket, Key=f"{name}.{number}", Body=body)

            return self._all(send, path.stat().st_size)

    def get(self, name: str, size: int) -> float:
        """Fetch the parts; seconds."""

        def fetch(number: int) -> None:
            client, bucket = self._places[number % len(self._places)]
            answer = client.get_object(Bucket=bucket, Key=f"{name}.{number}")
            assert len(answer["Body"].read()) == min(PART, size - number * PART)

        return self._all(fetch, size)

    def drop(self, name: str, size: int) -> None:
        """Make room on the servers."""

        def delete(number: int) -> None:
            client, bucket = self._places[number % len(self._places)]
            client.delete_object(Bucket=bucket, Key=f"{name}.{number}")

        self._all(delete, size)

    def upload_fileobj(self, path: Path, name: str) -> float:
        """Store the file as boto3 does it when it is left alone; seconds."""
        bucket = self._places[0][1]
        begun = time.perf_counter()
        with path.open("rb") as file:
            self._usual.upload_fileobj(file, bucket, name)
        seconds = time.perf_counter() - begun
        self._usual.delete_object(Bucket=bucket, Key=name)
        return seconds

    def _all(self, job: Callable[[int], None], size: int) -> float:
        begun = time.perf_counter()
        with ThreadPoolExecutor(self._threads) as pool:
            list(pool.map(job, range(-(-size // PART))))
        return time.perf_counter() - begun


def _usual_client(server: S3Server) -> Any:
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        region_name="us-east-1",
        aws_access_key_id=KEY_ID,
        aws_secret_access_key=KEY,
    )
