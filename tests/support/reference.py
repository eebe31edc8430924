"""A second implementation of docs/on-disk-format.md, written from its words alone.

It is slow and imports nothing of `raid/`, so that an error in the engine cannot hide
in the test that looks for it. All places are written out as offsets.
"""

import struct
from typing import Any
from uuid import UUID

from blake3 import blake3

UNIT = 262144
CONTEXT = "holdfast 2026-11 unit tag v1"
COPIES, XOR, PQ = 1, 2, 3


def hashed(data: bytes) -> bytes:
    return blake3(data).digest()


def put(buffer: bytearray, at: int, layout: str, *values: Any) -> None:
    struct.pack_into("<" + layout, buffer, at, *values)


def begin(kind: bytes, length: int) -> bytearray:
    buffer = bytearray(length)
    buffer[0:8] = b"HOLDFAST"
    buffer[8:12] = kind
    put(buffer, 12, "HH", 1, 1)
    return buffer


def data(length: int, seed: int = 0) -> bytes:
    """Bytes that look mixed and still compress well, so that vectors stay small."""
    cycle = bytes((i * 131 + seed) & 0xFF for i in range(256))
    blocks = range(-(-length // 256))
    turned = (cycle[b * 7 % 256 :] + cycle[: b * 7 % 256] for b in blocks)
    return b"".join(turned)[:length]


def role_names(k: int, m: int, code: int) -> list[str]:
    if code == COPIES:
        return [f"c{i}" for i in range(k + m)]
    return [*(f"d{i}" for i in range(k)), "p", *(["q"] if code == PQ else [])]


def role_byte(k: int, code: int, role: int) -> int:
    if code == COPIES:
        return 0xC0
    return role if role < k else 0xF0 + (role - k)


def split(segment: bytes, k: int) -> list[list[bytes]]:
    """Cut a segment into rows of k units of equal length, zeros at the end."""
    rows = []
    at = 0
    while len(segment) - at >= k * UNIT:
        rows.append([segment[at + j * UNIT : at + (j + 1) * UNIT] for j in range(k)])
        at += k * UNIT
    rest = segment[at:]
    if rest:
        c = (len(rest) + k - 1) // k
        c = (c + 7) // 8 * 8
        rest = rest.ljust(k * c, b"\0")
        rows.append([rest[j * c : (j + 1) * c] for j in range(k)])
    return rows


def xored(units: list[bytes]) -> bytes:
    total = 0
    for unit in units:
        total ^= int.from_bytes(unit, "little")
    return total.to_bytes(len(units[0]), "little")


def twice(byte: int) -> int:
    byte = byte << 1
    return (byte & 0xFF) ^ 0x1D if byte > 0xFF else byte


TWICE = [twice(byte) for byte in range(256)]


def q_of(units: list[bytes]) -> bytes:
    """d_0 + 2 (d_1 + 2 (d_2 + ...)), byte by byte, from the innermost outwards."""
    total = bytearray(len(units[0]))
    for unit in reversed(units):
        for at, byte in enumerate(unit):
            total[at] = TWICE[total[at]] ^ byte
    return bytes(total)


def times(a: int, b: int) -> int:
    total = 0
    while b:
        total, a, b = total ^ (a if b & 1 else 0), TWICE[a], b >> 1
    return total


def power(exponent: int) -> int:
    """2 to an exponent, which may be negative: 2^255 = 1."""
    total = 1
    for _ in range(exponent % 255):
        total = TWICE[total]
    return total


def over(a: int, b: int) -> int:
    return next(c for c in range(256) if times(c, b) == a)


def lost_two(units: list[bytes], x: int, y: int) -> tuple[bytes, bytes]:
    """Two lost units of a row, by the table: data and data, or data and p.

    What stands in their places is not looked at.
    """
    *data, p, q = units
    k = len(data)
    data = [bytes(len(q)) if i in (x, y) else unit for i, unit in enumerate(data)]
    with_q = xored([q, q_of(data)])
    if y == k:
        d_x = bytes(times(power(-x), byte) for byte in with_q)
        return d_x, xored([*data, d_x])
    with_p = xored([p, *data])
    below = power(x) ^ power(y)
    d_x = bytes(
        over(times(power(y), a) ^ b, below) for a, b in zip(with_p, with_q, strict=True)
    )
    return d_x, xored([with_p, d_x])


def tag(
    array: UUID, blob: UUID, segment: int, attempt: int, role: int, index: int, u: bytes
) -> bytes:
    material = bytearray(49)
    material[0:16] = array.bytes
    material[16:32] = blob.bytes
    put(material, 32, "QQB", segment, attempt, role)
    key = blake3(bytes(material), derive_key_context=CONTEXT).digest()
    return blake3(u + struct.pack("<II", index, len(u)), key=key).digest()


class Segment:
    """One encoded segment: `columns` of units, `table` and its digest."""

    def __init__(
        self,
        array: UUID,
        blob: UUID,
        number: int,
        attempt: int,
        shape: tuple[int, int, int],
        content: bytes,
    ) -> None:
        self.place = (array, blob, number, attempt)
        self.k, self.m, self.code = shape
        self.shape = shape
        self.length = len(content)
        rows = split(content, self.k)
        if self.code == XOR:
            rows = [[*row, xored(row)] for row in rows]
        if self.code == PQ:
            rows = [[*row, xored(row), q_of(row)] for row in rows]
        self.rows = rows
        self.table = b"".join(
            tag(*self.place, role_byte(self.k, self.code, j), i, unit) + bytes(32)
            for i, row in enumerate(rows)
            for j, unit in enumerate(row)
        )
        self.digest = hashed(self.table)

    def header(self, role: int, manifest_length: int) -> bytes:
        array, blob, number, attempt = self.place
        head = begin(b"COMB" if manifest_length else b"SHRD", 160)
        head[16:32] = array.bytes
        head[32:48] = blob.bytes
        put(head, 48, "QQ", number, attempt)
        put(head, 64, "BBBBBB", self.code, self.k, self.m, role, 1, 0)
        put(head, 72, "II", UNIT, 64)
        payload = sum(len(row[0]) for row in self.rows)
        put(head, 80, "QQ", self.length, payload)
        put(head, 96, "QQ", len(self.table), manifest_length)
        head[112:144] = self.digest
        return bytes(head) + hashed(bytes(head))

    def shard(self, role: int, manifest: bytes = b"") -> bytes:
        column = 0 if self.code == COPIES else role
        units = b"".join(row[column] for row in self.rows)
        return self.header(role, len(manifest)) + self.table + manifest + units

    def slots(self, slots: list[int]) -> list[int]:
        """The slot of each role, in the order of the roles."""
        _, blob, number, _ = self.place
        n = len(slots)
        base = struct.unpack("<I", blob.bytes[12:16])[0] % n
        if self.code == COPIES:
            return [slots[at] for at in self.copies(number + base, n)]
        p = (n - 1 - (number + base)) % n
        where = [slots[(p + self.m + j) % n] for j in range(self.k)]
        where.append(slots[p])
        if self.code == PQ:
            where.append(slots[(p + 1) % n])
        return where

    def copies(self, turn: int, n: int) -> list[int]:
        """In groups of neighbours when they fit, else one after the other."""
        w = self.m + 1
        if n % w == 0:
            group = turn % (n // w)
            return [w * group + (turn // (n // w) + i) % w for i in range(w)]
        return [(w * turn + i) % n for i in range(w)]

    def row(self, slots: list[int], row_size: int) -> bytes:
        row = bytearray(b"\xff" * row_size)
        put(row, 0, "QBBB", self.length, self.code, self.k, self.m)
        put(row, 11, "BBBH", self.k + self.m, 1, 0, 0)
        put(row, 16, "Q", self.place[3])
        row[24:56] = self.digest
        for i, slot in enumerate(slots):
            put(row, 56 + 2 * i, "H", slot)
        return bytes(row)


def manifest(
    array: UUID,
    blob: UUID,
    attempt: int,
    form: int,
    words: tuple[str, str, str, str],
    uploaded_us: int,
    segments: list[tuple[Segment, list[int]]],
    inline: bytes = b"",
    sha256: bytes | None = None,
) -> bytes:
    metadata = b""
    for word in words:
        metadata += struct.pack("<I", len(word.encode())) + word.encode()
    metadata += bytes(-len(metadata) % 8)
    widest = max((len(slots) for _, slots in segments), default=0)
    row_size = (56 + 2 * widest + 7) // 8 * 8 if segments else 0
    rows = [segment.row(slots, row_size) for segment, slots in segments]
    entries, pages, offset = b"", b"", 0
    for at in range(0, len(rows), 4096):
        page = b"".join(rows[at : at + 4096])
        entries += struct.pack("<Q", offset) + hashed(page)
        pages += page
        offset += sum(segment.length for segment, _ in segments[at : at + 4096])
    fixed = begin(b"MANI", 160)
    fixed[16:32] = array.bytes
    fixed[32:48] = blob.bytes
    put(fixed, 48, "QQ", attempt, offset + len(inline))
    put(fixed, 64, "BBHI", form, 1 if sha256 else 0, row_size, UNIT)
    digests = b"".join(segment.digest for segment, _ in segments)
    fixed[72:104] = hashed(digests if segments else inline)
    fixed[104:136] = sha256 or bytes(32)
    put(fixed, 136, "q", uploaded_us)
    put(fixed, 144, "I", len(segments))
    put(fixed, 148, "I", 160 + len(metadata) + len(entries) + 32)
    put(fixed, 152, "I", len(metadata))
    head = bytes(fixed) + metadata + entries
    return head + hashed(head) + inline + pages


def superblock(
    array: UUID,
    member: UUID,
    slot: int,
    numbers: tuple[int, int],
    level: tuple[int, int, int],
    readonly: bool,
    event_us: int,
    members: list[tuple[UUID, int, int, str]],
) -> bytes:
    body = b""
    for uuid, at, state, url in members:
        body += uuid.bytes + struct.pack("<hBBH", at, state, 0, len(url.encode()))
        body += url.encode()
    fixed = begin(b"SUPR", 96)
    fixed[16:32] = array.bytes
    fixed[32:48] = member.bytes
    put(fixed, 48, "QQ", *numbers)
    put(fixed, 64, "hBBBB", slot, *level, int(readonly))
    put(fixed, 70, "HII", len(members), UNIT, len(body))
    put(fixed, 80, "q", event_us)
    whole = bytes(fixed) + body
    return whole + hashed(whole)


def tombstone(array: UUID, blob: UUID, attempt: int, time_us: int) -> bytes:
    fixed = begin(b"TOMB", 64)
    fixed[16:32] = array.bytes
    fixed[32:48] = blob.bytes
    put(fixed, 48, "Qq", attempt, time_us)
    return bytes(fixed) + hashed(bytes(fixed))
