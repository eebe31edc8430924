"""`flask worker`: what has to be done without anybody asking, over and over.

Members that return get what they are owed, purges go on, abandoned uploads are undone.
Several workers do no harm: every step is idempotent, and the rows decide.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy.exc import DBAPIError

from raid.array import Array
from raid.errors import RaidError
from storage import (
    damage,
    debts,
    events,
    heap,
    history,
    purge,
    quarantine,
    upkeep,
    uploads,
)
from storage.db import abandon
from storage.errors import NoArray, StorageError
from storage.jobs import (  # noqa: F401 - each says which kind of job it does
    drill,
    inventory,
    rebuild,
    receipts,
    replace,
    reshape,
    runner,
    schedule,
    scrub,
    sweep,
)
from storage.journal import chain, exporter, heads, state
from storage.runtime import Runtime, runtime

IDLE_SECONDS = 1.0
UNDO_SECONDS = 5.0
SCHEDULE_SECONDS = 60.0
JOURNAL_SECONDS = 3.0
HEADS_SECONDS = 180.0
WHOLE_JOURNALS_SECONDS = 86_400.0
"""To list a journal of a million entries costs a thousand requests of a bucket."""
LAG_SECONDS = 15.0
FINISH_SECONDS = 3.0
REST_SECONDS = 5.0
"""How long `--once` waits for a job that keeps to its pace."""
_HEADS, _WHOLE_JOURNALS = "journal heads", "whole journals"
TURN_SECONDS = 5.0
"""How long a round purges, and pays: hours of either must not keep the rest waiting."""

_LOG = logging.getLogger("holdfast.worker")


@dataclass(frozen=True)
class Chore:
    """Something another package wants done now and then; it counts what it did."""

    every_seconds: float
    do: Callable[[], int]


_chores: dict[str, Chore] = {
    "quarantine": Chore(86_400.0, quarantine.daily),
    "old events": Chore(86_400.0, history.forget_old),
    "old jobs": Chore(86_400.0, schedule.forget_old),
    "receipts": Chore(60.0, receipts.request),
    "memory": Chore(heap.GIVE_BACK_SECONDS, heap.give_back),
}


def register_chore(
    name: str, chore: Callable[[], int], every_seconds: float = 300.0
) -> None:
    """Let the worker call this now and then, in an application context."""
    _chores[name] = Chore(every_seconds, chore)


class Worker:
    """The loop; `tick` is one round of it."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._done_at: dict[str, float] = {}
        self._tide = chain.Tide()

    def stop(self) -> None:
        """End the loop at the next step; safe in a signal handler."""
        self._stop.set()

    @property
    def stopping(self) -> bool:
        """Tell whether the loop was asked to end."""
        return self._stop.is_set()

    def run(self) -> None:
        """Work until it is stopped."""
        while not self.stopping:
            try:
                busy = self.tick()
            except DBAPIError as error:
                _LOG.warning("A round waits for the database: %s", error.orig)
                abandon()
                busy = 0
            except Exception:
                # The database or a member may be away for a while; a worker that
                # dies of it would only be started again.
                _LOG.exception("A round of the worker failed; the next one follows.")
                abandon()
                busy = 0
            self._stop.wait(0.05 if busy else self._idle())
        runner.let_go()
        self._finish_journal()

    def _idle(self) -> float:
        """Return how long there is nothing to do; a job that rested goes on at once."""
        return min(IDLE_SECONDS, runner.seconds_to_next())

    def run_once(self, rounds: int = 100) -> None:
        """Work until nothing is left that can be done now, or after a short rest."""
        for _ in range(rounds):
            if not self.tick() and not self._rest():
                break
        self._finish_journal()

    def _rest(self) -> bool:
        """Sit out the rest of an own job; False when none goes on soon."""
        seconds = runner.seconds_to_next()
        return seconds <= REST_SECONDS and not self._stop.wait(seconds)

    def tick(self) -> int:
        """Do a round of everything that is due; returns how much was done."""
        own = runtime()
        try:
            own.check_members()
        except NoArray:
            return 0
        if self._is_readonly(own.array()):
            return 0
        return self._storage(own) + self._do_chores()

    def _storage(self, own: Runtime) -> int:
        done = damage.write_down(own)
        for step in (
            # A database that is older than the members must not undo or purge.
            self._heads,
            upkeep.watch_members,
            events.welcome,
            self._purge,
            self._pay,
            events.settle,
            events.write_superblocks,
            self._undo,
            self._schedule,
            self._jobs,
            self._journal,
        ):
            if self.stopping:
                break
            own.forget_map()
            array = own.array()
            if self._is_readonly(array) or self._went_back():
                break
            done += self._try(step, array)
        own.forget_map()
        return done

    def _try(self, step: Callable[[Array], int], array: Array) -> int:
        """Do one step; trouble with one must not keep the others from their turn."""
        name = getattr(step, "__name__", "step").strip("_")
        try:
            return step(array)
        except (RaidError, StorageError) as error:
            _LOG.warning("%s: %s", name, error)
        except DBAPIError:
            raise
        except Exception:
            _LOG.exception("%s broke off; the next round tries it again.", name)
            abandon()
        return 0

    def _end_of_turn(self) -> Callable[[], bool]:
        until = time.monotonic() + TURN_SECONDS
        return lambda: self.stopping or time.monotonic() >= until

    def _purge(self, array: Array) -> int:
        return purge.run(array, self._end_of_turn())

    def _pay(self, array: Array) -> int:
        paid = debts.pay(array, self._end_of_turn())
        if paid:
            _LOG.info("Debts were paid.", extra={"fields": {"objects": paid}})
        return paid

    def _jobs(self, array: Array) -> int:
        return runner.run(array, lambda: self.stopping)

    def _is_readonly(self, array: Array) -> bool:
        """Tell whether nothing may be done; once something may, look at journals."""
        if array.map.readonly:
            self._done_at.pop(_WHOLE_JOURNALS, None)
        return array.map.readonly

    def _went_back(self) -> bool:
        """Tell whether the database is older than it was; journals come first then."""
        back = self._tide.went_back()
        if back:
            self._done_at.pop(_WHOLE_JOURNALS, None)
        return back

    def _heads(self, array: Array) -> int:
        if self._due(_WHOLE_JOURNALS, WHOLE_JOURNALS_SECONDS):
            return heads.check(array)
        return heads.glance(array) if self._due(_HEADS, HEADS_SECONDS) else 0

    def _journal(self, array: Array) -> int:
        done = 0
        if self._due("journal", JOURNAL_SECONDS):
            done += exporter.run(array, lambda: self.stopping)
        if self._due("journal lag", LAG_SECONDS):
            done += state.watch()
        return done

    def _finish_journal(self) -> None:
        """Leave nothing behind that only the database knows."""
        until = time.monotonic() + FINISH_SECONDS
        own = runtime()
        own.forget_map()
        try:
            if not own.array().map.readonly and not self._tide.went_back():
                exporter.finish(own.array(), lambda: time.monotonic() > until)
        except NoArray:
            return
        except (RaidError, StorageError, DBAPIError) as error:
            _LOG.warning("The journal waits for the next start: %s", error)

    def _undo(self, array: Array) -> int:
        return uploads.undo_abandoned(array) if self._due("undo", UNDO_SECONDS) else 0

    def _schedule(self, array: Array) -> int:
        return schedule.run(array) if self._due("schedule", SCHEDULE_SECONDS) else 0

    def _due(self, name: str, seconds: float) -> bool:
        now = time.monotonic()
        last = self._done_at.get(name)
        if last is not None and now - last < seconds:
            return False
        self._done_at[name] = now
        return True

    def _do_chores(self) -> int:
        done = 0
        for name, chore in list(_chores.items()):
            if self.stopping or not self._due(f"chore {name}", chore.every_seconds):
                continue
            count = chore.do()
            if count:
                fields = {"chore": name, "count": count}
                _LOG.info("A chore was done.", extra={"fields": fields})
            done += count
        return done
