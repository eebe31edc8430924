"""Memory that was freed: a process of many threads is to give it back.

A heap of glibc shrinks only from its top, where one small thing keeps all that is free
below, and there are eight heaps for each core. So the free pages of all of them are
given back now and then. Two other ways were tried: that large buffers are never part of
a heap makes downloads half as fast, and two heaps for all threads a tenth slower.
"""

import ctypes
from contextlib import suppress

GIVE_BACK_SECONDS = 60.0


def give_back() -> int:
    """Give the free pages of all heaps back to the system; returns 0, as a chore.

    It takes milliseconds, see malloc_trim(3); with another libc nothing happens.
    """
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    return 0
