"""What each method needs, what callers may, and that a refusal comes before everything and says nothing."""

from typing import Any

import pytest
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    DescribeWorkflowExecutionRequest,
    GetSystemInfoRequest,
    ListNamespacesRequest,
    PollWorkflowTaskQueueRequest,
    RegisterNamespaceRequest,
    RespondWorkflowTaskCompletedRequest,
    StartWorkflowExecutionRequest,
)

from perdure.base.errors import NamespaceNotFound, NotFound, ResourceExhausted, Unauthorized
from perdure.frontend.authorization import NEEDS, NOBODY, Authorization, Claims, Reach, Role, need_of, roles_of
from perdure.frontend.grades import GRADE, WAITING
from perdure.frontend.guards import Guards
from perdure.frontend.methods import ADMIN_METHODS, api_methods
from perdure.rpc.call import CallMeta
from perdure.workflow.tokens import TaskToken, encode_token
from tests.unit.frontend.fakes import AWAY, HOME, Desk, open_desk, with_limits

API = {name.rpartition("/")[2] for name in api_methods()}
UNKNOWN_ID = "0a0a0a0a-0000-4000-8000-00000000000f"


class Known:
    """Callers by the name that they give for themselves."""

    def __init__(self, **callers: Claims) -> None:
        self.callers = callers

    async def identify(self, meta: CallMeta) -> Claims:
        if meta.authorization == "forged":
            raise Unauthorized
        return self.callers.get(meta.authorization, NOBODY)


CALLERS = Known(
    reader=Claims("reader", 0, {"default": Role.READ}),
    writer=Claims("writer", 0, {"default": Role.WRITE}),
    worker=Claims("worker", 0, {"default": Role.WORKER}),
    admin=Claims("admin", 0, {"default": Role.ADMIN}),
    stranger=Claims("stranger", 0, {"elsewhere": Role.ADMIN}),
    operator=Claims("operator", Role.ADMIN),
    watcher=Claims("watcher", Role.READ),
    fleet=Claims("fleet", Role.WORKER),
)


async def guarded(**limits: int) -> Desk:
    desk = await open_desk(with_limits(**limits), Guards(authorization=Authorization(CALLERS)))
    desk.history.reply = b""
    return desk


async def may(desk: Desk, request: Any, caller: str) -> bool:
    """Whether the caller gets past the guards; what the method says then doesn't matter here."""
    try:
        await desk.call(request, CallMeta(timeout_ns=10_000_000_000, authorization=caller))
    except Unauthorized:
        return False
    except Exception:  # noqa: BLE001 - a scripted role answers nothing that a method can use
        return True
    return True


def test_every_method_of_the_api_says_what_it_needs_and_when_it_goes() -> None:
    assert set(NEEDS) == API | ADMIN_METHODS
    assert set(GRADE) == API | ADMIN_METHODS
    assert WAITING <= API


def test_a_method_that_is_not_in_the_table_is_for_nobody() -> None:
    need = need_of("NewerMethod")
    assert (need.reach, need.roles) == (Reach.CLUSTER, 0)


@pytest.mark.parametrize(
    ("permissions", "system", "namespaces"),
    [
        (["a:read", "a:WRITE", "b:worker"], 0, {"a": Role.READ | Role.WRITE, "b": Role.WORKER}),
        (["temporal-system:admin"], Role.ADMIN, {}),
        (["a:owner", "a", ":admin", "", "admin"], 0, {}),
        (["a:b:read"], 0, {"a:b": Role.READ}),
        (["*:admin"], 0, {"*": Role.ADMIN}),
    ],
)
def test_permissions_are_roles_in_namespaces(permissions: list[str], system: int, namespaces: dict[str, int]) -> None:
    assert roles_of(permissions) == (system, namespaces)


@pytest.mark.parametrize(
    ("request_", "callers"),
    [
        (DescribeWorkflowExecutionRequest(namespace="default"), "reader writer admin operator watcher"),
        (StartWorkflowExecutionRequest(namespace="default"), "writer admin operator"),
        (PollWorkflowTaskQueueRequest(namespace="default"), "writer admin operator worker fleet"),
        (DescribeNamespaceRequest(namespace="default"), "reader writer admin operator watcher worker fleet"),
        (DescribeNamespaceRequest(id=HOME.id), "reader writer admin operator watcher worker fleet"),
        (RegisterNamespaceRequest(namespace="default"), "admin operator"),
        (RegisterNamespaceRequest(namespace="newer"), "operator"),
        (ListNamespacesRequest(), "operator watcher"),
        (GetSystemInfoRequest(), "reader writer worker admin stranger operator watcher fleet nobody"),
    ],
)
async def test_who_may_do_what(request_: Any, callers: str) -> None:
    desk = await guarded()
    everybody = [*CALLERS.callers, "nobody", "forged"]
    assert {caller for caller in everybody if await may(desk, request_, caller)} == set(callers.split())


async def test_nobody_may_do_anything_but_ask_what_the_server_is() -> None:
    desk = await guarded()
    for name, method in desk.frontend.methods.items():
        request: Any = method.request()
        if "namespace" in method.request.DESCRIPTOR.fields_by_name:
            request.namespace = "default"
        assert await may(desk, request, "nobody") == name.endswith("/GetSystemInfo"), name
    assert desk.history.asked == []


@pytest.mark.parametrize("caller", ["reader", "writer", "worker", "admin"])
async def test_another_namespace_is_refused_by_every_method_whether_it_is_there_or_not(caller: str) -> None:
    desk = await guarded()
    desk.documents.reads.clear()
    tried = 0
    for method in desk.frontend.methods.values():
        if "namespace" not in method.request.DESCRIPTOR.fields_by_name:
            continue
        for name in (AWAY.name, "nope", ""):
            tried += 1
            request: Any = method.request(namespace=name)
            assert not await may(desk, request, caller), (method.request.__name__, name)
    assert tried > 150
    assert (desk.history.asked, desk.matching.polls, desk.visibility.queries, desk.documents.reads) == ([], [], [], [])


async def test_a_namespace_by_its_id_is_refused_whether_it_is_there_or_not() -> None:
    desk = await guarded()
    for namespace_id in (AWAY.id, UNKNOWN_ID, "nonsense"):
        assert not await may(desk, DescribeNamespaceRequest(id=namespace_id), "admin")
        assert not await may(desk, DescribeNamespaceRequest(namespace="default", id=namespace_id), "admin")
    with pytest.raises(NamespaceNotFound):
        await desk.call(DescribeNamespaceRequest(id=UNKNOWN_ID), CallMeta(authorization="operator"))


@pytest.mark.parametrize("named", ["", "default", "away"])
@pytest.mark.parametrize("namespace_id", [AWAY.id, UNKNOWN_ID])
async def test_a_token_of_another_namespace_is_refused_whether_it_is_there_or_not(
    named: str, namespace_id: str
) -> None:
    desk = await guarded()
    request = RespondWorkflowTaskCompletedRequest(
        namespace=named, task_token=encode_token(TaskToken(namespace_id, "wf", "run", 2, 3))
    )
    for caller in ("writer", "worker", "admin", "stranger", "nobody"):
        assert not await may(desk, request, caller)
    assert desk.history.asked == []


async def test_tokens_of_no_namespace_are_charged_before_the_store_is_asked() -> None:
    desk = await guarded(host_rps=3, burst_ratio=1)
    for number in range(5):
        token = encode_token(TaskToken(f"{UNKNOWN_ID} {number}", "wf", "run", 2, 3))
        expected = Unauthorized if number < 3 else ResourceExhausted
        with pytest.raises(expected):
            await desk.call(RespondWorkflowTaskCompletedRequest(task_token=token), CallMeta(authorization="worker"))
    assert len(desk.documents.reads) == 3


async def test_a_token_alone_is_judged_by_its_namespace() -> None:
    desk = await guarded()
    request = RespondWorkflowTaskCompletedRequest(task_token=encode_token(TaskToken(HOME.id, "wf", "run", 2, 3)))
    assert await may(desk, request, "worker")
    assert not await may(desk, request, "reader")
    assert [key.namespace_id for key, _ in desk.history.asked] == [HOME.id]


async def test_a_refusal_comes_before_limits_and_costs_nothing() -> None:
    desk = await guarded(namespace_rps=1, burst_ratio=1)
    request = DescribeWorkflowExecutionRequest(namespace="default")
    for _ in range(5):
        assert not await may(desk, request, "stranger")
    request.execution.workflow_id = "wf"
    await desk.call(request, CallMeta(authorization="reader"))
    with pytest.raises(ResourceExhausted):
        await desk.call(request, CallMeta(authorization="reader"))
    with pytest.raises(Unauthorized):
        await desk.call(request, CallMeta(authorization="stranger"))


async def test_whoever_may_everything_reads_the_same_errors_as_without_guards() -> None:
    desk = await guarded()
    with pytest.raises(NotFound, match="Namespace nope is not found"):
        await desk.call(DescribeWorkflowExecutionRequest(namespace="nope"), CallMeta(authorization="operator"))
