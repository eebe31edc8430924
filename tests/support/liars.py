"""Members that are full of lies: on a member in memory, or in a folder on the disk."""

import os
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from raid.memory import MemoryMember
from raid.superblock import Superblock

Objects = dict[str, bytes]
Lie = Callable[[Objects, random.Random], Objects]


def noise(objects: Objects, rng: random.Random) -> Objects:
    """Every object has its length and nothing else of what it was."""
    return {key: rng.randbytes(len(data)) for key, data in objects.items()}


def noise_under_a_right_superblock(objects: Objects, rng: random.Random) -> Objects:
    """The member can be told by its superblock; all else is noise."""
    return {
        key: data if key.startswith("superblock.") else rng.randbytes(len(data))
        for key, data in objects.items()
    }


def swapped(objects: Objects, rng: random.Random) -> Objects:
    """Every object holds the bytes of another one."""
    keys = [key for key in objects if not key.startswith("superblock.")]
    order = keys[1:] + keys[:1]
    kept = {key: data for key, data in objects.items() if key not in keys}
    return kept | {key: objects[other] for key, other in zip(keys, order, strict=True)}


def emptied(objects: Objects, rng: random.Random) -> Objects:
    """Every object is there and has no bytes."""
    return {
        key: data if key.startswith("superblock.") else b""
        for key, data in objects.items()
    }


def another_array(objects: Objects, rng: random.Random) -> Objects:
    """The superblock is right in itself, and of another array."""
    return {
        key: (
            replace(Superblock.unpack(data), array=uuid4()).pack()
            if key.startswith("superblock.")
            else data
        )
        for key, data in objects.items()
    }


def ahead(objects: Objects, rng: random.Random) -> Objects:
    """A sealed superblock tells of an event that never was."""
    told = dict(objects)
    for key, data in objects.items():
        if key.startswith("superblock."):
            block = Superblock.unpack(data)
            forged = replace(block, incarnation=block.incarnation + 70, event=9)
            told[f"superblock.{forged.incarnation}.{forged.event}"] = forged.pack()
    return told


LIES: dict[str, Lie] = {
    "noise": noise,
    "noise-under-a-right-superblock": noise_under_a_right_superblock,
    "swapped": swapped,
    "emptied": emptied,
    "another-array": another_array,
    "ahead": ahead,
}


def corrupt(member: MemoryMember, lie: Lie, seed: int = 1) -> None:
    """Make a member in memory tell a lie, and make sure that it differs."""
    told = lie(dict(member.objects), random.Random(seed))
    assert told != member.objects
    member.objects.clear()
    member.objects.update(told)
    member._modified = dict.fromkeys(told, 0.0)


def corrupt_folder(folder: Path, lie: Lie, seed: int = 1) -> int:
    """Make a member on the disk tell a lie; returns how many objects differ."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    before = {str(path.relative_to(folder)): path.read_bytes() for path in paths}
    told = lie(before, random.Random(seed))
    for key in before.keys() - told.keys():
        os.unlink(folder / key)
    changed = {key for key, data in told.items() if before.get(key) != data}
    for key in changed:
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        (folder / key).write_bytes(told[key])
    assert changed
    return len(changed)
