"""Closed runs of a workflow id that goes on: what they still want, and that they take no memory."""

from temporalio.api.common.v1 import WorkflowExecution, WorkflowType
from temporalio.api.enums.v1 import WorkflowIdReusePolicy
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import StartWorkflowExecutionRequest

from perdure.base.errors import NotFound
from perdure.cluster.roles import Call
from perdure.history.chains import Entry
from perdure.server.cluster import Options
from perdure.shards.options import ShardOptions
from perdure.store.memory import MemoryStore
from perdure.testing.loop import run_virtual, running_loop
from perdure.visibility.rows import VisibilityQuery
from perdure.workflow.new_run import Origin, Parent
from perdure.workflow.requests import DeleteRun, Look, StartChild, StartWorkflow
from tests.unit.history.house import NAMESPACE, House, finish, key_of
from tests.unit.history.test_cache import SlowStore
from tests.unit.shards.fakes import passes

ONE_SHARD = Options(shards=ShardOptions(shards=1, checkpoint_age_s=0.1))
RETENTION_S = 72 * 3600


def _entry(house: House, workflow_id: str) -> Entry:
    (shard,) = house.roles.shards.owned()
    return house.roles.executions.chains(shard).entries[key_of(workflow_id)]


async def exists(house: House, workflow_id: str, run_id: str) -> bool:
    """Whether the run is there."""
    try:
        await house.roles.history.transact(key_of(workflow_id), Look(run_id), Call())
    except NotFound:
        return False
    return True


def test_a_former_run_that_the_log_does_not_touch_keeps_its_timers() -> None:
    async def play() -> tuple[bool, bool]:
        house = await House(running_loop(), MemoryStore(), ONE_SHARD).open()
        former = (await house.start("w")).run_id
        await house.complete(await house.poll(), finish())
        await passes(RETENTION_S - 300)
        await house.start("w", "again")
        (shard,) = house.roles.shards.owned()
        shard.fail("lost")
        await passes(200)
        before = await exists(house, "w", former)
        await passes(200)
        return before, await exists(house, "w", former)

    assert run_virtual(play()) == (True, False)


def test_a_former_run_beside_one_that_wants_nothing_keeps_its_timers() -> None:
    async def play() -> bool:
        house = await House(running_loop(), MemoryStore(), ONE_SHARD).open()
        former = (await house.start("w")).run_id
        await house.complete(await house.poll(), finish())
        await passes(RETENTION_S - 300)
        await house.start("w", "again")
        await house.complete(await house.poll())  # it waits for a signal
        await passes(10)  # checkpoints hold all, the log has it still
        (shard,) = house.roles.shards.owned()
        shard.fail("lost")
        await passes(400)
        return await exists(house, "w", former)

    assert run_virtual(play()) is False


def test_the_former_runs_of_a_chain_that_is_never_clean_do_not_fill_the_memory() -> None:
    async def play() -> int:
        house = await House(running_loop(), SlowStore(), ONE_SHARD).open()
        for number in range(100):
            request = StartWorkflowExecutionRequest(
                workflow_id="w",
                request_id=f"start {number}",
                workflow_type=WorkflowType(name="T"),
                task_queue=TaskQueue(name="q"),
                workflow_id_reuse_policy=WorkflowIdReusePolicy.WORKFLOW_ID_REUSE_POLICY_TERMINATE_IF_RUNNING,
            )
            await house.roles.history.transact(key_of("w"), StartWorkflow(request), Call())
            await passes(0.02)  # a checkpoint's write takes longer, so something new is dirty at its end
        return len(_entry(house, "w").chain.runs)

    assert run_virtual(play()) < 30


def _child(run_id: str) -> StartChild:
    """The start of a child whose parent is not there: it goes on by itself."""
    parent = Parent(NAMESPACE.id, "default", "parent", "parent's run", 5)
    origin = Origin(run_id=run_id, parent=parent, root=WorkflowExecution(workflow_id="parent"))
    request = StartWorkflowExecutionRequest(
        workflow_id="w", request_id="r", workflow_type=WorkflowType(name="T"), task_queue=TaskQueue(name="q")
    )
    return StartChild(request, origin, 2)


async def _made_again(house: House, run_id: str) -> None:
    """A child that was started, deleted, and started again."""
    await house.roles.history.transact(key_of("w"), _child(run_id), Call())
    await passes(4)
    await house.roles.history.transact(key_of("w"), DeleteRun(run_id), Call())
    while await exists(house, "w", run_id):
        await passes(0.001)
    await house.roles.history.transact(key_of("w"), _child(run_id), Call())


def test_a_run_that_is_made_again_before_its_deletion_was_checkpointed_stays() -> None:
    async def play() -> bool:
        store = MemoryStore()
        house = await House(running_loop(), store, ONE_SHARD).open()
        await _made_again(house, "child's run")
        await house.roles.stop()
        return await exists(await House(running_loop(), store, ONE_SHARD).open(), "w", "child's run")

    assert run_virtual(play())


def test_a_run_that_is_made_again_is_listed() -> None:
    async def play() -> list[tuple[str, int]]:
        store = MemoryStore()
        house = await House(running_loop(), store, ONE_SHARD).open()
        await _made_again(house, "child's run")
        await passes(1)
        page = await store.visibility.list(VisibilityQuery(NAMESPACE.id))
        return [(row.run_id, row.status) for row in page.rows]

    assert run_virtual(play()) == [("child's run", 1)]
