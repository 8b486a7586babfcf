"""A node in a container, where Docker runs: the image is made here, of Maven's jars upon a base that has Java.

Whoever has no Java that Cassandra runs on has Maven all the same, with another. The base is pulled, or made by
debootstrap. No ready image of Cassandra is used, so that a node is the same in a container and as a process.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

import docker
import orjson
from docker.errors import DockerException, ImageNotFound
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer

from tests.cassandra.addresses import CQL_PORT
from tests.cassandra.jars import CassandraMissing, fetched
from tests.cassandra.node import NodeOptions, answers, java_arguments, write_settings

_BASE = "eclipse-temurin:17-jre"
_MADE_BASE = "perdure-java-of-the-tests:bookworm"
_HOME = Path("/cassandra")
_OPTIONS = NodeOptions()
_SOCKET = "unix:///var/run/docker.sock"
_BOOTSTRAP = ("debootstrap", "--variant=minbase", "--include=openjdk-17-jre-headless", "bookworm")
_BOOTSTRAP_SECONDS = 600.0
_START_SECONDS = 120.0


class CassandraContainer:
    """One node in a container until the context ends; `contact` is host and port. Raises CassandraMissing."""

    def __init__(self) -> None:
        client = _docker()
        # The reaper of testcontainers is an image of its own, to be pulled; the context removes the container.
        testcontainers_config.ryuk_disabled = True
        self._container = DockerContainer(_image(client)).with_exposed_ports(CQL_PORT)

    @property
    def contact(self) -> tuple[str, int]:
        """Host and port of its native protocol."""
        return self._container.get_container_host_ip(), int(self._container.get_exposed_port(CQL_PORT))

    def __enter__(self) -> Self:
        self._container.start()
        deadline = time.monotonic() + _START_SECONDS
        while not answers(*self.contact):
            if time.monotonic() > deadline:
                said = b"\n".join(self._container.get_logs()).decode(errors="replace")
                self._container.stop()
                raise AssertionError(f"the node in the container does not answer:\n{said[-4000:]}")
        return self

    def __exit__(self, *_: object) -> None:
        self._container.stop()


def _docker() -> docker.DockerClient:
    """A client of the Docker that runs. Raises CassandraMissing."""
    address = os.environ.get("DOCKER_HOST", _SOCKET)
    path = address.removeprefix("unix://")
    if path != address and not Path(path).exists():
        raise CassandraMissing(f"Docker does not run (there is no {path})")
    try:
        client = docker.DockerClient(address)
        client.ping()
    except DockerException as away:
        raise CassandraMissing(f"Docker does not run ({str(away).splitlines()[0][:120]})") from away
    return client


def _image(client: docker.DockerClient) -> str:
    """The name of the image, which is made if it isn't there."""
    jars = fetched()
    configuration = _OPTIONS.configuration(_HOME) | {"rpc_address": "0.0.0.0", "broadcast_rpc_address": "127.0.0.1"}
    command = ["java", *java_arguments(_OPTIONS, _HOME, _HOME / "jars")]
    digest = hashlib.sha256(orjson.dumps([jars.name, configuration, command])).hexdigest()[:12]
    name = f"perdure-cassandra-of-the-tests:{digest}"
    try:
        client.images.get(name)
    except ImageNotFound:
        with tempfile.TemporaryDirectory() as making:
            folder = Path(making)
            shutil.copytree(jars, folder / "jars")
            write_settings(folder, configuration)
            lines = [f"FROM {_base(client)}", f"COPY jars {_HOME}/jars", f"COPY conf {_HOME}/conf"]
            lines.append(f"CMD {orjson.dumps(command).decode()}")
            (folder / "Dockerfile").write_text("\n".join(lines) + "\n")
            client.images.build(path=making, tag=name, rm=True, forcerm=True)
    return name


def _base(client: docker.DockerClient) -> str:
    """An image with Java 17: pulled, or made. Raises CassandraMissing."""
    for known in (_BASE, _MADE_BASE):
        try:
            client.images.get(known)
        except ImageNotFound:
            continue
        return known
    try:
        client.images.pull(_BASE)
    except DockerException as failed:
        return _made_base(client, f"{_BASE} could not be pulled ({str(failed)[:200]})")
    return _BASE


def _made_base(client: docker.DockerClient, reason: str) -> str:
    if shutil.which(_BOOTSTRAP[0]) is None:
        raise CassandraMissing(f"{reason}, and debootstrap is missing, which would make one")
    with tempfile.TemporaryDirectory() as making:
        root, archive = Path(making) / "root", Path(making) / "root.tar"
        for command in ([*_BOOTSTRAP, str(root)], ["tar", "-C", str(root), "-cf", str(archive), "."]):
            done = subprocess.run(command, capture_output=True, text=True, timeout=_BOOTSTRAP_SECONDS, check=False)
            if done.returncode:
                said = (done.stdout + done.stderr)[-1000:]
                raise CassandraMissing(f"{reason}, and {command[0]} failed:\n{said}")
        repository, _, tag = _MADE_BASE.partition(":")
        client.api.import_image_from_file(str(archive), repository=repository, tag=tag)
    return _MADE_BASE
