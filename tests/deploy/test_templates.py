"""What moto does not make of the templates, read from the templates themselves."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click import Group
from flask import Flask

from deploy import cloudwatch, costs
from storage.db import engine_options
from support.nginx import ROOT
from support.templates import MEMBER, SITE, of_type, plain, statements

BUCKET = "AWS::S3::Bucket"
PAGE = Path(__file__).resolve().parents[2] / "docs" / "deploy-aws.md"
OPTIMIZED = "658327ea-f89d-4fab-a63d-7e88639e58f6"
"""CloudFront's managed policy CachingOptimized."""


@pytest.fixture(scope="module")
def site() -> dict[str, Any]:
    return plain(SITE)


@pytest.fixture(scope="module", params=[SITE, MEMBER], ids=["site", "member"])
def template(request: pytest.FixtureRequest) -> dict[str, Any]:
    return plain(request.param)


def attributes(rows: list[Any]) -> dict[str, Any]:
    return {row["Key"]: row["Value"] for row in rows if "Key" in row}


def test_cfn_lint_finds_nothing() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("cfn-lint"), SITE, MEMBER],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr
    for file in (SITE, MEMBER):
        assert "cfn-lint" not in file.read_text("utf-8")
    # A stack is made of a file of this size at most without a detour.
    assert SITE.stat().st_size < 51_200


def test_every_bucket_is_closed_and_stays(template: dict[str, Any]) -> None:
    buckets = of_type(template, BUCKET)
    assert buckets
    for name, row in buckets.items():
        block = row["PublicAccessBlockConfiguration"]
        assert len(block) == 4
        assert set(block.values()) == {True}
        assert row["VersioningConfiguration"] == {"Status": "Enabled"}
        assert row["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        assert [
            rule["NoncurrentVersionExpiration"]["NoncurrentDays"]
            for rule in row["LifecycleConfiguration"]["Rules"]
            if "NoncurrentVersionExpiration" in rule
        ] == [{"Ref": "KeepVersionsDays"}]
        whole = template["Resources"][name]
        # Only a stack that never came to be takes its empty buckets along.
        assert whole["DeletionPolicy"] == "RetainExceptOnCreate"
        assert whole["UpdateReplacePolicy"] == "Retain"


def test_every_bucket_refuses_what_is_not_tls(template: dict[str, Any]) -> None:
    policies = of_type(template, "AWS::S3::BucketPolicy")
    covered = {row["Bucket"]["Ref"] for row in policies.values()}
    assert covered == set(of_type(template, BUCKET))
    for name, row in policies.items():
        bucket = row["Bucket"]["Ref"]
        first = statements(row)[0]
        assert (first["Effect"], first["Principal"]) == ("Deny", "*")
        assert first["Action"] == "s3:*"
        assert first["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        assert {"Fn::GetAtt": [bucket, "Arn"]} in first["Resource"]
        assert {"Fn::Sub": f"${{{bucket}.Arn}}/*"} in first["Resource"]
        # A policy has the condition of its bucket, if that has one.
        rows = template["Resources"]
        assert rows[name].get("Condition") == rows[bucket].get("Condition")


def test_nobody_may_list_all_buckets_or_do_everything() -> None:
    for file in (SITE, MEMBER):
        text = file.read_text("utf-8")
        assert "ListAllMyBuckets" not in text
        assert "Action: '*'" not in text
        assert 'Action: "*"' not in text


def test_a_member_elsewhere_lets_one_role_in() -> None:
    policy = statements(of_type(plain(MEMBER), "AWS::S3::BucketPolicy")["Policy"])
    allowed = [row for row in policy if row["Effect"] == "Allow"]
    assert [row["Sid"] for row in allowed] == ["HoldfastList", "HoldfastObjects"]
    for row in allowed:
        assert row["Condition"] == {
            "ArnEquals": {"aws:PrincipalArn": {"Ref": "SiteRoleArn"}}
        }
    assert allowed[1]["Action"] == ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"]
    assert allowed[1]["Resource"] == {"Fn::Sub": "${Bucket.Arn}/holdfast/*"}


def test_only_cloudfront_reads_what_is_static(site: dict[str, Any]) -> None:
    policy = statements(of_type(site, "AWS::S3::BucketPolicy")["StaticPolicy"])
    allowed = [row for row in policy if row["Effect"] == "Allow"]
    assert len(allowed) == 1
    assert allowed[0]["Principal"] == {"Service": "cloudfront.amazonaws.com"}
    assert allowed[0]["Action"] == "s3:GetObject"
    source = allowed[0]["Condition"]["StringEquals"]["aws:SourceArn"]
    assert source["Fn::Sub"].endswith(":distribution/${StaticSite}")


def test_cloudfront_serves_hashed_assets_to_the_pages(site: dict[str, Any]) -> None:
    row = of_type(site, "AWS::CloudFront::Distribution")["StaticSite"]
    settings = row["DistributionConfig"]
    (origin,) = settings["Origins"]
    assert origin["DomainName"] == {
        "Fn::GetAtt": ["StaticBucket", "RegionalDomainName"]
    }
    assert origin["OriginAccessControlId"] == {"Fn::GetAtt": ["StaticAccess", "Id"]}
    behaviour = settings["DefaultCacheBehavior"]
    assert behaviour["TargetOriginId"] == origin["Id"]
    assert behaviour["ViewerProtocolPolicy"] == "https-only"
    assert behaviour["CachePolicyId"] == OPTIMIZED
    assert behaviour["ResponseHeadersPolicyId"] == {"Ref": "StaticHeaders"}
    # Nothing that changes goes through it.
    assert "CacheBehaviors" not in settings
    misses = {
        r["ErrorCode"]: r["ErrorCachingMinTTL"]
        for r in settings["CustomErrorResponses"]
    }
    assert misses == {403: 5, 404: 5}
    access = of_type(site, "AWS::CloudFront::OriginAccessControl")["StaticAccess"]
    control = access["OriginAccessControlConfig"]
    assert (control["SigningBehavior"], control["SigningProtocol"]) == (
        "always",
        "sigv4",
    )
    headers = of_type(site, "AWS::CloudFront::ResponseHeadersPolicy")["StaticHeaders"]
    cors = headers["ResponseHeadersPolicyConfig"]["CorsConfig"]
    assert cors["AccessControlAllowOrigins"]["Items"] == [
        {"Fn::Sub": "https://${DomainName}"}
    ]
    assert cors["AccessControlAllowCredentials"] is False


def test_nobody_speaks_old_tls_or_a_weak_cipher(site: dict[str, Any]) -> None:
    """CloudFront has no choice under its own name; under another it has bounds, too."""
    listener = of_type(site, "AWS::ElasticLoadBalancingV2::Listener")["Secure"]
    assert listener["SslPolicy"] == "ELBSecurityPolicy-TLS13-1-2-Res-2021-06"
    row = of_type(site, "AWS::CloudFront::Distribution")["StaticSite"]
    named, plainly = row["DistributionConfig"]["ViewerCertificate"]["Fn::If"][1:]
    assert named == {
        "AcmCertificateArn": {"Ref": "StaticCertificateArn"},
        "MinimumProtocolVersion": "TLSv1.2_2021",
        "SslSupportMethod": "sni-only",
    }
    assert plainly == {"CloudFrontDefaultCertificate": True}
    aliases = row["DistributionConfig"]["Aliases"]["Fn::If"]
    given = {"Ref": "StaticDomainName"}
    assert aliases == ["HasStaticName", [given], {"Ref": "AWS::NoValue"}]
    arn = re.compile(site["Parameters"]["StaticCertificateArn"]["AllowedPattern"])
    assert arn.match("arn:aws:acm:us-east-1:111122223333:certificate/abc")
    assert not arn.match("arn:aws:acm:eu-west-1:111122223333:certificate/abc")
    # Pages name the assets where they are, and the output says where that is.
    there = {"Fn::GetAtt": ["StaticSite", "DomainName"]}
    either = {"Fn::If": ["HasStaticName", given, there]}
    data = site["Resources"]["Template"]["Properties"]["LaunchTemplateData"]
    assert data["UserData"]["Fn::Base64"]["Fn::Sub"][1]["Static"] == either
    assert site["Outputs"]["Static"]["Value"]["Fn::Sub"][1]["Name"] == either


def test_the_load_balancer_lets_uploads_end(site: dict[str, Any]) -> None:
    group = of_type(site, "AWS::ElasticLoadBalancingV2::TargetGroup")["Targets"]
    known = attributes(group["TargetGroupAttributes"])
    delay = known["deregistration_delay.timeout_seconds"]
    assert delay == {"Ref": "LongestUploadSeconds"}
    # Two hosts, one after the other, within the hour that `deploy` waits.
    assert site["Parameters"]["LongestUploadSeconds"]["Default"] == 900
    assert known["load_balancing.algorithm.type"] == "least_outstanding_requests"
    assert known["stickiness.enabled"] == "false"
    balancer = of_type(site, "AWS::ElasticLoadBalancingV2::LoadBalancer")["Balancer"]
    known = attributes(balancer["LoadBalancerAttributes"])
    assert known["routing.http.drop_invalid_header_fields.enabled"] == "true"
    assert known["routing.http.desync_mitigation_mode"] == "defensive"
    # A reader may stop for 90 s; and the load balancer has to let go before Nginx does.
    nginx = (ROOT / "deploy/nginx.conf").read_text("utf-8")
    idle = int(known["idle_timeout.timeout_seconds"])
    for name in ("keepalive_timeout", "send_timeout"):
        kept = re.search(rf"^    {name} (\d+)s", nginx, re.MULTILINE)
        assert kept and 90 < idle < int(kept[1])


def test_each_zone_has_its_own_way_out(site: dict[str, Any]) -> None:
    """The loss of a zone takes nothing from the instances in the other one."""
    tables = of_type(site, "AWS::EC2::SubnetRouteTableAssociation")
    routes = of_type(site, "AWS::EC2::Route").values()
    gateways = of_type(site, "AWS::EC2::NatGateway")
    assert len(gateways) == 2
    for zone in "AB":
        here = tables[f"PrivateRoutes{zone}"]
        assert here["SubnetId"] == {"Ref": f"Private{zone}"}
        table = here["RouteTableId"]
        (way,) = [row for row in routes if row["RouteTableId"] == table]
        gateway = gateways[way["NatGatewayId"]["Ref"]]
        assert gateway["SubnetId"] == {"Ref": f"Public{zone}"}
        # Buckets of the region are reached without it, from either.
        endpoint = of_type(site, "AWS::EC2::VPCEndpoint")["BucketsEndpoint"]
        assert table in endpoint["RouteTableIds"]
    subnets = of_type(site, "AWS::EC2::Subnet")
    for zone in "AB":
        place = subnets[f"Private{zone}"]["AvailabilityZone"]
        assert place == subnets[f"Public{zone}"]["AvailabilityZone"]


def test_secrets_are_made_and_never_given(site: dict[str, Any]) -> None:
    secrets = of_type(site, "AWS::SecretsManager::Secret")
    assert set(secrets) == {"SecretKey", "DatabaseSecret"}
    for row in secrets.values():
        assert "SecretString" not in row
        assert row["GenerateSecretString"]["PasswordLength"] >= 48
        # It stands in a URL and in a file of one line.
        assert row["GenerateSecretString"]["ExcludePunctuation"] is True
    database = of_type(site, "AWS::RDS::DBInstance")["Database"]
    assert database["MasterUserPassword"]["Fn::Sub"].startswith(
        "{{resolve:secretsmanager:${DatabaseSecret}:"
    )
    assert database["DeletionProtection"] is True
    assert database["VPCSecurityGroups"] == [{"Ref": "DatabaseGroup"}]
    assert site["Resources"]["Database"]["DeletionPolicy"] == "Snapshot"
    assert not [n for n in site["Parameters"] if "password" in n.lower()]


def test_alarms_look_at_what_is_put(site: dict[str, Any]) -> None:
    alarms = of_type(site, "AWS::CloudWatch::Alarm")
    own = {
        row["MetricName"]
        for row in alarms.values()
        if row["Namespace"] == cloudwatch.NAMESPACE
    }
    text = "\n".join(
        f"# TYPE {name} gauge\n{name}{label} 0"
        for name, label in (
            ("holdfast_array_state", '{state="clean"}'),
            ("holdfast_debts", '{kind="shard"}'),
            ("holdfast_blobs_damaged", ""),
            ("holdfast_last_scrub_age_seconds", ""),
        )
    )
    assert own == set(cloudwatch.numbers(text + "\n"))
    for row in alarms.values():
        assert row["AlarmActions"] == row["OKActions"] == [{"Ref": "Alarms"}]
    assert alarms["ScrubAlarm"]["MetricName"] == "ScrubAgeDays"
    assert alarms["ScrubAlarm"]["Threshold"] == {"Ref": "ScrubAlarmDays"}
    # Where silence is bad news, the first instances come before the alarm.
    silence = {n for n, r in alarms.items() if r["TreatMissingData"] == "breaching"}
    assert silence == {"DegradedAlarm", "DamagedAlarm", "InstancesAlarm"}
    for name in silence:
        assert site["Resources"][name]["DependsOn"] == "Group"
        assert alarms[name]["EvaluationPeriods"] == 3
    assert {row["MetricName"] for row in alarms.values()} >= {
        "HTTPCode_Target_5XX_Count",
        "HTTPCode_ELB_5XX_Count",
        "HealthyHostCount",
    }
    lines = costs.standing(10**11, public=False)
    line = next(one for one in lines if one.what == "alarms")
    assert line.how.startswith(f"{len(own)} metrics, {len(alarms)} alarms")


def test_new_instances_come_before_old_ones_go(site: dict[str, Any]) -> None:
    group = site["Resources"]["Group"]
    rolling = group["UpdatePolicy"]["AutoScalingRollingUpdate"]
    assert rolling["MinInstancesInService"] == {"Ref": "Instances"}
    assert rolling["WaitOnResourceSignals"] is True
    assert group["CreationPolicy"]["ResourceSignal"]["Count"] == {"Ref": "Instances"}
    version = group["Properties"]["LaunchTemplate"]["Version"]
    assert version == {"Fn::GetAtt": ["Template", "LatestVersionNumber"]}
    (rule,) = site["Rules"]["RoomForAnUpdate"]["Assertions"]
    same = {"Fn::Equals": [{"Ref": "MostInstances"}, {"Ref": "Instances"}]}
    assert rule["Assert"] == {"Fn::Not": [same]}


def test_who_drains_is_not_ended(site: dict[str, Any]) -> None:
    """With ELB, Auto Scaling would end whoever answers 503 on purpose."""
    group = site["Resources"]["Group"]["Properties"]
    assert group["HealthCheckType"] == "EC2"
    # An alarm says instead that somebody stays away.
    alarm = of_type(site, "AWS::CloudWatch::Alarm")["InstancesAlarm"]
    assert alarm["MetricName"] == "HealthyHostCount"
    assert alarm["Threshold"] == {"Ref": "Instances"}
    assert site["Outputs"]["Group"]["Value"] == {"Ref": "Group"}


def test_an_instance_that_nobody_waits_for_is_no_error(
    site: dict[str, Any], tmp_path: Path
) -> None:
    """A signal is refused outside of an update; the script runs with `set -e`."""
    text = site["Resources"]["Template"]["Properties"]["LaunchTemplateData"]
    script = text["UserData"]["Fn::Base64"]["Fn::Sub"][0]
    last = script.rstrip().splitlines()[-1]
    assert last.startswith("say SUCCESS")
    for told in ("true", "false"):
        known = f"set -euo pipefail\ntrap 'echo FAILURE' ERR\nsay() {{ {told}; }}\n"
        done = subprocess.run(
            ["bash", "-c", known + last], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0
        assert "FAILURE" not in done.stdout


def test_an_instance_believes_its_own_network_and_no_other(
    site: dict[str, Any],
) -> None:
    text = site["Resources"]["Template"]["Properties"]["LaunchTemplateData"]
    script = text["UserData"]["Fn::Base64"]["Fn::Sub"][0]
    (edit,) = re.findall(r"sed '(s@[^']*)'", script)
    file = ROOT / "deploy/nginx/balancer.conf"
    done = subprocess.run(
        ["sed", edit, file], capture_output=True, text=True, check=True
    )
    (believed,) = re.findall(r"^set_real_ip_from (\S+);", done.stdout, re.MULTILINE)
    (network,) = of_type(site, "AWS::EC2::VPC").values()
    assert network["CidrBlock"] == believed
    # Whoever copies the file as it is believes nobody.
    assert not re.findall(r"^set_real_ip_from", file.read_text(), re.MULTILINE)


def test_a_snapshot_and_what_it_says_itself_are_never_given_together(
    site: dict[str, Any],
) -> None:
    row = of_type(site, "AWS::RDS::DBInstance")["Database"]
    nothing = {"Ref": "AWS::NoValue"}
    from_it = {"Fn::If": ["FromSnapshot", {"Ref": "DatabaseSnapshot"}, nothing]}
    assert row["DBSnapshotIdentifier"] == from_it
    for name in (
        "AllocatedStorage",
        "DBName",
        "EngineVersion",
        "MasterUsername",
        "StorageEncrypted",
    ):
        assert row[name]["Fn::If"][:2] == ["FromSnapshot", nothing], name
    # The secret is a new one, so the password has to be set in any case.
    assert "Fn::If" not in row["MasterUserPassword"]
    assert site["Parameters"]["DatabaseSnapshot"]["Default"] == ""


def test_the_database_has_room_for_all_pools(site: dict[str, Any]) -> None:
    options = engine_options("postgresql+psycopg://h/d")
    most = options["pool_size"] + options["max_overflow"]
    known = site["Parameters"]
    asked = known["Instances"]["Default"] * costs.PROCESSES * most
    allowed = {"db.t4g.small": 225, "db.t4g.medium": 450}
    assert asked < allowed[known["DatabaseClass"]["Default"]]
    assert f"{known['DatabaseClass']['Default']} in two zones, an hour" in costs.PRICES


def test_the_page_names_what_there_is(site: dict[str, Any], sqlite_app: Flask) -> None:
    page = PAGE.read_text("utf-8")
    parts = set(re.findall(r"part ([A-Z]\w+)", page)) - {"NAME"}
    assert {"Database", "DatabaseSecret", "Group", "SecretKey"} <= parts
    assert parts <= set(site["Resources"])
    blocks = "\n".join(re.findall(r"```\n(.*?)```", page, re.S))
    given = set(re.findall(r"(?<![-\w])([A-Z][a-z]+[A-Za-z0-9]*)=", blocks))
    known = {*site["Parameters"], *plain(MEMBER)["Parameters"]}
    assert given - {"Name", "Values", "ProxyCommand"} <= known
    for group, command in re.findall(r"sudo holdfast (\w+) (\w+)", page):
        found = sqlite_app.cli.commands[group]
        assert isinstance(found, Group)
        assert command in found.commands, f"{group} {command}"


def test_the_page_has_a_row_for_every_parameter(site: dict[str, Any]) -> None:
    page = PAGE.read_text("utf-8")
    required = {n for n, row in site["Parameters"].items() if "Default" not in row}
    rows = "\n".join(re.findall(r"^\| (`.*?) \|", page, re.M))
    for name in set(site["Parameters"]) - required - {"Member2", "Member3"}:
        assert f"`{name}`" in rows, name
    for name in required:
        assert f"{name}=" in page, name
