"""Fetch this site's secrets from Secrets Manager, with the role of the instance.

`python -m deploy.awssecrets FOLDER`, as the user of the site. It writes `secret-key`
and `database-url`, each for its owner only; what is the same is not written again.
"""

import json
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from sqlalchemy.engine import URL

DATABASE = "holdfast"
BUNDLE = "/etc/holdfast/rds.pem"
"""The authorities that sign the certificates of RDS; user data fetches it."""


def database_url(secret: str, address: str) -> str:
    """Return the URL out of RDS's user and address.

    `verify-full`: `require` would talk to anybody who has some certificate.
    """
    user = json.loads(secret)
    host, _, port = address.rpartition(":")
    url = URL.create(
        "postgresql+psycopg",
        username=user["username"],
        password=user["password"],
        host=host,
        port=int(port),
        database=DATABASE,
        query={"sslmode": "verify-full", "sslrootcert": BUNDLE},
    )
    return url.render_as_string(hide_password=False)


def write(path: Path, text: str) -> bool:
    """Write a secret for its owner only, all of it or nothing; say if it changed."""
    with suppress(FileNotFoundError):
        if path.read_text(encoding="utf-8") == text:
            return False
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
    return True


def fetch(environ: Mapping[str, str], folder: Path) -> list[str]:
    """Fetch both secrets and return the names of those that are new."""
    import boto3

    client = boto3.client("secretsmanager")

    def value(variable: str) -> str:
        found = client.get_secret_value(SecretId=environ[variable])
        return str(found["SecretString"])

    url = database_url(value("DATABASE_SECRET_ARN"), environ["DATABASE_ADDRESS"])
    texts = {"secret-key": value("SECRET_KEY_ARN"), "database-url": url}
    return [name for name, text in texts.items() if write(folder / name, text)]


def main() -> int:
    """Fetch, and say what is new; never what it is."""
    if len(sys.argv) != 2:
        print("usage: python -m deploy.awssecrets FOLDER", file=sys.stderr)
        return 2
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        new = fetch(os.environ, Path(sys.argv[1]))
    except KeyError as error:
        print(f"{error.args[0]} is not in /etc/holdfast/aws.env.", file=sys.stderr)
        return 1
    except (BotoCoreError, ClientError, OSError) as error:
        print(f"The secrets can't be fetched: {error}", file=sys.stderr)
        return 1
    print(f"New secrets: {', '.join(new)}" if new else "The secrets are the same.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
