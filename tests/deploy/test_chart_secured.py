"""Each role as the chart renders it, with certificates and tokens switched on by values: the official SDK works with a
token, and nothing does without.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import trustme
import yaml
from temporalio import workflow
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode, TLSConfig
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from perdure.base.clock import SystemClock
from tests.cassandra.fixtures import Keyspace
from tests.deploy.chart import of_kind, rendered
from tests.deploy.pods import Pod
from tests.e2e.processes import free_port
from tests.unit.frontend.issuers import AUDIENCE, GOOD_SET, ISSUER, SECOND_NS, claims, token

pytestmark = pytest.mark.slow

ROLES = ("frontend", "history", "matching")
FRONTEND, BETWEEN = "frontend.perdure.test", "internode.perdure.test"


@workflow.defn(name="Echo", sandboxed=False)
class Echo:
    """Says what it is told."""

    @workflow.run
    async def run(self, said: str) -> str:
        """The same."""
        return said


def _values(keyspace: Keyspace) -> dict[str, object]:
    contact = keyspace.contact
    store = {"contact_points": [contact.host], "port": contact.port, "keyspace": keyspace.name, "replication": 1}
    tls = {
        "frontend": {"existingSecret": "frontend-tls"},
        "internode": {"existingSecret": "internode-tls", "server_name": BETWEEN},
    }
    auth = {"issuer": ISSUER, "audience": AUDIENCE, "existingSecret": "tokens"}
    config = {"store": {"cassandra": store}, "tls": tls, "auth": auth, "history": {"shards": 4}}
    return {
        "server": {"config": {**config, "namespaces": [{"name": "default"}]}},
        "test": {"existingSecret": "authority", "serverName": FRONTEND},
    }


def _secrets(authority: trustme.CA) -> dict[str, dict[str, bytes]]:
    """As `kubectl create secret` would make them."""
    ca = {"ca.crt": authority.cert_pem.bytes()}
    made: dict[str, dict[str, bytes]] = {"authority": ca, "tokens": {"jwks.json": GOOD_SET}}
    for name, identity in (("frontend-tls", FRONTEND), ("internode-tls", BETWEEN)):
        issued = authority.issue_cert(identity)
        chain = b"".join(pem.bytes() for pem in issued.cert_chain_pems)
        made[name] = {**ca, "tls.crt": chain, "tls.key": issued.private_key_pem.bytes()}
    return made


@asynccontextmanager
async def _release(keyspace: Keyspace, folder: Path, authority: trustme.CA) -> AsyncIterator[str]:
    """A pod of each role, and `helm test` has found them there; the frontend's address."""
    values = folder / "values.yaml"
    values.write_text(yaml.safe_dump(_values(keyspace)))
    manifests = rendered("--values", values)
    deployments, secrets = of_kind(manifests, "Deployment"), _secrets(authority)
    ports = {role: free_port() for role in ROLES}
    async with AsyncExitStack() as stack:
        pods = []
        for role in ROLES:
            spec = deployments[f"prod-perdure-{role}"]["spec"]["template"]["spec"]
            (folder / role).mkdir()
            own = {role: ports[role], "metrics": free_port()}
            pods.append(Pod(manifests, spec, secrets, folder / role, own))
            stack.push_async_callback(pods[-1].end)
            await pods[-1].start()
        await asyncio.gather(*(pod.ready() for pod in pods))
        (folder / "test").mkdir()
        (asked,) = (found["spec"] for found in of_kind(manifests, "Pod").values())
        test = Pod(manifests, asked, secrets, folder / "test", {})
        stack.push_async_callback(test.end)
        address = f"127.0.0.1:{ports['frontend']}"
        # The last of two says where.
        await test.start(f"--address={address}", "--timeout=20")
        assert await test.ended() == 0, test.errors
        yield address
        assert await asyncio.gather(*(pod.stop() for pod in pods)) == [0, 0, 0]


def _key(*permissions: str, expires_in: int = 600) -> str:
    return token(claims(*permissions, exp=SystemClock().now_ns() // SECOND_NS + expires_in)).removeprefix("Bearer ")


@pytest.mark.timeout(300)
async def test_an_sdk_works_with_a_token_and_not_without(keyspace: Keyspace, tmp_path: Path) -> None:
    authority = trustme.CA()
    async with _release(keyspace, tmp_path, authority) as address:
        tls = TLSConfig(server_root_ca_cert=authority.cert_pem.bytes(), domain=FRONTEND)
        writer = await Client.connect(address, tls=tls, api_key=_key("default:write"))
        async with Worker(writer, task_queue="q", workflows=[Echo], workflow_runner=UnsandboxedWorkflowRunner()):
            assert await writer.execute_workflow(Echo.run, "said", id="wf", task_queue="q") == "said"
        for refused in (None, _key("elsewhere:admin"), _key("default:read")):
            client = await Client.connect(address, tls=tls, api_key=refused)
            with pytest.raises(RPCError) as error:
                await client.start_workflow(Echo.run, "no", id="other", task_queue="q")
            assert error.value.status is RPCStatusCode.PERMISSION_DENIED
        with pytest.raises(RuntimeError, match="Request unauthorized"):
            await Client.connect(address, tls=tls, api_key=_key("default:write", expires_in=-60))
        for plain in (False, TLSConfig(server_root_ca_cert=trustme.CA().cert_pem.bytes(), domain=FRONTEND)):
            with pytest.raises(RuntimeError, match="onnection"):
                await Client.connect(address, tls=plain, api_key=_key("default:write"))
