"""The two threads of a process that serves.

One looks at the members, so that no page has to. The other keeps this process's uploads
from being taken for abandoned, writes down the damage that readers met, fails a member
whose device fails again and again, and gives free memory back; it is one of its own
because a look at a sick disk may take long.
"""

import logging
import threading
import time
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

from storage import damage, domains, heap, maps, upkeep, uploads
from storage.errors import NoArray
from storage.journal import chain, heads
from storage.runtime import Runtime

CHECK_SECONDS = 2.0
KEEP_SECONDS = 1.0
TOUCH_SECONDS = 10.0
_LOG = logging.getLogger("holdfast.array")
_starting = threading.Lock()


def start(own: Runtime) -> None:
    """Start the threads of this process, once; they end with the runtime."""
    if own.threads or own.stopped.is_set():
        return
    with _starting:
        if not own.threads:
            own.threads = [
                _thread(own, "watch", CHECK_SECONDS, Watcher(own).step),
                _thread(own, "keep", KEEP_SECONDS, Keeper(own).step),
            ]


def _thread(
    own: Runtime, name: str, seconds: float, step: Callable[[], None]
) -> threading.Thread:
    def loop() -> None:
        while not own.stopped.is_set():
            _try(own, name, step)
            own.stopped.wait(seconds)

    thread = threading.Thread(target=loop, name=name, daemon=True)
    thread.start()
    return thread


def _try(own: Runtime, name: str, step: Callable[[], None]) -> None:
    try:
        with own.app.app_context():
            step()
    except NoArray:
        return  # there may be one later
    except SQLAlchemyError as error:
        _LOG.warning("The database did not answer the thread %s: %s", name, error)
    except Exception:
        # It must go on whatever it meets: without it, uploads would be given up.
        _LOG.exception("The thread %s met an error and goes on.", name)


class Watcher:
    """Look at the members and at what they share.

    What they know is looked at first, and when an older database was put in place.
    """

    def __init__(self, own: Runtime) -> None:
        self._own = own
        self._compared = False
        self._tide = chain.Tide()

    def step(self) -> None:
        """Look; a database that is older than its members is not written to."""
        self._own.check_members()
        if self._tide.went_back():
            self._compared = False
        if not self._compared:
            if heads.is_ahead(self._own.array()):
                maps.note_rollback()
            self._compared = True
        domains.look(self._own)


class Keeper:
    """Touch the uploads of a process now and then, and write down what it met."""

    def __init__(self, own: Runtime) -> None:
        self._own = own
        self._touched_at = 0.0
        self._gave_back_at = time.monotonic()

    def step(self) -> None:
        """Do what is due."""
        now = time.monotonic()
        if self._own.uploads and now - self._touched_at > TOUCH_SECONDS:
            uploads.touch(list(self._own.uploads))
            self._touched_at = now
        if now - self._gave_back_at > heap.GIVE_BACK_SECONDS:
            heap.give_back()
            self._gave_back_at = now
        damage.write_down(self._own)
        upkeep.fail_sick(self._own.array())
