"""Requests to one bucket: a client per process, deadlines, retries, few connections.

boto3 is imported at the first request, and its own retries are off: what is tried again
is decided here alone, with full jitter and out of one budget, so that a bucket in
trouble is not beaten while it is down.
"""

import os
import random
import threading
import time
from collections.abc import Callable
from typing import Any
from weakref import WeakValueDictionary

from raid.errors import MemberSlow
from storage.members.s3client import forget, make_client
from storage.members.s3errors import Trouble, Unanswered, is_transient, is_unknown
from storage.members.s3url import Bucket

CONNECTIONS = 16
"""Requests to one bucket at a time and process; more of them wait."""
DEADLINE = 30.0
"""Seconds for a request with all its tries, beside the time that its bytes need."""
SLOWEST = float(1 << 20)
"""Bytes a second below which an object is too slow."""
READ_TIMEOUT = 10.0
"""Seconds of silence; an upload is not sent again after that, but goes elsewhere."""
TRIES = 4
FIRST_PAUSE = 0.2
LONGEST_PAUSE = 5.0
BUDGET = 20.0
EARNED = 0.1
"""How much of a retry a success pays for: at most one request in eleven is a retry."""
RENEW_SECONDS = 60.0
"""Age of a client that is made anew, with what its profile says by then, when its
credentials are refused or it has none."""
_PIECE = 1 << 20


class Budget:
    """What may be spent on retries; successes earn it back."""

    def __init__(self, most: float = BUDGET) -> None:
        self._most = self._left = most
        self._lock = threading.Lock()

    def spend(self) -> bool:
        """Pay for a retry; say whether there was enough."""
        with self._lock:
            if self._left < 1:
                return False
            self._left -= 1
            return True

    def earn(self) -> None:
        """Note a success."""
        with self._lock:
            self._left = min(self._most, self._left + EARNED)


class Deadline:
    """When a request has to be over."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._ends = clock() + seconds

    @property
    def left(self) -> float:
        """Return the seconds that are left, never below 0."""
        return max(0.0, self._ends - self._clock())

    @property
    def over(self) -> bool:
        """Say whether it has passed."""
        return self._clock() >= self._ends


class _Timed:
    """A body that stops when the deadline has passed, however fast it trickles."""

    def __init__(self, body: Any, deadline: Deadline) -> None:
        self._body, self._deadline = body, deadline
        self.tell, self.seek, self.seekable = body.tell, body.seek, body.seekable

    def __len__(self) -> int:
        return len(self._body)

    def read(self, count: int = -1) -> Any:
        if self._deadline.over:
            raise TimeoutError
        return self._body.read(count)


class Calls:
    """Make the requests of one member; safe between threads and after a fork."""

    def __init__(
        self,
        bucket: Bucket,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        deadline: float = DEADLINE,
    ) -> None:
        """Name a bucket; nothing is asked yet, and no credentials are looked for."""
        self._bucket = bucket
        self._clock, self._sleep, self._seconds = clock, sleep, deadline
        self._own: _Process | None = None

    def ask(
        self,
        operation: str,
        *,
        size: int = 0,
        tries: int = TRIES,
        seconds: float | None = None,
        elsewhere: bool = True,
        **parameters: Any,
    ) -> dict[str, Any]:
        """Make a request and return the answer, its body (if any) as bytes.

        ``size`` is the number of bytes that travel, ``seconds`` another deadline. An
        upload that nobody answers is not sent again if it can go ``elsewhere``.
        Raises `Answered` or `Unanswered` after the last try.
        """
        deadline = Deadline((seconds or self._seconds) + size / SLOWEST, self._clock)
        own = self._process()
        for number in range(1, tries + 1):
            try:
                answer = own.once(operation, parameters, deadline)
            except Trouble as trouble:
                over = elsewhere and _is_silent_put(operation, trouble)
                if over or number == tries:
                    raise
                if not self._again(own, trouble, number, deadline):
                    raise
            else:
                own.budget.earn()
                return answer
        raise AssertionError("not reached")

    def _again(
        self, own: "_Process", trouble: Trouble, number: int, deadline: Deadline
    ) -> bool:
        """Wait before another try, or say that there is none."""
        if not is_transient(trouble):
            return False
        most = min(LONGEST_PAUSE, FIRST_PAUSE * 2**number)
        pause = random.uniform(0, most)  # noqa: S311
        if pause >= deadline.left or not own.budget.spend():
            return False
        self._sleep(pause)
        return True

    def _process(self) -> "_Process":
        """Return what belongs to this process: connections don't survive a fork."""
        own = self._own
        if own is None or own.pid != os.getpid():
            self._own = own = _Process(self._bucket)
        return own


_shared: WeakValueDictionary[Bucket, Calls] = WeakValueDictionary()
_sharing = threading.Lock()


def _after_fork() -> None:
    global _sharing  # whoever held it is not in this process
    _sharing = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)


def calls_to(bucket: Bucket) -> Calls:
    """Return what makes the requests to a bucket, the same as long as one uses it.

    A member that is away is made anew every few seconds, in every process. A client of
    its own would cost some MiB each time, and its budget would be full again.
    """
    with _sharing:
        return _shared.setdefault(bucket, Calls(bucket))


class _Process:
    """The client of one process, made at its first request."""

    def __init__(self, bucket: Bucket) -> None:
        self.pid = os.getpid()
        self.budget = Budget()
        self._bucket = bucket
        self._room = threading.BoundedSemaphore(CONNECTIONS)
        self._making = threading.Lock()
        self._client: Any = None
        self._made_at = 0.0
        self._local = threading.local()

    def once(
        self, operation: str, parameters: dict[str, Any], deadline: Deadline
    ) -> dict[str, Any]:
        """Make one try within the deadline."""
        if not self._room.acquire(timeout=deadline.left):
            raise _late()
        try:
            return self._once(operation, parameters, deadline)
        except Trouble as trouble:
            if is_unknown(trouble):
                self._renew()
            if isinstance(trouble, Unanswered) and deadline.over:
                raise _late() from trouble
            raise
        finally:
            self._room.release()

    def _once(
        self, operation: str, parameters: dict[str, Any], deadline: Deadline
    ) -> dict[str, Any]:
        client = self._ready()
        self._local.timeout = max(0.1, min(READ_TIMEOUT, deadline.left))
        body = parameters.get("Body")
        if body is not None:
            body.seek(0)
            parameters = {**parameters, "Body": _Timed(body, deadline)}
        answer = client.call(operation, parameters)
        if "Body" in answer:
            length = answer.get("ContentLength")
            with client.translated():
                answer["Body"] = _whole(answer["Body"], length, deadline)
        return answer

    def _ready(self) -> Any:
        if self._client is None:
            with self._making:
                if self._client is None:
                    self._client = make_client(
                        self._bucket, CONNECTIONS, lambda: self._local.timeout
                    )
                    self._made_at = time.monotonic()
        return self._client

    def _renew(self) -> None:
        """Let the next request have a new client, with the credentials of by then."""
        with self._making:
            if time.monotonic() - self._made_at > RENEW_SECONDS:
                self._client = None
                forget(self._bucket.profile)


def _whole(stream: Any, length: int | None, deadline: Deadline) -> bytes:
    """Read an answer's body; what is cut, or too long, is no answer."""
    pieces, got = [], 0
    try:
        while piece := stream.read(_PIECE):
            pieces.append(piece)
            got += len(piece)
            if deadline.over:
                raise _late()
    except BaseException:
        stream.close()  # its connection is of no more use
        raise
    if length is not None and got != length:
        raise _late("cut its answer short")
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _is_silent_put(operation: str, trouble: Trouble) -> bool:
    """Say whether an upload was left without a word: it goes elsewhere at once."""
    silent = isinstance(trouble, Unanswered) and trouble.silent
    return silent and operation == "put_object"


def _late(says: str = "did not answer in time; it is tried again") -> Unanswered:
    return Unanswered(MemberSlow, says)
