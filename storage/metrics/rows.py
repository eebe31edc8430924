"""What the database knows, at the moment of a scrape; nobody is waited for long.

A database that is away is a metric, too: `holdfast_database_up` is 0 and the rest of
what is here is left out, because old numbers would say that all is well.
"""

import logging
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from uuid import UUID

from flask import Flask
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from raid.superblock import StoredState
from storage import activity, kept, names, queries
from storage.db import db, release, utcnow
from storage.jobs import schedule
from storage.journal import state
from storage.models import Debt, DebtKind, Job, JobKind, MemberRow, Reason

SECONDS = 2.0
_ACTIVE = ("queued", "running", "paused")
# What a member keeps of purged blobs waits for its owner: nobody can pay it.
_IS_OWED = Debt.reason != Reason.KEPT
_LOG = logging.getLogger("holdfast.metrics")


class Rows(Collector):
    """Ask the database in a thread, one question at a time, for so long at most."""

    def __init__(self, app: Flask, seconds: float = SECONDS) -> None:
        """Name the application; nothing is asked yet."""
        self._app, self._seconds = app, seconds
        self._asking = threading.Lock()

    def collect(self) -> Iterator[Metric]:
        """Yield what it says, or that it says nothing."""
        found = self._ask()
        about = "Whether the database answered this scrape in time."
        yield _one("database_up", about, float(found is not None))
        yield from found or ()

    def _ask(self) -> list[Metric] | None:
        # One that hangs is not asked again, or its threads would pile up.
        if not self._asking.acquire(blocking=False):
            return None
        answers: list[list[Metric]] = []

        def ask() -> None:
            try:
                with self._app.app_context():
                    answers.append(list(_all()))
            except SQLAlchemyError as error:
                _LOG.warning("The database did not answer a scrape: %s", error)
            finally:
                self._asking.release()

        thread = threading.Thread(target=ask, name="rows", daemon=True)
        thread.start()
        thread.join(self._seconds)
        return answers[0] if answers else None


def _one(name: str, about: str, value: float) -> Metric:
    return GaugeMetricFamily(f"holdfast_{name}", about, value)


def _all() -> Iterator[Metric]:
    yield from _members()
    yield from _debts()
    yield from _blobs()
    yield from _jobs()
    yield from _upkeep()
    release()


def _members() -> Iterator[Metric]:
    rows = names.members()
    stored = GaugeMetricFamily(
        "holdfast_member_stored_state",
        "What the database holds the member of a slot for.",
        labels=["slot", "state"],
    )
    beside = dict.fromkeys(StoredState, 0)
    for row in rows:
        if row.slot is None:
            beside[StoredState(row.state)] += 1
            continue
        for word in StoredState:
            stored.add_metric([str(row.slot), word], float(row.state == word))
    yield stored
    others = GaugeMetricFamily(
        "holdfast_members_beside", "Members without a slot.", labels=["state"]
    )
    for word, count in beside.items():
        others.add_metric([word], count)
    yield others
    about = "Objects that a member is owed."
    yield _by_slot("member_owed_objects", about, rows, _owed())
    about = "Purged blobs whose bytes a member keeps."
    yield _by_slot("member_kept_blobs", about, rows, kept.counts())


def _owed() -> Counter[UUID]:
    asked = select(Debt.member_uuid, func.count()).where(_IS_OWED)
    found = db.session.execute(asked.group_by(Debt.member_uuid))
    return Counter({row[0]: row[1] for row in found}) + Counter(state.owed())


def _by_slot(
    name: str, about: str, rows: list[MemberRow], counts: Mapping[UUID, int]
) -> Metric:
    found = GaugeMetricFamily(f"holdfast_{name}", about, labels=["slot"])
    for row in rows:
        if row.slot is not None:
            found.add_metric([str(row.slot)], counts.get(row.uuid, 0))
    return found


def _debts() -> Iterator[Metric]:
    asked = select(Debt.kind, func.count()).where(_IS_OWED).group_by(Debt.kind)
    counts = {row[0]: row[1] for row in db.session.execute(asked)}
    found = GaugeMetricFamily(
        "holdfast_debts", "What all members are owed, journal aside.", labels=["kind"]
    )
    for kind in DebtKind:
        found.add_metric([kind], counts.get(kind, 0))
    yield found


def _blobs() -> Iterator[Metric]:
    count, size, at_risk, damaged = queries.totals()
    yield _one("blobs", "Live blobs.", count)
    yield _one("blob_bytes", "Bytes of live blobs, without redundancy.", size)
    yield _one("blobs_at_risk", "Blobs with less redundancy than promised.", at_risk)
    yield _one("blobs_damaged", "Blobs that can't be read as a whole.", damaged)


def _jobs() -> Iterator[Metric]:
    asked = select(Job.kind, Job.state, func.count()).group_by(Job.kind, Job.state)
    counts = {
        (row[0], row[1]): row[2]
        for row in db.session.execute(asked.where(Job.state.in_(_ACTIVE)))
    }
    jobs = GaugeMetricFamily(
        "holdfast_jobs", "Jobs that have not ended.", labels=["kind", "state"]
    )
    for kind in JobKind:
        for word in _ACTIVE:
            jobs.add_metric([kind, word], counts.get((kind, word), 0))
    yield jobs
    labels = ["kind", "slot"]
    done = GaugeMetricFamily("holdfast_job_done_bytes", "Done of a job.", labels=labels)
    total = GaugeMetricFamily(
        "holdfast_job_total_bytes", "What a job has to do in all.", labels=labels
    )
    for line in activity.going_on():
        whose = [line.kind, "" if line.slot is None else str(line.slot)]
        done.add_metric(whose, line.bytes)
        total.add_metric(whose, line.total)
    yield done
    yield total


def _upkeep() -> Iterator[Metric]:
    scrub, drill = schedule.last_full_scrub(), schedule.last_drill()
    # Of scrubs that never end well somebody has to hear, too.
    scrubbed_at = (scrub and scrub.finished_at) or schedule.made_at()
    if scrubbed_at is not None:
        about = "Seconds since the last full scrub ended, or else the array was made."
        yield _one("last_scrub_age_seconds", about, _age(scrubbed_at))
    if drill is not None and drill.finished_at is not None:
        about = "Seconds since the last drill ended."
        yield _one("last_drill_age_seconds", about, _age(drill.finished_at))
    lag = state.lag()
    about = "Changes of the catalogue that are on fewer than m+1 members."
    yield _one("journal_waiting", about, lag.rows + lag.entries)
    yield _one("journal_lag_seconds", "How long the oldest has waited.", lag.seconds)


def _age(moment: datetime) -> float:
    return max(0.0, (utcnow() - moment).total_seconds())
