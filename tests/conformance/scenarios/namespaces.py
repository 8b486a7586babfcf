"""Namespaces: registered, described, listed, and apart from one another."""

from __future__ import annotations

from typing import Any

from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.harness.payloads import duration
from tests.conformance.harness.render import Rule
from tests.conformance.harness.rpc import CallFailed
from tests.conformance.harness.scenario import scenario
from tests.conformance.harness.session import NAMESPACE, Session
from tests.conformance.harness.waiting import until

NAMESPACE_RULES = (
    Rule("NamespaceInfo.id", "a random id", "<id>"),
    Rule("NamespaceInfo.capabilities", "what a server offers is its own; SDKs only use what is there"),
    Rule("NamespaceInfo.supports_schedules", "as above"),
    Rule("NamespaceInfo.limits", "limits are configured"),
    Rule("custom_search_attribute_aliases", "how a store lays out search attributes is its own affair"),
    Rule("failover_version", "replication between clusters"),
    Rule("failover_history", "replication between clusters"),
    Rule("replication_config", "replication between clusters"),
)


def _register(s: Session, name: str = "ns", **fields: Any) -> ws.RegisterNamespaceRequest:
    plain: dict[str, Any] = {
        "namespace": s.unique(name),
        "workflow_execution_retention_period": duration(3 * 86400),
    }
    return ws.RegisterNamespaceRequest(**{**plain, **fields})


async def _usable(s: Session, namespace: str) -> None:
    async def known() -> bool:
        try:
            await s.quiet(ws.GetWorkflowExecutionHistoryRequest(namespace=namespace, execution=s.execution("none")))
        except CallFailed as failed:
            return "Namespace" not in failed.text
        return True

    await until("the namespace to be usable", known)


@scenario(rules=NAMESPACE_RULES)
async def namespace_registered(s: Session) -> None:
    """Registered with everything, described, and registered again."""
    await s.call(_register(s, description="for tests", owner_email="a@b.example", data={"k": "v"}))
    await s.call(ws.DescribeNamespaceRequest(namespace=s.unique("ns")))
    await s.attempt(_register(s))


@scenario(rules=NAMESPACE_RULES)
async def namespace_described_by_id(s: Session) -> None:
    """A namespace can be described by its id."""
    await s.quiet(_register(s))
    described = await s.quiet(ws.DescribeNamespaceRequest(namespace=s.unique("ns")))
    found = await s.quiet(ws.DescribeNamespaceRequest(id=described.namespace_info.id))
    s.show("found by id", found)


@scenario(rules=NAMESPACE_RULES)
async def namespace_default(s: Session) -> None:
    """What the development server makes by itself."""
    await s.call(ws.DescribeNamespaceRequest(namespace=NAMESPACE))


@scenario()
async def namespace_refused(s: Session) -> None:
    """Missing ones, and requests without name or with a bad retention."""
    await s.attempt(ws.DescribeNamespaceRequest(namespace=s.unique("missing")))
    await s.attempt(ws.DescribeNamespaceRequest(id="01234567-89ab-4cde-8f01-23456789abcd"))
    await s.attempt(ws.DescribeNamespaceRequest())
    await s.attempt(_register(s, namespace=""))
    await s.attempt(_register(s, namespace="n" * 1001))
    await s.attempt(_register(s, workflow_execution_retention_period=None))
    await s.attempt(_register(s, workflow_execution_retention_period=duration(60)))
    await s.attempt(_register(s, workflow_execution_retention_period=duration(-1)))


@scenario(rules=NAMESPACE_RULES)
async def namespace_listed(s: Session) -> None:
    """A registered namespace is in the list, page by page."""
    await s.quiet(_register(s))
    request = ws.ListNamespacesRequest(page_size=2)
    while True:
        reply: ws.ListNamespacesResponse = await s.quiet(request)
        for found in reply.namespaces:
            if found.namespace_info.name == s.unique("ns"):
                s.show("listed", found)
        if not reply.next_page_token:
            break
        request.next_page_token = reply.next_page_token


@scenario()
async def namespaces_are_apart(s: Session) -> None:
    """The same workflow id in two namespaces is two workflows; a token of one is worth nothing in the other."""
    other = s.unique("ns")
    await s.quiet(_register(s))
    await _usable(s, other)
    await s.start_quietly()
    task = await s.take()
    missing = ws.DescribeWorkflowExecutionRequest(namespace=other, execution=s.execution("wf"))
    await s.attempt(missing)
    await s.start("wf", namespace=other)
    await s.attempt(s.completion(task, namespace=other))
    await s.complete(task)
    await s.attempt(s.poll_request(), seconds=3)


@scenario()
async def namespace_unknown(s: Session) -> None:
    """Every call of an unknown or unnamed namespace is refused."""
    for name in ("no-such-namespace", ""):
        s.note(f"namespace {name!r}")
        await s.attempt(s.start_request(namespace=name))
        await s.attempt(s.poll_request(namespace=name), seconds=3)
        await s.attempt(s.poll_activity_request(namespace=name), seconds=3)
        await s.attempt(ws.DescribeWorkflowExecutionRequest(namespace=name, execution=s.execution("wf")))
        await s.attempt(ws.GetWorkflowExecutionHistoryRequest(namespace=name, execution=s.execution("wf")))
        await s.signal("x", namespace=name)
        await s.terminate(namespace=name)
        await s.attempt(ws.ListWorkflowExecutionsRequest(namespace=name))
