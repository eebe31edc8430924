"""How many heaps glibc keeps: a process of many threads stays smaller with few.

By default it has eight for each core, and what one thread has freed in one of them no
other thread uses. Python's threads take turns anyway, so two do.
"""

import ctypes
import os
from contextlib import suppress

MOST = 2
_M_ARENA_MAX = -8  # mallopt(3)


def keep_few() -> None:
    """Bound the heaps of this process; call it before there are threads.

    Whoever sets MALLOC_ARENA_MAX knows better, and another libc has its own ways.
    """
    if "MALLOC_ARENA_MAX" not in os.environ:
        with suppress(AttributeError):
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, MOST)
