"""Chance from a seed: the same seed gives the same run on every machine.

Invariant: a seed's sequence depends on the seed and on how often it was asked, on nothing else.
"""

import hashlib


class SeededEntropy:
    """`perdure.base.entropy.Entropy` from an int. `fork` gives independent sequences to independent parties."""

    __slots__ = ("_asked", "_key")

    def __init__(self, seed: int | str) -> None:
        self._key = hashlib.blake2b(str(seed).encode(), digest_size=16).digest()
        self._asked = 0

    def seed(self) -> bytes:
        self._asked += 1
        return hashlib.blake2b(self._asked.to_bytes(8, "big"), key=self._key, digest_size=16).digest()

    def fraction(self) -> float:
        return (int.from_bytes(self.seed()[:8], "big") >> 11) / (1 << 53)

    def below(self, end: int) -> int:
        """A whole number in [0, end)."""
        return int(self.fraction() * end)

    def fork(self, name: str) -> "SeededEntropy":
        """The sequence of `name` under this seed; asking it does not move this one."""
        return SeededEntropy(f"{self._key.hex()}/{name}")
