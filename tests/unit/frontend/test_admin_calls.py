"""The admin service's methods over hosts that are scripted: who is asked, who doesn't answer, who may."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest, DescribeWorkflowExecutionRequest

from perdure.base.errors import (
    FailedPrecondition,
    HostUnreachable,
    InvalidArgument,
    NotFound,
    ShardElsewhere,
    Unauthorized,
    Unavailable,
)
from perdure.base.slots import SlotRange
from perdure.cluster.members import Member, MemberState, View
from perdure.cluster.members import Role as HostRole
from perdure.cluster.ring import Rings, partition_key
from perdure.cluster.roles import PartitionView
from perdure.cluster.shard_host import ShardState, ShardView
from perdure.frontend.audit import Audit
from perdure.frontend.authorization import Authorization, Claims, Role
from perdure.frontend.guards import Guards
from perdure.frontend.measured import GuardMeter
from perdure.frontend.methods import ADMIN_METHODS, full_name
from perdure.rpc.call import CallMeta
from perdure.server.admin_shown import ring
from perdure.store.contract import ShardMap
from perdure.workflow.tasks import QueueKey
from tests.unit.frontend.fakes import Desk, open_desk

_META = CallMeta(timeout_ns=5_000_000_000)


class ScriptedHost:
    """A history host: `views` by shard; `error`: for who asks for them."""

    def __init__(self, *shards: str) -> None:
        self.views = {shard: ShardView(shard, ShardState.SERVING, SlotRange(), 4) for shard in shards}
        self.error: Exception | None = None
        self.hangs = False
        self.asked: list[object] = []

    async def let_go(self, host: str, shard: str, epoch: int, view: int) -> None:
        raise NotImplementedError

    async def list_shards(self) -> list[ShardView]:
        if self.hangs:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error
        return list(self.views.values())

    async def split(self, shard: str, parts: int) -> list[str]:
        self.asked.append((shard, parts))
        if shard not in self.views:
            raise ShardElsewhere("It is at h2.", "h2")
        return [f"{shard}-{part}" for part in range(parts)]

    async def merge(self, shards: Sequence[str]) -> str:
        self.asked.append(tuple(shards))
        return "+".join(shards)


class FakeOperations:
    """Hosts h1 and h2. A shard that is pinned to a host is there."""

    host = "h1"
    suspects = frozenset({"h2"})

    def __init__(self) -> None:
        ports = {"h1": "1", "h2": "2"}
        members = tuple(
            Member(
                host,
                {"history": f"10.0.0.{port}:7234"},
                MemberState.SERVING,
                f"pod-{port}",
                "0.1",
                started_ns=1,
                tls=host == "h2",
            )
            for host, port in ports.items()
        )
        self.view = View(7, members)
        self.shard_map: ShardMap | None = ShardMap(3, ((0, "a"), (40_000, "b")))
        self.hosts = {"h1": ScriptedHost("a"), "h2": ScriptedHost("b")}
        self.lands = True

    async def refresh(self) -> None:
        """It is all known."""

    def shard_host(self, host: str) -> ScriptedHost:
        if host not in self.hosts:
            raise HostUnreachable(f"Host {host} is no member.", host)
        return self.hosts[host]

    def owner_of_shard(self, shard: str) -> str:
        return self.view.pins.get(shard) or {"a": "h1", "b": "h2"}[shard]

    def owner_of_queue(self, partition: QueueKey) -> str:
        return Rings(self.view).owner(HostRole.MATCHING, partition_key(partition))

    async def pin(self, pins: Mapping[str, str]) -> View:
        for shard, host in pins.items():
            self.view = self.view.with_pin(shard, host)
            if host and self.lands:
                for other in self.hosts.values():
                    other.views.pop(shard, None)
                self.hosts[host].views[shard] = ShardView(shard, ShardState.SERVING)
        return self.view


class Office:
    """A desk whose frontend serves operators."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.operations = FakeOperations()
        desk.frontend.administer(self.operations)

    async def call(self, method: str, meta: CallMeta = _META, **fields: Any) -> dict[str, Any]:
        request = Struct()
        request.update(fields)
        reply = await self.desk.frontend.methods[full_name(method)].handler(request, meta)
        assert isinstance(reply, Struct)
        found: dict[str, Any] = MessageToDict(reply)
        return found


@pytest.fixture
async def office() -> Office:
    return Office(await open_desk())


async def test_all_of_it_is_served(office: Office) -> None:
    assert {full_name(name) for name in ADMIN_METHODS} <= set(office.desk.frontend.methods)


async def test_the_ring(office: Office) -> None:
    await office.operations.pin({"b": "h1"})
    found = await office.call("Ring")
    assert [(each["name"], each["suspect"], each["self"], each["tls"]) for each in found["members"]] == [
        ("pod-1", False, True, False),
        ("pod-2", True, False, True),
    ]
    assert (found["version"], found["pins"]) == (7, {"b": "h1"})
    head, first, second = ring(found).splitlines()[1:4]
    assert [line.split()[-2] for line in (head, first, second)] == ["TLS", "no", "yes"]


async def test_a_host_that_doesnt_answer_is_shown_as_such(office: Office) -> None:
    office.operations.hosts["h2"].error = HostUnreachable("Connection refused.")
    found = await office.call("ListShards")
    assert [(each["shard"], each["state"], each["end_slot"]) for each in found["shards"]] == [
        ("a", "serving", 40_000),
        ("b", "unreachable", 65_536),
    ]
    assert [(each["host"], each["error"]) for each in found["hosts"]] == [("h1", ""), ("h2", "Connection refused.")]


async def test_a_split_is_asked_of_whoever_has_the_shard(office: Office) -> None:
    office.operations.view = office.operations.view.with_pin("b", "h1")  # which doesn't have it yet
    found = await office.call("SplitShard", shard="b", parts=3)
    assert found == {"retired": ["b"], "created": ["b-0", "b-1", "b-2"]}
    assert [host.asked for host in office.operations.hosts.values()] == [[("b", 3)], [("b", 3)]]
    assert office.operations.view.pins == {}  # of what is retired


async def test_what_isnt_there_is_refused(office: Office) -> None:
    with pytest.raises(NotFound, match="There is no shard z: see `perdure admin shard list`"):
        await office.call("SplitShard", shard="z")
    with pytest.raises(NotFound, match="There is no host pod-9: see `perdure admin ring`"):
        await office.call("MoveShard", shard="a", host="pod-9")
    with pytest.raises(InvalidArgument, match="shard is missing"):
        await office.call("SplitShard")
    with pytest.raises(InvalidArgument, match="parts: expected a whole number"):
        await office.call("SplitShard", shard="a", parts=2.5)
    with pytest.raises(InvalidArgument, match="shards: expected a list"):
        await office.call("MergeShards", shards=[""])
    office.operations.shard_map = None
    with pytest.raises(Unavailable, match="not known here yet"):
        await office.call("ListShards")


async def test_shards_are_brought_together_before_they_are_merged(office: Office) -> None:
    found = await office.call("MergeShards", shards=["a", "b"])
    assert found == {"retired": ["a", "b"], "created": ["a+b"]}
    assert office.operations.hosts["h1"].asked == [("a", "b")]
    assert office.operations.view.pins == {}


async def test_a_move_is_a_pin_and_waits_until_the_host_serves(office: Office) -> None:
    found = await office.call("MoveShard", shard="b", host="pod-1")
    assert (found["host"], found["served"]) == ("h1", True)
    assert office.operations.view.pins == {"b": "h1"}
    office.operations.lands = False
    found = await office.call("MoveShard", CallMeta(timeout_ns=1), shard="b", host="h2")
    assert (found["host"], found["served"]) == ("h2", False)
    await office.call("MoveShard", CallMeta(timeout_ns=1), shard="b")
    assert office.operations.view.pins == {}


async def test_a_name_that_two_hosts_have_is_none(office: Office) -> None:
    first, second = office.operations.view.members
    twin = Member("h2", second.addresses, MemberState.SERVING, first.name)
    leaving = Member("h3", first.addresses, MemberState.LEAVING, "old")
    office.operations.view = office.operations.view.with_member(twin).with_member(leaving)
    with pytest.raises(FailedPrecondition, match="2 history hosts are called pod-1"):
        await office.call("MoveShard", shard="a", host="pod-1")
    with pytest.raises(FailedPrecondition, match="no history host that serves"):
        await office.call("MoveShard", shard="a", host="old")


class Known:
    """Callers by their own word."""

    async def identify(self, meta: CallMeta) -> Claims:
        callers = {
            "operator": Claims("operator", Role.ADMIN),
            "watcher": Claims("watcher", Role.READ),
            "reader": Claims("reader", 0, {"default": Role.READ}),
            "owner": Claims("owner", 0, {"default": Role.ADMIN}),
        }
        return callers.get(meta.authorization, Claims())


async def test_who_may(capsys: pytest.CaptureFixture[str]) -> None:
    guards = Guards(Authorization(Known()), Audit(GuardMeter(), workers=False))
    office = Office(await open_desk(guards=guards))
    for caller in ("", "watcher", "reader", "owner"):
        for method in ("Ring", "ListShards", "SplitShard", "MergeShards", "MoveShard", "Queues", "Tasks"):
            with pytest.raises(Unauthorized):
                await office.call(method, CallMeta(authorization=caller))
    operator = CallMeta(timeout_ns=5_000_000_000, authorization="operator")
    assert (await office.call("SplitShard", operator, shard="a", parts=2))["retired"] == ["a"]
    assert "target='shard=a parts=2'" in capsys.readouterr().out.replace('"', "'")
    request = DescribeWorkflowExecutionRequest(namespace="default")
    request.execution.workflow_id = "wf"
    diagnose = office.desk.frontend.methods[full_name("Diagnose")].handler
    office.desk.history.reply = NotFound("workflow not found for ID: wf")
    for caller in ("operator", "reader"):
        reply: Any = await diagnose(request, CallMeta(authorization=caller))
        assert MessageToDict(reply)["reasons"][0]["kind"] == "not_found"
    with pytest.raises(Unauthorized):
        await diagnose(request, CallMeta())


async def test_a_host_that_hangs_is_not_waited_for(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perdure.frontend.admin_shards.ASK_S", 0.01)
    office.operations.hosts["h2"].hangs = True
    found = await office.call("ListShards")
    assert found["hosts"][1]["error"] == "no answer within 0.01 s"


async def test_every_partition_of_a_queue_is_shown(office: Office) -> None:
    office.desk.matching.view = PartitionView([], 3, 0, partitions=2)
    request = DescribeTaskQueueRequest(namespace="default", task_queue=TaskQueue(name="q"))
    reply: Any = await office.desk.frontend.methods[full_name("Queues")].handler(request, CallMeta())
    shown = [(one["queue"], one["type"]) for one in MessageToDict(reply)["partitions"]]
    assert shown == [("q", "workflow"), ("q", "activity"), ("/_sys/q/1", "workflow"), ("/_sys/q/1", "activity")]
