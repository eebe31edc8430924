"""Lives of a process over one world, one after the other, and who remembers them.

Each life is a child that looks at what the one before left, lets the worker put it
right, and goes on with random operations until it dies, which may be in the middle of
the recovery. The parent knows what was acknowledged, because it was told.
"""

import random
from collections import Counter
from collections.abc import Callable

from support.forks import Send, Told, fork
from support.world import Op, State, World, applied, choose, packed

Hook = Callable[[str], None]
"""Called in the child when it begins (`start`) and when it has recovered (`found`)."""

AGE = 50
"""After so many lives everything begins anew, so that old stores are met, too."""


class Lives:
    """What is known of a world whose processes die."""

    def __init__(self, place: World, begun: int, without: str = "") -> None:
        self.place = place
        self.begun = begun
        self.dice = random.Random(begun)
        self.fired: Counter[str] = Counter()
        self._without = without
        self._state, self._pending = State(), None

    _pending: Op | None

    def fresh(self) -> bool:
        """Begin anew every now and then; tells whether it did."""
        due = self.fired["lives"] % AGE == 0
        if due:
            self.place.reset()
            self._state, self._pending = State(), None
        return due

    def one(self, hook: Hook, *, after: str = "", seconds: float | None = None) -> None:
        """Live one life, and take in what it said; see `fork` for how it dies."""
        own = random.Random(self.dice.randrange(1 << 30))
        try:
            told = fork(lambda say: self._live(say, own, hook), after, seconds)
        except AssertionError as error:
            number = self.fired["lives"]
            raise AssertionError(
                f"seed {self.begun}, life {number}, after {self._pending}: {error}"
            ) from error
        assert told.killed, f"seed {self.begun}: it ended by itself, {told}"
        self.fired["lives"] += 1
        self._take_in(told)

    def _live(self, say: Send, dice: random.Random, hook: Hook) -> None:
        """Recover, say what was found, then work on until the end."""
        hook("start")
        with self.place.opened() as store:
            allowed, rotten = [self._state], False
            if self._pending is not None:
                allowed.append(applied(self._state, self._pending))
                rotten = self._pending.kind == "heal"
            state = self.place.recover(store, allowed, rotten=rotten)
            say("found", allowed.index(state))
            hook("found")
            while True:
                op = choose(dice, state, without=self._without)
                say("do", packed(op))
                state = self.place.do(store, state, op)
                say("did")

    def _take_in(self, told: Told) -> None:
        known = False
        for word, *rest in told.messages:
            if word == "found":
                known = True
                if rest[0] and self._pending is not None:
                    self._state = applied(self._state, self._pending)
                self._pending = None
            elif word == "do":
                self._pending = Op(**rest[0])
            else:
                assert self._pending is not None
                self._state = applied(self._state, self._pending)
                self._pending = None
                self.fired["operations"] += 1
        what = self._pending.kind if self._pending else "between"
        self.fired[f"died in {what if known else 'recovery'}"] += 1
