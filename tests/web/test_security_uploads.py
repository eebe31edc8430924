"""Uploads that are too large or malformed, against real gunicorn: U7, U10."""

import os
import threading
import time

import pytest

from support.client import Client
from support.raw import RawAnswer, connection, exchange, head, receive
from support.site import Site, resident, until

MIB = 1024 * 1024
LIMIT = 2 * MIB
SETTINGS = {"MAX_UPLOAD_BYTES": str(LIMIT)}


def _headers(person: Client, *more: tuple[str, str]) -> list[tuple[str, str]]:
    token = person.token  # reading it may set the cookie
    cookie = "; ".join(f"{name}={value}" for name, value in person.cookies.items())
    return [("Cookie", cookie), ("X-CSRFToken", token), *more]


def _put(person: Client, *more: tuple[str, str]) -> bytes:
    target = f"/files/folder/{person.root()}/large.bin"
    return head("PUT", target, _headers(person, *more))


def _post(person: Client, *more: tuple[str, str], token: bool = True) -> bytes:
    headers = _headers(person, *more)
    kept = [pair for pair in headers if token or pair[0] != "X-CSRFToken"]
    return head("POST", f"/files/folder/{person.root()}/upload", kept)


def _form(length: int, boundary: str = "kelp") -> list[tuple[str, str]]:
    kind = f"multipart/form-data; boundary={boundary}"
    return [("Content-Type", kind), ("Content-Length", str(length))]


def _control(person: Client) -> None:
    person.put(person.root(), "fits", os.urandom(LIMIT), replace=True).expect(200, 201)


def test_a_declared_length_over_the_limit_is_refused_before_the_body(
    site: Site,
) -> None:
    """U7: 413 at once, with a reason, and not one byte of the body was needed."""
    person = site.person("alice")
    _control(person)
    with connection(site.port) as sock:
        sock.sendall(_put(person, ("Content-Length", str(LIMIT + 1))))
        answer = receive(sock, 5)
    assert answer.status == 413
    assert answer.seconds < 2
    assert b"too_large" in answer.body
    assert "large.bin" not in person.names()


def test_a_client_that_goes_on_sending_can_read_the_413(site: Site) -> None:
    """U7: 40 MB on the way, and the answer still arrives instead of a reset."""
    person = site.person("alice")
    _control(person)
    body, size = os.urandom(MIB), 40 * MIB
    with connection(site.port, 30) as sock:
        sock.sendall(_put(person, ("Content-Length", str(size))))
        for _ in range(40):
            sock.sendall(body)
        answer = receive(sock, 10)
    assert answer.status == 413
    assert b"too_large" in answer.body


def test_a_form_over_the_limit_gets_a_readable_413(site: Site) -> None:
    """U7: the same for the page without JavaScript."""
    person = site.person("alice")
    start = (
        b'--kelp\r\nContent-Disposition: form-data; name="file"; filename="large.bin"'
        b"\r\n\r\n"
    )
    size = 20 * MIB
    with connection(site.port, 30) as sock:
        sock.sendall(_post(person, *_form(size)) + start)
        for _ in range(19):
            sock.sendall(os.urandom(MIB))
        sock.sendall(os.urandom(MIB - len(start)))
        answer = receive(sock, 10)
    assert answer.status == 413
    assert "large.bin" not in person.names()


def test_a_chunked_body_over_the_limit_is_cut_off(site: Site) -> None:
    """U7: no length was declared; the count decides, and nothing stays behind."""
    person = site.person("alice")
    _control(person)
    objects, chunk = site.objects(), os.urandom(256 * 1024)
    with connection(site.port, 30) as sock:
        sock.sendall(_put(person, ("Transfer-Encoding", "chunked")))
        for _ in range(LIMIT // len(chunk) + 4):
            sock.sendall(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        sock.sendall(b"0\r\n\r\n")
        answer = receive(sock, 10)
    assert answer.status == 413
    assert "large.bin" not in person.names()
    until(lambda: site.objects() <= objects, 60, what="objects went")
    until(lambda: not site.temporary(), 60, what="temporary files went")


def _part(name: str, body: bytes, more: str = "") -> bytes:
    start = f'--kelp\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'
    return start.encode() + body + b"\r\n"


END = b"--kelp--\r\n"
FILE = _part("file", b"kelp", '; filename="part.txt"')
MALFORMED = {
    "2,000 parts": _part("note", b"x") * 2000 + FILE + END,
    "a field of 1 MB": _part("note", b"x" * MIB) + FILE + END,
    "a part that begins with line ends": _part(
        "note", b"\r\n" * (MIB // 2) + b"x" * (MIB // 2)
    )
    + END,
    "nested": _part("file", b"--other\r\n\r\nx\r\n--other--", '; filename=""') + END,
    "no name": b"--kelp\r\nContent-Disposition: form-data\r\n\r\nx\r\n" + END,
    "no disposition": b"--kelp\r\nX: y\r\n\r\nx\r\n" + END,
    "an endless header": b"--kelp\r\nX: " + b"y" * MIB + b"\r\n\r\nx\r\n" + END,
    "no boundary inside": b"kelp kelp kelp",
    "nothing": b"",
}


def _send(site: Site, person: Client, data: bytes, form: list) -> RawAnswer:
    return exchange(site.port, _post(person, *form) + data, 10, whole=True)


@pytest.mark.parametrize("kind", MALFORMED)
def test_a_malformed_form_is_refused_quickly(site: Site, kind: str) -> None:
    """U10: an answer within seconds, no file, no growth; 303 says none was chosen."""
    person, body = site.person("alice"), MALFORMED[kind]
    good = FILE + END
    assert _send(site, person, good, _form(len(good))).status == 303
    before, workers = person.names(), site.server.web_pids()
    memory = sum(resident(pid) for pid in workers)
    answer = _send(site, person, body, _form(len(body)))
    assert answer.status == 303 or 400 <= answer.status < 500, kind
    assert answer.seconds < 5
    assert person.names() == before
    assert sum(resident(pid) for pid in workers) - memory < 32 * MIB


@pytest.mark.parametrize("boundary", ["", "k" * 65536, 'k"elp', "k\x00elp"])
def test_a_boundary_that_is_none_is_refused(site: Site, boundary: str) -> None:
    """U10: absent, 64 KB long, or broken."""
    person, body = site.person("alice"), FILE + END
    answer = _send(site, person, body, _form(len(body), boundary))
    assert 400 <= answer.status < 500


@pytest.mark.parametrize("length", ["-1", "+4", "4x", "9" * 30, ""])
def test_a_length_that_is_none_is_refused(site: Site, length: str) -> None:
    """U10: negative, signed, or not a number."""
    person = site.person("alice")
    sent = _put(person, ("Content-Length", length), ("Connection", "close"))
    answer = exchange(site.port, sent + b"kelp", 5, whole=True)
    assert answer.status in {400, 413}
    assert "large.bin" not in person.names()


def test_two_file_fields_are_two_files(site: Site) -> None:
    """U10: several files in one form are all stored, each whole."""
    person = site.client().register("two-fields")
    body = (
        _part("file", b"one", '; filename="one.txt"')
        + _part("file", b"two", '; filename="two.txt"')
        + END
    )
    assert _send(site, person, body, _form(len(body))).status == 303
    ids = {row["name"]: row["id"] for row in person.rows()}
    assert person.download(ids["one.txt"]).body == b"one"
    assert person.download(ids["two.txt"]).body == b"two"


def test_a_form_needs_its_token_before_the_first_file(site: Site) -> None:
    """S9: in the header or as the first field; after the file is too late."""
    person = site.client().register("late-token")
    late = FILE + _part("csrf_token", person.token.encode()) + END
    sent = _post(person, *_form(len(late)), token=False)
    assert exchange(site.port, sent + late, 10, whole=True).status == 400
    assert person.names() == []
    early = _part("csrf_token", person.token.encode()) + FILE + END
    sent = _post(person, *_form(len(early)), token=False)
    assert exchange(site.port, sent + early, 10, whole=True).status == 303
    assert person.names() == ["part.txt"]


def test_slow_bodies_do_not_stop_the_pages(site: Site) -> None:
    """H11, a slice: eight bodies that drip, and the health page still answers."""
    start = _put(site.person("alice"), ("Content-Length", "1000"))
    done = threading.Event()

    def drip() -> None:
        with connection(site.port, 30) as sock:
            sock.sendall(start)
            while not done.wait(0.2):
                sock.sendall(b"x")

    drips = [threading.Thread(target=drip) for _ in range(8)]
    for thread in drips:
        thread.start()
    try:
        time.sleep(1)
        begun = time.monotonic()
        site.client().get("/healthz").expect(200)
        assert time.monotonic() - begun < 3
    finally:
        done.set()
        for thread in drips:
            thread.join()
