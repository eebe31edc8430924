"""What a disk forgets when the power goes: everything that no fsync made it keep.

The running process sees its writes at once, in a real directory. Beside it stands what
would be found after a power cut: the bytes of a file as of its last fsync, the names of
a directory as of its last fsync. A crash puts any mixture of the two in place: bytes
are torn and zeroed, and of every name one of its states since the last fsync stays, so
that renames come apart and orders change, as POSIX allows.
"""

import os
import pickle
import random
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from raid.member import Buffer
from storage.members.calls import SystemCalls

PAGE = 4096
SITES = (
    "write",
    "_publish",
    "_sync_name",
    "_sync_above",
    "_quarantine",
    "_format",
    "delete",
)
"""Every place in the product that calls fsync, by its function."""


class PowerCut(BaseException):
    """The process ends here, whatever it would like to do yet."""


@dataclass
class Node:
    """The bytes of a file, and those that are safe."""

    written: bytearray = field(default_factory=bytearray)
    synced: bytes | None = None
    left: bytes | None = None

    def after_crash(self, dice: random.Random) -> bytes:
        """Return what is found later, the same under all its names."""
        if self.left is None:
            safe = self.synced is not None and self.synced == self.written
            self.left = bytes(self.written) if safe else self._torn(dice)
        return self.left

    def _torn(self, dice: random.Random) -> bytes:
        data = self.written[: dice.choice((0, dice.randint(0, len(self.written))))]
        if dice.random() < 0.5:
            data = bytearray(self.written)  # the length is there, and not the bytes
        for start in range(0, len(data), PAGE):
            if dice.random() < 0.5:
                data[start : start + PAGE] = bytes(len(data[start : start + PAGE]))
        return bytes(data)


class Folder:
    """A directory that was made."""


Thing = Node | Folder | None


@dataclass
class _Name:
    """What a name stood for at the last fsync of its directory, and since then."""

    durable: Thing
    since: list[Thing] = field(default_factory=list)


class PowerLoss(SystemCalls):
    """Call the system, and know what would be left if the power went now."""

    def __init__(self, seed: int, forgets: Collection[str] = ()) -> None:
        """Begin with everything durable; ``forgets`` are the fsyncs that do nothing."""
        self.dice = random.Random(seed)
        self.forgets = set(forgets)
        self.forgot = 0
        self.changes = 0
        self.die_at: int | None = None
        self.promises = 0
        self.die_after_promise: int | None = None
        self.dying: Callable[[], None] = self._raise
        self.dead = False
        self._names: dict[str, dict[str, _Name]] = {}
        self._fds: dict[int, Node | str] = {}
        self._lock = threading.RLock()

    def _raise(self) -> None:
        raise PowerCut

    def kill(self) -> None:
        """Lose the power in earnest: put the directory right, then end the process."""
        self.crash()
        os.kill(os.getpid(), signal.SIGKILL)

    def kill_process(self, memory: Path) -> None:
        """End the process only: the system keeps what was written, and so do we."""
        memory.write_bytes(pickle.dumps(self._names))
        os.kill(os.getpid(), signal.SIGKILL)

    def remember(self, memory: Path) -> None:
        """Go on from what a killed process had written."""
        if memory.exists():
            self._names = pickle.loads(memory.read_bytes())
            memory.unlink()

    def _step(self) -> None:
        """Count a call that changes something, and perhaps die before it."""
        if self.dead:
            raise PowerCut
        self.changes += 1
        if self.changes == self.die_at:
            self.dead = True
            self.dying()

    # -- the calls

    def open(self, path: str, flags: int) -> int:
        with self._lock:
            making = bool(flags & os.O_CREAT)
            if making:
                self._step()
                self._touch(path)
            fd = super().open(path, flags)
            if making:
                self._fds[fd] = node = Node()
                self._change(path, node)
            elif flags & os.O_DIRECTORY:
                self._fds[fd] = path
            return fd

    def close(self, fd: int) -> None:
        with self._lock:
            self._fds.pop(fd, None)
            super().close(fd)

    def writev(self, fd: int, parts: Sequence[Buffer]) -> int:
        with self._lock:
            self._step()
            taken = super().writev(fd, parts)
            node = self._fds[fd]
            assert isinstance(node, Node)
            node.written += b"".join(parts)[:taken]
            return taken

    def fsync(self, fd: int) -> None:
        with self._lock:
            self._step()
            what = self._fds[fd]
            if self._site(what) in self.forgets:
                self.forgot += 1
            elif isinstance(what, Node):
                what.synced = bytes(what.written)
            else:
                for name in self._names.get(what, {}).values():
                    if name.since:
                        name.durable, name.since = name.since[-1], []
            self.promise()

    def promise(self, *_: object) -> None:
        """Count an fsync or a commit of the database, and perhaps die after it."""
        self.promises += 1
        if self.promises == self.die_after_promise:
            self.dead = True
            self.dying()

    def rename(self, source: str, target: str) -> None:
        self._rename(super().rename, source, target)

    def rename_noreplace(self, source: str, target: str) -> None:
        self._rename(super().rename_noreplace, source, target)

    def _rename(
        self, call: Callable[[str, str], None], source: str, target: str
    ) -> None:
        with self._lock:
            self._step()
            thing = self._touch(source)
            self._touch(target)
            call(source, target)
            self._change(source, None)
            self._change(target, thing)

    def unlink(self, path: str) -> None:
        with self._lock:
            self._step()
            self._touch(path)
            super().unlink(path)
            self._change(path, None)

    def mkdir(self, path: str) -> None:
        with self._lock:
            self._step()
            self._touch(path)
            super().mkdir(path)
            self._change(path, Folder())

    # -- what is known

    def _site(self, what: Node | str) -> str:
        """Return which of the product's fsyncs this is."""
        caller = sys._getframe(2)
        if isinstance(what, Node):
            return caller.f_code.co_name
        assert caller.f_back is not None
        return caller.f_back.f_code.co_name

    def _touch(self, path: str) -> Thing:
        """Get to know a name before it changes; return what it stands for."""
        folder, _, last = path.rpartition("/")
        names = self._names.setdefault(folder, {})
        if last not in names:
            names[last] = _Name(_found(path))
        name = names[last]
        return name.since[-1] if name.since else name.durable

    def _change(self, path: str, thing: Thing) -> None:
        folder, _, last = path.rpartition("/")
        self._names[folder][last].since.append(thing)

    # -- the end

    def crash(self) -> None:
        """Make the directory what is found after the power came back."""
        with self._lock:
            self.dead = True
            mood = self.dice.choice(("lost", "kept", "mixed", "mixed"))
            for folder in sorted(self._names, key=lambda path: path.count("/")):
                if not os.path.isdir(folder):
                    continue  # it went with the directory above
                for last, name in sorted(self._names[folder].items()):
                    _put(f"{folder}/{last}", self._left(name, mood), self.dice)

    def _left(self, name: _Name, mood: str) -> Thing:
        states = [name.durable, *name.since]
        if mood == "lost":
            return states[0]
        return states[-1] if mood == "kept" else self.dice.choice(states)


def _found(path: str) -> Thing:
    if os.path.isdir(path):
        return Folder()
    if not os.path.exists(path):
        return None
    data = Path(path).read_bytes()
    return Node(bytearray(data), data)


def _put(path: str, thing: Thing, dice: random.Random) -> None:
    if isinstance(thing, Folder):
        os.makedirs(path, exist_ok=True)
    elif isinstance(thing, Node):
        Path(path).write_bytes(thing.after_crash(dice))
    elif os.path.isdir(path):
        shutil.rmtree(path)
    elif os.path.exists(path):
        os.unlink(path)
