"""A small browser without a screen: cookies, tokens, and the contract's URLs.

It speaks HTTP/1.1 through the standard library, over TCP, and never follows a redirect,
so that a test sees each answer as it was sent.
"""

import hashlib
import http.client
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from support.page import Page

PASSWORD = "kelp-grips-the-quiet-stone-41"
JSON = {"Accept": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
Body = bytes | Iterable[bytes] | None


@dataclass
class Answer:
    """A whole response."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode("utf-8", "replace")

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def page(self) -> Page:
        """The body as a page."""
        return Page(self.text)

    @property
    def location(self) -> str:
        """Where a redirect points."""
        return self.headers.get("Location", "")

    def all(self, name: str) -> list[str]:
        """Every value of one header."""
        return self.headers.get_all(name) or []

    def expect(self, *statuses: int) -> "Answer":
        """Fail with the answer in the message unless the status is one of these."""
        if self.status not in statuses:
            raise AssertionError(f"{self.status}, not {statuses}: {self.text[:2000]}")
        return self


class Client:
    """One person at the site."""

    def __init__(self, url: str, timeout: float = 60) -> None:
        parts = urlsplit(url)
        self.host, self.port = parts.hostname or "127.0.0.1", parts.port or 80
        self.timeout = timeout
        self.cookies: dict[str, str] = {}
        self.name = ""
        self._token: str | None = None
        self._connection: http.client.HTTPConnection | None = None

    def twin(self) -> "Client":
        """The same person over another connection, for another thread."""
        other = Client(f"http://{self.host}:{self.port}", self.timeout)
        other.cookies, other.name = dict(self.cookies), self.name
        other._token = self._token
        return other

    # -- plain requests

    def request(
        self,
        method: str,
        path: str,
        body: Body = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Send one request and read the whole answer."""
        response = self.open(method, path, body, headers)
        try:
            return Answer(response.status, response.headers, response.read())
        finally:
            self._settle(response)

    def open(
        self,
        method: str,
        path: str,
        body: Body = None,
        headers: dict[str, str] | None = None,
    ) -> http.client.HTTPResponse:
        """Send one request and hand back the open answer."""
        sent = dict(headers or {})
        if self.cookies:
            cookie = "; ".join(f"{k}={v}" for k, v in self.cookies.items())
            sent.setdefault("Cookie", cookie)
        response = self._send(method, path, body, sent)
        self._keep_cookies(response.headers)
        return response

    def get(self, path: str, **headers: str) -> Answer:
        """GET, with headers given as keywords (underscores become hyphens)."""
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        return self.request("GET", path, headers=named)

    def post(
        self,
        path: str,
        fields: dict[str, str] | list[tuple[str, str]] | None = None,
        headers: dict[str, str] | None = None,
        token: str | None = "",
    ) -> Answer:
        """POST a form; the token is added unless it is None or given."""
        pairs = list(fields.items()) if isinstance(fields, dict) else list(fields or [])
        if token is not None:
            pairs.append(("csrf_token", token or self.token))
        body = urlencode(pairs).encode()
        return self.request("POST", path, body, FORM | (headers or {}))

    def close(self) -> None:
        """Drop the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __del__(self) -> None:
        self.close()

    # -- the account

    @property
    def token(self) -> str:
        """The CSRF token of this session, read from a page when it is first needed."""
        if self._token is None:
            self._token = self.fresh_token()
        return self._token

    def fresh_token(self) -> str:
        """Read a token from the page that this person can see."""
        answer = self.get("/files/")
        if answer.status == 302:
            answer = self.get("/auth/login")
        token = answer.page.token or answer.page.forms[0].fields.get("csrf_token")
        assert token, f"no token on the page: {answer.status} {answer.text[:500]}"
        return token

    def register(self, name: str, password: str = PASSWORD) -> "Client":
        """Make an account and be signed in."""
        fields = {"username": name, "email": "", "password": password}
        fields["confirm"] = password
        self.post("/auth/register", fields).expect(303)
        return self._signed_in(name)

    def try_login(self, name: str, password: str, **headers: str) -> Answer:
        """Send the login form and hand back whatever comes."""
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        fields = {"username": name, "password": password}
        return self.post("/auth/login", fields, named)

    def login(self, name: str, password: str = PASSWORD) -> "Client":
        """Sign in."""
        self.try_login(name, password).expect(302, 303)
        return self._signed_in(name)

    def logout(self) -> Answer:
        """Sign out."""
        answer = self.post("/auth/logout").expect(302, 303)
        self._token = None
        return answer

    # -- files

    def root(self) -> str:
        """The id of this person's first folder."""
        folder = self.get("/files/").expect(200).page.folder
        assert folder, "the page names no folder"
        return folder

    def put(
        self, folder: str, name: str, body: Body, replace: bool = False, **headers: str
    ) -> Answer:
        """PUT one file."""
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        path = f"/files/folder/{folder}/{quote(name, safe='')}"
        path += "?replace=1" if replace else ""
        return self.request("PUT", path, body, {"X-CSRFToken": self.token} | named)

    def folder(self, parent: str, name: str) -> str:
        """Make a folder and return its id."""
        answer = self.post(f"/files/folder/{parent}/folders", {"name": name}, JSON)
        return answer.expect(201).json["id"]

    def rows(self, folder: str | None = None) -> list[dict[str, str]]:
        """Every row of a folder, page after page."""
        path = f"/files/folder/{folder}" if folder else "/files/"
        rows: list[dict[str, str]] = []
        while path:
            page = self.get(path).expect(200).page
            rows += page.rows
            path = page.next or ""
        return rows

    def names(self, folder: str | None = None) -> list[str]:
        """The names in a folder, in the order of the page."""
        return [row["name"] for row in self.rows(folder)]

    def download(self, entry: str, **headers: str) -> Answer:
        """Fetch a file."""
        return self.get(f"/files/file/{entry}/download", **headers)

    def digest(self, entry: str) -> tuple[str, int]:
        """Fetch a file in pieces; give its SHA-256 and length."""
        response = self.open("GET", f"/files/file/{entry}/download")
        try:
            if response.status != 200:
                raise AssertionError(f"{response.status}: {response.read(2000)!r}")
            return _digest(response)
        finally:
            self._settle(response)

    # -- inside

    def _signed_in(self, name: str) -> "Client":
        self.name, self._token = name, None
        return self

    def _send(
        self, method: str, path: str, body: Body, headers: dict[str, str]
    ) -> http.client.HTTPResponse:
        fresh = self._connection is None
        connection = self._connection or self._connect()
        try:
            connection.request(method, path, body, headers)
            return connection.getresponse()
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
            self.close()
            # Only a kept connection may have been closed before it saw the request.
            if fresh or not (body is None or isinstance(body, bytes)):
                raise
        return self._send(method, path, body, headers)

    def _connect(self) -> http.client.HTTPConnection:
        self._connection = http.client.HTTPConnection(
            self.host, self.port, timeout=self.timeout
        )
        return self._connection

    def _settle(self, response: http.client.HTTPResponse) -> None:
        if response.will_close or not response.isclosed():
            self.close()

    def _keep_cookies(self, headers: http.client.HTTPMessage) -> None:
        for line in headers.get_all("Set-Cookie") or []:
            name, _, value = line.split(";", 1)[0].partition("=")
            if value and "max-age=0" not in line.lower():
                self.cookies[name.strip()] = value
            else:
                self.cookies.pop(name.strip(), None)


def _digest(response: http.client.HTTPResponse) -> tuple[str, int]:
    seen, length = hashlib.sha256(), 0
    for piece in pieces(response):
        seen.update(piece)
        length += len(piece)
    expected = response.headers.get("Content-Length")
    if expected is not None and int(expected) != length:
        raise AssertionError(f"{length} of {expected} bytes came")
    return seen.hexdigest(), length


def pieces(response: http.client.HTTPResponse, size: int = 1 << 20) -> Iterator[bytes]:
    """The body of an open answer, a MiB at a time."""
    while piece := response.read(size):
        yield piece
