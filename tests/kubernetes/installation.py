"""kubectl and helm against the cluster of cluster.sh."""

import asyncio
import json
from pathlib import Path
from typing import Any

from tests.tidy.sources import ROOT

CHART = ROOT / "deploy" / "helm" / "perdure"
NAMESPACE, RELEASE = "flows", "prod"
ROLES = ("frontend", "history", "matching")


class CommandFailed(Exception):
    """What it said."""


async def command(*arguments: str | Path, given: str = "") -> str:
    """What a command writes. Raises CommandFailed."""
    process = await asyncio.create_subprocess_exec(
        *map(str, arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate(given.encode())
    if process.returncode:
        raise CommandFailed(f"{Path(arguments[0]).name} {arguments[1]}: {output.decode()}{errors.decode()}")
    return output.decode()


class Installation:
    """The release, in its namespace."""

    def __init__(self, tools: Path, kubeconfig: Path, values: Path) -> None:
        self._tools = tools
        self._kubeconfig = kubeconfig
        self._values = values

    async def kubectl(self, *arguments: str, given: str = "") -> str:
        return await command(
            self._tools / "kubectl", "--kubeconfig", self._kubeconfig, "-n", NAMESPACE, *arguments, given=given
        )

    async def found(self, *arguments: str) -> Any:
        return json.loads(await self.kubectl("get", *arguments, "-o", "json"))

    async def helm(self, *arguments: str) -> str:
        return await command(self._tools / "helm", "--kubeconfig", str(self._kubeconfig), "-n", NAMESPACE, *arguments)

    async def upgrade(self, *changes: str, more: Path | None = None) -> None:
        """Install, or change, and wait until all pods are as they should be. `more`: values over the usual ones."""
        await self.change(*changes, "--wait", "--timeout=5m", more=more)
        for role in ROLES:  # helm's wait is over when enough are ready, this when the former ones are gone
            await self.kubectl("rollout", "status", f"deployment/{RELEASE}-perdure-{role}", "--timeout=300s")
            await self.gone(role)

    async def change(self, *changes: str, more: Path | None = None) -> None:
        """Install, or change, and wait for nothing. Changes with a dash are helm's own options."""
        files = [self._values] if more is None else [self._values, more]
        named = [part for path in files for part in ("--values", str(path))]
        options = [part for change in changes for part in ((change,) if change[0] == "-" else ("--set", change))]
        await self.helm("upgrade", "--install", RELEASE, str(CHART), *named, *options)

    async def replicas(self) -> dict[str, int]:
        """How many pods each role shall have."""
        found = (await self.found("deployments"))["items"]
        return {role["metadata"]["labels"]["app.kubernetes.io/component"]: role["spec"]["replicas"] for role in found}

    async def pods(self, role: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self.found("pods", "-l", f"app.kubernetes.io/component={role}"))["items"]
        return found

    async def gone(self, role: str) -> None:
        """Wait until no pod of a role is leaving."""
        for pod in await self.pods(role):
            if "deletionTimestamp" in pod["metadata"]:
                await self.kubectl("wait", "--for=delete", f"pod/{pod['metadata']['name']}", "--timeout=120s")

    async def address(self) -> str:
        """Of the frontend's service, as this machine reaches it."""
        service = await self.found("service", f"{RELEASE}-perdure-frontend")
        return f"{service['spec']['clusterIP']}:{service['spec']['ports'][0]['port']}"

    async def service_address(self, name: str, namespace: str) -> str:
        """For the name server; "" if there is none."""
        try:
            return await self.kubectl("-n", namespace, "get", "service", name, "-o", "jsonpath={.spec.clusterIP}")
        except CommandFailed:
            return ""
