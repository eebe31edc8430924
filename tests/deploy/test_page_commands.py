"""The commands of docs/deploy-aws.md are such as Amazon's API knows."""

import re
from collections.abc import Iterator
from pathlib import Path

from botocore import xform_name
from botocore.session import get_session

PAGE = Path(__file__).resolve().parents[2] / "docs" / "deploy-aws.md"
OWN = {("cloudformation", "deploy"), ("ec2-instance-connect", "open-tunnel")}
"""What the command line adds to the API; `aws s3` is all of that kind."""
ANYWHERE = {"output", "query", "region"}
AMAZON = get_session()


def commands() -> Iterator[tuple[str, str, set[str]]]:
    """Yield service, operation and options of each command on the page."""
    page = PAGE.read_text("utf-8").replace("\\\n", " ")
    for found in re.finditer(r"\baws ([a-z0-9-]+) ([a-z-]+)([^\n`]*)", page):
        service, name, rest = found.groups()
        rest = re.sub(r"'[^']*'", "", rest).partition("aws ")[0]
        yield service, name, set(re.findall(r"(?<!\S)--([a-z-]+)", rest)) - ANYWHERE


def test_the_page_has_them() -> None:
    seen = {(service, name) for service, name, _ in commands()}
    assert len(seen) > 15
    assert seen >= {
        ("rds", "create-db-snapshot"),
        ("cloudformation", "continue-update-rollback"),
        ("ec2", "get-console-output"),
    }


def test_they_are_known() -> None:
    for service, name, options in commands():
        if service == "s3" or (service, name) in OWN or name == "wait":
            continue
        model = AMAZON.get_service_model(service)
        known = {xform_name(one, "-"): one for one in model.operation_names}
        assert name in known, f"aws {service} {name}"
        shape = model.operation_model(known[name]).input_shape
        assert shape is not None
        there = {xform_name(one, "-") for one in shape.members}
        there |= {f"no-{one}" for one in there}
        assert options <= there, f"aws {service} {name}: {options - there}"


def test_what_is_waited_for_is_known() -> None:
    page = PAGE.read_text("utf-8")
    waits = re.findall(r"aws ([a-z0-9-]+) wait ([a-z-]+)", page)
    assert ("rds", "db-snapshot-available") in waits
    for service, name in waits:
        names = AMAZON.get_waiter_model(service).waiter_names
        assert name in {xform_name(one, "-") for one in names}, f"{service} {name}"
