"""`make kubernetes`: a Kubernetes is started here, takes every manifest of the chart, runs a release of it, and has its
pods scaled, rolled and deleted while an official SDK's worker outside finishes its workflows.

As root, with Go, and Debian's etcd-server, containerd, runc, containernetworking-plugins, docker.io, debootstrap and
iptables. The first time takes half an hour, most of it for building Kubernetes. Everything is in one folder, which a
second run finds again.
"""

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import yaml
from temporalio.client import Client

from tests.cassandra.cluster import CassandraCluster
from tests.kubernetes import secrets
from tests.kubernetes.installation import CHART, NAMESPACE, RELEASE, ROLES, Installation, command
from tests.kubernetes.names import Names
from tests.kubernetes.orders import Load

HERE = Path(__file__).parent
MACHINE = "10.88.0.1"
VALUES = {
    "server": {
        "image": {"repository": "docker.io/library/perdure", "tag": "test", "pullPolicy": "Never"},
        "replicaCount": 1,
        "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}},
        "minReadySeconds": 0,
        "config": {
            "store": {"cassandra": {"contact_points": [MACHINE], "keyspace": "perdure", "replication": 1}},
            "history": {"shards": 8},
        },
    }
}
# Kinds of operators that aren't here: enough of them for a manifest to be taken.
CRD = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: servicemonitors.monitoring.coreos.com}
spec:
  group: monitoring.coreos.com
  names: {kind: ServiceMonitor, plural: servicemonitors}
  scope: Namespaced
  versions:
    - name: v1
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
"""
SPACE = """
apiVersion: v1
kind: Namespace
metadata:
  name: flows
  labels: {pod-security.kubernetes.io/enforce: restricted, pod-security.kubernetes.io/warn: restricted}
"""


def say(text: str) -> None:
    """Progress, for a person."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


async def validated(place: Installation, tools: Path) -> None:
    """The API server takes every manifest with every switch on, and finds no pod that isn't restricted."""
    await place.kubectl("apply", "-f", "-", given=CRD)
    await place.kubectl("wait", "--for=condition=Established", "crd/servicemonitors.monitoring.coreos.com")
    values = CHART / "tests" / "values" / "everything.yaml"
    # A pod's account has to be there, also where nothing is kept.
    manifests = await command(tools / "helm", "template", RELEASE, CHART, "-n", NAMESPACE, "--values", values)
    accounts = [text for text in manifests.split("\n---\n") if "kind: ServiceAccount" in text]
    await place.kubectl("apply", "-f", "-", given="\n---\n".join(accounts))
    output = await place.kubectl(
        "apply", "--dry-run=server", "--validate=strict", "--warnings-as-errors", "-f", "-", given=manifests
    )
    await place.kubectl("delete", "-f", "-", given="\n---\n".join(accounts))
    say(f"taken by the API server: {len(output.splitlines())} manifests with every switch on")


async def autoscaled(place: Installation) -> None:
    """Autoscalers that are switched on take no pod away, and bring each role to its least."""
    await place.change("server.replicaCount=2")
    least = {"frontend": 2, "history": 4, "matching": 3}
    on = [f"server.{role}.autoscaling.minReplicas={count}" for role, count in least.items()]
    await place.change("server.autoscaling.enabled=true", *on)
    before = await place.replicas()
    assert all(before[role] >= 2 for role in ROLES), before
    for role, count in least.items():
        path = f"--for=jsonpath={{.spec.replicas}}={count}"
        await place.kubectl("wait", path, f"deployment/{RELEASE}-perdure-{role}", "--timeout=90s")
    await place.helm("uninstall", RELEASE, "--wait")
    say(f"autoscalers brought the roles to {least}")


async def exercised(place: Installation) -> bool:
    """Whether every workflow finished while pods came and went."""
    client = await Client.connect(await place.address())
    async with Load(client, "order") as load:
        await load.finished(20)
        for count in (3, 1):
            for role in ROLES:
                scaled = [f"server.{name}.replicaCount={count}" for name in ROLES[: ROLES.index(role) + 1]]
                rest = [f"server.{name}.replicaCount={4 - count}" for name in ROLES[ROLES.index(role) + 1 :]]
                await place.upgrade(*scaled, *rest)
                await load.finished(20)
                say(f"{role} scaled to {count}: {load.tally}")
        await place.upgrade("server.config.log.level=warn")
        await load.finished(20)
        say(f"rolled: {load.tally}")
        await place.upgrade("server.config.log.level=warn", "server.replicaCount=2")
        for role in ROLES:
            before = {pod["metadata"]["name"] for pod in await place.pods(role)}
            await place.kubectl("delete", "pod", min(before), "--wait=true")
            await place.kubectl("rollout", "status", f"deployment/{RELEASE}-perdure-{role}", "--timeout=300s")
            await load.finished(20)
            say(f"a pod of {role} deleted: {load.tally}")
        uids = [pod["metadata"]["uid"] for role in ROLES for pod in await place.pods(role)]
        await place.upgrade(
            "server.config.log.level=warn", "server.replicaCount=2", "server.dynamicConfig.frontend\\.rps=12345"
        )
        assert uids == [pod["metadata"]["uid"] for role in ROLES for pod in await place.pods(role)]
        say("a dynamic value changed: no pod rolled")
    say(f"in all: {load.tally}")
    return load.tally.right == load.tally.begun


async def secured(place: Installation, folder: Path) -> bool:
    """The same with certificates on every connection: installed anew, tested, rolled under load."""
    await place.helm("uninstall", RELEASE, "--wait")
    tls = await secrets.made(place)
    values = folder / "tls.yaml"
    values.write_text(yaml.safe_dump(secrets.VALUES))
    await place.upgrade(more=values)
    await tested(place)
    client = await Client.connect(await place.address(), tls=tls)
    async with Load(client, "secured") as load:
        await load.finished(20)
        await place.upgrade("server.config.log.level=warn", more=values)
        await load.finished(20)
    say(f"with TLS everywhere, rolled: {load.tally}")
    return load.tally.right == load.tally.begun


async def tested(place: Installation) -> None:
    """`helm test`."""
    say(next(line for line in (await place.helm("test", RELEASE)).splitlines() if "Phase" in line))


@asynccontextmanager
async def cassandra(folder: Path) -> AsyncIterator[None]:
    """One node, at an address that pods reach."""
    cluster = CassandraCluster(folder / "cassandra", [MACHINE], heap_mb=512)
    await asyncio.to_thread(cluster.start)
    try:
        yield
    finally:
        await asyncio.to_thread(cluster.stop)


def arguments() -> argparse.Namespace:
    """The command line, parsed, with its folder made."""
    parser = argparse.ArgumentParser(prog="make kubernetes", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="where everything is")
    parser.add_argument("--tools", type=Path, required=True, help="what build.sh and deploy/helm/tools.sh have made")
    given = parser.parse_args()
    given.folder = given.folder.absolute()
    given.folder.mkdir(parents=True, exist_ok=True)
    (given.folder / "values.yaml").write_text(yaml.safe_dump(VALUES))
    return given


async def main(folder: Path, tools: Path) -> int:
    """From nothing to nothing; the exit code."""
    place = Installation(tools, folder / "kubeconfig", folder / "values.yaml")
    try:
        await command("env", f"KUBE_BIN={tools}", HERE / "cluster.sh", "up", folder)
        for image in ("pause", "perdure"):
            address = folder / "containerd.sock"
            await command("ctr", "-a", address, "-n", "k8s.io", "images", "import", folder / f"{image}.tar")
        await place.kubectl("wait", "--for=condition=Ready", "node/here", "--timeout=60s")
        await place.kubectl("apply", "-f", "-", given=SPACE)
        await validated(place, tools)
        await autoscaled(place)
        await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: Names(place.service_address), local_addr=(MACHINE, 53)
        )
        async with cassandra(folder):
            await place.upgrade()
            say("installed")
            await tested(place)
            is_right = await exercised(place) and await secured(place, folder)
    finally:
        await command("env", f"KUBE_BIN={tools}", HERE / "cluster.sh", "down", folder)
    return 0 if is_right else 1


if __name__ == "__main__":
    wanted = arguments()
    sys.exit(asyncio.run(main(wanted.folder, wanted.tools)))
