"""Put what the alarms of the stack need into CloudWatch: `python -m deploy.cloudwatch`.

A timer runs it on every instance. It reads `/metrics` of this instance and puts at most
four numbers: Degraded (0 or 1), Debts, DamagedFiles and ScrubAgeDays. What is not known
is not put: an alarm sees missing data, never a number that was made up.
"""

import os
import sys
import urllib.request
from collections.abc import Iterable, Mapping
from typing import Any

from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

NAMESPACE = "Holdfast"
PATIENCE = 10.0


def read(bind: str) -> str:
    """Return the metrics of this instance as text."""
    url = f"http://{bind}/metrics"
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
        return str(answer.read().decode())


def numbers(text: str) -> dict[str, float]:
    """Return what the alarms look at, as far as it is known."""
    found = {one.name: one for one in text_string_to_metric_families(text)}
    values = {
        "Degraded": _not_clean(found.get("holdfast_array_state")),
        "Debts": _owed(found.get("holdfast_debts")),
        "DamagedFiles": _sum(found.get("holdfast_blobs_damaged")),
        "ScrubAgeDays": _days(found.get("holdfast_last_scrub_age_seconds")),
    }
    return {name: value for name, value in values.items() if value is not None}


def _not_clean(family: Metric | None) -> float | None:
    if family is None:
        return None
    states = {one.labels["state"]: one.value for one in family.samples}
    return float(not states.get("clean"))


def _owed(family: Metric | None) -> float | None:
    """Count what files lack; the tombstones of a large purge are owed for hours."""
    if family is None:
        return None
    return sum(s.value for s in family.samples if s.labels.get("kind") != "tombstone")


def _sum(family: Metric | None) -> float | None:
    return None if family is None else sum(one.value for one in family.samples)


def _days(family: Metric | None) -> float | None:
    seconds = _sum(family)
    return None if seconds is None else seconds / 86_400


def data(values: Mapping[str, float], stack: str) -> Iterable[dict[str, Any]]:
    """Yield the numbers as CloudWatch takes them."""
    for name, value in values.items():
        yield {
            "MetricName": name,
            "Dimensions": [{"Name": "Stack", "Value": stack}],
            "Value": value,
            "Unit": "None" if name == "ScrubAgeDays" else "Count",
        }


def main() -> int:
    """Read and put; say what went wrong in a sentence."""
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    bind = os.environ.get("HOLDFAST_METRICS_BIND", "none")
    if bind == "none" or bind.startswith("unix:"):
        print("HOLDFAST_METRICS_BIND has to be host:port here.", file=sys.stderr)
        return 2
    try:
        values = numbers(read(bind))
        if values:
            boto3.client("cloudwatch").put_metric_data(
                Namespace=NAMESPACE, MetricData=list(data(values, os.environ["STACK"]))
            )
    except KeyError as error:
        print(f"{error.args[0]} is not in /etc/holdfast/aws.env.", file=sys.stderr)
        return 1
    except (BotoCoreError, ClientError, OSError) as error:
        print(f"The metrics can't be put: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
