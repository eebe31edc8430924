"""The CloudFormation templates: read as they are, and made into a stack by moto.

moto makes no bucket policies, secrets or alarms and nothing of CloudFront, and leaves
them out in silence; what others need of them is put into the text before.
"""

import ast
import base64
from pathlib import Path
from typing import Any

import boto3
import yaml
from cfnlint.decode.cfn_yaml import load as load_template

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
SITE = DEPLOY / "cloudformation.yaml"
MEMBER = DEPLOY / "cloudformation-member.yaml"
REGION = "us-east-1"
IMAGE = "/aws/service/debian/release/12/latest/amd64"
STANDING_IN = {
    # A stack may not be tried with a parameter of Amazon's own.
    IMAGE: "/images/debian",
    "!GetAtt StaticSite.DomainName": "d111.cloudfront.net",
    "${SecretKey}": "arn:aws:secretsmanager:us-east-1:123456789012:secret:key",
    "${DatabaseSecret}:": "arn:aws:secretsmanager:us-east-1:123456789012:secret:db:",
    "${DatabaseSecret}": "arn:aws:secretsmanager:us-east-1:123456789012:secret:db",
}
NEEDED = {
    "DomainName": "files.example.org",
    "ReleaseBucket": "releases",
    "ReleaseKey": "holdfast-1.2.3.tar.gz",
    "ReleaseSha256": "a" * 64,
    "Image": "/images/debian",
}


def plain(template: Path) -> dict[str, Any]:
    """Return the template; `!Ref` and its like are `{"Ref": ...}`."""
    found: dict[str, Any] = load_template(str(template))
    return found


def of_type(template: dict[str, Any], kind: str) -> dict[str, Any]:
    """Return the properties of the resources of a type, by name."""
    return {
        name: row.get("Properties", {})
        for name, row in template["Resources"].items()
        if row["Type"] == kind
    }


def statements(policy: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the statements of a bucket's policy."""
    rows: list[dict[str, Any]] = policy["PolicyDocument"]["Statement"]
    return rows


class Stack:
    """The stack of the site in moto, made with these parameters."""

    def __init__(self, name: str = "holdfast", **parameters: str) -> None:
        """Create it and wait; raises when moto can't."""
        self.name = name
        made = boto3.client("ec2", REGION).register_image(Name=f"Debian for {name}")
        self.image = made["ImageId"]
        boto3.client("ssm", REGION).put_parameter(
            Name="/images/debian", Value=self.image, Type="String", Overwrite=True
        )
        certificate = boto3.client("acm", REGION).request_certificate(
            DomainName="files.example.org"
        )
        self.certificate = certificate["CertificateArn"]
        text = SITE.read_text("utf-8")
        for said, instead in STANDING_IN.items():
            text = text.replace(said, instead)
        given = NEEDED | {"CertificateArn": self.certificate} | parameters
        self._formation = boto3.client("cloudformation", REGION)
        self._formation.create_stack(
            StackName=self.name,
            TemplateBody=text,
            Parameters=[
                {"ParameterKey": name, "ParameterValue": value}
                for name, value in given.items()
            ],
            Capabilities=["CAPABILITY_NAMED_IAM"],
        )

    @property
    def status(self) -> str:
        """What CloudFormation says of it."""
        rows = self._formation.describe_stacks(StackName=self.name)["Stacks"]
        return str(rows[0]["StackStatus"])

    def id_of(self, name: str) -> str:
        """Return the physical id of a resource."""
        return self._resources()[name]

    def names(self) -> set[str]:
        """Return the logical names of what there is."""
        return set(self._resources())

    def _resources(self) -> dict[str, str]:
        rows = self._formation.list_stack_resources(StackName=self.name)
        return {
            row["LogicalResourceId"]: row.get("PhysicalResourceId", "")
            for row in rows["StackResourceSummaries"]
        }

    def launch_data(self) -> dict[str, Any]:
        """Return what instances are launched with."""
        versions = boto3.client("ec2", REGION).describe_launch_template_versions(
            LaunchTemplateId=self.id_of("Template")
        )
        data: dict[str, Any] = versions["LaunchTemplateVersions"][0]
        return dict(data["LaunchTemplateData"])

    def script(self) -> str:
        """Return the user data of the instances."""
        return base64.b64decode(self.launch_data()["UserData"]).decode()

    def role(self) -> dict[str, dict[str, Any]]:
        """Return the statements of the role of the instances, by their names."""
        found = boto3.client("iam").get_role_policy(
            RoleName=f"{self.name}-instance-{REGION}", PolicyName="holdfast"
        )
        policy = found["PolicyDocument"]
        if isinstance(policy, str):  # moto hands out what Python calls it
            policy = ast.literal_eval(policy)
        # Where CloudFormation leaves a statement out, moto leaves nothing in its place.
        return {row["Sid"]: row for row in policy["Statement"] if row}


def environment(script: str, file: str) -> dict[str, str]:
    """Return what the script writes into a file of settings."""
    text = script.partition(f"cat > {file} <<'END'\n")[2].partition("\nEND\n")[0]
    pairs = (line.split("=", 1) for line in text.splitlines())
    return {name: yaml.safe_load(value) for name, value in pairs}
