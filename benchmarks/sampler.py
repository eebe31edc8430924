"""Where the time goes: samples the stacks of the server's threads that are at work.

`Sampler(folder).environment` starts a server with it, through a `sitecustomize` of
ours; the product knows nothing of it. While the file `on` exists, every thread that
answers a request is looked at a few hundred times a second.
"""

import collections
import json
import sys
import threading
import time
from pathlib import Path
from types import FrameType

ROOT = str(Path(__file__).resolve().parent.parent)
EVERY = 0.003
SITE = """import sys
sys.path.append({root!r})
from benchmarks import sampler
sampler.install({folder!r})
"""


class Sampler:
    """The benchmark's side: switch it on, and read what was seen."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.site = folder / "site"
        self.site.mkdir(parents=True)
        text = SITE.format(root=ROOT, folder=str(folder))
        (self.site / "sitecustomize.py").write_text(text)

    @property
    def environment(self) -> dict[str, str]:
        """What the server's environment needs."""
        return {"PYTHONPATH": str(self.site)}

    def start(self) -> None:
        """Begin to look."""
        (self.folder / "on").touch()

    def stop(self) -> dict[str, dict[str, int]]:
        """Stop looking; counts by layer and by innermost function."""
        (self.folder / "on").unlink()
        time.sleep(0.5)
        total: dict[str, collections.Counter[str]] = {}
        for path in self.folder.glob("seen.*"):
            for kind, counts in json.loads(path.read_text()).items():
                total.setdefault(kind, collections.Counter()).update(counts)
        return {kind: dict(counts) for kind, counts in total.items()}


def show(seen: dict[str, dict[str, int]], lines: int = 12) -> None:
    """Print shares of the time that request threads were at work."""
    for kind, counts in seen.items():
        total = sum(counts.values()) or 1
        print(f"\n  {kind} ({total} samples)")
        for name, count in sorted(counts.items(), key=lambda item: -item[1])[:lines]:
            print(f"    {count / total:6.1%}  {name}")


def _name(frame: FrameType) -> str:
    path = frame.f_code.co_filename
    for root in (ROOT + "/", "/site-packages/", "/lib/python"):
        path = path.partition(root)[2] or path
    return f"{path}:{frame.f_code.co_name}"


def _stack(frame: FrameType | None) -> list[FrameType]:
    frames = []
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return frames


class _Watch(threading.Thread):
    """The server's side: looks while the file `on` exists."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self.folder = folder
        self.out = folder / f"seen.{threading.get_native_id()}"
        self.seen: dict[str, collections.Counter[str]] = {
            "innermost function": collections.Counter(),
            "innermost function of ours": collections.Counter(),
            "request's step": collections.Counter(),
        }

    def run(self) -> None:
        """Look, and write down what was seen when told to stop."""
        was_on = False
        while True:
            on = (self.folder / "on").exists()
            if on:
                self._look()
            elif was_on:
                self.out.write_text(json.dumps(self.seen))
            was_on = on
            time.sleep(EVERY if on else 0.2)

    def _look(self) -> None:
        for frame in sys._current_frames().values():
            frames = _stack(frame)
            if any(map(_at_work, frames)):
                self._count(frames)

    def _count(self, frames: list[FrameType]) -> None:
        ours = [one for one in frames if _ours(one)]
        self.seen["innermost function"][_name(frames[0])] += 1
        if ours:
            self.seen["innermost function of ours"][_name(ours[0])] += 1
            steps = [_name(one) for one in reversed(ours)][-8:]
            self.seen["request's step"][" > ".join(steps[-3:])] += 1


def _at_work(frame: FrameType) -> bool:
    code = frame.f_code
    return code.co_name == "handle_request" or "/raid/" in code.co_filename


def _ours(frame: FrameType) -> bool:
    path = frame.f_code.co_filename
    return path.startswith(ROOT) and "/.venv/" not in path


def install(folder: str) -> None:
    """Called by the server's `sitecustomize`, in every process of it."""
    if any("gunicorn" in part for part in sys.orig_argv):
        import os

        os.register_at_fork(after_in_child=lambda: _Watch(Path(folder)).start())
