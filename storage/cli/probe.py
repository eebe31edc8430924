"""`flask array probe`: try a place before it becomes a member, or when it is sick."""

import json

import click
from flask import current_app

from storage.cli.group import array
from storage.members.findings import Grade, policy
from storage.members.probe import probe
from storage.members.s3 import S3Member
from storage.members.urls import parse_member_url


@array.command("probe")
@click.argument("url")
@click.option("--policy", "wanted", is_flag=True, help="Print the least policy.")
def probe_member(url: str, wanted: bool) -> None:
    """Try all that a member is asked for, and name what is missing.

    Nothing is formatted or changed. Exits 1 when something fails.
    """
    try:
        member = parse_member_url(url, current_app.config["HOLDFAST"].data_dir)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    failed = missing = False
    for found in probe(member):
        click.echo(f"{found.grade.value:<7} {found.name:<16} {found.sentence}")
        for right in found.missing:
            click.echo(f"{'':<24} Missing: {right}")
        failed = failed or found.grade is Grade.FAILED
        missing = missing or bool(found.missing)
    if isinstance(member, S3Member) and (wanted or missing):
        click.echo("\nThe least policy for the role that uses this member:\n")
        click.echo(json.dumps(policy(member.bucket), indent=2))
    if failed:
        raise SystemExit(1)
