"""A body that is cut never becomes a file, and a whole one is stored as it came."""

import contextlib
import hashlib
import os
import socket

import pytest

from support.client import Client
from support.raw import connection, head, receive
from support.site import Site, until

KIB, MIB = 1024, 1024 * 1024
SIZES = [2_000, 300 * KIB, 30 * MIB]


def _headers(person: Client, *more: tuple[str, str]) -> list[tuple[str, str]]:
    token = person.token  # reading it may set the cookie
    cookie = "; ".join(f"{name}={value}" for name, value in person.cookies.items())
    return [("Cookie", cookie), ("X-CSRFToken", token), *more]


def _put(person: Client, name: str, *more: tuple[str, str]) -> bytes:
    target = f"/files/folder/{person.root()}/{name}"
    return head("PUT", target, _headers(person, *more))


def _nothing_became_of(site: Site, person: Client, name: str, objects: set) -> None:
    """Neither a row, nor bytes, nor quota, nor a temporary file."""
    assert name not in person.names()
    kept = sum(int(row["size"]) for row in person.rows() if row["size"])
    assert site.used(person.name) == kept
    until(lambda: site.objects() <= objects, 60, what=f"objects of {name} went")
    until(lambda: not site.temporary(), 60, what="temporary files went")


def _control(person: Client, size: int) -> None:
    body = os.urandom(size)
    answer = person.put(person.root(), "control", body, replace=True).expect(200, 201)
    assert person.digest(answer.json["id"])[0] == hashlib.sha256(body).hexdigest()


@pytest.mark.parametrize("close", ["half", "whole"])
@pytest.mark.parametrize("size", SIZES)
def test_a_body_shorter_than_its_length_is_no_file(
    site: Site, size: int, close: str
) -> None:
    """Gunicorn hands over the short body without an exception: we must notice."""
    person = site.person("alice")
    _control(person, size)
    objects, name = site.objects(), f"short-{size}-{close}"
    with connection(site.port) as sock:
        sock.sendall(_put(person, name, ("Content-Length", str(size))))
        sock.sendall(os.urandom(size // 2))
        if close == "half":
            sock.shutdown(socket.SHUT_WR)
            assert receive(sock, 10).status in {0, 400}
    _nothing_became_of(site, person, name, objects)


@pytest.mark.parametrize("cut", ["in a chunk", "before the end", "in a size"])
@pytest.mark.parametrize("size", SIZES)
def test_a_cut_chunked_body_is_no_file(site: Site, size: int, cut: str) -> None:
    """Only the last, empty chunk ends a chunked body."""
    person = site.person("alice")
    objects, name = site.objects(), f"chunked-{size}-{cut[-4:]}".replace(" ", "")
    chunk = os.urandom(size // 2)
    with connection(site.port) as sock:
        sock.sendall(_put(person, name, ("Transfer-Encoding", "chunked")))
        sock.sendall(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        sock.sendall({"in a chunk": b"1000\r\nabc", "in a size": b"10"}.get(cut, b""))
        sock.shutdown(socket.SHUT_WR)
        assert receive(sock, 10).status in {0, 400}
    _nothing_became_of(site, person, name, objects)


@pytest.mark.parametrize("size", SIZES)
def test_a_whole_chunked_body_is_a_file(site: Site, size: int) -> None:
    """The control of the cut ones: the same bytes with their end."""
    person, body = site.person("alice"), os.urandom(size)
    half = size // 2
    with connection(site.port, 30) as sock:
        name = f"whole-{size}"
        sock.sendall(_put(person, name, ("Transfer-Encoding", "chunked")))
        for part in (body[:half], body[half:]):
            sock.sendall(b"%x\r\n%s\r\n" % (len(part), part))
        sock.sendall(b"0\r\n\r\n")
        assert receive(sock, 30).status == 201
    entry = next(row["id"] for row in person.rows() if row["name"] == name)
    assert person.digest(entry) == (hashlib.sha256(body).hexdigest(), size)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_an_upload_broken_off_leaves_nothing(site: Site, share: float) -> None:
    """U9: aborted at 10, 50 and 99 per cent, with a reset."""
    person, size = site.person("alice"), 26 * MIB
    objects, name = site.objects(), f"aborted-{share}"
    with connection(site.port) as sock:
        sock.sendall(_put(person, name, ("Content-Length", str(size))))
        sock.sendall(os.urandom(int(size * share)))
        linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    _nothing_became_of(site, person, name, objects)


def test_a_form_without_its_last_boundary_leaves_nothing(site: Site) -> None:
    """U9: multipart cut before the end, with a length that agrees and one that lies."""
    person = site.person("alice")
    objects, part = site.objects(), _part(person, "cut.bin", os.urandom(200 * KIB))
    for length in (len(part), len(part) + 500):
        with connection(site.port) as sock:
            sock.sendall(_form(person, length) + part)
            sock.shutdown(socket.SHUT_WR)
            assert receive(sock, 10).status in {0, 400}
        _nothing_became_of(site, person, "cut.bin", objects)


def test_a_form_with_its_last_boundary_is_a_file(site: Site) -> None:
    """The control: the same form, ended."""
    person, body = site.person("alice"), os.urandom(200 * KIB)
    whole = _part(person, "form.bin", body) + b"\r\n--kelp--\r\n"
    with connection(site.port) as sock:
        sock.sendall(_form(person, len(whole)) + whole)
        assert receive(sock, 10).status == 303
    entry = next(row["id"] for row in person.rows() if row["name"] == "form.bin")
    assert person.download(entry).body == body


def _form(person: Client, length: int) -> bytes:
    kind = ("Content-Type", "multipart/form-data; boundary=kelp")
    target = f"/files/folder/{person.root()}/upload"
    sent = _headers(person, kind, ("Content-Length", str(length)))
    return head("POST", target, sent)


def _part(person: Client, name: str, body: bytes) -> bytes:
    text = (
        '--kelp\r\nContent-Disposition: form-data; name="csrf_token"\r\n\r\n'
        f"{person.token}\r\n"
        f'--kelp\r\nContent-Disposition: form-data; name="file"; filename="{name}"'
        "\r\nContent-Type: application/octet-stream\r\n\r\n"
    )
    return text.encode() + body


def test_a_body_longer_than_its_length_stores_the_length(site: Site) -> None:
    """U9: what follows the declared length is not part of the file."""
    person = site.person("alice")
    with connection(site.port) as sock:
        sock.sendall(_put(person, "long.txt", ("Content-Length", "4")))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            sock.sendall(b"kelp and more than was announced\r\n\r\n")
        assert receive(sock, 10).status == 201
    entry = next(row["id"] for row in person.rows() if row["name"] == "long.txt")
    assert person.download(entry).body == b"kelp"


@pytest.mark.parametrize(
    "kind",
    [
        None,
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=kelp",
        "multipart/form-data",
        "application/json",
        "nonsense",
    ],
)
@pytest.mark.parametrize("size", [11, 100 * KIB])
def test_put_stores_the_raw_body_whatever_its_type(
    site: Site, kind: str | None, size: int
) -> None:
    """Form parsing never touches a PUT."""
    person = site.person("alice")
    body = (b"a=1&csrf_token=x&file=--kelp\r\n\r\n" * (size // 20 + 1))[:size]
    named = {"Content_Type": kind} if kind else {}
    name = f"typed-{size}-{kind}".replace("/", "-")
    answer = person.put(person.root(), name, body, **named).expect(201)
    assert answer.json["size"] == size
    assert answer.json["sha256"] == hashlib.sha256(body).hexdigest()
    assert person.download(answer.json["id"]).body == body
