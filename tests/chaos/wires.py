"""Processes in networks of their own, joined by a bridge: each has an address, and can be cut off from any other.

Cassandra's nodes are on the bridge itself. What is cut is dropped without a word, as a broken wire does. Needs root,
`ip` and `iptables`. Invariant: nothing of it outlives the context, and nothing else on the machine is touched.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Self

_NODES = (251, 252, 253)
_MASK = 24


class WiresMissing(Exception):
    """Networks of their own can't be made here."""


def _do(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise WiresMissing(f"{' '.join(command)}: {done.stderr.strip()}")


class Wires:
    """The networks of processes, by their names. `laid` makes them."""

    def __init__(self, names: Sequence[str]) -> None:
        number = os.getpid() % 200
        self._net = f"10.213.{number}"
        self._bridge = f"pdc{number}"
        self._hosts = {name: at for at, name in enumerate(names, 1)}
        self.node_addresses = [f"{self._net}.{host}" for host in _NODES]

    @staticmethod
    def tools_missing() -> str:
        """Why no wires can be laid here, "" if it is worth trying."""
        if os.geteuid() or not all(shutil.which(tool) for tool in ("ip", "iptables")):
            return "networks of their own need root, ip and iptables"
        return ""

    @classmethod
    @contextmanager
    def laid(cls, names: Sequence[str]) -> Iterator[Self]:
        """Lay the wires; they are gone afterwards. Raises WiresMissing."""
        if missing := cls.tools_missing():
            raise WiresMissing(missing)
        wires = cls(names)
        try:
            wires._lay()
            yield wires
        finally:
            wires._remove()

    @property
    def outside(self) -> str:
        """The address of whoever laid them, for all processes."""
        return f"{self._net}.254"

    def address(self, name: str) -> str:
        """Of a process."""
        return f"{self._net}.{self._hosts[name]}"

    def through(self, name: str) -> tuple[str, ...]:
        """The beginning of a command line that runs the rest of it in a process's network."""
        return ("ip", "netns", "exec", self._space(name))

    def cut(self, name: str, others: Sequence[str], *, one_way: bool = False) -> None:
        """Drop what comes to a process from these addresses, and, unless `one_way`, what it sends them."""
        for other in others:
            _do(*self.through(name), "iptables", "-A", "INPUT", "-s", other, "-j", "DROP")
            if not one_way:
                _do(*self.through(name), "iptables", "-A", "OUTPUT", "-d", other, "-j", "DROP")

    def lose(self, name: str, share: float) -> None:
        """Drop so much of what comes to a process and of what it sends, by chance: so what isn't lost comes late."""
        chance = ("-m", "statistic", "--mode", "random", "--probability", f"{share:.3f}")
        for chain in ("INPUT", "OUTPUT"):
            _do(*self.through(name), "iptables", "-A", chain, *chance, "-j", "DROP")

    def mend(self, name: str) -> None:
        """Let everything through again."""
        _do(*self.through(name), "iptables", "-F")

    def _space(self, name: str) -> str:
        return f"{self._bridge}-{name}"

    def _lay(self) -> None:
        _do("ip", "link", "add", self._bridge, "type", "bridge")
        for host in (254, *_NODES):
            _do("ip", "address", "add", f"{self._net}.{host}/{_MASK}", "dev", self._bridge)
        _do("ip", "link", "set", self._bridge, "up")
        for name, host in self._hosts.items():
            space, outer = self._space(name), f"{self._bridge}v{host}"
            inside = ("ip", "-n", space)
            _do("ip", "netns", "add", space)
            _do("ip", "link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", space)
            _do("ip", "link", "set", outer, "master", self._bridge, "up")
            _do(*inside, "address", "add", f"{self._net}.{host}/{_MASK}", "dev", "eth0")
            _do(*inside, "link", "set", "lo", "up")
            _do(*inside, "link", "set", "eth0", "up")

    def _remove(self) -> None:
        for name in self._hosts:
            subprocess.run(["ip", "netns", "delete", self._space(name)], capture_output=True, check=False)
        subprocess.run(["ip", "link", "delete", self._bridge], capture_output=True, check=False)
