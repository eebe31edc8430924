"""`flask array probe`: a missing right is named, with a policy that helps."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask

from raid.assemble import format_member, inspect
from raid.geometry import Level
from storage.members.findings import Finding, Grade, policy
from storage.members.local import LocalMember
from storage.members.probe import BucketProbe, probe
from storage.members.s3 import S3Member
from storage.members.s3url import parse_bucket_url
from support.arrays import map_of, superblock_of
from support.between import Answer, Between, between
from support.buckets import S3Server

pytestmark = pytest.mark.usefixtures("credentials")
DENIED = Answer(403, "AccessDenied")
ALL = [
    "list", "put", "get", "range", "head", "conditional put", "checksum", "copy",
    "clock", "latency", "throughput", "delete", "absent", "owner", "content",
]  # fmt: skip


def probed(member: object) -> dict[str, Finding]:
    """Probe a member; the findings by name."""
    return {found.name: found for found in probe(member)}  # type: ignore[arg-type]


def grades(found: dict[str, Finding], grade: Grade) -> set[str]:
    return {name for name, one in found.items() if one.grade is grade}


@pytest.fixture
def way(moto: S3Server) -> Iterator[Between]:
    with between(moto.endpoint) as made:
        yield made


@pytest.fixture
def member(way: Between, moto: S3Server) -> S3Member:
    url = f"s3://{moto.bucket()}/a/b?endpoint={way.endpoint}"
    return S3Member(parse_bucket_url(url))


def test_each_server_is_found_out(moto: S3Server, rclone: S3Server) -> None:
    for server, noted in ((moto, "checksum"), (rclone, "conditional put")):
        member = server.member()
        found = probed(member)
        assert list(found) == ALL
        assert grades(found, Grade.NOTE) == {noted}
        assert grades(found, Grade.FAILED) == set()
        assert list(member._objects.pages("")) == []  # nothing is left
        format_member(member, superblock_of(map_of(Level.RAID1, ["a", "b"]), 0))
        assert "member of the array" in probed(member)["content"].sentence


@pytest.mark.parametrize(
    ("operation", "right", "name", "grade"),
    [
        ("LIST", "s3:ListBucket on arn:aws:s3:::{bucket}", "list", Grade.FAILED),
        ("PUT object", "s3:PutObject on arn:aws:s3:::{bucket}/a/b/*", "put",
         Grade.FAILED),
        ("GET object", "s3:GetObject on arn:aws:s3:::{bucket}/a/b/*", "get",
         Grade.FAILED),
        ("DELETE object", "s3:DeleteObject on arn:aws:s3:::{bucket}/a/b/*", "delete",
         Grade.NOTE),
    ],
)  # fmt: skip
def test_a_missing_right_is_named(
    member: S3Member, way: Between, operation: str, right: str, name: str, grade: Grade
) -> None:
    way.spoil(operation, DENIED)
    found = probed(member)[name]
    assert found.grade is grade
    assert found.missing == (right.format(bucket=member.bucket.name),)


def test_a_right_to_the_key_is_named_too(way: Between, moto: S3Server) -> None:
    url = f"s3://{moto.bucket()}?endpoint={way.endpoint}&sse=kms&kms_key=alias/k"
    way.spoil("PUT object", Answer(400, "KMS.DisabledException"))
    [_, right] = probed(S3Member(parse_bucket_url(url)))["put"].missing
    assert right == "kms:GenerateDataKey and kms:Decrypt on alias/k"


def test_without_an_answer_nothing_else_is_tried(
    member: S3Member, way: Between, moto: S3Server
) -> None:
    way.spoil("LIST", Answer(404, "NoSuchBucket"))
    [found] = probed(member).values()
    assert found.grade is Grade.FAILED and "no such bucket" in found.sentence


def test_whoever_leaves_early_leaves_nothing_behind(
    member: S3Member, way: Between
) -> None:
    for listened in (2, 9, 12):
        steps = BucketProbe(member).run()
        names = [found.name for found, _ in zip(steps, range(listened), strict=False)]
        assert names == ALL[:listened]
        assert listened > 10 or list(member._objects.pages("")) != []
        steps.close()
        assert list(member._objects.pages("")) == []
    way.spoil("GET object", Answer(misdeed="reset"))
    way.spoil("DELETE object", DENIED)
    steps = BucketProbe(member).run()
    assert [next(steps).name, next(steps).name] == ["list", "put"]
    steps.close()  # what can't be removed is no error
    assert len(list(member._objects.pages(""))) == 1


def test_a_clock_that_is_wrong_is_noticed(member: S3Member) -> None:
    import time

    for ahead, grade in ((0, Grade.OK), (30, Grade.NOTE), (900, Grade.FAILED)):
        steps = BucketProbe(member, now=lambda ahead=ahead: time.time() + ahead)
        found = {one.name: one for one in steps.run()}
        assert found["clock"].grade is grade


def test_other_bytes_are_noticed(member: S3Member, way: Between) -> None:
    wrong = {"Content-Range": "bytes 0-46/47"}
    way.spoil("GET object", Answer(200, body=b"x" * 47, headers=wrong))
    assert probed(member)["get"].grade is Grade.FAILED


def test_the_policy_is_the_least_that_does() -> None:
    key = "arn:aws-cn:kms:cn-north-1:111122223333:key/1"
    url = f"s3://team/a/b?region=cn-north-1&sse=kms&kms_key={key}"
    said = policy(parse_bucket_url(url))
    rights = {one["Resource"]: one["Action"] for one in said["Statement"]}
    assert rights == {
        "arn:aws-cn:s3:::team": ["s3:ListBucket"],
        "arn:aws-cn:s3:::team/a/b/*": [
            "s3:GetObject",
            "s3:PutObject",
            "s3:DeleteObject",
        ],
        key: ["kms:GenerateDataKey", "kms:Decrypt"],
    }


def test_a_folder_is_tried_and_left_as_it_was(tmp_path: Path) -> None:
    member = LocalMember(tmp_path / "disk")
    for _ in range(2):
        found = probed(member)
        assert grades(found, Grade.OK) == {"room", "write", "content"}
        assert inspect(member).problem == "blank"
        assert list(tmp_path.iterdir()) == [tmp_path / "disk"][: member.path.exists()]
        member.path.mkdir(exist_ok=True)
    format_member(member, superblock_of(map_of(Level.RAID1, ["a", "b"]), 0))
    assert probed(member)["content"].grade is Grade.NOTE
    gone = probed(LocalMember(tmp_path / "no" / "disk"))
    assert grades(gone, Grade.FAILED) == {"folder"}


def test_the_command_prints_what_to_do(
    sqlite_app: Flask, member: S3Member, way: Between
) -> None:
    run = sqlite_app.test_cli_runner().invoke
    url = f"s3://{member.bucket.name}/a/b?endpoint={way.endpoint}"
    well = run(args=["array", "probe", url])
    assert well.exit_code == 0, well.output
    assert "policy" not in well.output
    way.spoil("PUT object", DENIED)
    bad = run(args=["array", "probe", url])
    assert bad.exit_code == 1
    assert f"Missing: s3:PutObject on arn:aws:s3:::{member.bucket.name}/a/b/*" in (
        bad.output
    )
    printed = bad.output[bad.output.index("{") :]
    assert json.loads(printed) == policy(member.bucket)
    refused = run(args=["array", "probe", "s3://Bucket"])
    assert refused.exit_code == 1 and "names no bucket" in refused.output


def test_the_command_prints_the_policy_when_asked(
    sqlite_app: Flask, rclone: S3Server, run_probe: Callable[..., str]
) -> None:
    assert '"s3:ListBucket"' in run_probe(rclone.url(), "--policy")


@pytest.fixture
def run_probe(sqlite_app: Flask) -> Callable[..., str]:
    def run(*words: str) -> str:
        done = sqlite_app.test_cli_runner().invoke(args=["array", "probe", *words])
        assert done.exit_code == 0, done.output
        return done.output

    return run
