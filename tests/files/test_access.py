"""I1, I2, I13, S11: nobody sees, guesses or touches what is another's."""

import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from support.drive import JSON, Drive

Call = tuple[str, str, dict[str, Any]]


def calls(folder: str, file: str, own: str, root: str) -> Iterator[Call]:
    """Every request that names an id, aimed at these; `own` folder is the caller's."""
    yield "GET", f"/files/folder/{folder}", {}
    yield "HEAD", f"/files/folder/{folder}", {}
    yield "GET", f"/files/folder/{folder}/details", {}
    yield "GET", f"/files/folder/{folder}/check?name=x&size=1", {}
    yield "GET", f"/files/file/{file}", {}
    yield "GET", f"/files/file/{file}/download", {}
    yield "HEAD", f"/files/file/{file}/download", {}
    yield "GET", f"/files/file/{file}/download", {"headers": {"Range": "bytes=0-0"}}
    yield "GET", f"/files/choose?entry={file}", {}
    yield "GET", f"/files/choose?entry={own}&at={folder}", {}
    yield "PUT", f"/files/folder/{folder}/new", {"data": b"x"}
    yield "PUT", f"/files/folder/{folder}/secret.txt?replace=1", {"data": b"x"}
    yield "POST", f"/files/folder/{folder}/folders", {"data": {"name": "new"}}
    upload = {"data": b"", "content_type": "multipart/form-data; boundary=x"}
    yield "POST", f"/files/folder/{folder}/upload", upload
    for kind, id_ in (("file", file), ("folder", folder)):
        at = f"/files/{kind}/{id_}"
        yield "POST", f"{at}/rename", {"data": {"name": "new"}}
        yield "POST", f"{at}/move", {"data": {"folder": root}}
        yield "POST", f"{at}/move", {}
        yield "POST", f"{at}/delete", {}
        yield "POST", f"{at}/restore", {}
        yield "POST", f"{at}/purge", {}
    # What is mine into what is another's.
    yield "POST", f"/files/folder/{own}/move", {"data": {"folder": folder}}
    mine_too = {"entry": [own, file]}
    for verb in ("move", "delete", "restore", "purge"):
        fields = {**mine_too, "folder": root} if verb == "move" else mine_too
        yield "POST", f"/files/selection/{verb}", {"data": fields}
    yield "POST", "/files/selection/move", {"data": {"entry": [own], "folder": folder}}


def send(drive: Drive, call: Call) -> TestResponse:
    method, path, options = call
    options = {**options, "headers": {**JSON, **options.get("headers", {})}}
    return drive.send(method, path, **options)


def seen(answer: TestResponse) -> tuple[int, Any, list[str]]:
    """What of an answer could tell two cases apart."""
    told = answer.get_json(silent=True)
    if isinstance(told, dict) and "error" in told:
        del told["error"]["request_id"]
    volatile = ("X-Request-Id", "Date", "Set-Cookie")
    return (
        answer.status_code,
        told,
        sorted(key for key, _ in answer.headers if key not in volatile),
    )


def test_i1_i2_another_s_ids_are_as_good_as_none(drive: Drive, other: Drive) -> None:
    folder = drive.folder("private")
    file = drive.file("secret.txt", b"secret", folder)
    own = other.folder("own")
    nothing = secrets.token_urlsafe(16)
    theirs = list(calls(folder, file, own, other.root))
    none = list(calls(nothing, nothing, own, other.root))
    for call, same in zip(theirs, none, strict=True):
        answer = send(other, call)
        assert answer.status_code == 404, call
        assert seen(answer) == seen(send(other, same)), call
    # Nothing moved, on either side.
    assert drive.names() == ["private"]
    assert drive.names(folder) == ["secret.txt"]
    assert drive.read(file).data == b"secret"
    assert other.names() == ["own"]
    assert other.trash() == []


def test_i1_the_same_in_the_trash(drive: Drive, other: Drive) -> None:
    folder = drive.folder("private")
    file = drive.file("secret.txt", b"secret")
    drive.post("/files/selection/delete", entry=[folder, file])
    own = other.folder("own")
    for call in calls(folder, file, own, other.root):
        assert send(other, call).status_code == 404, call
    assert len(drive.trash()) == 2
    assert other.names() == ["own"]
    # The control: for their owner the last ones do something.
    assert (
        drive.post("/files/selection/restore", entry=[folder, file]).status_code == 200
    )
    assert drive.read(file).data == b"secret"


@pytest.mark.sqlite
def test_i1_control_every_call_works_for_the_owner(drive: Drive) -> None:
    for number, call in enumerate(calls("f", "f", "f", "f")):
        target = drive.folder(f"target {number}")
        folder = drive.folder(f"folder {number}")
        file = drive.file("secret.txt", b"secret", folder)
        own = drive.folder(f"own {number}")
        call = list(calls(folder, file, own, target))[number]
        answer = send(drive, call)
        # Purging needs the trash first, and the empty form has no end: both are
        # answers about the thing itself.
        assert answer.status_code < 300 or (
            answer.status_code in (303, 400, 409) and call[0] == "POST"
        ), (call, answer.text)


@pytest.mark.sqlite
@pytest.mark.parametrize("id_", ["x", "0", "1", "..", "a" * 22 + "a", "é" * 22, "%00"])
def test_ids_that_cannot_exist_are_not_found(drive: Drive, id_: str) -> None:
    for path in (f"/files/folder/{id_}", f"/files/file/{id_}/download"):
        assert drive.get(path).status_code in (302, 308, 404)
    assert drive.post("/files/selection/delete", entry=[id_]).status_code == 404
    assert (
        drive.post(f"/files/file/{drive.file('a')}/move", folder=id_).status_code == 404
    )


def test_a_file_is_no_folder(drive: Drive) -> None:
    file, folder = drive.file("a"), drive.folder("b")
    assert drive.get(f"/files/folder/{file}").status_code == 404
    assert drive.get(f"/files/file/{folder}/download").status_code == 404
    assert drive.post(f"/files/folder/{file}/delete").status_code == 404
    assert drive.post(f"/files/file/{folder}/rename", name="c").status_code == 404
    assert drive.put("c", b"", file).status_code == 404
    assert drive.post(f"/files/folder/{folder}/move", folder=file).status_code == 404
    assert drive.names() == ["b", "a"]


@pytest.mark.sqlite
@pytest.mark.parametrize("form", ["//files/", "/files//", "/./files/", "/FILES/"])
def test_i13_other_spellings_decide_as_the_plain_one(
    drive: Drive, app: Flask, form: str
) -> None:
    file = drive.file("a", b"secret")
    plain = f"/files/file/{file}/download"
    odd = [
        plain.replace("/files/", form, 1),
        plain + "/",
        plain + "/.",
        plain.replace("/download", "/..;/download"),
        plain.upper(),
    ]
    stranger = app.test_client()
    for path in odd:
        answer = stranger.open(path, follow_redirects=True, buffered=True)
        assert b"secret" not in answer.data, path
        mine = drive.send("GET", path, follow_redirects=True)
        assert mine.status_code in (200, 404), path
        assert mine.status_code == 404 or mine.data == b"secret"
    assert stranger.get(plain).status_code == 302


@pytest.mark.sqlite
@pytest.mark.parametrize(
    "header", ["X-Original-URL", "X-Rewrite-URL", "X-HTTP-Method-Override"]
)
def test_i13_headers_do_not_reroute(drive: Drive, other: Drive, header: str) -> None:
    file = drive.file("a", b"secret")
    value = "DELETE" if "Method" in header else f"/files/file/{file}/download"
    answer = other.get("/files/", headers={header: value})
    assert b"secret" not in answer.data
    drive.get(f"/files/file/{file}/delete", headers={header: "POST"})
    assert drive.read(file).data == b"secret"


@pytest.mark.sqlite
def test_s11_get_changes_nothing(drive: Drive, app: Flask) -> None:
    folder, file = drive.folder("folder"), drive.file("file")
    trashed = drive.file("trashed")
    drive.post(f"/files/file/{trashed}/delete")
    values = {"id": file, "kind": "file", "verb": "delete", "name": "x"}
    tried = 0
    for rule in app.url_map.iter_rules():
        if not rule.endpoint.startswith("files."):
            continue
        if "GET" in (rule.methods or ()):
            continue
        for id_, kind in ((file, "file"), (folder, "folder"), (trashed, "file")):
            values |= {"id": id_, "kind": kind}
            _, path = rule.build(values, append_unknown=False) or ("", "")
            for method in ("GET", "HEAD"):
                assert drive.send(method, path).status_code in (404, 405), path
                tried += 1
    assert tried > 40
    assert drive.names() == ["folder", "file"]
    assert [row["id"] for row in drive.trash()] == [trashed]


@pytest.mark.sqlite
def test_strangers_get_nothing(drive: Drive, app: Flask) -> None:
    folder, file = drive.folder("folder"), drive.file("file", b"secret")
    stranger = app.test_client()
    for method, path, options in calls(folder, file, folder, drive.root):
        answer = stranger.open(path, method=method, buffered=True, **options)
        assert answer.status_code in (302, 400, 401), path
        assert b"secret" not in answer.data
    assert drive.names() == ["folder", "file"]


@pytest.mark.sqlite
@pytest.mark.parametrize(
    "name",
    [
        "<script>alert(1)<∕script>",
        "{{1337*1337}}",
        "' onerror=alert(1) x='",
        '" onmouseover="alert(1)',
        "=cmd()",
        "<img src=x>",
    ],
)
def test_u4_names_are_text_everywhere(drive: Drive, name: str) -> None:
    folder = drive.folder(name)
    file = drive.put(
        "".join(f"%{byte:02X}" for byte in name.encode()), b"x", folder
    ).get_json()["id"]
    spare = drive.folder("spare")
    drive.post("/files/folder/" + spare + "/rename", name=name + "2")
    pages = [
        "/files/",
        f"/files/folder/{folder}",
        f"/files/folder/{folder}/details",
        f"/files/file/{file}",
        f"/files/choose?entry={file}&at={folder}",
    ]
    texts = [drive.get(page).text for page in pages]
    texts.append(drive.form(f"/files/folder/{folder}/folders", name=name).text)
    drive.form(f"/files/folder/{spare}/delete")
    texts += [drive.get("/files/").text, drive.get("/files/trash").text]
    texts.append(drive.form(f"/files/folder/{spare}/purge").text)
    for text in texts:
        for mark in ("<script>alert", "<img src=x", "1787569", "' onerr", '" onmouse'):
            assert mark not in text, mark
