"""Store several new objects at once, one per slot, and learn how each of them went."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, wait
from typing import Self

from raid.array import Array
from raid.errors import MemberError
from raid.member import Buffer

Put = tuple[str, Sequence[Buffer]]


class Batch:
    """Puts on their way; the buffers must stay as they are until it has ended."""

    def __init__(self) -> None:
        """Begin with nothing on its way."""
        self._futures: dict[int, Future[MemberError | None]] = {}

    @classmethod
    def start(cls, array: Array, puts: Mapping[int, Put]) -> Self:
        """Start a put on each slot, over the array's executor."""
        batch = cls()
        try:
            for slot, (key, parts) in puts.items():
                future = array.executor.submit(_put, array, slot, key, parts)
                batch._futures[slot] = future
        except BaseException:
            batch.drain()
            raise
        return batch

    def finish(self) -> tuple[set[int], dict[int, MemberError]]:
        """Wait for all, then return the slots that hold theirs, and the failures."""
        self.drain()
        done: set[int] = set()
        failed: dict[int, MemberError] = {}
        for slot, future in self._futures.items():
            error = future.result()
            if error is None:
                done.add(slot)
            else:
                failed[slot] = error
        return done, failed

    def drain(self) -> None:
        """Wait until nothing reads the buffers any more, however it went."""
        wait(self._futures.values())


def _put(
    array: Array, slot: int, key: str, parts: Sequence[Buffer]
) -> MemberError | None:
    try:
        with array.using(slot, write=True) as member:
            member.put(key, parts, fresh=True)
    except MemberError as error:
        return error
    return None
