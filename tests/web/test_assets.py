"""Assets: one digest over all, kept for ever, and icons drawn into the page."""

import re
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from files import assets

pytestmark = pytest.mark.sqlite


def address(app: Flask, name: str) -> str:
    with app.app_context():
        return assets.asset(name)


def test_an_asset_may_be_kept_for_ever(app: Flask, client: FlaskClient) -> None:
    url = address(app, "bootstrap/bootstrap.min.css")
    assert re.fullmatch(r"/static/[0-9a-f]{16}/bootstrap/bootstrap\.min\.css", url)
    answer = client.get(url)
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert answer.headers["Content-Type"] == "text/css; charset=utf-8"
    assert "Set-Cookie" not in answer.headers
    assert "Cookie" not in answer.headers.get("Vary", "")
    assert len(answer.data) > 100_000


def test_it_answers_304_by_content(app: Flask, client: FlaskClient) -> None:
    url = address(app, "bootstrap/popper.min.js")
    first = client.get(url)
    assert "Last-Modified" not in first.headers
    again = client.get(url, headers={"If-None-Match": first.headers["ETag"]})
    assert again.status_code == 304


@pytest.mark.parametrize(
    "path",
    [
        "/static/0123456789abcdef/bootstrap/bootstrap.min.css",
        "/static/nothing.css",
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/",
    ],
)
def test_what_is_not_there_is_forgotten_soon(client: FlaskClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert "immutable" not in answer.headers["Cache-Control"]
    if answer.request.path.startswith("/static/"):
        assert "Set-Cookie" not in answer.headers


def test_an_unknown_digest_is_a_short_404(client: FlaskClient) -> None:
    answer = client.get("/static/0123456789abcdef/css/theme.css")
    assert answer.status_code == 404
    assert answer.headers["Cache-Control"] == "public, max-age=10"


def test_an_address_without_digest_is_kept_for_a_minute(client: FlaskClient) -> None:
    answer = client.get("/static/bootstrap/bootstrap.min.css")
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "public, max-age=60"


def test_the_digest_follows_every_byte(tmp_path: Path) -> None:
    (tmp_path / "a.css").write_text("a{}")
    before = assets.Assets({"a.css": tmp_path / "a.css"}).digest
    (tmp_path / "a.css").write_text("b{}")
    assert assets.Assets({"a.css": tmp_path / "a.css"}).digest != before


def test_a_misspelt_asset_is_a_mistake_of_ours(app: Flask) -> None:
    with pytest.raises(LookupError, match=r"theem\.css"):
        address(app, "css/theem.css")


def test_every_template_asks_for_assets_and_icons_that_exist(app: Flask) -> None:
    """The names are literal in templates, so they can be looked up without a page."""
    wanted = 0
    with app.app_context():
        for path in (Path(app.root_path) / "templates").rglob("*.html"):
            source = path.read_text(encoding="utf-8")
            for name in re.findall(r"\basset\(['\"]([^'\"~]+)['\"]\)", source):
                assets.asset(name)
                wanted += 1
            for name in re.findall(r"\bicon\(['\"]([^'\"~]+)['\"][,)]", source):
                assets.icon(name)
                wanted += 1
    assert wanted > 10


def test_every_template_compiles(app: Flask) -> None:
    names = app.jinja_env.list_templates(extensions=["html"])
    assert names
    for name in names:
        app.jinja_env.get_template(name)


def test_an_icon_is_cut_out_of_the_sprite() -> None:
    drawn = assets.icon("folder")
    assert drawn.startswith("<svg ")
    assert drawn.count("<symbol") == 0
    assert 'aria-hidden="true"' in drawn
    assert len(drawn) < 2000


def test_an_icon_with_a_label_is_an_image() -> None:
    drawn = assets.icon("folder", label='a"<b>')
    assert 'role="img" aria-label="a&#34;&lt;b&gt;"' in drawn


def test_a_symbol_is_defined_once_and_used_often() -> None:
    drawn = assets.symbol("folder")
    assert drawn.startswith('<symbol id="i-folder" viewBox="0 0 16 16"><path')
    assert drawn.endswith("</symbol>")


def test_an_unknown_icon_is_a_mistake_of_ours() -> None:
    with pytest.raises(LookupError, match="no icon"):
        assets.icon("foldr")


def test_another_static_server_gets_what_it_needs(make_app) -> None:
    app = make_app(STATIC_URL="https://cdn.example.org/a", members=False)
    url = address(app, "bootstrap/bootstrap.min.css")
    assert url.startswith("https://cdn.example.org/a/")
    answer = app.test_client().get(
        "/static/" + url.removeprefix("https://cdn.example.org/a/")
    )
    assert answer.status_code == 200
    assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    policy = app.test_client().get("/auth/login").headers["Content-Security-Policy"]
    assert "script-src 'self' https://cdn.example.org;" in policy
