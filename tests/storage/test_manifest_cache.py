"""The manifests in memory: those used of late, and not more than they may weigh."""

from uuid import uuid4

import pytest

from raid.manifest import Manifest
from storage.manifests import ManifestCache
from support.structures import ARRAY, DESCRIPTION


class Clock:
    """A clock that a test sets."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache(clock: Clock) -> ManifestCache:
    return ManifestCache(clock)


def manifest(size: int = 10) -> Manifest:
    return Manifest.build(ARRAY, uuid4(), 1, DESCRIPTION, inline=bytes(size))


def keeps(cache: ManifestCache, *wanted: Manifest) -> list[bool]:
    """Tell which are kept, without using them."""
    return [one.digest in cache._kept for one in wanted]


def test_what_was_put_is_found_by_its_digest(cache: ManifestCache) -> None:
    one, other = manifest(), manifest()
    cache.put(one)
    assert cache.get(one.digest) is one
    assert cache.get(other.digest) is None


def test_the_one_not_used_for_longest_makes_room(
    cache: ManifestCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ManifestCache, "LIMIT", 40)
    some = [manifest() for _ in range(10)]
    for one in some:
        cache.put(one)
    cache.get(some[0].digest)
    new = manifest()
    cache.put(new)
    assert keeps(cache, some[0], some[1], some[2], new) == [True, False, True, True]


def test_a_great_one_is_not_kept_at_the_cost_of_all_others(
    cache: ManifestCache,
) -> None:
    small, great = manifest(), manifest(256 * ManifestCache.LIMIT // 4)
    cache.put(small)
    cache.put(great)
    assert keeps(cache, small, great) == [True, False]


def test_what_comes_twice_weighs_once(
    cache: ManifestCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ManifestCache, "LIMIT", 40)
    some = [manifest() for _ in range(9)]
    for one in some * 3:
        cache.put(one)
    cache.put(manifest())
    assert all(keeps(cache, *some))


def test_what_nobody_has_used_for_long_goes(cache: ManifestCache, clock: Clock) -> None:
    """Thousands that a pass went over once do not stay until others push them out."""
    once, used, new = manifest(), manifest(), manifest()
    cache.put(once)
    cache.put(used)
    clock.now += ManifestCache.UNUSED_SECONDS - 1
    assert cache.get(used.digest) is used
    clock.now += 2
    cache.put(new)
    assert keeps(cache, once, used, new) == [False, True, True]
    assert cache._weight == 8
