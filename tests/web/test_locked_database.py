"""Another program holds the database: a clear 503, and nothing is lost."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

from support.site import Site


@contextmanager
def _held(site: Site) -> Iterator[None]:
    """The write lock, held by somebody else."""
    with closing(sqlite3.connect(site.data / "holdfast.db", timeout=30)) as other:
        other.isolation_level = None
        other.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            other.execute("ROLLBACK")


def test_a_locked_database_is_a_503_and_over_when_it_is_free(site: Site) -> None:
    """Reading goes on, writing says so after a while, and works again afterwards."""
    person = site.person("alice")
    root = person.root()
    entry = person.put(root, "before.txt", b"kelp").expect(201).json["id"]
    objects = site.objects()
    with _held(site):
        assert "before.txt" in person.names()
        assert person.download(entry).expect(200).body == b"kelp"
        answer = person.put(root, "during.txt", b"lost?")
        assert answer.status == 503, answer.text
        assert "Retry-After" in answer.headers
        assert "database" in answer.json["error"]["message"].lower()
    assert person.names() == ["before.txt"]
    assert site.objects() == objects
    assert site.used("alice") == 4
    person.put(root, "after.txt", b"works").expect(201)
    assert person.names() == ["after.txt", "before.txt"]
