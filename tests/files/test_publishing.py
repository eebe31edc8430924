"""`flask static`: what the CDN gets, and a start that waits for it."""

import gzip
import http.server
import json
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from moto.server import ThreadedMotoServer

from deploy import prepare
from files import assets, publishing
from storage.members import s3calls
from support.between import Answer, between
from support.buckets import S3Server, give_credentials

pytestmark = pytest.mark.sqlite


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    give_credentials(monkeypatch)
    running = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    # What the one before it held is in this process.
    urllib.request.urlopen(f"{endpoint}/moto-api/reset", b"").close()
    yield S3Server("moto", endpoint)
    running.stop()


def run(app: Flask, *words: str) -> str:
    said = app.test_cli_runner().invoke(args=["static", *words])
    assert said.exit_code == 0, said.output
    return said.output


def found(server: S3Server, bucket: str) -> dict[str, Any]:
    listed = server.client.list_objects_v2(Bucket=bucket)["Contents"]
    return {
        one["Key"]: server.client.get_object(Bucket=bucket, Key=one["Key"])
        for one in listed
    }


def test_collect_writes_every_asset_where_pages_name_it(
    app: Flask, tmp_path: Path
) -> None:
    said = run(app, "collect", str(tmp_path / "cdn"))
    with app.app_context():
        known = assets.current()
    assert f"{len(known.paths) + 1} files" in said
    for name, path in known.paths.items():
        there = tmp_path / "cdn" / known.url("", name).lstrip("/")
        assert there.read_bytes() == path.read_bytes()
    assert "bootstrap/bootstrap.min.css" in known.paths  # and not only our own


def test_collect_says_where_it_can_not_write(app: Flask, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said = app.test_cli_runner().invoke(args=["static", "collect", f"{tmp_path}/file"])
    assert said.exit_code == 1
    assert "can't be written" in said.output


def test_publish_puts_all_with_type_encoding_and_caching(
    app: Flask, server: S3Server
) -> None:
    bucket = server.bucket()
    url = f"s3://{bucket}/static?endpoint={server.endpoint}"
    server.client.put_object(Bucket=bucket, Key="static/0123456789abcdef/old.css")
    said = run(app, "publish", url)
    there = found(server, bucket)
    with app.app_context():
        known = assets.current()
    assert f"{len(known.paths) + 1} files were put" in said
    assert "static/0123456789abcdef/old.css" in there, "an older release was removed"
    for name, path in known.paths.items():
        one = there[f"static/{known.digest}/{name}"]
        assert one["ContentType"] == assets.TYPES[path.suffix]
        assert one["CacheControl"] == "public, max-age=31536000, immutable"
        body = one["Body"].read()
        packed = one.get("ContentEncoding", "").startswith("gzip")
        assert (gzip.decompress(body) if packed else body) == path.read_bytes()
        assert packed == (path.suffix not in (".png", ".ico", ".woff2")) or (
            len(body) < 512
        )
    mark = there[f"static/{known.digest}/published.json"]
    listed = json.loads(gzip.decompress(mark["Body"].read()))
    assert listed == {"assets": sorted(known.paths)}


def test_the_mark_is_the_last_and_a_repeat_puts_nothing(
    app: Flask, server: S3Server
) -> None:
    with app.app_context():
        every = list(publishing.pieces(assets.current()))
    assert every[-1].key.endswith("/published.json")
    url = f"s3://{server.bucket()}/static?endpoint={server.endpoint}"
    run(app, "publish", url)
    assert "0 files were put" in run(app, "publish", url)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("https://127.0.0.1/", "It has to begin with s3://"),
        ("s3://no-such-bucket-here/static", "NoSuchBucket"),
    ],
)
def test_publish_says_what_is_wrong(
    app: Flask, server: S3Server, url: str, says: str
) -> None:
    if url.startswith("s3:"):
        url += f"?endpoint={server.endpoint}"
    said = app.test_cli_runner().invoke(args=["static", "publish", url])
    assert said.exit_code != 0
    assert says in said.output


@pytest.mark.parametrize(
    ("operation", "answer"),
    [
        ("LIST", Answer(503, "SlowDown")),
        ("PUT object", Answer(503, "SlowDown")),
        ("PUT object", Answer(misdeed="reset")),
        ("PUT object", Answer(misdeed="hang")),
    ],
    ids=["list", "put", "reset", "silence"],
)
def test_trouble_that_passes_fails_no_publishing(
    app: Flask,
    server: S3Server,
    monkeypatch: pytest.MonkeyPatch,
    operation: str,
    answer: Answer,
) -> None:
    """An instance that is installed publishes once, and fails if that fails."""
    monkeypatch.setattr(s3calls, "READ_TIMEOUT", 0.5)
    monkeypatch.setattr(s3calls, "FIRST_PAUSE", 0.01)
    with between(server.endpoint) as way, app.app_context():
        known = assets.current()
        spoilt = way.spoil(operation, answer, times=2)
        bucket = server.bucket()
        said = run(app, "publish", f"s3://{bucket}/static?endpoint={way.endpoint}")
    assert len(spoilt) == 2
    assert f"{len(known.paths) + 1} files were put" in said
    assert f"static/{known.digest}/published.json" in found(server, bucket)


def test_trouble_that_stays_is_said(
    app: Flask, server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3calls, "FIRST_PAUSE", 0.01)
    with between(server.endpoint) as way:
        spoilt = way.spoil("PUT object", Answer(503, "SlowDown"))
        url = f"s3://{server.bucket()}/static?endpoint={way.endpoint}"
        said = app.test_cli_runner().invoke(args=["static", "publish", url])
    assert said.exit_code == 1
    assert "SlowDown" in said.output
    assert len(spoilt) == s3calls.TRIES


# -- a start waits for what pages will name ---------------------------------


@pytest.fixture
def cdn() -> Iterator[tuple[str, dict[str, int]]]:
    """A server of static files that answers what the dictionary says, else 404."""
    answers: dict[str, int] = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(answers.get(self.path, answers.get("*", 404)))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}/static", answers
    running.shutdown()
    thread.join()
    running.server_close()


class Settings:
    def __init__(self, static_url: str) -> None:
        self.static_url = static_url


@pytest.mark.parametrize("status", [403, 404])
def test_a_start_refuses_before_the_assets_are_published(
    cdn: tuple[str, dict[str, int]], status: int
) -> None:
    url, answers = cdn
    answers["*"] = status
    with pytest.raises(prepare.NotReady, match="flask static publish"):
        prepare.check_assets(Settings(url))  # type: ignore[arg-type]
    digest = assets.collect(prepare.ROOT / "static").digest
    answers[f"/static/{digest}/published.json"] = 200
    prepare.check_assets(Settings(url))  # type: ignore[arg-type]


@pytest.mark.parametrize("url", ["none", "trouble"])
def test_a_cdn_that_is_away_does_not_keep_the_site_away(
    cdn: tuple[str, dict[str, int]], url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    where, answers = cdn
    answers["*"] = 500
    url = where if url == "trouble" else "http://127.0.0.1:1/static"
    prepare.check_assets(Settings(url))  # type: ignore[arg-type]
    assert "going on" in capsys.readouterr().err


def test_assets_of_this_server_need_no_cdn() -> None:
    prepare.check_assets(Settings("/static"))  # type: ignore[arg-type]
