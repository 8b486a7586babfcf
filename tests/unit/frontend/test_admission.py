"""Before a method runs: its namespace, its token, its allowance. And the table as a whole."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from google.protobuf.message import Message
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import ResourceExhaustedCause
from temporalio.api.workflowservice.v1 import (
    CountWorkflowExecutionsRequest,
    DescribeWorkflowExecutionRequest,
    RespondActivityTaskCompletedRequest,
    RespondQueryTaskCompletedRequest,
    RespondWorkflowTaskCompletedRequest,
    RespondWorkflowTaskFailedRequest,
)

from perdure.base.errors import InvalidArgument, NamespaceNotFound, NotFound, ResourceExhausted
from perdure.base.limits import Limits
from perdure.frontend.lookups import ABSENT_MAX, ABSENT_NS, Lookups
from perdure.frontend.methods import OPERATOR_SERVICE, WORKFLOW_SERVICE
from perdure.frontend.rates import Bucket, Rates
from perdure.rpc.call import CallMeta
from perdure.workflow.context import Caller
from perdure.workflow.requests import CompleteWorkflowTask
from perdure.workflow.tokens import QueryToken, TaskToken, encode_token
from tests.unit.frontend.fakes import AWAY, HOME, Desk, FakeClock, asked, open_desk, with_limits

SECOND_NS = 1_000_000_000
TOKEN = encode_token(TaskToken(HOME.id, "wf", "run", 2, 3))


def test_every_method_of_the_api_is_served_or_known_to_be_absent() -> None:
    desk = Desk()
    served, absent = set(desk.frontend.methods), set(desk.frontend.absent)
    assert not served & absent
    assert len(served) + len(absent) == len(WORKFLOW_SERVICE.methods) + len(OPERATOR_SERVICE.methods)


def test_every_method_parses_the_request_that_the_api_gives_it() -> None:
    for name, method in Desk().frontend.methods.items():
        service = WORKFLOW_SERVICE if WORKFLOW_SERVICE.full_name in name else OPERATOR_SERVICE
        wanted = service.methods_by_name[name.rpartition("/")[2]].input_type.full_name
        assert method.request.DESCRIPTOR.full_name == wanted


async def test_an_unknown_namespace_comes_before_everything_else() -> None:
    desk = await open_desk()
    with pytest.raises(NamespaceNotFound) as refused:
        await desk.call(DescribeWorkflowExecutionRequest(namespace="nope"))
    assert refused.value.message == "Namespace nope is not found."


@pytest.mark.parametrize(
    "asking",
    [
        lambda nope: DescribeWorkflowExecutionRequest(namespace=nope),
        lambda nope: RespondActivityTaskCompletedRequest(task_token=encode_token(TaskToken(nope, "wf", "run", 2, 3))),
        lambda nope: RespondActivityTaskCompletedRequest(namespace=nope, task_token=TOKEN),
    ],
)
async def test_who_names_no_namespace_is_charged_before_the_store_is_asked(asking: Callable[[str], Message]) -> None:
    desk = await open_desk(with_limits(host_rps=3, burst_ratio=1.0))
    for number in range(3):
        with pytest.raises(NotFound):
            await desk.call(asking(f"nope {number}"))
    reads = len(desk.documents.reads)
    with pytest.raises(ResourceExhausted, match="service rate limit exceeded"):
        await desk.call(asking("nope"))
    assert len(desk.documents.reads) == reads


async def test_no_call_looks_for_a_namespace_of_any_length() -> None:
    desk = await open_desk()
    tried = 0
    for method in desk.frontend.methods.values():
        if (
            "namespace" not in method.request.DESCRIPTOR.fields_by_name
            or "task_token" in method.request.DESCRIPTOR.fields_by_name
        ):
            continue
        tried += 1
        with pytest.raises(InvalidArgument, match="Namespace length exceeds limit"):
            await method.handler(method.request(namespace="x" * 1001), CallMeta())
    assert tried > 50
    assert desk.documents.reads == []


async def test_who_names_the_same_again_is_told_so_however_busy_the_host_is() -> None:
    desk = await open_desk(with_limits(host_rps=1, burst_ratio=1.0))
    execution = WorkflowExecution(workflow_id="wf")
    for _ in range(3):
        with pytest.raises(NamespaceNotFound):
            await desk.call(DescribeWorkflowExecutionRequest(namespace="nope", execution=execution))
    assert desk.documents.reads == ["nope"]
    desk.clock.time_ns += ABSENT_NS
    with pytest.raises(NamespaceNotFound):
        await desk.call(DescribeWorkflowExecutionRequest(namespace="nope", execution=execution))
    desk.clock.time_ns += ABSENT_NS // 2
    await desk.namespaces.register(msgspec.structs.replace(AWAY, id="new", name="nope"))
    desk.clock.time_ns += ABSENT_NS
    await desk.call(DescribeWorkflowExecutionRequest(namespace="nope", execution=execution))
    assert desk.documents.reads == ["nope"] * 2


async def test_only_so_many_absent_names_are_remembered() -> None:
    desk = await open_desk()
    lookups = Lookups(desk.namespaces, Rates(Limits(), desk.clock, throttled=False), desk.clock)
    for name in [*map(str, range(ABSENT_MAX + 1)), str(ABSENT_MAX), "0"]:
        with pytest.raises(NamespaceNotFound):
            await lookups.by_name(name, 0)
    assert len(desk.documents.reads) == ABSENT_MAX + 2


@pytest.mark.parametrize(
    "request_class",
    [RespondWorkflowTaskCompletedRequest, RespondWorkflowTaskFailedRequest, RespondActivityTaskCompletedRequest],
)
async def test_a_token_counts_only_in_its_own_namespace(request_class: type[Any]) -> None:
    desk = await open_desk()
    with pytest.raises(InvalidArgument, match="Operation requested with a token from a different namespace"):
        await desk.call(request_class(namespace=AWAY.name, task_token=TOKEN))
    with pytest.raises(NotFound, match="Namespace nope is not found"):
        await desk.call(request_class(namespace="nope", task_token=TOKEN))
    assert desk.history.asked == []


async def test_a_query_token_counts_only_in_its_own_namespace() -> None:
    desk = await open_desk()
    token = encode_token(QueryToken(HOME.id, "queue", "query"))
    with pytest.raises(InvalidArgument, match="a token from a different namespace"):
        await desk.call(RespondQueryTaskCompletedRequest(namespace=AWAY.name, task_token=token))
    await desk.call(RespondQueryTaskCompletedRequest(namespace=HOME.name, task_token=token))
    assert [answer[0] for answer in desk.matching.answers] == [QueryToken(HOME.id, "queue", "query")]


@pytest.mark.parametrize(
    ("token", "message"),
    [
        (b"", "Task token not set on request."),
        (b"zzz", "Error deserializing task token."),
        (encode_token(QueryToken(HOME.id, "queue", "query")), "Error deserializing task token."),
    ],
)
async def test_a_bad_token_is_refused(token: bytes, message: str) -> None:
    desk = await open_desk()
    with pytest.raises(InvalidArgument) as refused:
        await desk.call(RespondWorkflowTaskCompletedRequest(namespace="default", task_token=token))
    assert refused.value.message == message


async def test_a_token_alone_names_its_namespace() -> None:
    desk = await open_desk()
    desk.history.reply = b"encoded"
    assert await desk.call(RespondWorkflowTaskCompletedRequest(task_token=TOKEN)) == b"encoded"
    request = asked(desk)
    assert isinstance(request, CompleteWorkflowTask)
    assert request.token == TaskToken(HOME.id, "wf", "run", 2, 3)


async def test_roles_learn_who_calls_and_how_long_they_have() -> None:
    desk = await open_desk()
    seen: list[Any] = []

    async def remember(key: Any, request: Any, call: Any) -> None:
        seen.append(call)

    desk.history.transact = remember  # type: ignore[method-assign]  # a fake that looks at the call
    execution = WorkflowExecution(workflow_id="wf")
    request = DescribeWorkflowExecutionRequest(namespace="default", execution=execution)
    await desk.call(request, CallMeta(timeout_ns=7, client_name="temporal-go", client_version="1.2"))
    assert (seen[0].caller, seen[0].timeout_ns) == (Caller("temporal-go", "1.2"), 7)


async def test_a_namespace_has_its_own_allowance() -> None:
    desk = await open_desk(with_limits(namespace_rps=1, burst_ratio=2.0))
    execution = WorkflowExecution(workflow_id="wf")
    here = DescribeWorkflowExecutionRequest(namespace=HOME.name, execution=execution)
    there = DescribeWorkflowExecutionRequest(namespace=AWAY.name, execution=execution)
    await desk.call(here)
    await desk.call(here)
    with pytest.raises(ResourceExhausted) as refused:
        await desk.call(here)
    assert refused.value.message == "namespace rate limit exceeded"
    assert refused.value.cause == ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_RPS_LIMIT
    await desk.call(there)
    desk.clock.time_ns += SECOND_NS
    await desk.call(here)


async def test_list_calls_have_an_allowance_of_their_own() -> None:
    desk = await open_desk(with_limits(visibility_rps=1, burst_ratio=1.0))
    await desk.call(CountWorkflowExecutionsRequest(namespace="default"))
    with pytest.raises(ResourceExhausted):
        await desk.call(CountWorkflowExecutionsRequest(namespace="default"))
    await desk.call(
        DescribeWorkflowExecutionRequest(namespace="default", execution=WorkflowExecution(workflow_id="wf"))
    )


def test_a_host_is_limited_over_all_namespaces() -> None:
    clock = FakeClock()
    rates = Rates(Limits(host_rps=2, burst_ratio=1.0), clock)
    rates.admit("a", visibility=False)
    rates.admit("b", visibility=False)
    with pytest.raises(ResourceExhausted, match="service rate limit exceeded"):
        rates.admit("c", visibility=False)
    Rates(Limits(host_rps=0, burst_ratio=0), clock, throttled=False).admit("a", visibility=True)


def test_a_bucket_fills_with_time_up_to_its_burst() -> None:
    bucket = Bucket(rate=10, burst=3, now_ns=0)
    assert [bucket.take(0) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(SECOND_NS // 10), bucket.take(SECOND_NS // 10)] == [True, False]
    assert [bucket.take(100 * SECOND_NS) for _ in range(4)] == [True, True, True, False]
    assert not bucket.take(99 * SECOND_NS)
