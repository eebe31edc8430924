"""Add up what the processes of this instance left.

Counters stay when their process has ended; gauges are those of who lives.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from storage.metrics import place
from storage.metrics.meters import (
    ARRAY_RANK,
    ARRAY_STATES,
    MEMBER_RANK,
    MEMBER_STATES,
)

_Labels = tuple[tuple[str, str], ...]
_Key = tuple[str, _Labels]
_MERGED: dict[str, Callable[[float, float], float]] = {
    ARRAY_RANK: max,
    MEMBER_RANK: max,
    "holdfast_member_free_bytes": min,
}
_SHOWN = {
    ARRAY_RANK: ("holdfast_array_state", ARRAY_STATES),
    MEMBER_RANK: ("holdfast_member_observed_state", MEMBER_STATES),
}


@dataclass
class _Family:
    """The samples of one name, added up as they come."""

    about: str
    kind: str
    samples: dict[_Key, float] = field(default_factory=dict)

    def add(self, other: "_Family", name: str) -> None:
        """Take the samples of another process in."""
        join = _MERGED.get(name, lambda one, two: one + two)
        for key, value in other.samples.items():
            known = self.samples.get(key)
            self.samples[key] = value if known is None else join(known, value)


_Families = dict[str, _Family]


class Merger(Collector):
    """The sum over all processes since this one began to look."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ended: _Families = {}

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics; the files of processes that have ended are taken in."""
        living: _Families = {}
        for one in place.left(self._folder):
            found = _parsed(one.text)
            if one.ended:
                _add(self._ended, _counters(found))
                one.path.unlink(missing_ok=True)
            else:
                _add(living, found if one.fresh else _counters(found))
        total: _Families = {}
        _add(total, self._ended)
        _add(total, living)
        for name, family in total.items():
            yield _one_hot(name, family) if name in _SHOWN else _metric(name, family)


def _parsed(text: str) -> _Families:
    found = {}
    for metric in text_string_to_metric_families(text):
        if metric.name.endswith("_created"):  # moments, of which no sum makes sense
            continue
        samples = {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for sample in metric.samples
        }
        found[metric.name] = _Family(metric.documentation, metric.type, samples)
    return found


def _counters(families: Mapping[str, _Family]) -> _Families:
    return {name: one for name, one in families.items() if one.kind != "gauge"}


def _add(total: _Families, more: Mapping[str, _Family]) -> None:
    for name, family in more.items():
        total.setdefault(name, _Family(family.about, family.kind)).add(family, name)


def _metric(name: str, family: _Family) -> Metric:
    metric = Metric(name, family.about, family.kind)
    for (sample, labels), value in sorted(family.samples.items(), key=_order):
        metric.add_sample(sample, dict(labels), value)
    return metric


def _order(item: tuple[_Key, float]) -> tuple[_Labels, float, str]:
    """Keep the buckets of a histogram together, from small to large."""
    (name, labels), _ = item
    bound = dict(labels).get("le")
    others = tuple(pair for pair in labels if pair[0] != "le")
    return others, math.inf if bound is None else float(bound), name


def _one_hot(name: str, family: _Family) -> Metric:
    """Turn a rank into one series for each word, of which one is 1."""
    shown, words = _SHOWN[name]
    labels = sorted({key for _, pairs in family.samples for key, _ in pairs})
    metric = GaugeMetricFamily(shown, family.about, labels=[*labels, "state"])
    for (_, pairs), rank in sorted(family.samples.items()):
        for number, word in enumerate(words):
            metric.add_metric([*dict(pairs).values(), word], float(number == rank))
    return metric
