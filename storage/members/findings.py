"""What a probe of a member finds out, and the least policy that a bucket needs."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from storage.members.s3url import Bucket


class Grade(StrEnum):
    """How well one thing works: a note costs something, and nothing fails for it."""

    OK = "ok"
    NOTE = "note"
    FAILED = "failed"


@dataclass(frozen=True)
class Finding:
    """One thing that was tried; ``missing`` names the rights that would help."""

    name: str
    grade: Grade
    sentence: str
    missing: tuple[str, ...] = ()


def bucket_arn(bucket: Bucket) -> str:
    """Return the name of the bucket in policies."""
    partition = "aws"
    if bucket.region.startswith("cn-"):
        partition = "aws-cn"
    elif bucket.region.startswith("us-gov-"):
        partition = "aws-us-gov"
    return f"arn:{partition}:s3:::{bucket.name}"


def objects_arn(bucket: Bucket) -> str:
    """Return the name of all objects of the member in policies."""
    prefix = f"{bucket.prefix}/" if bucket.prefix else ""
    return f"{bucket_arn(bucket)}/{prefix}*"


def policy(bucket: Bucket) -> dict[str, Any]:
    """Return the least policy that lets a role use the member.

    The list is of the whole bucket: with a condition on its prefix, S3 answers 403 and
    not 404 for an object that there is not.
    """
    statements = [
        _allow("HoldfastList", ["s3:ListBucket"], bucket_arn(bucket)),
        _allow(
            "HoldfastObjects",
            ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"],
            objects_arn(bucket),
        ),
    ]
    if bucket.sse == "kms" and bucket.kms_key.startswith("arn:"):
        key = ["kms:GenerateDataKey", "kms:Decrypt"]
        statements.append(_allow("HoldfastKey", key, bucket.kms_key))
    return {"Version": "2012-10-17", "Statement": statements}


def _allow(name: str, actions: list[str], resource: str) -> dict[str, Any]:
    return {"Sid": name, "Effect": "Allow", "Action": actions, "Resource": resource}
