"""Faults for a running server: errors at a member's own system calls, on demand.

The server is started with a `sitecustomize` of ours on its path, which wraps
`storage.members.calls.SystemCalls` before the application sees it. The product knows
nothing of this: no setting, no variable, no branch. Which calls fail, on which member,
stands in a file that a test rewrites while the server runs; every fault that fired
leaves a line in another, so that a test can prove that it happened.
"""

import errno
import importlib.abc
import importlib.machinery
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

SEAM = "storage.members.calls"
WAITS = {
    "storage.jobs.runner": {"LEASE_SECONDS": 5.0},
    "storage.runtime": {"REASSEMBLE_SECONDS": 3.0},
    "raid.health": {"WRITE_REST": 3.0, "LONGEST_REST": 6.0},
}
"""Who was killed, or failed, is waited for less long than by the product."""
TESTS = Path(__file__).resolve().parents[1]
SITE = """import sys
sys.path.append({tests!r})
from support import faults
faults.install({folder!r})
"""


class Faults:
    """The test's side: decide what fails, and see what did."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.site = folder / "site"
        self.site.mkdir(parents=True, exist_ok=True)
        script = SITE.format(tests=str(TESTS), folder=str(folder))
        (self.site / "sitecustomize.py").write_text(script)
        self._rules: list[dict[str, Any]] = []
        self.clear()

    @property
    def environment(self) -> dict[str, str]:
        """What the server's environment needs."""
        return {"PYTHONPATH": str(self.site)}

    def add(
        self, member: Path, *calls: str, error: str = "EIO", wait: float = 0
    ) -> None:
        """Let these system calls (all when none is named) fail on one member."""
        rule = {"member": str(member), "calls": calls, "error": error, "wait": wait}
        self._rules.append(rule)
        self._write()

    def clear(self) -> None:
        """Let everything work again, and forget what fired."""
        self._rules = []
        self._write()
        (self.folder / "fired").write_text("")

    def fired(self) -> int:
        """How many faults happened since the last clear."""
        return len((self.folder / "fired").read_text().splitlines())

    def _write(self) -> None:
        fresh = self.folder / "rules.new"
        fresh.write_text(json.dumps(self._rules))
        fresh.rename(self.folder / "rules")


class _Rules:
    """The server's side: the rules as they stand now."""

    def __init__(self, folder: str) -> None:
        self.path, self.log = f"{folder}/rules", f"{folder}/fired"
        self.stamp, self.rules = (0, 0), []

    def apply(self, call: str, arguments: tuple[Any, ...]) -> None:
        """Raise, or wait, when a rule says so."""
        for rule in self._fresh():
            if self._matches(rule, call, arguments):
                self._fire(rule, call)

    def _fresh(self) -> list[dict[str, Any]]:
        found = os.stat(self.path)
        stamp = (found.st_ino, found.st_mtime_ns)
        if stamp != self.stamp:
            self.rules, self.stamp = json.loads(Path(self.path).read_text()), stamp
        return self.rules

    def _matches(self, rule: dict[str, Any], call: str, arguments: tuple) -> bool:
        if rule["calls"] and call not in rule["calls"]:
            return False
        return any(_place(value).startswith(rule["member"]) for value in arguments)

    def _fire(self, rule: dict[str, Any], call: str) -> None:
        with open(self.log, "a") as log:
            log.write(f"{call} {rule['error']}\n")
        if rule["wait"]:
            time.sleep(rule["wait"])
        else:
            number = getattr(errno, rule["error"])
            raise OSError(number, os.strerror(number))


def _place(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and 2 < value < 1 << 20:
        try:
            return os.readlink(f"/proc/self/fd/{value}")
        except OSError:
            return ""
    return os.fsdecode(value) if isinstance(value, str | bytes | os.PathLike) else ""


def _wrapped(rules: _Rules, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
    def call(self: Any, *arguments: Any, **named: Any) -> Any:
        rules.apply(name, (*arguments, *named.values()))
        return real(self, *arguments, **named)

    return call


class _Loader(importlib.abc.Loader):
    def __init__(self, real: Any, rules: _Rules) -> None:
        self.real, self.rules = real, rules

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self.real.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.real.exec_module(module)
        seam = module.SystemCalls
        for name, value in list(vars(seam).items()):
            if callable(value) and not name.startswith(("_", "close")):
                setattr(seam, name, _wrapped(self.rules, name, value))


class _Hasty(importlib.abc.Loader):
    """Loads a module as it is, with shorter waits."""

    def __init__(self, real: Any) -> None:
        self.real = real

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self.real.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.real.exec_module(module)
        for name, seconds in WAITS[module.__name__].items():
            assert hasattr(module, name)
            setattr(module, name, seconds)


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, rules: _Rules) -> None:
        self.rules = rules

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        """Wrap the loaders of these modules and leave every other alone."""
        if name != SEAM and name not in WAITS:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is not None:
            real = spec.loader
            spec.loader = _Loader(real, self.rules) if name == SEAM else _Hasty(real)
        return spec


def install(folder: str) -> None:
    """Called by the server's `sitecustomize`: wrap the seam when it is imported."""
    sys.meta_path.insert(0, _Finder(_Rules(folder)))
