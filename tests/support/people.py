"""People in front of Flask's test client: they find the token and fill in forms."""

import html
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flask import Flask
from werkzeug.test import TestResponse

PASSWORD = "kelp grips the stone below"
OTHER = "lantern quarry mosaic drizzle"
_TOKEN = re.compile(r'name="csrf-token" content="([^"]+)"')


class Person:
    """One browser; `base` is what is typed into its address bar."""

    def __init__(self, app: Flask, address: str = "127.0.0.1", base: str = "") -> None:
        self.app = app
        self.client = app.test_client()
        self.address = address
        self.base = base or "http://localhost"

    def send(self, method: str, path: str, **options: Any) -> TestResponse:
        """Send one request and never follow a redirect."""
        options.setdefault("base_url", self.base)
        options.setdefault("buffered", True)
        options.setdefault("environ_base", {"REMOTE_ADDR": self.address})
        return self.client.open(path, method=method, **options)

    def get(self, path: str, **options: Any) -> TestResponse:
        """GET a page."""
        return self.send("GET", path, **options)

    def token(self, page: str = "/auth/login") -> str:
        """Return the CSRF token that this browser's pages carry now."""
        answer = self.get(page)
        if answer.status_code == 302:
            answer = self.get("/auth/password")
        found = _TOKEN.search(answer.text)
        assert found, f"{answer.status_code}: {answer.text[:500]}"
        return html.unescape(found[1])

    def post(self, path: str, token: str | None = "", **fields: str) -> TestResponse:
        """POST a form with this browser's token, another one, or none."""
        return self.send("POST", path, data=self._form(token, fields))

    def ask(self, path: str, token: str | None = "", **fields: str) -> TestResponse:
        """POST a form and ask for JSON."""
        accept = {"Accept": "application/json"}
        return self.send("POST", path, data=self._form(token, fields), headers=accept)

    def _form(self, token: str | None, fields: dict[str, str]) -> dict[str, str]:
        if token == "":
            token = self.token()
        return fields if token is None else {**fields, "csrf_token": token}

    def register(
        self, name: str, password: str = PASSWORD, **more: str
    ) -> TestResponse:
        """Fill in the form for a new account."""
        fields = {"username": name, "password": password, "confirm": password, **more}
        return self.post("/auth/register", **fields)

    def log_in(self, name: str, password: str = PASSWORD, **more: str) -> TestResponse:
        """Fill in the login form."""
        return self.post("/auth/login", username=name, password=password, **more)

    def log_out(self) -> TestResponse:
        """Press the button."""
        return self.post("/auth/logout")

    def change_password(self, current: str, new: str) -> TestResponse:
        """Fill in the form for a new password."""
        fields = {"current": current, "password": new, "confirm": new}
        return self.post("/auth/password", **fields)

    def signed_in(self) -> bool:
        """Tell whether a private page opens."""
        return self.get("/files/").status_code == 200

    def cookie(self) -> str:
        """Return the session cookie as it is stored."""
        found = self.client.get_cookie("holdfast")
        return "" if found is None else found.value

    @contextmanager
    def replaying(self, cookie: str) -> Iterator[None]:
        """Send an old cookie instead of the present one."""
        now = self.cookie()
        self.client.set_cookie("holdfast", cookie)
        yield
        self.client.set_cookie("holdfast", now)

    def session(self) -> dict[str, Any]:
        """Return what the cookie says."""
        with self.client.session_transaction(base_url=self.base) as session:
            return dict(session)
