"""The guard around request bodies: counts, bounds and drains, over real sockets."""

import io
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from gunicorn.http.body import Body, ChunkedReader, LengthReader
from gunicorn.http.unreader import SocketUnreader

from files import body
from files.body import BodyGuard, GuardedBody
from files.errors import BodyCut, BodyStalled

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(5)
        yield ours, theirs


def sized(sock: socket.socket, length: int, held: bytes = b"") -> GuardedBody:
    unreader = SocketUnreader(sock)
    unreader.unread(held)
    return GuardedBody(Body(LengthReader(unreader, length)), length, sock)


def chunked(sock: socket.socket) -> GuardedBody:
    class Request:
        limit_request_field_size = max_buffer_headers = 0
        trailers: Any = None

    reader = ChunkedReader(Request(), SocketUnreader(sock))
    return GuardedBody(Body(reader), None, sock)


def everything(guarded: GuardedBody, step: int = 7) -> bytes:
    out = bytearray()
    view = memoryview(bytearray(step))
    while count := guarded.readinto(view):
        out += view[:count]
    return bytes(out)


@pytest.mark.parametrize("held", [b"", b"0123", b"0123456789"])
def test_a_whole_body_arrives_in_place(pair: Pair, held: bytes) -> None:
    ours, theirs = pair
    theirs.sendall(b"0123456789"[len(held) :] + b"next request")
    guarded = sized(ours, 10, held)
    assert everything(guarded, 3) == b"0123456789"
    assert guarded.ended
    assert guarded.readinto(memoryview(bytearray(5))) == 0
    assert guarded._raw.read(1) == b""


def test_what_follows_a_body_stays_for_the_next_request(pair: Pair) -> None:
    ours, _ = pair
    guarded = sized(ours, 4, b"bodyGET / HTTP/1.1")
    assert everything(guarded, 100) == b"body"
    assert guarded._raw.reader.unreader.read() == b"GET / HTTP/1.1"


def test_reading_by_lines_and_in_place_mix(pair: Pair) -> None:
    ours, theirs = pair
    theirs.sendall(b"one\ntwo\nthree")
    guarded = sized(ours, 13)
    assert guarded.readline() == b"one\n"
    assert guarded.read(2) == b"tw"
    assert everything(guarded) == b"o\nthree"
    assert guarded.ended


def test_a_short_body_is_no_clean_end(pair: Pair) -> None:
    ours, theirs = pair
    theirs.sendall(b"only this")
    theirs.close()
    guarded = sized(ours, 1000)
    with pytest.raises(BodyCut, match="991 bytes"):
        everything(guarded)
    assert guarded._raw.failed
    with pytest.raises(BodyCut):
        guarded.read()


@pytest.mark.parametrize("read", [lambda b: b.read(), lambda b: list(b)])
def test_a_short_body_is_no_clean_end_for_forms_either(pair: Pair, read: Any) -> None:
    ours, theirs = pair
    theirs.sendall(b"a=1&b")
    theirs.close()
    with pytest.raises(BodyCut):
        read(sized(ours, 100))


def test_a_chunked_body_arrives_whole(pair: Pair) -> None:
    ours, theirs = pair
    theirs.sendall(b"4\r\nbody\r\n3\r\n of\r\n0\r\n\r\n")
    guarded = chunked(ours)
    assert everything(guarded) == b"body of"
    assert guarded.ended


@pytest.mark.parametrize("sent", [b"4\r\nbo", b"4\r\nbody\r\n", b"4\r\nbody\r\n0\r\n"])
def test_a_cut_chunked_body_raises(pair: Pair, sent: bytes) -> None:
    ours, theirs = pair
    theirs.sendall(sent)
    theirs.close()
    with pytest.raises(BodyCut):
        everything(chunked(ours))


def test_a_reset_is_a_cut(pair: Pair) -> None:
    ours, _ = pair
    guarded = sized(ours, 10)
    ours.close()
    with pytest.raises(BodyCut):
        everything(guarded)


@pytest.mark.parametrize("kind", ["sized", "chunked"])
def test_a_stalled_client_is_let_go(pair: Pair, kind: str) -> None:
    ours, theirs = pair
    theirs.sendall(b"4\r\nb" if kind == "chunked" else b"b")
    guarded = chunked(ours) if kind == "chunked" else sized(ours, 10)
    ours.settimeout(0.05)
    with pytest.raises(BodyStalled):
        everything(guarded)
    assert guarded._raw.failed


def test_a_body_that_nobody_read_is_drained_to_its_end(pair: Pair) -> None:
    ours, theirs = pair
    size = 3 << 20
    sender = threading.Thread(target=theirs.sendall, args=(b"x" * size,))
    sender.start()
    guarded = sized(ours, size)
    guarded.drain()
    sender.join(5)
    assert guarded.ended
    assert not guarded._raw.failed


def test_draining_gives_up_after_so_many_bytes(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body, "DRAIN_BYTES", 1 << 20)
    ours, theirs = pair
    sent = []

    def send() -> None:
        try:
            while len(sent) < 1000:
                sent.append(theirs.send(b"x" * 65536))
        except OSError:
            pass

    sender = threading.Thread(target=send)
    sender.start()
    guarded = sized(ours, 10 << 30)
    guarded.drain()
    assert guarded._raw.failed, "the server must close this connection"
    ours.close()
    sender.join(5)
    assert 1 << 20 <= sum(sent) < 8 << 20


def test_draining_gives_up_on_silence(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body, "DRAIN_SECONDS", 0.1)
    guarded = sized(pair[0], 100)
    guarded.drain()
    assert guarded._raw.failed


def environ(data: bytes, length: str | None = None) -> dict[str, Any]:
    made: dict[str, Any] = {"wsgi.input": io.BytesIO(data)}
    if length is not None:
        made["CONTENT_LENGTH"] = length
    return made


def test_the_layer_drains_after_the_answer_and_not_before() -> None:
    order = []

    class Input(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            order.append("drained")
            return super().read(size)

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("413 Too Large", [])
        return [b"too large"]

    request = environ(b"")
    request |= {"wsgi.input": Input(b"x" * 10), "CONTENT_LENGTH": "10"}
    answer = BodyGuard(app)(request, lambda *_: order.append("answered"))
    assert list(answer) == [b"too large"]
    assert order == ["answered"]
    answer.close()  # type: ignore[attr-defined]
    assert order == ["answered", "drained"]


def test_a_request_without_a_body_costs_nothing() -> None:
    answer = [b"page"]
    layer = BodyGuard(lambda *_: answer)
    assert layer(environ(b""), lambda *_: None) is answer


@pytest.mark.parametrize("length", ["-5", "+5", "5x", "", "٣"])
def test_an_odd_length_means_no_body(length: str) -> None:
    assert body.guard(environ(b"hello", length)).read() == b""


def test_the_guard_holds_without_gunicorn() -> None:
    guarded = body.guard(environ(b"hello", "5"))
    assert guarded.read() == b"hello"
    with pytest.raises(BodyCut):
        body.guard(environ(b"hello", "6")).read()


def test_a_caller_may_bring_a_plain_bytearray(pair: Pair) -> None:
    ours, theirs = pair
    theirs.sendall(b"a=1&b=2")
    # Werkzeug's form parser does; a slice of one would be a copy.
    buffer = bytearray(7)
    assert sized(ours, 7).readinto(buffer) == 7
    assert buffer == b"a=1&b=2"
    buffer = bytearray(5)
    assert body.guard(environ(b"hello", "5")).readinto(buffer) == 5
    assert buffer == b"hello"
