"""Randomness, as a parameter. The only module that reads the machine's entropy.

The core takes no randomness while it decides: it gets 16 bytes with its context and derives every id from them
(`derive_id`), so that the same decision made twice gives the same ids.
"""

import hashlib
import os
import random
import uuid
from typing import Protocol


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
    return str(uuid.UUID(bytes=entropy.seed(), version=4))


def derive_id(seed: bytes, *parts: str | int) -> str:
    """A UUID (text) determined by `seed` and `parts`: the same input gives the same id on every machine."""
    digest = hashlib.blake2b(seed, digest_size=16)
    for part in parts:
        digest.update(b"\0" + str(part).encode())
    return str(uuid.UUID(bytes=digest.digest(), version=4))
