"""Which tests take long, and so are taken by a share of the gates only.

`tests/slow.txt` names them. To write it anew, give what pytest says of every duration:

    WHOLE=1 pytest --durations=0 -n 2 | PYTHONPATH=tests python -m support.slow
"""

import re
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

FILE = Path(__file__).resolve().parent.parent / "slow.txt"
SECONDS = 3.0
SHARE = 0.1
"""Of them a gate takes; drawn anew for each test."""
EACH_TIME = (
    "tests/proof/",
    "tests/raid/test_array_machine.py",
    "tests/storage/test_bucket_machine.py",
    "tests/web/test_acceptance.py",
    "tests/web/test_kill.py",
    "tests/web/test_launcher.py::test_it_serves_and_ends_cleanly",
)
"""What no gate leaves out, however long it takes."""
_LINE = re.compile(r"\s*([\d.]+)s (?:call|setup|teardown)\s+(tests/\S+?::\w+)")


def named() -> frozenset[str]:
    """Return the tests that take long, as `tests/folder/test_file.py::test_name`."""
    return frozenset(FILE.read_text().split())


def function(nodeid: str) -> str:
    """Return the name of a test without its parameters."""
    return nodeid.partition("[")[0]


def found(lines: Iterable[str]) -> list[str]:
    """Return the tests of which one case took long, out of what pytest said."""
    seconds: dict[str, Counter[str]] = {}
    for line in lines:
        match = _LINE.match(line)
        if match:
            case = line.split()[2]
            seconds.setdefault(match[2], Counter())[case] += float(match[1])
    long = (name for name, one in seconds.items() if max(one.values()) >= SECONDS)
    return sorted(name for name in long if not name.startswith(EACH_TIME))


if __name__ == "__main__":
    FILE.write_text("\n".join(found(sys.stdin)) + "\n")
