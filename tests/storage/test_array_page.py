"""The array page: who may use it, every verb, bad input, events and reports."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask import Flask

from auth.services import create_user
from files.models import Entry
from storage import glossary, history, membership, reshaping
from storage.db import transaction, utcnow
from storage.errors import StorageError
from storage.jobs import table
from storage.models import ArrayRow, Event, Job, JobKind, JobState, MemberRow
from support.page import Page
from support.people import PASSWORD, Person
from support.store import KIB, MIB, Store

pytestmark = pytest.mark.sqlite

VERBS = [
    *("fail", "readd", "replace", "retire", "spare", "readonly"),
    *("rebuild", "scrub", "drill", "sweep", "pace"),
    *("widen", "narrow", "convert", "probe"),
    *("jobs/1/pause", "jobs/1/resume", "jobs/1/cancel"),
]
PAGES = ["", "live", "events", "jobs/1"]


def add_job(kind: JobKind = JobKind.SCRUB, **values: Any) -> int:
    with transaction() as session:
        job = Job(kind=kind, **values)
        session.add(job)
        session.flush()
        return job.id


def job(store: Store, number: int) -> Job:
    return next(one for one in store.rows(Job) if one.id == number)


def words(answer: Any) -> str:
    return Page(answer.text).visible


# -- who


def test_every_route_is_tried_below(app: Flask) -> None:
    rules = {r.rule for r in app.url_map.iter_rules() if r.endpoint[:6] == "array."}
    tried = {f"/array/{verb}" for verb in VERBS[:-3]} | {f"/array/{p}" for p in PAGES}
    tried |= {"/array/jobs/<int:number>"} - {"/array/jobs/1"}
    tried |= {"/array/jobs/<int:number>/<any(pause, resume, cancel):verb>"}
    assert rules == tried - {"/array/jobs/1"}


def everything(app: Flask) -> list[Any]:
    """Return what a verb could have changed."""
    with app.app_context():
        store = Store(app)
        jobs = [(job.id, job.state) for job in store.rows(Job)]
        events = [event.word for event in store.rows(Event)]
        row = store.array_row()
        return [jobs, events, store.states(), row.pace, row.readonly]


def test_nothing_here_exists_for_others(calm: None, app: Flask, alice: Person) -> None:
    with app.app_context():
        add_job()
    before = everything(app)
    fields = {"member": "Member 1", "url": "file:members/9", "percent": "7"}
    stranger = Person(app)
    token, known = alice.token(), stranger.token()
    for verb in VERBS:
        path = f"/array/{verb}"
        assert alice.post(path, token, **fields).status_code == 404, verb
        assert alice.post(path, None, **fields).status_code == 400, verb
        assert stranger.post(path, known, **fields).status_code == 302, verb
    for page in PAGES:
        assert alice.get(f"/array/{page}").status_code == 404, page
        assert stranger.get(f"/array/{page}").status_code == 302, page
    assert everything(app) == before


def test_a_verb_needs_the_token_and_is_no_get(
    calm: None, app: Flask, admin: Person
) -> None:
    with app.app_context():
        add_job()
    before = everything(app)
    for verb in VERBS:
        path = f"/array/{verb}"
        assert admin.post(path, None, member="Member 1").status_code == 400, verb
        assert admin.get(path).status_code == 405, verb
    assert everything(app) == before


# -- members


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Note what the services are asked for, and do nothing."""
    calls: list[tuple[Any, ...]] = []

    def note(name: str) -> Callable[..., int]:
        def service(*values: Any, actor: str, force: bool = False) -> int:
            calls.append((name, *values, actor))
            return 1

        return service

    for name in ("fail", "readd", "replace", "retire", "add_spare", "set_readonly"):
        monkeypatch.setattr(membership, name, note(name))
    for name in ("widen", "narrow", "convert"):
        monkeypatch.setattr(reshaping, name, note(name))
    return calls


def uuid_of(store: Store, slot: int) -> UUID:
    return next(row.uuid for row in store.rows(MemberRow) if row.slot == slot)


def test_what_is_dangerous_asks_for_the_name_of_the_member(
    store: Store, admin: Person, asked: list[tuple[Any, ...]]
) -> None:
    for verb in ("fail", "replace", "retire"):
        for name in ("", "2", "Member", "Member 4", "member2", "Member 2 ; --"):
            answer = admin.post(f"/array/{verb}", member=name, url="file:members/9")
            assert answer.status_code == 400
            assert "Member 2" in words(answer)
            assert f'id="{verb}-member-problem"' in answer.text
    assert asked == []
    assert admin.post("/array/fail", member=" member  2 ").status_code == 303
    assert admin.post("/array/retire", member="Member 1").status_code == 303
    url = "file:members/9"
    assert admin.post("/array/replace", member="Member 0", url=url).status_code == 303
    assert asked == [
        ("fail", 2, "root"),
        ("retire", 1, "root"),
        ("replace", 0, url, "root"),
    ]


def fail_form(answer: Any) -> Any:
    return next(f for f in Page(answer.text).forms if f.action == "/array/fail")


def test_a_member_that_is_needed_is_failed_only_when_that_is_confirmed(
    store: Store, admin: Person
) -> None:
    """Refused first, with what it would cost; the name has to stand there again."""
    store.put(300 * KIB)
    store.put(1000)
    store.lose(3)
    store.runtime.check_members()
    assert "force" not in fail_form(admin.get("/array/")).fields
    refused = admin.post("/array/fail", member="Member 2")
    assert refused.status_code == 409
    told = words(refused)
    assert "Slot 2 is needed" in told
    assert (
        "Without it one file can't be read, and nothing new can be stored until it is "
        "taken back."
    ) in told
    assert fail_form(refused).fields["member"] == "Member 2"
    assert "force" in fail_form(refused).fields
    assert store.states()[2] == "in_sync"
    assert admin.post("/array/fail", member="", force="y").status_code == 400
    assert store.states()[2] == "in_sync"
    assert admin.post("/array/fail", member="Member 2", force="y").status_code == 303
    assert store.states()[2] == "faulty"
    again = admin.post("/array/fail", member="Member 2", force="y")
    assert again.status_code == 409 and "faulty already" in words(again)
    assert "force" not in fail_form(again).fields


def test_the_array_gets_another_shape(
    store: Store, admin: Person, asked: list[tuple[Any, ...]]
) -> None:
    for name in ("", "3", "Member 9"):
        assert admin.post("/array/narrow", member=name).status_code == 400
    assert admin.post("/array/widen", url="").status_code == 400
    assert asked == []
    assert admin.post("/array/narrow", member="Member 3").status_code == 303
    assert admin.post("/array/widen", url=" file:members/9 ").status_code == 303
    assert admin.post("/array/convert", level="raid6").status_code == 303
    assert asked == [
        ("narrow", 3, "root"),
        ("widen", ["file:members/9"], "root"),
        ("convert", "raid6", "root"),
    ]


def test_another_shape_that_makes_no_sense_is_refused(
    store: Store, admin: Person
) -> None:
    for level, why in (("raid5", "already"), ("raid0", "keeps every byte once")):
        answer = admin.post("/array/convert", level=level)
        assert answer.status_code == 409
        assert why in words(answer)
    assert store.array_row().level == "raid5"


def test_what_was_typed_stays_beside_the_reason(store: Store, admin: Person) -> None:
    answer = admin.post("/array/replace", member="Member 9", url="file:///srv/a&b")
    form = next(f for f in Page(answer.text).forms if f.action == "/array/replace")
    assert form.fields["url"] == "file:///srv/a&b"
    assert form.fields["member"] == "Member 9"
    opened = answer.text.partition('action="/array/replace"')[0].rpartition("<details")
    assert opened[2].startswith(' class="danger" open')


def test_a_service_that_refuses_is_quoted_at_the_field(
    store: Store, admin: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise Refused("That place is full of stones. Choose another.")

    class Refused(StorageError):
        status = 409

    monkeypatch.setattr(membership, "add_spare", refuse)
    answer = admin.post("/array/spare", url="file:members/9")
    assert answer.status_code == 409
    assert "That place is full of stones." in words(answer)
    assert 'id="spare-url-problem"' in answer.text


def test_a_spare_needs_a_place(
    store: Store, admin: Person, asked: list[tuple[Any, ...]]
) -> None:
    assert admin.post("/array/spare", url="").status_code == 400
    assert admin.post("/array/spare", url="x" * 3000).status_code == 400
    assert asked == []
    assert admin.post("/array/spare", url=" file:members/9 ").status_code == 303
    assert asked == [("add_spare", "file:members/9", "root")]


def test_read_only_is_on_or_off(
    store: Store, admin: Person, asked: list[tuple[Any, ...]]
) -> None:
    assert admin.post("/array/readonly", state="perhaps").status_code == 303
    assert asked == []
    assert admin.post("/array/readonly", state="on").status_code == 303
    assert admin.post("/array/readonly", state="off").status_code == 303
    assert asked == [("set_readonly", True, "root"), ("set_readonly", False, "root")]


def test_a_faulty_member_is_taken_back_from_its_tile(
    store: Store, admin: Person, asked: list[tuple[Any, ...]]
) -> None:
    set_state(store, 2, "faulty")
    page = admin.get("/array/")
    form = next(f for f in Page(page.text).forms if f.action == "/array/readd")
    assert form.fields["member"] == "Member 2"
    assert admin.post("/array/readd", member="Member 2").status_code == 303
    assert asked == [("readd", 2, "root")]


@pytest.mark.parametrize("looked", [True, False])
def test_a_process_that_just_started_gives_up_nothing_that_is_needed(
    store: Store, admin: Person, looked: bool
) -> None:
    """It has not looked at the members yet, and must not hope for them."""
    store.put(2 * MIB)
    store.lose(1)
    store.lose(2)
    page = admin.get("/array/")
    form = next(f for f in Page(page.text).forms if f.action == "/array/replace")
    store.restart()
    if looked:
        store.runtime.check_members()
    asked = form.fields | {"member": "Member 1", "url": "file:members/new"}
    answer = admin.post("/array/replace", **asked)
    assert (answer.status_code, store.states()[1]) == (409, "in_sync")
    assert "needed" in words(answer)


def set_state(store: Store, slot: int, state: str) -> None:
    uuid = uuid_of(store, slot)
    with transaction() as session:
        row = session.get(MemberRow, uuid)
        assert row is not None
        row.state = state
        array = session.get(ArrayRow, 1)
        assert array is not None
        array.event += 1
    store.runtime.forget_map()


def test_spares_and_new_members_stand_after_the_slots(
    store: Store, admin: Person
) -> None:
    now = utcnow()
    with transaction() as session:
        for number, target in ((7, None), (8, None), (9, 2)):
            session.add(
                MemberRow(
                    uuid=uuid4(),
                    url=f"file:members/{number}",
                    state="spare" if target is None else "rebuilding",
                    target_slot=target,
                    added_at=now + timedelta(seconds=number),
                )
            )
        session.add(MemberRow(uuid=uuid4(), url="file:gone", state="retired"))
    names = [member.label for member in store.status().members]
    assert names[:4] == ["Member 0", "Member 1", "Member 2", "Member 3"]
    assert names[4:] == ["New member 2", "Spare 1", "Spare 2"]
    assert "file:gone" not in admin.get("/array/").text
    answer = admin.post("/array/fail", member="Spare 2")
    assert answer.status_code == 400
    assert "has no slot" in words(answer)


# -- jobs


def test_a_job_is_asked_for_once(store: Store, admin: Person) -> None:
    for kind in ("scrub", "drill", "sweep"):
        for _ in range(2):
            assert admin.post(f"/array/{kind}").status_code == 303
        (only,) = [one for one in store.rows(Job) if one.kind == kind]
        assert (only.state, only.actor) == (JobState.QUEUED, "root")
        see_the_message(kind, words(admin.get("/array/")))


def see_the_message(kind: str, page: str) -> None:
    assert glossary.JOBS[kind].meaning in page, "the message says what it does"
    assert f"The {kind} was asked for. By root" in page


def test_a_job_is_paused_resumed_and_cancelled(store: Store, admin: Person) -> None:
    number = add_job(JobKind.REBUILD, slot=2, state=JobState.RUNNING)
    for verb, state in (
        ("pause", JobState.PAUSED),
        ("resume", JobState.QUEUED),
        ("cancel", JobState.CANCELLED),
    ):
        assert admin.post(f"/array/jobs/{number}/{verb}").status_code == 303
        assert job(store, number).state == state
        assert "Rebuild of member 2 " in words(admin.get("/array/"))
    assert admin.post(f"/array/jobs/{number}/resume").status_code == 303
    assert "is cancelled, so nothing was changed" in words(admin.get("/array/"))
    assert job(store, number).state == JobState.CANCELLED


def test_a_job_that_is_not_there(store: Store, admin: Person) -> None:
    for number in ("0", "7", "9" * 30):
        assert admin.get(f"/array/jobs/{number}").status_code == 404
        for verb in ("pause", "resume", "cancel"):
            assert admin.post(f"/array/jobs/{number}/{verb}").status_code == 404


def test_a_job_shows_bar_rate_and_time_left(store: Store, admin: Person) -> None:
    add_job(
        JobKind.REBUILD,
        slot=1,
        state=JobState.RUNNING,
        done_bytes=250_000_000,
        total_bytes=1_000_000_000,
        seconds=10.0,
    )
    page = admin.get("/array/")
    assert '<progress max="100" value="25.0"' in page.text
    assert "25 %, 250 MB of 1 GB, 25 MB a second, 30 seconds left" in words(page)
    assert "/pause" in page.text and "/resume" not in page.text


def test_the_pace_is_a_number(store: Store, admin: Person) -> None:
    for bad in ("", "0", "101", "-3", "fast", "1e2", "50.5"):
        answer = admin.post("/array/pace", percent=bad)
        assert answer.status_code == 400, bad
        assert 'id="pace-percent-problem"' in answer.text
    assert store.array_row().pace is None
    assert admin.post("/array/pace", percent="70").status_code == 303
    assert store.array_row().pace == 70
    form = next(
        f for f in Page(admin.get("/array/").text).forms if f.action == "/array/pace"
    )
    assert form.fields["percent"] == "70"


def test_upkeep_says_when_and_what(store: Store, admin: Person) -> None:
    store.put(1000)
    page = words(admin.get("/array/"))
    assert "Last full scrub None yet" in page
    assert "Last proved recoverable Not yet" in page
    ended = utcnow() - timedelta(days=2)
    for kind, counts in (
        (JobKind.SCRUB, {"repaired": 3}),
        (JobKind.DRILL, {"files": 9}),
    ):
        add_job(kind, state=JobState.DONE, finished_at=ended, counts=counts)
    page = words(admin.get("/array/"))
    assert "3 repaired" in page and "9 files" in page
    assert f"{ended + timedelta(days=30):%Y-%m-%d %H:%M}" in page
    assert f"{ended + timedelta(days=7):%Y-%m-%d %H:%M}" in page


def test_the_report_names_files_folders_and_owners(
    calm: None, app: Flask, admin: Person, alice: Person
) -> None:
    folder = Page(alice.get("/files/").text).folder
    made = alice.ask(f"/files/folder/{folder}/folders", name="Box").json["id"]
    token = {"X-CSRFToken": alice.token()}
    for place, name in ((folder, "top.txt"), (made, "inside <b>.txt")):
        path = f"/files/folder/{place}/{name}"
        assert alice.send("PUT", path, data=b"kelp", headers=token).status_code == 201
    with app.app_context():
        entries = Store(app).rows(Entry)
    lost = {entry.name: entry for entry in entries if entry.blob_id}
    alice.post(f"/files/file/{lost['top.txt'].id}/delete")
    report = [
        {"blob": entry.blob_id.hex, "why": "Too many units are bad."}
        for entry in lost.values()
    ]
    report.append({"blob": uuid4().hex, "why": "It went."})
    with app.app_context():
        number = add_job(state=JobState.DONE, report=report, counts={"lost": 3})
    page = admin.get(f"/array/jobs/{number}")
    told = words(page)
    assert "top.txt Too many units are bad. Trash alice" in told
    assert "inside <b>.txt Too many units are bad. /Box alice" in told
    assert "inside <b>" not in page.text
    assert "which no file names any more" in told
    assert "3 lost" in told


def test_a_long_report_has_pages(store: Store, admin: Person) -> None:
    report = [{"why": f"Problem {number}."} for number in range(120)]
    number = add_job(state=JobState.DONE, report=report)
    seen, path, pages = "", f"/array/jobs/{number}", 0
    while path:
        page = Page(admin.get(path).text)
        seen, path, pages = seen + page.visible, page.next or "", pages + 1
    assert pages == 3
    assert all(f"Problem {number}." in seen for number in range(120))
    assert admin.get(f"/array/jobs/{number}?start=-5").status_code == 200
    assert admin.get(f"/array/jobs/{number}?start={'9' * 30}").status_code == 200


# -- events


def test_events_are_told_newest_first_in_pages(store: Store, admin: Person) -> None:
    for number in range(130):
        why = f"Reason {number}."
        with transaction() as session:
            history.note(session, "member_failed", slot=2, actor="root", why=why)
    first = Page(admin.get("/array/").text)
    assert "Reason 129." in first.visible and "Reason 80." in first.visible
    assert "Reason 79." not in first.visible
    seen, path = first.visible, first.next
    assert path and path.startswith("/array/events?before=")
    while path:
        page = Page(admin.get(path).text)
        seen, path = seen + page.visible, page.next
    assert all(f"Reason {number}." in seen for number in range(130))
    assert seen.index("Reason 100.") < seen.index("Reason 3.")
    for before in ("x", "-1", "0", "9" * 30):
        assert admin.get(f"/array/events?before={before}").status_code == 200


def test_an_event_of_another_release_is_shown_as_it_is(
    store: Store, admin: Person
) -> None:
    with transaction() as session:
        session.add(Event(word="moon_rose", fields={}))
    assert "moon_rose" in words(admin.get("/array/"))


# -- sentences


def test_an_outlook_stands_on_every_tile(store: Store, admin: Person) -> None:
    store.put(300 * KIB)
    store.lose(3)
    store.status()
    page = words(admin.get("/array/"))
    assert page.count("If it dies now") == 3
    assert page.count("If it stays away") == 1
    assert page.count("1 lost") == 3
    assert "If one more member dies now, one file is lost." in page


def test_the_fragment_is_a_part_of_the_page(store: Store, admin: Person) -> None:
    live = admin.get("/array/live")
    assert live.status_code == 200
    assert "<html" not in live.text and "Member 3" in live.text
    assert "If it dies now" in words(admin.get("/array/"))


def test_nothing_is_there_without_an_array(
    make_app: Callable[..., Flask],
) -> None:
    app = make_app(members=False)
    with app.app_context():
        create_user("root", PASSWORD, admin=True)
    person = Person(app)
    person.log_in("root")
    assert "flask array create" in person.get("/array/").text
    assert person.get("/array/live").status_code == 404
    for verb in VERBS:
        answer = person.post(f"/array/{verb}", member="Member 1", url="x", percent="5")
        assert answer.status_code in (303, 400, 404, 503), verb


def test_table_and_page_agree_on_the_pace(store: Store) -> None:
    table.set_pace(33)
    found = store.status().upkeep
    assert found is not None and found.pace == 33


def test_a_needed_member_is_replaced_only_by_somebody_who_says_so(
    store: Store, admin: Person
) -> None:
    store.put(1000)
    store.put(2_000_000)
    store.lose(2)
    store.lose(3)
    store.runtime.check_members()
    sent = {"member": "Member 2", "url": "file:members/new"}
    refused = admin.post("/array/replace", **sent)
    assert refused.status_code == 409
    assert "Slot 2 is needed" in words(refused)
    assert "given up for ever, even if it comes back: one file needs it" in (
        words(refused)
    )
    assert not (store.folder / "new").exists()
    assert admin.post("/array/replace", **sent, force="y").status_code == 303
    assert store.states()[2] == "rebuilding"
