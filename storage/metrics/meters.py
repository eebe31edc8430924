"""What this process counts: its requests, its transfers, and the members it asked.

Labels are bounded: routes, methods, codes, slots and words, never a path or a name.
"""

import atexit
import logging
import threading
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from flask import Flask
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from raid.array import Array, ArrayState
from raid.figures import Figure, Figures
from raid.member import UNLIMITED
from raid.pace import Hedges
from storage.metrics import place
from storage.runtime import Runtime

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

WRITE_SECONDS = 2.0
ARRAY_RANK = "holdfast_array_rank"
MEMBER_RANK = "holdfast_member_rank"
ARRAY_STATES = tuple(
    str(state)
    for state in (
        ArrayState.CLEAN,
        ArrayState.DEGRADED,
        ArrayState.READONLY,
        ArrayState.FAILED,
    )
)
"""From well to ill: of what processes see, the worst is told."""
MEMBER_STATES = ("ok", "full", "read-only", "slow", "access-denied", "missing")
ENDPOINT = "holdfast.endpoint"
CUT = "cut"
"""The status of an answer that began well and did not come to its end."""
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_BUCKETS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
_LOG = logging.getLogger("holdfast.metrics")


class Meters:
    """The numbers of this process, and the thread that writes them down."""

    def __init__(self, app: Flask, runtime_key: str) -> None:
        """Count nothing yet; the thread begins with the first request."""
        self._app, self._key = app, runtime_key
        self.registry = CollectorRegistry()
        self.requests = Histogram(
            "holdfast_http_request_seconds",
            "Requests by route, from the first byte to the last that was sent.",
            ("endpoint", "method", "status"),
            registry=self.registry,
            buckets=_BUCKETS,
        )
        self.registry.register(_Own(self))
        self._begun = threading.Lock()

    @property
    def runtime(self) -> Runtime | None:
        """Return the runtime of this process, if it was needed already."""
        found: Runtime | None = self._app.extensions.get(self._key)
        return found

    def request(
        self, endpoint: str, method: str | None, status: str, seconds: float
    ) -> None:
        """Count a request whose last byte was sent, or whose answer was cut."""
        known = method if method in _METHODS else "other"
        self.requests.labels(endpoint, known, status).observe(seconds)

    def begin(self) -> None:
        """Write the numbers down from now on; again and again does no harm."""
        if self._begun.acquire(blocking=False):
            sheet = place.Sheet(place.folder(self._app.config["HOLDFAST"].data_dir))
            atexit.register(self._write, sheet)
            threading.Thread(
                target=self._go_on, args=(sheet,), name="meters", daemon=True
            ).start()

    def _go_on(self, sheet: place.Sheet) -> None:
        while True:
            self._write(sheet)
            time.sleep(WRITE_SECONDS)

    def _write(self, sheet: place.Sheet) -> None:
        try:
            sheet.write(generate_latest(self.registry))
        except OSError as error:
            _LOG.warning("Metrics can't be written down: %s", error)


class _Own(Collector):
    """What the runtime of this process knows; takes no lock, and asks no member."""

    def __init__(self, meters: Meters) -> None:
        self._meters = meters

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        own = self._meters.runtime
        if own is None:
            return
        yield _gauge("uploads_in_flight", "Uploads that run.", len(own.uploads))
        yield _gauge("downloads_in_flight", "Files being read.", len(own.downloads))
        array = own.last_array()
        if array is not None:
            yield from _array(own, array)
        if own.figures is not None:
            yield from traffic(own.figures)
        yield from _late(own.health.pace.hedges)


def _late(hedges: Hedges) -> Iterator[Metric]:
    """Yield what late reads of members came to."""
    for name, about, count in (
        ("reads_hedged", "Reads of others because a member was late.", hedges.hedged),
        ("reads_hedged_bytes", "Bytes of these reads.", hedges.hedged_bytes),
        ("reads_saved", "Late reads that others made good.", hedges.saved),
        ("reads_waited", "Late reads beyond what may be asked twice.", hedges.refused),
    ):
        yield CounterMetricFamily(f"holdfast_{name}", about, count)


def _gauge(name: str, about: str, value: float) -> Metric:
    return GaugeMetricFamily(f"holdfast_{name}", about, value)


def _array(own: Runtime, array: Array) -> Iterator[Metric]:
    rank = ARRAY_STATES.index(array.state().value)
    yield GaugeMetricFamily(ARRAY_RANK, "State of the array.", rank)
    seen = GaugeMetricFamily(MEMBER_RANK, "What is seen of members.", labels=["slot"])
    free = GaugeMetricFamily(
        "holdfast_member_free_bytes", "Room on a member.", labels=["slot"]
    )
    for entry in array.map.slots:
        word = array.health.observed(entry.slot) or "ok"
        if entry.slot not in array.members:
            word = "missing"
        seen.add_metric([str(entry.slot)], MEMBER_STATES.index(word))
        space = own.spaces.get(entry.slot)
        if space is not None and space.total < UNLIMITED:
            free.add_metric([str(entry.slot)], space.free)
    yield seen
    yield free


def traffic(figures: Figures) -> Iterator[Metric]:
    """Yield what members were asked for; the one place where that is taken from."""
    about = {
        "requests": "Reads and writes of objects of a member.",
        "bytes": "Bytes that were read from a member, or written to it.",
        "seconds": "Seconds that reads and writes took, all together.",
    }
    now = figures.now()
    for name, text in about.items():
        found = CounterMetricFamily(
            f"holdfast_member_{name}", text, labels=["slot", "way"]
        )
        for slot, figure in now.items():
            found.add_metric([_slot(slot), "read"], getattr(figure.read, name))
            found.add_metric([_slot(slot), "write"], getattr(figure.write, name))
        yield found
    yield _errors(now)


def _errors(now: dict[int, Figure]) -> Metric:
    found = CounterMetricFamily(
        "holdfast_member_errors", "Requests that failed.", labels=["slot", "state"]
    )
    for slot, figure in now.items():
        for word, count in figure.errors.items():
            found.add_metric([_slot(slot), word], count)
    return found


def _slot(slot: int) -> str:
    return str(slot) if slot >= 0 else "spare"


class Counting:
    """Measure each request until its last byte was sent or it broke."""

    def __init__(self, inner: "WSGIApplication", meters: Meters) -> None:
        self._inner, self._meters = inner, meters

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        """Pass the request on and watch its answer."""
        self._meters.begin()
        began, status = time.monotonic(), [500]

        def start(line: str, headers: Any, exc_info: Any = None) -> Any:
            status[0] = int(line[:3])
            return start_response(line, headers, exc_info)

        def finish(whole: bool) -> None:
            endpoint = environ.get(ENDPOINT) or "none"
            seconds = time.monotonic() - began
            method = environ.get("REQUEST_METHOD")
            word = str(status[0]) if whole or status[0] >= 400 else CUT
            self._meters.request(endpoint, method, word, seconds)

        try:
            body = self._inner(environ, start)
        except BaseException:
            finish(False)
            raise
        return _Watched(body, finish)


class _Watched:
    """An answer that says when it is over, and whether it came to its end."""

    def __init__(self, body: Iterable[bytes], finish: Any) -> None:
        self._body, self._finish = body, finish
        self._whole = False

    def __iter__(self) -> Iterator[bytes]:
        # No `yield from`: it would close the body, which `close` does, once more.
        for chunk in self._body:  # noqa: UP028
            yield chunk
        self._whole = True

    def close(self) -> None:
        """Count it; the server calls this whatever became of the answer."""
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                close()
        finally:
            self._finish(self._whole)
