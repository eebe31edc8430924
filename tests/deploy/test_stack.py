"""The template of the site, made into a stack by moto: who is wired to whom."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

import config
from storage.members import findings
from storage.members.s3url import parse_bucket_url
from support.buckets import give_credentials
from support.templates import REGION, Stack, environment

pytestmark = pytest.mark.filterwarnings("ignore:Tried to parse:UserWarning")
SITE_ENV = "/etc/holdfast/holdfast.env"


@pytest.fixture(scope="module")
def account() -> Iterator[None]:
    """An account of moto."""
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        give_credentials(patch)
        # Hundreds of images that nobody asks for.
        patch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
        yield


@pytest.fixture(scope="module")
def stack(account: None) -> Stack:
    """The stack as it is by default."""
    return Stack()


def load_balancing() -> Any:
    return boto3.client("elbv2", REGION)


def subnets(ids: list[str]) -> list[dict[str, Any]]:
    rows = boto3.client("ec2", REGION).describe_subnets(SubnetIds=ids)["Subnets"]
    return list(rows)


def test_it_is_made(stack: Stack) -> None:
    assert stack.status == "CREATE_COMPLETE"


def test_people_come_in_by_https_alone(stack: Stack) -> None:
    rows = load_balancing().describe_listeners(LoadBalancerArn=stack.id_of("Balancer"))
    by_port = {row["Port"]: row for row in rows["Listeners"]}
    assert set(by_port) == {80, 443}
    secure = by_port[443]
    assert secure["Protocol"] == "HTTPS"
    assert secure["SslPolicy"].startswith("ELBSecurityPolicy-TLS13-1-2")
    assert secure["Certificates"][0]["CertificateArn"] == stack.certificate
    assert secure["DefaultActions"][0]["TargetGroupArn"] == stack.id_of("Targets")
    redirect = by_port[80]["DefaultActions"][0]
    assert redirect["Type"] == "redirect"
    assert redirect["RedirectConfig"]["Protocol"] == "HTTPS"
    assert redirect["RedirectConfig"]["StatusCode"] == "HTTP_301"


def test_the_load_balancer_asks_readyz(stack: Stack) -> None:
    arn = stack.id_of("Targets")
    group = load_balancing().describe_target_groups(TargetGroupArns=[arn])
    row = group["TargetGroups"][0]
    assert (row["Protocol"], row["Port"]) == ("HTTP", 80)
    assert row["ProtocolVersion"] == "HTTP1"
    assert row["HealthCheckPath"] == "/readyz"
    assert row["HealthCheckIntervalSeconds"] <= 10
    assert (row["HealthyThresholdCount"], row["UnhealthyThresholdCount"]) == (2, 2)


def test_everything_stands_in_two_zones(stack: Stack) -> None:
    found = load_balancing().describe_load_balancers(
        LoadBalancerArns=[stack.id_of("Balancer")]
    )
    zones = found["LoadBalancers"][0]["AvailabilityZones"]
    public = {stack.id_of("PublicA"), stack.id_of("PublicB")}
    assert {zone["SubnetId"] for zone in zones} == public
    groups = boto3.client("autoscaling", REGION).describe_auto_scaling_groups(
        AutoScalingGroupNames=[stack.id_of("Group")]
    )
    row = groups["AutoScalingGroups"][0]
    private = {stack.id_of("PrivateA"), stack.id_of("PrivateB")}
    assert set(row["VPCZoneIdentifier"].split(",")) == private
    assert row["TargetGroupARNs"] == [stack.id_of("Targets")]
    assert (row["MinSize"], row["DesiredCapacity"]) == (2, 2)
    rows = subnets([*public, *private])
    assert len({subnet["AvailabilityZone"] for subnet in rows}) == 2
    assert len({subnet["CidrBlock"] for subnet in rows}) == 4


def test_only_the_load_balancer_and_an_administrator_reach_an_instance(
    stack: Stack,
) -> None:
    groups = boto3.client("ec2", REGION).describe_security_groups(
        GroupIds=[stack.id_of("InstanceGroup"), stack.id_of("DatabaseGroup")]
    )["SecurityGroups"]
    entries = {
        (group["GroupName"], rule["FromPort"], pair["GroupId"])
        for group in groups
        for rule in group["IpPermissions"]
        for pair in rule["UserIdGroupPairs"]
    }
    assert not [
        rule
        for group in groups
        for rule in group["IpPermissions"]
        if rule["IpRanges"] or rule.get("Ipv6Ranges")
    ]
    doors = {(port, source) for _, port, source in entries}
    assert doors == {
        (80, stack.id_of("BalancerGroup")),
        (22, stack.id_of("ConnectGroup")),
        (5432, stack.id_of("InstanceGroup")),
    }


def test_instances_answer_no_stolen_request_for_credentials(stack: Stack) -> None:
    data = stack.launch_data()
    options = data["MetadataOptions"]
    assert options["HttpTokens"] == "required"
    assert options["HttpPutResponseHopLimit"] == 1
    assert data["BlockDeviceMappings"][0]["Ebs"]["Encrypted"] is True
    assert data["NetworkInterfaces"][0]["AssociatePublicIpAddress"] is False
    assert data["NetworkInterfaces"][0]["Groups"] == [stack.id_of("InstanceGroup")]
    assert data["ImageId"] == stack.image
    profile = boto3.client("iam").get_instance_profile(
        InstanceProfileName=data["IamInstanceProfile"]["Arn"].rpartition("/")[2]
    )["InstanceProfile"]
    assert [role["RoleName"] for role in profile["Roles"]] == [
        f"holdfast-instance-{REGION}"
    ]


def test_the_role_may_do_what_a_member_needs_and_no_more(stack: Stack) -> None:
    role = stack.role()
    known = environment(stack.script(), SITE_ENV)
    members = known["HOLDFAST_ARRAY_MEMBERS"].split()
    assert len(members) == 4
    policies = [findings.policy(parse_bucket_url(url)) for url in members]
    lists = [policy["Statement"][0] for policy in policies]
    objects = [policy["Statement"][1] for policy in policies]
    assert role["ListMembers"]["Resource"] == [row["Resource"] for row in lists]
    assert role["UseMembers"]["Resource"] == [row["Resource"] for row in objects]
    # Versions are kept, and whether one still is has to be asked.
    assert {*role["ListMembers"]["Action"]} == {
        *lists[0]["Action"],
        "s3:ListBucketVersions",
    }
    assert role["UseMembers"]["Action"] == objects[0]["Action"]
    for name, row in role.items():
        actions = row["Action"] if isinstance(row["Action"], list) else [row["Action"]]
        assert not [action for action in actions if "*" in action], name
        assert "s3:ListAllMyBuckets" not in actions
        if row["Resource"] == "*":
            assert name == "PutMetrics"
            assert row["Condition"]["StringEquals"]["cloudwatch:namespace"]


def test_every_bucket_is_encrypted(stack: Stack) -> None:
    client = boto3.client("s3", REGION)
    names = ["StaticBucket", *(f"Bucket{n}" for n in range(1, 5))]
    for bucket in map(stack.id_of, names):
        rules = client.get_bucket_encryption(Bucket=bucket)
        encryption = rules["ServerSideEncryptionConfiguration"]["Rules"][0]
        default = encryption["ApplyServerSideEncryptionByDefault"]
        assert default["SSEAlgorithm"] == "AES256"


def test_the_database_is_private_and_encrypted(stack: Stack) -> None:
    rows = boto3.client("rds", REGION).describe_db_instances(
        DBInstanceIdentifier=stack.id_of("Database")
    )
    row = rows["DBInstances"][0]
    assert row["StorageEncrypted"] is True
    assert row["PubliclyAccessible"] is False
    assert row["MultiAZ"] is True
    assert row["Engine"] == "postgres"
    subnets_of_it = row["DBSubnetGroup"]["Subnets"]
    assert {subnet["SubnetIdentifier"] for subnet in subnets_of_it} == {
        stack.id_of("PrivateA"),
        stack.id_of("PrivateB"),
    }


def test_the_settings_of_an_instance_are_taken(stack: Stack, tmp_path: Path) -> None:
    known = environment(stack.script(), SITE_ENV)
    secrets = {
        "secret-key": "Qx7vT2mK9pLw" * 4,
        "database-url": "postgresql+psycopg://h/db",
    }
    for name, text in secrets.items():
        file = tmp_path / name
        file.write_text(text)
        file.chmod(0o600)
    given = {
        name: value.replace("/etc/holdfast/secrets", str(tmp_path))
        for name, value in ((key, str(text)) for key, text in known.items())
    }
    settings = config.load(given)
    assert settings.public_url == "https://files.example.org"
    assert settings.static_url == "https://d111.cloudfront.net/static"
    assert settings.trusted_proxies == ("unix",)
    assert settings.registration == "closed"
    assert settings.bind == "unix:/run/holdfast/web.sock"
    buckets = {stack.id_of(f"Bucket{n}") for n in range(1, 5)}
    found = [parse_bucket_url(url) for url in settings.array_members]
    assert {bucket.name for bucket in found} == buckets
    assert {bucket.prefix for bucket in found} == {"holdfast"}
    assert {bucket.owner for bucket in found} == {"123456789012"}


def test_an_instance_installs_a_checked_archive(stack: Stack) -> None:
    script = stack.script()
    checked = subprocess.run(
        ["bash", "-n"], input=script, text=True, capture_output=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
    steps = [
        "aws s3 cp s3://releases/holdfast-1.2.3.tar.gz",
        f'echo "{"a" * 64}  $archive" | sha256sum --check',
        "tar -xzf",
        '"$home/deploy/install.sh"',
        "say SUCCESS",
    ]
    places = [script.find(step) for step in steps]
    assert -1 not in places
    assert places == sorted(places)
    assert "set -euo pipefail" in script
    assert not re.search(r"git |github|http://(?!127\.0\.0\.1)", script)
    # What CloudFormation had to fill in, it did.
    left = set(re.findall(r"\$\{[^}]*\}", script))
    assert left == {"${version#holdfast-}"}
    aws = environment(script, "/etc/holdfast/aws.env")
    assert aws["STATIC_PLACE"].startswith(f"s3://{stack.id_of('StaticBucket')}/static?")
    assert parse_bucket_url(aws["STATIC_PLACE"]).region == REGION


def test_assets_may_have_a_name_of_their_own(account: None) -> None:
    arn = f"arn:aws:acm:{REGION}:111122223333:certificate/static"
    given = {"StaticDomainName": "static.example.org", "StaticCertificateArn": arn}
    stack = Stack("named", **given)
    known = environment(stack.script(), SITE_ENV)
    assert known["HOLDFAST_STATIC_URL"] == "https://static.example.org/static"


def test_members_elsewhere_and_public_instances(account: None) -> None:
    stack = Stack(
        "other", Member2="far-away,eu-west-1,444455556666", InstanceNetwork="public"
    )
    names = stack.names()
    assert "Bucket2" not in names
    assert {"Bucket1", "Bucket3", "Bucket4"} <= names
    assert not [
        name
        for name in names
        if name.startswith(("Nat", "PrivateRoute"))
        and not name.startswith("PrivateRoutes")
    ]
    urls = environment(stack.script(), SITE_ENV)["HOLDFAST_ARRAY_MEMBERS"].split()
    near, far = parse_bucket_url(urls[0]), parse_bucket_url(urls[1])
    assert (far.name, far.region) == ("far-away", "eu-west-1")
    assert far.owner == "444455556666"
    assert far.weight < near.weight
    role = stack.role()
    assert "arn:aws:s3:::far-away" in role["ListMembers"]["Resource"]
    assert "arn:aws:s3:::far-away/holdfast/*" in role["UseMembers"]["Resource"]
    interface = stack.launch_data()["NetworkInterfaces"][0]
    assert interface["AssociatePublicIpAddress"] is True


def test_members_that_came_later_may_be_used(account: None, stack: Stack) -> None:
    assert not [name for name in stack.role() if "More" in name]
    role = Stack("grown", MoreMembers="fifth,sixth.eu").role()
    later = [
        parse_bucket_url(f"s3://{name}/holdfast") for name in ("fifth", "sixth.eu")
    ]
    policies = [findings.policy(bucket)["Statement"] for bucket in later]
    for sid, first, number in (
        ("ListMoreMembers", "ListMembers", 0),
        ("UseMoreMembers", "UseMembers", 1),
    ):
        assert role[sid]["Resource"] == [row[number]["Resource"] for row in policies]
        assert role[sid]["Action"] == role[first]["Action"]


def test_a_stack_takes_over_the_buckets_of_another(account: None) -> None:
    """After a loss: all four are named, and none is made."""
    old = [f"old-{number},us-east-1,123456789012" for number in range(1, 5)]
    given = {f"Member{number}": text for number, text in enumerate(old, 1)}
    stack = Stack("again", **given)
    assert not [name for name in stack.names() if re.match(r"(Bucket|Policy)\d", name)]
    urls = environment(stack.script(), SITE_ENV)["HOLDFAST_ARRAY_MEMBERS"].split()
    assert [parse_bucket_url(url).name for url in urls] == [
        text.partition(",")[0] for text in old
    ]
