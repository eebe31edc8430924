"""A proxy that is far away: the first byte of every request comes late.

    python -m benchmarks.latency --ms 100 PORT [PORT ...]

Prints the ports it listens on, one for each given port of this machine. Connections are
kept as they are. A request is what a client sends after it was answered, or at first;
leave to send (100-continue), which boto3 asks for before a PUT, is no answer.
"""

import argparse
import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from benchmarks.common import ROOT

_CHUNK = 1 << 18


class _Connection:
    """Two directions; what the client says after an answer is held back."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._answered = True

    async def requests(
        self, client: asyncio.StreamReader, server: asyncio.StreamWriter
    ) -> None:
        """Pass on what the client says."""
        while data := await client.read(_CHUNK):
            if self._answered:
                self._answered = False
                await asyncio.sleep(self._seconds)
            server.write(data)
            await server.drain()
        server.write_eof()

    async def answers(
        self, server: asyncio.StreamReader, client: asyncio.StreamWriter
    ) -> None:
        """Pass on what the server says."""
        while data := await server.read(_CHUNK):
            self._answered = not _is_leave(data)
            client.write(data)
            await client.drain()
        client.close()


def _is_leave(data: bytes) -> bool:
    """Tell whether it is a 100 Continue and nothing more."""
    alone = data.find(b"\r\n\r\n") == len(data) - 4
    return alone and data.startswith(b"HTTP/1.1 100 ")


_serving: set[asyncio.Task[None] | None] = set()
"""The loop keeps no hold of them, and one that waits would be collected."""


async def _serve(
    port: int,
    seconds: float,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    task = asyncio.current_task()
    _serving.add(task)
    behind_reader, behind_writer = await asyncio.open_connection("127.0.0.1", port)
    link = _Connection(seconds)
    try:
        await asyncio.gather(
            link.requests(reader, behind_writer),
            link.answers(behind_reader, writer),
        )
    except ConnectionError:
        pass  # either side hung up
    finally:
        behind_writer.close()
        writer.close()
        _serving.discard(task)


async def _run(ports: list[int], seconds: float) -> None:
    servers = [
        await asyncio.start_server(partial(_serve, port, seconds), "127.0.0.1", 0)
        for port in ports
    ]
    print(*(one.sockets[0].getsockname()[1] for one in servers), flush=True)
    await asyncio.gather(*(one.serve_forever() for one in servers))


@contextmanager
def late(ports: list[int], milliseconds: float) -> Iterator[list[int]]:
    """Run the proxy in a process of its own; gives the ports to use instead."""
    command = [sys.executable, "-m", "benchmarks.latency", "--ms", str(milliseconds)]
    process = subprocess.Popen(
        [*command, *map(str, ports)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield [int(port) for port in process.stdout.readline().split()]
    finally:
        process.terminate()
        process.communicate()


def main() -> int:
    """Serve until a signal ends it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ms", type=float, default=100, help="milliseconds")
    parser.add_argument("ports", type=int, nargs="+", metavar="PORT")
    options = parser.parse_args()
    asyncio.run(_run(options.ports, options.ms / 1000))
    return 0


if __name__ == "__main__":
    sys.exit(main())
