"""Nginx in front of an instance: limits, addresses, refusals, and slow clients."""

import hashlib
import http.client
import json
import os
import re
import select
import shutil
import socket
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.client import JSON, Client
from support.instance import Instance
from support.nginx import PROGRAM, ROOT, Nginx
from support.server import free_port
from support.site import until
from support.soak import FACTOR

pytestmark = pytest.mark.usefixtures("_nginx")
MIB = 1 << 20
LIMIT = 64 * MIB
CURL = shutil.which("curl")
SETTINGS = {
    "MAX_UPLOAD_BYTES": str(LIMIT),
    "PUBLIC_URL": "http://files.example.org",
}


@pytest.fixture(scope="module")
def alice(instance: Instance) -> Client:
    return Client(instance.url).register("alice")


@contextmanager
def another(instance: Instance, name: str, **options: object) -> Iterator[Nginx]:
    """Run one more Nginx in front of the same instance."""
    folder = instance.folder / name
    port = free_port()
    nginx = Nginx(folder, port, sockets=instance.folder, **options)  # type: ignore[arg-type]
    nginx.start()
    try:
        yield nginx
    finally:
        nginx.quit()


def lines(instance: Instance) -> list[dict[str, object]]:
    found = instance.log.read_text().splitlines()
    parsed = [json.loads(line) for line in found if line.startswith("{")]
    return [line for line in parsed if line["message"] == "request"]


def last_line(instance: Instance, name: str) -> dict[str, object]:
    """Return the line of the request with this id; it is written after the answer."""
    return until(
        lambda: next(
            (one for one in lines(instance) if one["request_id"] == name), None
        ),
        what=f"a line of the request {name}",
    )


def ask(port: int, path: str, headers: dict[str, str]) -> tuple[int, str, str]:
    """Return status, id of the request and Location of one GET."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    names = answer.headers
    return answer.status, names["X-Request-ID"], names.get("Location") or ""


# -- sizes -----------------------------------------------------------------


@pytest.mark.parametrize("size", [LIMIT + 1, 3 * LIMIT])
def test_a_file_over_the_limit_is_a_real_413(alice: Client, size: int) -> None:
    answer = alice.put(alice.root(), f"large-{size}", bytes(size))
    assert answer.status == 413
    assert answer.json["error"]["code"] == "too_large"
    assert answer.json["error"]["request_id"]
    assert alice.names() == []


def test_the_limit_itself_is_taken_and_comes_back(alice: Client) -> None:
    data = os.urandom(LIMIT)
    entry = alice.put(alice.root(), "just", data).expect(201).json["id"]
    assert alice.digest(entry) == (hashlib.sha256(data).hexdigest(), LIMIT)
    part = alice.download(entry, Range="bytes=1000000-1000099").expect(206)
    assert part.body == data[1_000_000:1_000_100]
    alice.post(f"/files/file/{entry}/delete").expect(303)


@pytest.mark.parametrize("headers", [{}, JSON])
def test_a_form_that_is_no_form_is_refused_before_it_comes(
    instance: Instance, headers: dict[str, str]
) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", instance.port, timeout=10)
    connection.putrequest("POST", "/auth/login")
    connection.putheader("Content-Length", str(20 * MIB))
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()  # and not one byte of it
    answer = connection.getresponse()
    text = answer.read().decode()
    assert answer.status == 413
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    if headers:
        assert json.loads(text)["error"]["code"] == "too_large"
    else:
        assert "That is too much for a form" in text
        assert answer.headers["Content-Type"].startswith("text/html")
    connection.close()
    last_line(instance, ask(instance.port, "/auth/login", {})[1])
    asked = [(line["method"], line["route"]) for line in lines(instance)]
    assert ("GET", "/auth/login") in asked
    assert ("POST", "/auth/login") not in asked


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_a_form_that_tells_no_length_ends_where_forms_end(
    instance: Instance, tmp_path: Path, version: str
) -> None:
    """Else anybody could fill the disk of the host, without an account."""
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    _self_signed(key, certificate)
    own = {"certificate": (certificate, key), "plain_port": free_port()}
    before = len(lines(instance))
    with another(instance, "endless", **own) as nginx:
        address = f"https://127.0.0.1:{nginx.port}/auth/login"
        said = _sent_without_length(address, version, 40 * MIB)
        spooled = list((nginx.folder / "client_body").rglob("*"))
    assert said.endswith(b"413")
    assert b"That is too much for a form" in said
    assert not [path for path in spooled if path.is_file()]
    assert len(lines(instance)) == before


def _sent_without_length(address: str, version: str, size: int) -> bytes:
    """POST so many zeros as curl does; return the answer and its status."""
    if CURL is None:
        pytest.skip("curl is missing: apt-get install curl")
    done = subprocess.run(
        [
            *(CURL, "-s", "-k", version, "-X", "POST", "-T", "-", "-H", "Expect:"),
            *("-w", "%{http_code}", address),
        ],
        input=bytes(size),
        capture_output=True,
        timeout=60,
        check=False,
    )
    return done.stdout


def test_pages_are_compressed_and_files_are_not(alice: Client) -> None:
    entry = alice.put(alice.root(), "plain.txt", b"a" * 5000).expect(201).json["id"]
    page = alice.get("/files/", Accept_Encoding="gzip")
    assert page.headers["Content-Encoding"] == "gzip"
    file = alice.download(entry, Accept_Encoding="gzip")
    assert "Content-Encoding" not in file.headers
    assert file.body == b"a" * 5000
    alice.post(f"/files/file/{entry}/delete").expect(303)


def test_hashed_assets_are_kept_for_ever(alice: Client) -> None:
    page = alice.get("/files/").text
    found = re.search(r'"(/static/[0-9a-f]{16}/[^"]+\.css)"', page)
    assert found
    answer = alice.get(found[1], Accept_Encoding="gzip").expect(200)
    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert answer.headers["Content-Encoding"] == "gzip"


# -- who is asking ---------------------------------------------------------

FORGED = {
    "X-Forwarded-For": "6.6.6.6",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Prefix": "/evil",
    "X-Real-IP": "6.6.6.6",
    "Forwarded": "for=6.6.6.6;host=evil.example;proto=https",
    "X-Request-ID": "forged-forged-forged",
    "X-Amzn-Trace-Id": "Root=1-66666666-666666666666666666666666",
    "Host": "evil.example",
}


def test_directly_nothing_that_a_client_claims_counts(instance: Instance) -> None:
    _, name, location = ask(instance.port, "/files/", FORGED)
    line = last_line(instance, name)
    assert line["address"] == "127.0.0.1"
    assert "6666" not in name
    assert "forged" not in name
    assert "evil" not in location


def test_beside_tls_nothing_that_a_client_claims_counts(
    instance: Instance, tmp_path: Path
) -> None:
    """The plain port answers two questions itself, and passes no claim on with them."""
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    _self_signed(key, certificate)
    plain = free_port()
    own = {"certificate": (certificate, key), "plain_port": plain}
    with another(instance, "beside", **own):
        for path in ("/healthz", "/readyz"):
            status, name, _ = ask(plain, path, FORGED)
            assert status == 200
            assert "forged" not in name
            assert last_line(instance, name)["address"] == "127.0.0.1"


@pytest.mark.parametrize(
    ("trusted", "chain", "address"),
    [
        # A load balancer appends the address of whom it talks to.
        (["127.0.0.0/8"], "6.6.6.6, 203.0.113.7", "203.0.113.7"),
        (["127.0.0.0/8"], "203.0.113.7", "203.0.113.7"),
        (["127.0.0.0/8"], "6.6.6.6, 2001:db8::7", "2001:db8::7"),
        # CloudFront before it: its address is the one that the balancer appends.
        (
            ["127.0.0.0/8", "130.176.0.0/17"],
            "6.6.6.6, 203.0.113.7, 130.176.1.2",
            "203.0.113.7",
        ),
        # Who reaches the balancer past CloudFront is not hidden by it.
        (
            ["127.0.0.0/8", "130.176.0.0/17"],
            "130.176.1.2, 203.0.113.9",
            "203.0.113.9",
        ),
    ],
)
def test_behind_balancers_the_last_stranger_counts(
    instance: Instance, trusted: list[str], chain: str, address: str
) -> None:
    with another(instance, "balanced", trusted=trusted) as nginx:
        trace = f"1-67891233-{os.urandom(12).hex()}"
        headers = FORGED | {
            "X-Forwarded-For": chain,
            "X-Amzn-Trace-Id": f"Self=1-1-2;Root={trace}",
        }
        _, name, location = ask(nginx.port, "/files/", headers)
    assert name == trace
    assert "evil" not in location
    assert last_line(instance, name)["address"] == address


def test_the_scheme_is_the_balancers(short_path: Path) -> None:
    """The cookie is the only thing that shows it: it is Secure, or refused."""
    nginx = Nginx(short_path, free_port(), trusted=["127.0.0.0/8"])
    seen = _echo(short_path / "web.sock")
    nginx.start()
    try:
        for headers, expected in (
            ({"X-Forwarded-For": "1.2.3.4", "X-Forwarded-Proto": "https"}, "https"),
            ({"X-Forwarded-For": "1.2.3.4", "X-Forwarded-Proto": "http"}, "http"),
            ({"X-Forwarded-For": "1.2.3.4", "X-Forwarded-Proto": "gopher"}, "http"),
            ({"X-Forwarded-For": "1.2.3.4"}, "http"),
            ({"X-Forwarded-Proto": "https"}, "http"),  # no proxy sends this alone
        ):
            ask(nginx.port, "/", headers)
            got = seen.pop()
            assert got["x-forwarded-proto"] == expected, headers
            assert "forwarded" not in got
            assert "x-forwarded-host" not in got
            assert "connection" not in got
    finally:
        nginx.quit()


def _echo(path: Path) -> list[dict[str, str]]:
    """Answer on a socket, and note the headers of each request."""
    seen: list[dict[str, str]] = []
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen(5)

    def serve() -> None:
        while True:
            link, _ = listening.accept()
            with link, link.makefile("rwb") as file:
                file.readline()
                headers = http.client.parse_headers(file)
                seen.append({k.lower(): v for k, v in headers.items()})
                file.write(b"HTTP/1.1 204 No\r\nConnection: close\r\n\r\n")

    threading.Thread(target=serve, daemon=True).start()
    return seen


def test_health_is_answered_under_any_name(instance: Instance) -> None:
    for path in ("/healthz", "/readyz"):
        for host in ("10.0.0.10:8080", "evil.example", "files.example.org"):
            assert ask(instance.port, path, {"Host": host})[0] == 200


@pytest.mark.parametrize("hosts", [[], ["a.example", "b.example"]])
def test_a_request_names_one_host(instance: Instance, hosts: list[str]) -> None:
    lines = ["GET /auth/login HTTP/1.1", *(f"Host: {host}" for host in hosts), "", ""]
    with socket.create_connection(("127.0.0.1", instance.port), 10) as link:
        link.sendall("\r\n".join(lines).encode())
        assert link.recv(100).startswith(b"HTTP/1.1 400 ")


# -- what is away ----------------------------------------------------------


@pytest.mark.parametrize("headers", [{}, JSON])
def test_nobody_behind_it_is_an_honest_503(
    short_path: Path, headers: dict[str, str]
) -> None:
    nginx = Nginx(short_path, free_port()).start()
    try:
        client = Client(f"http://127.0.0.1:{nginx.port}")
        for path in ("/files/", "/readyz", "/files/file/abc/download"):
            answer = client.get(path, **headers)
            assert answer.status == 503
            assert answer.headers["Retry-After"] == "5"
            assert answer.headers["Cache-Control"] == "no-store"
            assert "nginx" not in answer.text.lower()
            if headers:
                assert answer.json["error"]["code"] == "storage_unavailable"
            else:
                assert "This server does not answer" in answer.text
        refused = client.request("PUT", "/files/folder/abc/x", b"data")
        assert (refused.status, refused.json["error"]["code"]) == (
            503,
            "storage_unavailable",
        )
    except AssertionError as error:
        raise AssertionError(nginx.log.read_text()) from error
    finally:
        nginx.quit()


def test_the_pages_of_nginx_are_nobodys_to_ask_for(instance: Instance) -> None:
    assert ask(instance.port, "/-/away/page.html", {})[0] == 404


# -- its own certificate ---------------------------------------------------


def test_alone_it_speaks_tls_and_sends_pages_there(
    instance: Instance, tmp_path: Path
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    _self_signed(key, certificate)
    plain = free_port()
    own = {"certificate": (certificate, key), "plain_port": plain}
    with another(instance, "tls", **own) as nginx:
        assert ask(plain, "/healthz", {})[0] == 200
        moved = ask(plain, "/files/?a=b", {"Host": "evil.example"})
        assert (moved[0], moved[2]) == (301, "https://files.example.org/files/?a=b")
        assert "HTTP/1.1 200" in _tls(nginx.port, "-tls1_3")
        assert "HTTP/1.1 200" in _tls(nginx.port, "-tls1_2")
        refused = _tls(nginx.port, "-tls1_1", "-cipher", "ALL:@SECLEVEL=0")
        assert "HTTP/1.1" not in refused
        assert "alert" in refused
        weak = _tls(nginx.port, "-tls1_2", "-cipher", "AES256-SHA:@SECLEVEL=0")
        assert "HTTP/1.1" not in weak


def _tls(port: int, *options: str) -> str:
    """Ask over TLS as openssl does, and return all that it says."""
    where = ("-connect", f"127.0.0.1:{port}", "-ign_eof")
    done = subprocess.run(
        ["openssl", "s_client", *where, *options],
        input="GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return done.stdout + done.stderr


# -- slow clients ----------------------------------------------------------

SLOW = 200 if FACTOR > 1 else 60
"""How many of each kind; the pool of pages has 32 threads."""


def test_slow_clients_do_not_hold_pages_up(instance: Instance, alice: Client) -> None:
    """Uploads and downloads at 20 kB/s from many addresses, and endless headers."""
    with another(instance, "slow", trusted=["127.0.0.0/8"]) as nginx:
        folder = alice.root()
        entry = alice.put(folder, "long", os.urandom(40 * MIB)).expect(201).json["id"]
        stop = threading.Event()
        slow = _Slow(nginx.port, alice, stop)
        try:
            for number in range(SLOW):
                slow.upload(folder, number)
                slow.download(entry, number)
                slow.header(number)
            slow.move(2)
            waits = [_seconds(nginx.port, "/auth/login") for _ in range(15)]
            health = [_seconds(nginx.port, "/readyz") for _ in range(15)]
            alive = slow.alive()
        finally:
            stop.set()
            slow.close()
        assert alive == 2 * SLOW
        # The issue asks for 0.3 s; beside other tests only the order can be right.
        assert statistics.median(waits) < (0.3 if FACTOR > 1 else 2), waits
        assert max(health) < (1 if FACTOR > 1 else 5), health
    alice.post(f"/files/file/{entry}/delete").expect(303)


def _seconds(port: int, path: str) -> float:
    begun = time.monotonic()
    assert ask(port, path, {"X-Forwarded-For": "192.0.2.1"})[0] == 200
    return time.monotonic() - begun


class _Slow:
    """Clients who send or take 20 kB a second."""

    def __init__(self, port: int, person: Client, stop: threading.Event) -> None:
        self.port, self.person, self.stop = port, person, stop
        self.links: list[socket.socket] = []
        self.sending: list[socket.socket] = []
        self.begun: list[socket.socket] = []
        cookies = person.cookies.items()
        self.cookie = "; ".join(f"{name}={value}" for name, value in cookies)

    def _begin(self, first: str, number: int, *more: str) -> socket.socket:
        link = socket.socket()
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 10)
        link.connect(("127.0.0.1", self.port))
        headers = [
            f"{first} HTTP/1.1",
            "Host: files.example.org",
            f"X-Forwarded-For: 198.51.{number // 250}.{number % 250}",
            f"Cookie: {self.cookie}",
            f"X-CSRFToken: {self.person.token}",
            *more,
        ]
        link.sendall("\r\n".join([*headers, "", ""]).encode())
        self.links.append(link)
        return link

    def header(self, number: int) -> None:
        """Begin a request, and never end its headers; Nginx gives up in a while."""
        link = socket.create_connection(("127.0.0.1", self.port))
        link.sendall(f"GET /auth/login HTTP/1.1\r\nX-{number}: ".encode())
        self.begun.append(link)

    def upload(self, folder: str, number: int) -> None:
        path = f"PUT /files/folder/{folder}/slow-{number}"
        length = f"Content-Length: {20 * MIB}"
        self.sending.append(self._begin(path, number, length))

    def download(self, entry: str, number: int) -> None:
        link = self._begin(f"GET /files/file/{entry}/download", number)
        assert link.recv(15) == b"HTTP/1.1 200 OK", "a slow download was refused"

    def move(self, seconds: int) -> None:
        """Let everybody go on for a while."""
        for _ in range(seconds * 2):
            for link in self.sending:
                link.sendall(bytes(10_000))
            for link in self.links:
                if link not in self.sending:
                    link.recv(10_000)
            time.sleep(0.5)

    def answered(self) -> int:
        """Count who has an answer already."""
        ready, _, _ = select.select(self.links, [], [], 0)
        return len(ready)

    def alive(self) -> int:
        """Count who was not cut off."""
        count = 0
        for link in self.links:
            link.setblocking(False)
            try:
                count += bool(link.recv(1))
            except BlockingIOError:
                count += 1
        return count

    def close(self) -> None:
        for link in (*self.links, *self.begun):
            link.close()


def test_one_address_has_no_more_than_its_share(instance: Instance) -> None:
    person = Client(instance.url).register("greedy")
    folder = person.root()
    slow = _Slow(instance.port, person, threading.Event())
    try:
        for number in range(140):
            slow.upload(folder, number)
        # Not before: a transfer of this person would hold one of the places.
        until(lambda: slow.answered() == 12, what="those beyond 128 are refused")
        assert _refused(person, folder)
        # Pages go on for them as well.
        assert person.get("/files/").status == 200
    finally:
        slow.close()
    until(lambda: not _refused(person, folder), what="room for another transfer")


def _refused(person: Client, folder: str) -> bool:
    answer = person.put(folder, "one more", b"x", replace=True)
    if answer.status != 429:
        return False
    assert answer.json["error"]["code"] == "throttled"
    assert answer.headers["Retry-After"] == "5"
    return True


# -- what belongs together -------------------------------------------------


def test_who_stands_behind_keeps_a_connection_longer() -> None:
    """Else a request meets a connection that was just closed: a 502 now and then."""
    nginx = (ROOT / "deploy" / "nginx.conf").read_text()
    kept = [int(n) for n in re.findall(r"keepalive_timeout (\d+)s", nginx)]
    gunicorn = (ROOT / "deploy" / "gunicorn.conf.py").read_text()
    found = re.search(r"^keepalive = (\d+)", gunicorn, re.MULTILINE)
    assert found
    front, *behind = kept
    assert len(behind) == 2
    assert front > 180  # of a load balancer, as the template says it
    assert all(one < int(found[1]) for one in behind)


@pytest.mark.parametrize("form", ["balancer.conf", "tls.conf"])
def test_the_files_are_right_as_they_are_installed(
    form: str, short_path: Path, tmp_path: Path
) -> None:
    """With nothing replaced but the folders that only a host has."""
    assert PROGRAM is not None
    key, certificate = tmp_path / "k", tmp_path / "c"
    _self_signed(key, certificate)
    texts = {
        path.name: path.read_text()
        for path in (
            ROOT / "deploy" / "nginx.conf",
            ROOT / "deploy" / "nginx" / form,
        )
    }
    for name, text in texts.items():
        for old, new in (
            ("/etc/holdfast/nginx/*.conf", str(short_path / form)),
            ("/etc/holdfast/tls/fullchain.pem", str(certificate)),
            ("/etc/holdfast/tls/privkey.pem", str(key)),
            ("/opt/holdfast/current", str(ROOT)),
            ("/var/log/nginx", str(short_path)),
            ("/run/", f"{short_path}/"),
        ):
            text = text.replace(old, new)
        (short_path / name).write_text(text)
    done = subprocess.run(
        [PROGRAM, "-t", "-c", str(short_path / "nginx.conf")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "syntax is ok" in done.stderr, done.stderr
    warned = [line for line in done.stderr.splitlines() if "[warn]" in line]
    assert not [line for line in warned if '"user" directive' not in line]


def _self_signed(key: Path, certificate: Path) -> None:
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes"),
            *("-keyout", str(key), "-out", str(certificate), "-days", "2"),
            *("-subj", "/CN=files.example.org"),
        ],
        check=True,
        capture_output=True,
    )
