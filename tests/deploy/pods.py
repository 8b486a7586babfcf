"""A rendered pod as a process here: its arguments, its environment and its mounted files, without a Kubernetes.

What differs from a node: files are in a folder instead of at the root, and each port is a free one. What is rendered
is never changed otherwise.
"""

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.deploy.chart import of_kind
from tests.e2e.clusters import passes

ROOT = "/etc"
_LOOK_S = 0.2
_START_S = 120.0
_STOP_S = 60.0


class Pod:
    """`manifests`: of the release. `spec`: the pod's. `secrets`: contents by name and key. `ports`: by what is listened
    on, as `frontend` or `metrics`, instead of the rendered ones.
    """

    def __init__(
        self,
        manifests: list[dict[str, Any]],
        spec: dict[str, Any],
        secrets: Mapping[str, Mapping[str, bytes]],
        folder: Path,
        ports: Mapping[str, int],
    ) -> None:
        self._folder = folder
        (self._container,) = spec["containers"]
        self._ports = ports
        self._process: Process | None = None
        self._log = folder / "errors.log"
        self._environment = {
            # A pod's own address is the only thing that a node would fill in.
            **{entry["name"]: entry.get("value", "127.0.0.1") for entry in self._container.get("env", ())},
            **{f"PERDURE_{name.upper()}__PORT": str(port) for name, port in ports.items()},
        }
        maps = {name: found["data"] for name, found in of_kind(manifests, "ConfigMap").items()}
        volumes = {volume["name"]: volume for volume in spec.get("volumes", ())}
        for mount in self._container.get("volumeMounts", ()):
            place = Path(self._here(mount["mountPath"]))
            place.mkdir(parents=True)
            for name, content in _contents(volumes[mount["name"]], maps, secrets).items():
                (place / name).write_text(self._here(content))

    def _here(self, text: str) -> str:
        return text.replace(f"{ROOT}/", f"{self._folder}{ROOT}/")

    @property
    def arguments(self) -> list[str]:
        """What the image's program is given."""
        return [self._here(argument) for argument in self._container["args"]]

    @property
    def errors(self) -> str:
        """What it wrote to its standard error."""
        return self._log.read_text()

    async def start(self, *more: str) -> None:
        """Start its process, with more arguments."""
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "perdure.server.main", *self.arguments, *more,
                stdin=DEVNULL, stdout=log, stderr=log, env={"PATH": os.environ["PATH"], **self._environment},
            )  # fmt: skip

    async def ready(self) -> None:
        """Return when its rendered probe, over HTTP, says so. Raises AssertionError if it has ended, or takes longer
        than two minutes.
        """
        probe = self._container["readinessProbe"]["httpGet"]
        try:
            async with asyncio.timeout(_START_S):
                while await _status(self._ports[probe["port"]], probe["path"]) != 200:
                    assert self._process is not None
                    assert self._process.returncode is None, self.errors
                    await passes(_LOOK_S)
        except TimeoutError:
            raise AssertionError(f"it is not ready\n{self.errors}") from None

    async def ended(self) -> int:
        """Its exit code, once it has ended. Raises TimeoutError."""
        assert self._process is not None
        async with asyncio.timeout(_STOP_S):
            return await self._process.wait()

    async def stop(self) -> int:
        """SIGTERM, and wait; the exit code."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.terminate()
        return await self.ended()

    async def end(self) -> None:
        """Whatever state it is in, if it was ever started."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


def _contents(
    volume: dict[str, Any], maps: Mapping[str, Mapping[str, str]], secrets: Mapping[str, Mapping[str, bytes]]
) -> dict[str, str]:
    """Files by name. A Secret's key that isn't there is an error, as on a node."""
    if "configMap" in volume:
        return dict(maps[volume["configMap"]["name"]])
    secret = secrets[volume["secret"]["secretName"]]
    items = volume["secret"].get("items") or [{"key": key, "path": key} for key in secret]
    return {item["path"]: secret[item["key"]].decode() for item in items}


async def _status(port: int, path: str) -> int:
    """Of an answer to GET; 0 if nobody listens."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return 0
    writer.write(f"GET {path} HTTP/1.0\r\n\r\n".encode())
    line = await reader.readline()
    writer.close()
    return int(line.split()[1]) if line else 0
