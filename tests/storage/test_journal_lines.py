"""Lines of the journal: what is written is read back, and nothing else is taken."""

from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raid.errors import DamagedObject
from raid.journal import MAX_BODY
from storage.journal.lines import (
    Change,
    decode,
    decode_value,
    encode,
    encode_line,
    encode_value,
)

pytestmark = pytest.mark.sqlite
TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
MOMENTS = st.datetimes(timezones=st.just(UTC))
VALUES = st.one_of(
    st.tuples(st.just(UUID), st.uuids()),
    st.tuples(st.just(bytes), st.binary(max_size=40)),
    st.tuples(st.just(datetime), MOMENTS),
    st.tuples(st.just(bool), st.booleans()),
    st.tuples(st.just(int), st.integers(-(2**63), 2**63 - 1)),
    st.tuples(st.just(str), TEXTS),
    st.tuples(st.just(dict), st.dictionaries(TEXTS, st.lists(st.integers()))),
    st.tuples(st.just(int), st.none()),
)


@given(st.lists(VALUES, max_size=8))
def test_values_come_back_as_they_were(values):
    row = {str(i): encode_value(value) for i, (_, value) in enumerate(values)}
    (body,) = encode([Change("t", "k", row)])
    (change,) = decode(body)
    assert change.row is not None
    for i, (kind, value) in enumerate(values):
        assert decode_value(change.row[str(i)], kind) == value


@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=9, unique=True), st.randoms())
def test_lines_stand_in_one_order_whoever_wrote_them(keys, random):
    changes = [Change(table, key, None) for table, key in keys]
    (body,) = encode(changes)
    random.shuffle(changes)
    assert list(encode(changes)) == [body]
    assert {(change.table, change.key) for change in decode(body)} == set(keys)


def test_a_line_looks_as_documented():
    moment = datetime(2026, 11, 1, 12, tzinfo=timezone(timedelta(hours=1)))
    row = {"name": 'Ähre "\n\u2028', "at": encode_value(moment), "gone": None}
    assert encode_line(Change("entries", "x", row)).decode() == (
        '["entries","x",{"at":1793530800000000,"gone":null,'
        '"name":"Ähre \\"\\n\u2028"}]\n'
    )


def test_what_is_too_much_for_one_body_goes_on_in_others():
    changes = [Change("t", f"{i:05}", {"v": "x" * 5000}) for i in range(2000)]
    bodies = list(encode(changes))
    assert len(bodies) == 3
    assert all(len(body) <= MAX_BODY for body in bodies)
    assert [change for body in bodies for change in decode(body)] == changes


def test_no_changes_are_one_empty_body():
    assert list(encode([])) == [b""]
    assert decode(b"") == []


def test_a_row_that_no_entry_can_hold_is_refused():
    with pytest.raises(ValueError, match="too long"):
        encode_line(Change("t", "k", {"v": "x" * MAX_BODY}))


@pytest.mark.parametrize(
    "body",
    [
        b"\n",
        b'["t","k",null]',
        b'["t","k",null]\n\n',
        b'["t","k",null]\n["t","k",null]\n',
        b'["t","k",null]\n["s","k",null]\n',
        b'["t","k"]\n',
        b'["t",1,null]\n',
        b'["t","k",[]]\n',
        b'["t","k",{"v":NaN}]\n',
        b'{"t":"k"}\n',
        b'["t","\xff",null]\n',
        b"[" * 100_000 + b"\n",
        b'["t","k",{"v":' + b"1" * 5000 + b"}]\n",
    ],
)
def test_other_bodies_are_damage(body):
    with pytest.raises(DamagedObject):
        decode(body)


@given(st.binary(max_size=80))
def test_any_bytes_are_lines_or_damage(body):
    try:
        decode(body)
    except DamagedObject:
        return


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (1, str),
        ("1", int),
        (True, int),
        (1, bool),
        ("x", bytes),
        ("no", UUID),
        (2**80, datetime),
        (1.5, datetime),
    ],
)
def test_values_of_another_type_are_damage(value, kind):
    with pytest.raises(DamagedObject):
        decode_value(value, kind)
