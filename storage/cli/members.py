"""`flask array fail`, `readd`, `replace`, `retire`, `spare`, `readonly`, `rebuild`."""

import getpass
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from sqlalchemy import func, select

from raid.errors import RaidError
from raid.superblock import StoredState
from storage import membership
from storage.cli.group import array
from storage.db import db, release
from storage.errors import StorageError
from storage.jobs import table
from storage.jobs.progress import Progress
from storage.models import Job, JobState, MemberRow
from storage.runtime import runtime
from storage.worker import Worker

WATCH_SECONDS = 0.5


@contextmanager
def _sentences() -> Iterator[None]:
    """Turn what is refused into a sentence and an exit code."""
    try:
        yield
    except (StorageError, RaidError) as error:
        raise click.ClickException(str(error)) from error


def _do(change: Callable[[], object], said: str) -> None:
    with _sentences():
        # A fresh process knows of no member whether it is there.
        runtime().check_members()
        change()
    click.echo(said)


def _actor() -> str:
    return getpass.getuser()


@array.command("fail")
@click.argument("slot", type=int)
@click.option("--why", help="A sentence for the event log.")
@click.option("--force", is_flag=True, help="Even if files become unreadable.")
def fail(slot: int, why: str | None, force: bool) -> None:
    """Take the member of a slot out of use."""
    _do(
        lambda: membership.fail(slot, actor=_actor(), why=why, force=force),
        f"The member of slot {slot} is faulty and is not used any more. Take it back "
        f"with: flask array readd {slot}. Or replace it with: flask array replace "
        f"{slot} URL.",
    )


@array.command("readd")
@click.argument("slot", type=int)
def readd(slot: int) -> None:
    """Take a faulty member back."""
    _do(
        lambda: membership.readd(slot, actor=_actor()),
        f"The member of slot {slot} is taken back; the worker gives it what it lacks.",
    )


@array.command("replace")
@click.argument("slot", type=int)
@click.argument("url")
@click.option("--force", is_flag=True, help="Even if files are lost with the old one.")
def replace(slot: int, url: str, force: bool) -> None:
    """Put a new member, in an empty place, into a slot."""
    _do(
        lambda: membership.replace(slot, url, actor=_actor(), force=force),
        f"Slot {slot} gets the member at {url}; the worker fills it. "
        "Watch it with: flask array rebuild --wait.",
    )


@array.command("retire")
@click.argument("which")
def retire(which: str) -> None:
    """End a member for ever: of a slot, or a spare by its uuid or url."""
    named = int(which) if which.isdigit() else which
    _do(
        lambda: membership.retire(named, actor=_actor()),
        f"The member {which} is retired and is never used again.",
    )


@array.command("spare")
@click.argument("url")
def spare(url: str) -> None:
    """Format an empty place as a spare."""
    _do(
        lambda: membership.add_spare(url, actor=_actor()),
        f"There is a spare at {url}; it takes the slot of a member that is gone for "
        "too long.",
    )


@array.command("readonly")
@click.argument("switch", type=click.Choice(["on", "off"]))
@click.option("--why", help="A sentence for everybody who wonders.")
def readonly(switch: str, why: str | None) -> None:
    """Let nothing be written or removed, or let it again."""
    on = switch == "on"
    word = "read-only" if on else "writable again"
    _do(
        lambda: membership.set_readonly(on, actor=_actor(), why=why),
        f"The array is {word}.",
    )


@array.command("rebuild")
@click.option("--wait", is_flag=True, help="Work, or watch, until all is well.")
def rebuild(wait: bool) -> None:
    """Give every member that is not whole what it lacks.

    Exits with 0 only when every member is in sync and nothing was lost.
    """
    with _sentences():
        runtime().check_members()
        numbers = membership.rebuild(actor=_actor())
        if not wait:
            _say_started(numbers)
            return
        last = _last_number()
        _wait()
        if not _report(numbers, last):
            raise SystemExit(1)


def _say_started(numbers: list[int]) -> None:
    if numbers:
        click.echo(f"{len(numbers)} jobs give members what they lack.")
    else:
        click.echo("No member needs to be rebuilt.")


def _wait() -> None:
    """Do rounds of a worker until no member needs anything that it can be given."""
    worker, said = Worker(), set()
    while True:
        busy = worker.tick()
        jobs = _active()
        if not busy and not jobs and not _on_the_way():
            return
        if any(job.state == JobState.PAUSED for job in jobs):
            raise click.ClickException("A job is paused; resume it on the array page.")
        for line in map(_progress, jobs):
            if line not in said:
                click.echo(line)
            said.add(line)
        if not busy:
            time.sleep(WATCH_SECONDS)


def _last_number() -> int:
    found = db.session.scalar(select(func.max(Job.id)))
    release()
    return found or 0


def _active() -> list[Job]:
    wanted = select(Job).where(Job.kind.in_(table.FILLING), Job.state.in_(table.ACTIVE))
    found = db.session.scalars(
        wanted, execution_options={"populate_existing": True}
    ).all()
    release()
    return list(found)


def _on_the_way() -> bool:
    """Tell whether a member that can be reached is still on its way."""
    array_now = runtime().array()
    returning = (StoredState.STALE, StoredState.REBUILDING)
    return any(
        entry.state in returning and not array_now.health.unreachable(entry.slot)
        for entry in array_now.map.slots
    )


def _progress(job: Job) -> str:
    words = f"{job.kind} of slot {job.slot}: {Progress.of(job).words}."
    return f"{words} {job.problem or ''}".rstrip()


def _report(numbers: list[int], last: int) -> bool:
    """Print what was done and lost, and how the members are; True when all is well."""
    ours = Job.id.in_(numbers) | (Job.id > last)
    jobs = db.session.scalars(
        select(Job).where(Job.kind.in_(table.FILLING), ours).order_by(Job.id),
        execution_options={"populate_existing": True},
    ).all()
    out = db.session.scalars(
        select(MemberRow.slot)
        .where(MemberRow.slot.is_not(None), MemberRow.state != StoredState.IN_SYNC)
        .order_by(MemberRow.slot)
    ).all()
    release()
    for job in jobs:
        size = job.done_bytes / (1 << 20)
        click.echo(f"{job.kind} of slot {job.slot}: {job.state}, {size:.1f} MiB.")
    lost = {row["blob"]: row["why"] for job in jobs for row in job.report}
    for blob, why in lost.items():
        click.echo(f"lost: {blob}: {why}")
    if out:
        slots = ", ".join(str(slot) for slot in out)
        click.echo(f"The members of slots {slots} are not in sync.", err=True)
    elif not lost:
        click.echo("Every member is in sync.")
    return not out and not lost
