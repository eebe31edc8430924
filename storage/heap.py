"""One heap for all threads, and what is free in it is given back.

By default glibc has up to eight heaps for each core. What one thread has freed in one
of them is of no use to the others, and malloc_trim(3) leaves the free end of each but
the first as it is, which is some MiB where buffers come and go. Python's threads take
turns anyway: with one heap downloads and uploads are as fast as with sixteen. That
large buffers are never part of a heap was tried as well, and makes downloads half as
fast.

Each thread has a cache of what it has freed as well, of up to a quarter of a MiB, that
nobody can empty: with dozens of threads it grows for hours. Only whoever starts a
process can switch it off (GLIBC_TUNABLES): launcher and unit do so for the worker, for
which nobody waits.
"""

import ctypes
import gc
import linecache
import os
from contextlib import suppress

GIVE_BACK_SECONDS = 60.0
_M_ARENA_MAX = -8  # mallopt(3)


def keep_one() -> None:
    """Let this process have one heap; call it before there are threads.

    Whoever sets MALLOC_ARENA_MAX knows better, and another libc has its own ways.
    """
    if "MALLOC_ARENA_MAX" not in os.environ:
        with suppress(AttributeError):
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def give_back() -> int:
    """Free what nobody can reach, give free pages to the system; returns 0, as a chore.

    Errors and their tracebacks refer to each other, and Python looks at the old ones of
    them only once they are a quarter of everything; that look takes some 0.1 s. The
    lines that a traceback quoted were kept with the whole of their file. For the pages
    see malloc_trim(3); with another libc they stay.
    """
    gc.collect()
    linecache.clearcache()
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    return 0
