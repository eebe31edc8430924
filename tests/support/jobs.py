"""Drive the jobs of a store to their end, or to where a test wants them."""

from datetime import timedelta

from sqlalchemy import update

from storage.db import transaction, utcnow
from storage.jobs import table
from storage.models import Debt, Job, JobKind
from storage.worker import Worker
from support.store import Store

MOST_ROUNDS = 500


def jobs(store: Store, *kinds: JobKind) -> list[Job]:
    """The jobs (of some kinds), as they are now, oldest first."""
    found = [job for job in store.rows(Job) if not kinds or job.kind in kinds]
    return sorted(found, key=lambda job: job.id)


def active(store: Store) -> list[Job]:
    """The jobs that have not ended."""
    return [job for job in jobs(store) if job.state in table.ACTIVE]


def finish(store: Store) -> None:
    """Let a worker go on until every job has ended and nothing is left to do."""
    worker = Worker()
    for _ in range(MOST_ROUNDS):
        store.runtime.rests.clear()
        if not worker.tick() and not active(store):
            return
    problems = [(job.kind, job.problem) for job in active(store)]
    raise AssertionError(f"jobs that do not end: {problems}")


def tick(store: Store) -> None:
    """One round, in which jobs do not rest."""
    store.runtime.rests.clear()
    Worker().tick()


def lease_ends(store: Store) -> None:
    """Let time pass until the leases of whoever was killed have run out."""
    past = utcnow() - timedelta(seconds=1)
    with transaction() as session:
        session.execute(
            update(Job).where(Job.lease.is_not(None)).values(lease_until=past)
        )


def debts_end(store: Store) -> None:
    """Let the waits of debts end, of those, too, that nobody could pay."""
    with transaction() as session:
        session.execute(update(Debt).values(due_at=utcnow()))
