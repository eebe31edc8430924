"""Buffers are bounded, reused, and given back to the system."""

import threading
import time

from raid.buffers import BufferPool

MIB = 1 << 20


def _resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def test_it_lends_what_was_asked_for_and_counts_it() -> None:
    pool = BufferPool(8 * MIB)
    with pool.take(3 * MIB + 1) as view:
        assert len(view) == 3 * MIB + 1
        view[:] = bytes(len(view))
        assert pool.used == 4 * MIB
    assert pool.used == 0


def test_who_asks_for_too_much_waits() -> None:
    pool = BufferPool(4 * MIB)
    got = threading.Event()

    def second() -> None:
        with pool.take(2 * MIB):
            got.set()

    with pool.take(3 * MIB):
        waiting = threading.Thread(target=second)
        waiting.start()
        time.sleep(0.05)
        assert not got.is_set()
    waiting.join(10)
    assert got.is_set()


def test_one_that_is_larger_than_the_limit_is_lent_alone() -> None:
    pool = BufferPool(MIB)
    with pool.take(5 * MIB) as view:
        assert len(view) == 5 * MIB


def test_it_takes_the_buffer_back_after_an_error() -> None:
    pool = BufferPool(MIB)
    try:
        with pool.take(MIB):
            raise ValueError
    except ValueError:
        pass
    assert pool.used == 0


def test_idle_buffers_hold_no_memory() -> None:
    pool = BufferPool(256 * MIB)
    with pool.take(MIB):
        pass
    before = _resident()
    with pool.take(64 * MIB) as view:
        for at in range(0, len(view), 4096):
            view[at] = 1
        assert _resident() - before > 60 * MIB
    assert _resident() - before < 8 * MIB


def test_idle_buffers_of_other_sizes_make_room() -> None:
    pool = BufferPool(4 * MIB)
    for size in (1, 2, 3, 4, 3, 2, 1):
        with pool.take(size * MIB):
            pass
        assert pool.mapped <= 4 * MIB


def test_many_takers_never_pass_the_limit() -> None:
    pool = BufferPool(3 * MIB)
    most: list[int] = []

    def work() -> None:
        for _ in range(50):
            with pool.take(MIB):
                most.append(pool.used)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(most) == 400
    assert max(most) <= 3 * MIB
