"""The yardstick: the same server and configuration, one plain file, nothing else.

PUT writes the body to a new file and makes it durable (fsync of file and folder, a
rename without surprises); GET streams a file from a generator. No sessions, no rows,
no checksums: what a body costs at the least.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

FOLDER = Path(os.environ["PLAIN_FOLDER"])
BUFFER = 1 << 20
Start = Callable[[str, list[tuple[str, str]]], object]


def app(environ: dict[str, Any], start_response: Start) -> Iterable[bytes]:
    """Store or send the file that the path names."""
    path = FOLDER / Path(environ["PATH_INFO"]).name
    if environ["PATH_INFO"] == "/whoami":
        return _say(start_response, str(os.getppid()).encode())
    if environ["REQUEST_METHOD"] == "PUT":
        _store(environ["wsgi.input"], path)
        return _say(start_response, b"stored", "201 Created")
    start_response("200 OK", [("Content-Length", str(path.stat().st_size))])
    return _pieces(path)


def _say(start_response: Start, text: bytes, status: str = "200 OK") -> Iterable[bytes]:
    start_response(status, [("Content-Length", str(len(text)))])
    return [text]


def _store(source: Any, path: Path) -> None:
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb", buffering=0) as file:
        while piece := source.read(BUFFER):
            file.write(piece)
        os.fsync(file.fileno())
    temporary.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as file:
        while piece := file.read(BUFFER):
            yield piece
