"""R16: 64 clients and one name, over three instances; each history has an order."""

import hashlib
import os
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import permutations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.client import Client
from support.registers import START, Operation, Recorder, anomalies
from support.site import until
from support.soak import FACTOR
from support.stack import Stack

pytestmark = pytest.mark.timeout(300 * FACTOR)
NAMES = ("first", "second", "third")
CLIENTS = 64 if FACTOR > 1 else 16
OPERATIONS = 50_000 if FACTOR > 1 else 400
GIVEN_UP = 504
"""What the balancer says after a minute: 64 people are many for two processors."""
ROUNDS = 40 if FACTOR > 1 else 3
KIB = 1024
CONFIRM = {"confirm": "yes"}
VALUES = (START, "0", "1", "2", "3")


# -- the check itself


def _write(value: str, begin: float, end: float) -> Operation:
    return Operation("a", value, begin, end, is_write=True)


def _read(value: str, begin: float, end: float) -> Operation:
    return Operation("a", value, begin, end, is_write=False)


def test_overlapping_operations_may_have_either_order() -> None:
    history = [_write("x", 0, 9), _write("y", 1, 8), _read("y", 2, 3), _read("x", 4, 5)]
    assert anomalies(history) == []


@pytest.mark.parametrize(
    ("history", "said"),
    [
        ([_write("x", 0, 1), _read(START, 2, 3)], "x has no moment while  holds"),
        ([_read("x", 0, 1), _write("x", 2, 3)], "'x' was read before it was written"),
        ([_read("x", 0, 1)], "'x' was read and never written"),
        (
            [
                _write("x", 0, 1),
                _write("y", 0, 1),
                _read("x", 2, 3),
                _read("y", 4, 5),
                _read("x", 6, 7),
            ],
            "x and y both hold at one time",
        ),
        (
            [_write("x", 0, 1), _write("y", 2, 3), _read("x", 4, 5)],
            "y has no moment while x holds",
        ),
    ],
)
def test_what_has_no_order_is_found(history: list[Operation], said: str) -> None:
    assert anomalies(history) == [said]


def _has_an_order(history: list[Operation]) -> bool:
    """Try every order: slow, and too simple to be wrong."""
    return any(map(_is_one, permutations(history)))


def _is_one(order: tuple[Operation, ...]) -> bool:
    value = START
    for place, one in enumerate(order):
        if any(later.end < one.begin for later in order[place + 1 :]):
            return False
        if one.is_write:
            value = one.value
        elif one.value != value:
            return False
    return True


@st.composite
def _histories(draw: st.DrawFn) -> list[Operation]:
    dice = draw(st.randoms(use_true_random=False))
    moments = dice.sample(range(12), 12)
    history = []
    for number in range(dice.randint(1, 6)):
        begin, end = sorted(moments[2 * number : 2 * number + 2])
        if dice.random() < 0.5:
            history.append(_write(str(number), begin, end))
        else:
            history.append(_read(dice.choice(VALUES), begin, end))
    return history


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(_histories())
def test_it_agrees_with_trying_every_order(history: list[Operation]) -> None:
    assert (anomalies(history) == []) == _has_an_order(history)


def test_a_write_that_failed_may_have_happened() -> None:
    ticks = iter(range(100))
    seen = Recorder(lambda: float(next(ticks)))
    with pytest.raises(OSError), seen.writing("a", "x"):
        raise OSError
    seen.read("a", lambda: START)
    assert seen.anomalies() == []
    seen.read("a", lambda: "x")
    seen.read("a", lambda: START)
    assert seen.anomalies() == ["x has no moment while  holds"]


# -- the deployment


class Crowd:
    """Many connections of one person, and what they saw of her files."""

    def __init__(self, url: str) -> None:
        person = Client(url).register(f"crowd-{os.urandom(3).hex()}")
        self.person, self.folder = person, person.root()
        self.seen, self.asked = Recorder(), Counter[str]()
        self.ids: dict[str, str] = {}
        for name in NAMES:
            body = self._body(name, "0")
            with self.seen.writing(name, _digest(body)):
                answer = person.put(self.folder, name, body).expect(201)
            self.ids[name] = answer.json["id"]

    @staticmethod
    def _body(*words: str) -> bytes:
        size = random.choice((0, KIB, 70 * KIB))
        return " ".join(words).encode() + b"\n" + os.urandom(size)

    def work(self, number: int, more: Callable[[], bool]) -> None:
        """Write and read the same few files as everybody else."""
        twin, dice = self.person.twin(), random.Random(number)
        while more():
            name = dice.choice(NAMES)
            if dice.random() < 0.3:
                body = self._body(name, str(number), os.urandom(8).hex())
                self._write(twin, name, body)
            else:
                self.seen.read(name, lambda name=name: _fetch(twin, self.ids[name]))
        twin.close()

    def _write(self, twin: Client, name: str, body: bytes) -> None:
        """Upload; what the balancer gave up on may have happened all the same."""
        try:
            with self.seen.writing(name, _digest(body)):
                put = twin.put(self.folder, name, body, replace=True)
                if put.status == GIVEN_UP:
                    raise TimeoutError
                assert put.status in (200, 201), put.text
        except TimeoutError:
            twin.close()
            self.asked["given up"] += 1


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def _fetch(person: Client, entry: str) -> str:
    return _digest(person.download(entry).expect(200).body)


def _so_often(times: int) -> Callable[[], bool]:
    """Return a function that says yes so often, to whichever thread asks."""
    numbers, lock = iter(range(times)), threading.Lock()

    def more() -> bool:
        with lock:
            return next(numbers, None) is not None

    return more


def _all_at_once(people: list[Client], ask: Callable[[Client], int]) -> Counter[int]:
    """Let everybody ask in the same moment; count the answers."""
    barrier = threading.Barrier(len(people))

    def one(person: Client) -> int:
        barrier.wait(60)
        return ask(person)

    with ThreadPoolExecutor(len(people)) as pool:
        return Counter(pool.map(one, people))


@pytest.fixture
def crowd(stack: Stack) -> Iterator[list[Client]]:
    """The same person many times, each at the instance that is next."""
    person = Client(stack.url).register(f"crowd-{os.urandom(3).hex()}")
    assert person.token
    people = []
    for number in range(CLIENTS):
        twin = Client(stack.instances[number % stack.count].url)
        twin.cookies, twin._token = dict(person.cookies), person.token
        twin.name = person.name
        people.append(twin)
    yield people
    for one in people:
        one.close()


def test_files_are_registers_while_two_instances_scrub(stack: Stack) -> None:
    crowd, more = Crowd(stack.url), _so_often(OPERATIONS)
    scrubs = ThreadPoolExecutor(2)
    with scrubs, ThreadPoolExecutor(CLIENTS) as pool:
        said = [
            scrubs.submit(one.flask, "array", "scrub", "--check", "--wait")
            for one in stack.instances[:2]
        ]
        done = [pool.submit(crowd.work, number, more) for number in range(CLIENTS)]
        for one in done:
            one.result()
    assert crowd.seen.anomalies() == []
    history = crowd.seen.history
    writes = sum(one.is_write for one in history)
    given_up = crowd.asked["given up"]
    assert len(history) + given_up == OPERATIONS + len(NAMES)
    assert writes > OPERATIONS // 5 and given_up <= OPERATIONS // 1000
    for one in said:
        assert "0 unreachable" in one.result(), one.result()
    print(
        f"{len(history)} operations of {CLIENTS} clients, {writes} writes, no anomaly"
    )


def test_one_of_many_takes_a_name(crowd: list[Client]) -> None:
    """Uploads and folders without `replace`: one is made, all others are told so."""
    root, many = crowd[0].root(), CLIENTS - 1
    for turn in range(ROUNDS):
        path = f"/files/folder/{root}/folders"
        made = _all_at_once(
            crowd,
            lambda one, n=turn, path=path: (
                one.post(
                    path, {"name": f"folder {n}"}, {"Accept": "application/json"}
                ).status
            ),
        )
        assert made == {201: 1, 409: many}
        put = _all_at_once(
            crowd, lambda one, n=turn: one.put(root, f"file {n}", b"mine").status
        )
        assert put == {201: 1, 409: many}


def test_no_race_passes_a_quota(stack: Stack, crowd: list[Client]) -> None:
    """Room for a third of them: not one more, and what was refused holds nothing."""
    room, size = CLIENTS // 3, 3 * KIB
    root = crowd[0].root()
    limit = "UPDATE users SET quota_bytes = %s WHERE name = %s"
    stack.postgres.ask(limit, room * size, crowd[0].name)
    for turn in range(ROUNDS):
        put = _all_at_once(
            crowd,
            lambda one, n=turn: (
                one.put(root, f"{n} {os.urandom(6).hex()}", os.urandom(size)).status
            ),
        )
        assert set(put) == {201, 413} and put[201] <= room
        while crowd[0].put(root, os.urandom(6).hex(), bytes(size)).status == 201:
            put[201] += 1
        assert put[201] == room
        for row in crowd[0].rows():
            crowd[0].post(f"/files/file/{row['id']}/delete").expect(303)
            crowd[0].post(f"/files/file/{row['id']}/purge", CONFIRM).expect(303)
        until(lambda: crowd[0].rows() == [], what="an empty folder")
