"""Randomness, as a parameter. The only module that reads the machine's entropy.

The core takes no randomness while it decides: it gets 16 bytes with its context and derives every id from them
(`derive_id`), so that the same decision made twice gives the same ids.
"""

import hashlib
import os
import random
import uuid
from typing import Protocol

_VERSION_4 = 4 << 76 | 2 << 62
_VERSION_4_KEPT = (1 << 128) - 1 ^ (0xF << 76 | 3 << 62)


class Entropy(Protocol):
    """What may be asked of chance."""

    def seed(self) -> bytes:
        """16 unpredictable bytes."""
        ...

    def fraction(self) -> float:
        """A number in [0, 1), for jitter."""
        ...


class SystemEntropy:
    """The machine's entropy."""

    __slots__ = ()

    def seed(self) -> bytes:
        return os.urandom(16)

    def fraction(self) -> float:
        return random.random()


def new_id(entropy: Entropy) -> str:
    """A new random UUID in its canonical text form."""
    return _random_uuid(entropy.seed())


def derive_id(seed: bytes, *parts: str | int) -> str:
    """A UUID (text) determined by `seed` and `parts`: the same input gives the same id on every machine."""
    digest = hashlib.blake2b(seed, digest_size=16)
    for part in parts:
        digest.update(b"\0" + str(part).encode())
    return _random_uuid(digest.digest())


def _random_uuid(random_bytes: bytes) -> str:
    """16 bytes as a UUID of version 4. Ids are made several times a call: this is what `uuid.UUID` does, in half
    of its time.
    """
    number = int.from_bytes(random_bytes, "big") & _VERSION_4_KEPT | _VERSION_4
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def derive_timed_id(now_ns: int, seed: bytes, *parts: str | int) -> str:
    """A UUID of version 7: the milliseconds of `now_ns` lead, so that ids sort by time, and the rest follows from seed
    and parts. Source: RFC 9562, 5.7.
    """
    random_part = uuid.UUID(derive_id(seed, *parts)).int & ((1 << 76) - 1)
    milliseconds = now_ns // 1_000_000 & ((1 << 48) - 1)
    number = milliseconds << 80 | 7 << 76 | random_part
    return str(uuid.UUID(int=number))
