"""What a process knows of the array without asking a member: values for pages."""

from dataclasses import dataclass
from uuid import UUID

from raid.array import ArrayMap, ArrayState, Waiting
from raid.member import Space


@dataclass(frozen=True)
class SeenBeside:
    """What was seen last of a member without a slot."""

    waiting: Waiting
    observed: str | None
    problem: str | None
    space: Space | None


@dataclass(frozen=True)
class Snapshot:
    """What is known of the array without asking a member."""

    map: ArrayMap
    state: ArrayState
    away: tuple[int, ...]
    writable: tuple[int, ...]
    observed: dict[int, str | None]
    problems: dict[int, str]
    urls: dict[int, str]
    spaces: dict[int, Space]
    degraded_write: str
    newer: bool
    beside: dict[UUID, SeenBeside]
