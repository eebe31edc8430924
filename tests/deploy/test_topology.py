"""Three instances, two S3 servers, PostgreSQL and a balancer, and what breaks of them.

Each round is short in the gate; `make soak PART=stack` plays them in full, with the
counts of the issue.
"""

import json
import os
import random
import threading
import time

import pytest

from support.buckets import CREDENTIALS
from support.client import Client
from support.instance import Instance
from support.server import ServerError
from support.site import until
from support.soak import FACTOR
from support.stack import NOTICED, Stack
from support.traffic import Traffic

pytestmark = [pytest.mark.usefixtures("_nginx"), pytest.mark.timeout(300 * FACTOR)]
PAUSE = 0.0 if FACTOR > 1 else 0.3
KILLS = 60 if FACTOR > 1 else 1
RESTARTS = 10 if FACTOR > 1 else 1
REQUESTS = 20_000 if FACTOR > 1 else 50
FILES = 300
TORTURE = 600 if FACTOR > 1 else 25


SETTINGS = {"LOGIN_FAILURES_ADDRESS": "12", "LOGIN_FAILURES_ACCOUNT": "5"}


def at(stack: Stack, number: int, person: Client) -> Client:
    """Return the same person, with the same cookie, at one of the instances."""
    other = Client(stack.instances[number].url)
    other.cookies, other._token = person.cookies, person._token
    return other


def test_a_person_may_meet_another_instance_each_time(stack: Stack) -> None:
    first = Client(stack.instances[0].url).register("wanderer")
    token = first.token
    second = at(stack, 1, first)
    folder = second.root()
    entry = second.put(folder, "here", b"there").expect(201).json["id"]
    third = at(stack, 2, first)
    assert third._token == token
    assert third.download(entry).expect(200).body == b"there"
    third.post(f"/files/file/{entry}/delete", token=token).expect(303)
    assert first.names() == []
    second.post("/auth/logout", token=token).expect(303)
    assert third.get("/files/").status == 302


def test_wrong_logins_are_counted_together(stack: Stack) -> None:
    """A10 and A11: five for an account, wherever they are tried."""
    Client(stack.url).register("guessed")
    seen = []
    for turn in range(8):
        where = stack.instances[turn % 3].url
        answer = Client(where).try_login("guessed", f"wrong-{turn}-and-long")
        seen.append(answer.status)
    assert seen[:5] == [400] * 5
    assert seen[5:] == [429] * 3
    stack.postgres.ask("DELETE FROM login_failures")


def test_a_guesser_of_many_accounts_is_stopped(stack: Stack) -> None:
    seen = []
    for turn in range(15):
        where = stack.instances[turn % 3].url
        answer = Client(where).try_login(f"nobody-{turn}", "wrong-and-long-enough")
        seen.append(answer.status)
    assert seen[:12] == [400] * 12
    assert seen[12:] == [429] * 3
    stack.postgres.ask("DELETE FROM login_failures")


def test_the_balancers_word_is_in_the_log(stack: Stack) -> None:
    answer = Client(stack.url).get("/auth/login", X_Forwarded_For="6.6.6.6")
    name = answer.headers["X-Request-ID"]
    assert name.startswith("1-")
    found = until(lambda: _line(stack, name), what="a line of the request")
    assert found["address"] == "127.0.0.1"


def _line(stack: Stack, name: str) -> dict[str, object] | None:
    for one in stack.instances:
        for line in one.log.read_text().splitlines():
            if name in line:
                return dict(json.loads(line))
    return None


def test_the_job_of_a_killed_worker_goes_on_elsewhere(stack: Stack) -> None:
    """A scrub that one instance began is ended by another, from where it was."""
    first, *others = stack.instances
    person = Client(stack.url).register("scrubbed")
    folder = person.root()
    for number in range(FILES):
        person.put(folder, f"{number}", os.urandom(2000)).expect(201)
    for one in others:
        one.kill_part("worker")
    first.flask("array", "scrub", "--check")
    ask = "SELECT state, done_objects, total_objects, takeovers FROM jobs ORDER BY id"

    def row() -> tuple[object, ...]:
        return stack.postgres.ask(f"{ask} DESC LIMIT 1")[0]

    until(lambda: row()[1], 60, 0.02, "a first step of the scrub")
    first.kill_part("worker")
    state, done, total, _ = row()
    assert state == "running" and done < total, "too fast to be killed in the middle"
    for one in stack.instances:
        one.start_part("worker")
    until(lambda: row()[0] == "done", 120, 0.2, "the end of the scrub")
    _, done, total, takeovers = row()
    assert done == total and takeovers == 1


def test_another_secret_key_does_not_start(stack: Stack) -> None:
    """L5: else people would be signed out at random."""
    own = dict(stack.instances[0].settings)
    del own["BIND"], own["DATA_DIR"]
    own["SECRET_KEY"] = os.urandom(20).hex()
    other = Instance(stack.folder / "other", own, CREDENTIALS)
    with pytest.raises(ServerError, match="another secret key than the others"):
        other.launch()
    assert other.processes == {}


def test_rolling_restarts_fail_nobody(stack: Stack) -> None:
    """R11: each instance in turn drains, stops and starts, under load; no repeats."""
    slowest = 20 if FACTOR > 1 else 4
    traffic = Traffic(stack.url, 6, pause=PAUSE, slowest=slowest)
    with traffic.running():
        rounds = 0
        while rounds < RESTARTS or traffic.asked < REQUESTS:
            for one in stack.instances[: 3 if FACTOR > 1 else 1]:
                codes = one.stop(drain=NOTICED)
                assert codes == [0, 0, 0]
                one.start()
                time.sleep(NOTICED)
            rounds += 1
    print(f"{rounds} rounds of restarts: {traffic}")
    assert traffic.wrong == []
    assert traffic.failed == []
    assert traffic.check() > 10


def test_killed_instances_lose_nothing(stack: Stack) -> None:
    """R10: whatever was acknowledged is there; what was repeated is there once."""
    traffic = Traffic(stack.url, 10 if FACTOR > 1 else 4, tries=8, pause=PAUSE)
    dice = random.Random(1)
    with traffic.running():
        for _ in range(KILLS):
            time.sleep(3)
            one = dice.choice(stack.instances)
            one.kill()
            time.sleep(1)
            one.start()
    print(f"{KILLS} instances killed: {traffic}; repeated twice: {traffic.stubborn}")
    assert traffic.wrong == []
    assert traffic.failed == []
    assert traffic.check() > 10


def test_the_database_goes_away_and_comes_back(stack: Stack) -> None:
    """Honest answers meanwhile, nothing lost, and nothing to start again."""
    traffic = Traffic(stack.url, 4, tries=60, pause=PAUSE)
    person = Client(stack.url).register("waits")
    with traffic.running():
        time.sleep(2)
        stack.postgres.stop()
        time.sleep(1)
        answer = person.get("/files/", Accept="application/json")
        assert answer.status == 503
        assert "Retry-After" in answer.headers
        assert all(one.ready() == 200 for one in stack.instances)
        time.sleep(28 if FACTOR > 1 else 3)
        stack.postgres.start()
        until(lambda: person.get("/files/").status == 200, 60, what="the site is back")
        time.sleep(2)
    assert traffic.wrong == []
    assert traffic.failed == []
    assert traffic.check() > 4


def test_torture(stack: Stack) -> None:
    """Everything at once: instances, an S3 server and the database, under load."""
    traffic = Traffic(stack.url, 8 if FACTOR > 1 else 4, tries=90, pause=PAUSE)
    ends = time.monotonic() + TORTURE
    dice, done = random.Random(2), {"instances": 0, "servers": 0, "databases": 0}
    with traffic.running():
        while time.monotonic() < ends or not all(done.values()):
            done["instances"] += 1
            one = dice.choice(stack.instances)
            one.kill()
            time.sleep(1)
            starting = threading.Thread(target=one.start_again)
            starting.start()
            if done["servers"] <= done["instances"] // 4:
                stack.rclone.kill()
                done["servers"] += 1
                time.sleep(TORTURE / 40)
                stack.bring_back_rclone()
            elif done["databases"] <= done["instances"] // 6:
                stack.postgres.kill()
                done["databases"] += 1
                time.sleep(2)
                stack.postgres.start()
            starting.join()
            time.sleep(min(8, TORTURE / 12))
    print(f"torture of {TORTURE} s, {done}: {traffic}")
    assert traffic.wrong == []
    assert traffic.failed == []
    owed = "SELECT count(*) FROM debts"
    until(lambda: not stack.postgres.ask(owed)[0][0], 600, 1, "every debt is paid")
    files = traffic.check()
    said = stack.instances[0].flask("array", "scrub", "--check", "--wait")
    print(f"{files} files compared; {said}")
    assert files > 10
