"""A small file system of a test's own, that can be filled up: a tmpfs in a mount namespace that one process holds open.

Nothing of it is seen outside of the namespace, and it is gone with the process, however the test ends.
"""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path


class Volume:
    """`path` is where it is mounted for what runs `through` it; this process sees it elsewhere."""

    def __init__(self, holder: subprocess.Popen[bytes], path: Path, through: list[str]) -> None:
        self.path = path
        self.through = through
        self._outside = Path(f"/proc/{holder.pid}/root{path}")
        self._ballast = self._outside / "ballast"

    def fill(self) -> None:
        """Leave no byte of room."""
        with self._ballast.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            for size in (1 << 20, 4096, 1):
                with contextlib.suppress(OSError):
                    while file.write(bytes(size)):
                        pass

    def make_room(self) -> None:
        """What `fill` took is free again."""
        self._ballast.unlink()


@contextlib.contextmanager
def volume(path: Path, size_mib: int) -> Iterator[Volume]:
    """A volume at `path`. As root, or as a user who may make namespaces; AssertionError where neither is so."""
    path.mkdir(exist_ok=True)
    as_user = os.geteuid() != 0
    mount = f"mount -t tmpfs -o size={size_mib}m tmpfs '{path}' && echo mounted && exec cat"
    holder = subprocess.Popen(
        ["unshare", "--mount", *(["--map-root-user"] if as_user else []), "sh", "-c", mount],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"mounted\n", "no namespace of its own can be made here"
        user = ["--user", "--preserve-credentials"] if as_user else []
        yield Volume(holder, path, ["nsenter", "--target", str(holder.pid), "--mount", *user, "--"])
    finally:
        holder.kill()
        holder.communicate()
