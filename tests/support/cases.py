"""The eight operations that are failed, killed and crashed at every point.

A case is one or more steps; whoever interrupts it may find the state after any of
them. Every case can be done in every state that has a live file.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

import pytest

from storage import runtime as runtime_module
from storage import uploads
from support.store import Store
from support.world import BOX, TOP, TRASH, Op, State, World, applied

KIB = 1024


def _live(state: State) -> str:
    """Return the live file that was touched last."""
    return [name for name, file in state.items() if file.place != TRASH][-1]


def _move(state: State) -> Op:
    name = _live(state)
    return Op("move", name, BOX if state[name].place == TOP else TOP)


def _upload(size: int) -> Callable[[State], list[Op]]:
    return lambda state: [Op("upload", _new(state, size), seed=len(state), size=size)]


def _new(state: State, size: int) -> str:
    number = len(state)
    while f"{number}-{size}" in state:
        number += 1
    return f"{number}-{size}"


def _delete(state: State) -> list[Op]:
    name = _live(state)
    return [Op("trash", name), Op("purge", name), Op("work"), Op("work")]


CASES: dict[str, Callable[[State], list[Op]]] = {
    "upload inline": _upload(300),
    "upload one segment": _upload(80 * KIB),
    "upload many segments": _upload(1_100 * KIB),
    "replace": lambda state: [
        Op("replace", _live(state), seed=len(state) + 9, size=70 * KIB)
    ],
    "rename": lambda state: [Op("rename", _live(state), f"r-{_live(state)}")],
    "move": lambda state: [_move(state)],
    "delete": _delete,
    "repair": lambda state: [Op("heal", seed=len(state) + 3)],
}


def begin(place: World) -> State:
    """Keep a world with a file of each form as the template; return its state."""
    state = State()
    with place.opened() as store:
        for name in ("upload many segments", "upload one segment", "upload inline"):
            for op in CASES[name](state):
                state = place.do(store, state, op)
        place.settle(store)
    place.keep()
    return state


def states(state: State, ops: list[Op]) -> list[State]:
    """Return the state before the steps and after each of them."""
    found = [state]
    for op in ops:
        found.append(applied(found[-1], op))
    return found


@contextmanager
def repeatable(begun: int = 5) -> Iterator[None]:
    """Let one thread make the calls, and the same blobs come to be: calls can be
    counted in one run and found again in another."""
    with pytest.MonkeyPatch.context() as patch:
        dice = random.Random(begun)
        patch.setattr(
            uploads, "uuid4", lambda: UUID(int=dice.getrandbits(128), version=4)
        )
        patch.setattr(runtime_module, "THREADS", 1)
        yield


def do_all(
    place: World, store: Store, state: State, ops: list[Op]
) -> tuple[int, Exception | None]:
    """Do the steps; return how many were acknowledged, and what ended them."""
    from files.errors import FilesError
    from raid.errors import RaidError
    from storage.errors import StorageError

    for number, op in enumerate(ops):
        try:
            state = place.do(store, state, op)
        except (RaidError, StorageError, FilesError) as error:
            return number, error
    return len(ops), None
