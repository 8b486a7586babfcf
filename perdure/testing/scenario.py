"""What one seed stands for: how the cluster is built, who uses it and for what, and what goes wrong meanwhile.

Invariant: everything is drawn from the seed before anything runs. A seed has some of the faults, not all of them: what
never fails in a run is as telling as what does.
"""

from enum import StrEnum
from typing import TypeVar

import msgspec
from temporalio.api.enums.v1 import WorkflowIdConflictPolicy, WorkflowIdReusePolicy

from perdure.base.clock import MS_NS
from perdure.cluster.members import Role
from perdure.matching.bounds import Bounds
from perdure.server.cluster import Options
from perdure.shards.merging import MergePolicy
from perdure.shards.options import ShardOptions
from perdure.shards.splitting import SplitPolicy
from perdure.testing.client import Errand
from perdure.testing.cluster import SIM_LIMITS, ClusterOptions
from perdure.testing.entropy import SeededEntropy
from perdure.testing.network import CALM, NetworkPlan
from perdure.testing.programs import draw_program
from perdure.testing.store_faults import HEALTHY, FaultPlan
from perdure.testing.worker import SOUND, Habits

T = TypeVar("T")
MARKS = (
    "before append",
    "after append",
    "before write",
    "after write",
    "before link",
    "after link",
    "before upsert",
    "before offer",
    "after offer",
    "before start",
    "after start",
    "before complete",
    "after complete",
    "after serve RespondWorkflowTaskCompleted",
    "after serve SignalWorkflowExecution",
    "after serve StartWorkflowExecution",
)
_Reuse = WorkflowIdReusePolicy
_Conflict = WorkflowIdConflictPolicy


_MARKS_OF_PROCESSES = (
    "before let_go",
    "after let_go",
    "before reshape",
    "after reshape",
    "before replace_shard",
    "after replace_shard",
    "before replace_document",
    "after replace_document",
    "before drop_index",
    "after initialise",
)
# Where queues spread: what a branch and its root say to one another.
_MARKS_OF_BRANCHES = ("before lend", "after lend", "before start", "after start", "after poll")


class HostTrouble(StrEnum):
    """What may befall a host."""

    CRASH = "crash"
    """It dies at once."""
    ZOMBIE = "zombie"
    """It goes on for a while beside its successor."""
    RELEASE = "release"
    """It is told to stop, and does."""
    CUT = "cut"
    """It does not reach the store for a while."""
    CLOCK = "clock"
    """Its wall clock jumps, within what clocks may differ."""
    PAUSE = "pause"
    """It stands still for longer than its lease, and goes on beside its successor. On a shared store only."""
    STORM = "storm"
    """For a while the store does little of what anybody asks, and often doesn't say what: nodes of it are lost."""
    OUTAGE = "outage"
    """All hosts die at once."""
    # Where each host is a process that finds the others:
    APART = "apart"
    """It and another don't reach one another for a while."""
    ONE_WAY = "one way"
    """It doesn't reach another, which reaches it."""
    ALONE = "alone"
    """It reaches nobody but the store."""
    HALVES = "halves"
    """The hosts fall apart in two halves, which don't reach one another for a while."""
    CLOG = "clog"
    """One after the other reaches nobody, and they come back in another order."""
    BRANCH = "branch"
    """Where a branch of a task queue is, the host dies, stands still or reaches nobody. If queues spread."""
    JOIN = "join"
    """One more comes."""
    MOVE = "move"
    """An operator moves a shard to it."""
    SPLIT = "split"
    """A shard is split."""
    MERGE = "merge"
    """Two shards are merged."""


# Each may come twice.
_OF_PROCESSES = (
    (HostTrouble.CRASH, 0.5),
    (HostTrouble.RELEASE, 0.5),
    (HostTrouble.PAUSE, 0.25),
    (HostTrouble.CUT, 0.25),
    (HostTrouble.CLOCK, 0.15),
    (HostTrouble.APART, 0.25),
    (HostTrouble.ONE_WAY, 0.25),
    (HostTrouble.ALONE, 0.2),
    (HostTrouble.JOIN, 0.3),
    (HostTrouble.MOVE, 0.5),
    (HostTrouble.SPLIT, 0.4),
    (HostTrouble.MERGE, 0.4),
)
# These came later: drawn apart, so that the others are what they were.
_OF_PROCESSES_TOO = ((HostTrouble.STORM, 0.15), (HostTrouble.HALVES, 0.15), (HostTrouble.CLOG, 0.15))
_SPREADS = 0.5
_RESHAPED = 0.3
# Leases are outlived with a tenth to spare: two clocks may go apart by less.
_DRIFT_MAX = 0.04


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """Times in virtual seconds. `troubles`: what befalls the host of that moment, and when.

    `marks`: (mark, how many times it is passed before the host dies there). `heal_s`: when everything is well again.
    `outlasts_retention`: at the end time goes on until every run should be deleted. `has_operators`: somebody pauses,
    resets and changes activities meanwhile.
    """

    cluster: ClusterOptions = ClusterOptions()
    errands: tuple[tuple[str, Errand], ...] = ()
    habits: Habits = SOUND
    store: FaultPlan = HEALTHY
    network: NetworkPlan = CALM
    troubles: tuple[tuple[float, HostTrouble], ...] = ()
    marks: tuple[tuple[str, int], ...] = ()
    heal_s: float = 20.0
    outlasts_retention: bool = False
    has_operators: bool = False

    @property
    def spreads(self) -> bool:
        """Whether its task queues are meant to be at several hosts."""
        return self.cluster.roles.partitions != Bounds()


def draw_scenario(seed: int) -> Scenario:
    """The scenario of a seed."""
    entropy = SeededEntropy(seed).fork("scenario")
    heal_s = 10 + 15 * entropy.fraction()
    return with_storms(seed, of_branches(seed, of_processes(seed, _shared(seed, _unshared(seed, entropy, heal_s)))))


def _shared(seed: int, scenario: Scenario) -> Scenario:
    """The scenario, in most seeds on a store that is shared, as Cassandra is. Not where a day has to pass: a lease is
    renewed too often.
    """
    entropy = SeededEntropy(seed).fork("shared")
    if scenario.outlasts_retention or entropy.fraction() < 0.2:
        return scenario
    store = scenario.store
    if store is not HEALTHY:
        store = msgspec.structs.replace(store, unfinished=_some(entropy, 0.03))
    troubles, heal_s = scenario.troubles, scenario.heal_s
    if entropy.fraction() < 0.5:
        paused = (2 + 6 * entropy.fraction(), HostTrouble.PAUSE)
        troubles, heal_s = tuple(sorted((*troubles, paused))), max(heal_s, 26 + 4 * entropy.fraction())
    lease_s = _one_of(entropy, (0.9, 2.0, 6.0))
    shards = msgspec.structs.replace(
        scenario.cluster.roles.shards,
        lease_s=lease_s,
        lease_renewal_s=lease_s / 3,
        lease_poll_s=lease_s / 24,
        hand_over_s=lease_s / 2.4,
    )
    roles = msgspec.structs.replace(scenario.cluster.roles, shards=shards)
    return msgspec.structs.replace(
        scenario,
        cluster=msgspec.structs.replace(scenario.cluster, is_shared=True, roles=roles),
        store=store,
        troubles=troubles,
        heal_s=heal_s,
    )


def of_processes(seed: int, scenario: Scenario) -> Scenario:
    """The scenario, on a shared store in half of the seeds with each role in processes of its own."""
    entropy = SeededEntropy(seed).fork("processes")
    if not scenario.cluster.is_shared or entropy.fraction() < 0.5:
        return scenario
    cluster = scenario.cluster
    lease_s = max(2.0, cluster.roles.shards.lease_s)
    shards = msgspec.structs.replace(
        cluster.roles.shards,
        lease_s=lease_s,
        lease_renewal_s=lease_s / 3,
        lease_poll_s=lease_s / 20,
        hand_over_s=lease_s / 2,
        sweep_interval_s=5.0,
    )
    processes = _processes(entropy)
    heal_s = 26 + 8 * entropy.fraction()
    kinds = [kind for kind, chance in _OF_PROCESSES for _ in range(2) if entropy.fraction() < chance]
    marks = tuple((_one_of(entropy, _MARKS_OF_PROCESSES), 1 + entropy.below(6)) for _ in range(entropy.below(3)))
    return msgspec.structs.replace(
        scenario,
        cluster=msgspec.structs.replace(
            cluster,
            places=len(processes),
            processes=processes,
            roles=msgspec.structs.replace(cluster.roles, shards=shards),
        ),
        marks=scenario.marks[:1] + marks,
        troubles=tuple(sorted((2 + entropy.fraction() * (heal_s - 6), kind) for kind in kinds)),
        heal_s=heal_s,
    )


def of_branches(seed: int, scenario: Scenario) -> Scenario:
    """The scenario, where roles are apart in half of the seeds with task queues that spread over several hosts (0020)
    at a load that is small enough for a simulation.
    """
    entropy = SeededEntropy(seed).fork("branches")
    cluster = scenario.cluster
    is_apart = bool(cluster.processes) and all(len(roles) == 1 for roles in cluster.processes)
    if not is_apart or entropy.fraction() >= _SPREADS:
        return scenario
    missing = max(0, 2 + entropy.below(2) - cluster.processes.count((Role.MATCHING,)))
    processes = cluster.processes + ((Role.MATCHING,),) * missing
    partitions = Bounds(tasks_per_second=_one_of(entropy, (0.2, 0.5, 1.5)))
    marks = tuple((_one_of(entropy, _MARKS_OF_BRANCHES), 1 + entropy.below(20)) for _ in range(entropy.below(3)))
    return msgspec.structs.replace(
        _troubled(scenario, entropy, ((HostTrouble.BRANCH, 0.5),)),
        cluster=msgspec.structs.replace(
            cluster,
            places=len(processes),
            processes=processes,
            roles=msgspec.structs.replace(cluster.roles, partitions=partitions),
        ),
        marks=scenario.marks + marks,
    )


def with_storms(seed: int, scenario: Scenario) -> Scenario:
    """The scenario, in some seeds with storms of the store, larger cuts of the network, clocks that drift, and
    everybody dead at once.
    """
    entropy = SeededEntropy(seed).fork("storms")
    if not scenario.cluster.processes:
        return _troubled(scenario, entropy, ((HostTrouble.STORM, 0.15), (HostTrouble.OUTAGE, 0.03)))
    drift = _one_of(entropy, (0.01, _DRIFT_MAX)) if entropy.fraction() < 0.3 else 0.0
    cluster = msgspec.structs.replace(scenario.cluster, drift=drift)
    scenario = _troubled(scenario, entropy, (*_OF_PROCESSES_TOO, (HostTrouble.OUTAGE, 0.06)))
    return msgspec.structs.replace(scenario, cluster=reshaped_by_load(entropy, cluster))


def reshaped_by_load(entropy: SeededEntropy, cluster: ClusterOptions) -> ClusterOptions:
    """The cluster, in some seeds one that splits and merges shards by itself, at loads that a simulation has."""
    if entropy.fraction() >= _RESHAPED:
        return cluster
    busy = _one_of(entropy, (1.0, 3.0, 8.0))
    shards = msgspec.structs.replace(
        cluster.roles.shards,
        auto_split=SplitPolicy(transitions_per_s=busy, for_s=0.6, pause_s=2.0, look_s=0.3, shards_max=8),
        auto_merge=MergePolicy(transitions_per_s=busy, for_s=1.0, pause_s=1.5, look_s=0.4, shards_min=4),
    )
    return msgspec.structs.replace(cluster, roles=msgspec.structs.replace(cluster.roles, shards=shards))


def _troubled(scenario: Scenario, entropy: SeededEntropy, chances: tuple[tuple[HostTrouble, float], ...]) -> Scenario:
    """The scenario with more troubles; each may come twice."""
    kinds = [kind for kind, chance in chances for _ in range(2) if entropy.fraction() < chance]
    more = [(2 + entropy.fraction() * (scenario.heal_s - 6), kind) for kind in kinds]
    return msgspec.structs.replace(scenario, troubles=tuple(sorted((*scenario.troubles, *more))))


def _processes(entropy: SeededEntropy) -> tuple[tuple[Role, ...], ...]:
    if entropy.fraction() < 0.2:
        return (tuple(Role),) * (1 + entropy.below(3))
    return tuple((role,) for role in Role for _ in range(1 + entropy.below(3)))


def _unshared(seed: int, entropy: SeededEntropy, heal_s: float) -> Scenario:
    return Scenario(
        cluster=_cluster(entropy),
        errands=_updated(seed, tuple(draw_errand(entropy, index) for index in range(11 + entropy.below(6)))),
        habits=Habits(
            sticky=entropy.fraction() < 0.7,
            slow=_some(entropy, 0.08),
            twice=_some(entropy, 0.15),
            lost=_some(entropy, 0.06),
            forgets=_some(entropy, 0.2),
            fails=_some(entropy, 0.08),
            foreign=0.1,
        ),
        store=_store(entropy),
        network=_network(entropy),
        troubles=_troubles(entropy, heal_s),
        marks=tuple((_one_of(entropy, MARKS), 1 + entropy.below(20)) for _ in range(entropy.below(4))),
        heal_s=heal_s,
        outlasts_retention=entropy.fraction() < 0.2,
        has_operators=SeededEntropy(seed).fork("operators").fraction() < 0.3,
    )


def _updated(seed: int, errands: tuple[tuple[str, Errand], ...]) -> tuple[tuple[str, Errand], ...]:
    """The errands, some of them with updates."""
    entropy = SeededEntropy(seed).fork("updates")
    counts = [1 + entropy.below(5) if entropy.fraction() < 0.4 else 0 for _ in errands]
    begins = [entropy.fraction() < 0.2 for _ in errands]
    return tuple(
        (namespace, msgspec.structs.replace(errand, updates=count, updates_with_start=begin))
        for (namespace, errand), count, begin in zip(errands, counts, begins, strict=True)
    )


def _troubles(entropy: SeededEntropy, heal_s: float) -> tuple[tuple[float, HostTrouble], ...]:
    kinds = [HostTrouble.CRASH] * entropy.below(4)
    others = [HostTrouble.ZOMBIE, HostTrouble.RELEASE, HostTrouble.CUT, HostTrouble.CLOCK]
    kinds += [kind for kind in others if entropy.fraction() < 0.3]
    return tuple(sorted((1 + entropy.fraction() * (heal_s - 2), kind) for kind in kinds))


def _some(entropy: SeededEntropy, most: float) -> float:
    """A chance of up to `most`, or none at all."""
    is_on, chance = entropy.fraction() < 0.5, entropy.fraction() * most
    return chance if is_on else 0.0


def _one_of(entropy: SeededEntropy, choices: tuple[T, ...]) -> T:
    return choices[entropy.below(len(choices))]


def _cluster(entropy: SeededEntropy) -> ClusterOptions:
    shards = ShardOptions(
        shards=1 + entropy.below(4),
        segment_bytes=_one_of(entropy, (2_000, 20_000, 1 << 20)),
        checkpoint_age_s=_one_of(entropy, (0.05, 0.5, 2.0, 30.0)),
        group_transitions=_one_of(entropy, (1, 3, 256)),
        timer_window_s=_one_of(entropy, (1.0, 600.0)),
        timers_loaded_max=_one_of(entropy, (3, 10_000)),
    )
    cache = shards.shards * _one_of(entropy, (0, 20_000, 256 << 20))
    skew_ns = 200 * MS_NS if entropy.fraction() < 0.3 else 0
    roles = Options(limits=SIM_LIMITS, shards=shards, cache_bytes_max=cache)
    return ClusterOptions(places=1 + entropy.below(2), roles=roles, skew_ns=skew_ns)


def draw_errand(entropy: SeededEntropy, index: int) -> tuple[str, Errand]:
    """A namespace, and what a client is to do there; some share a workflow id."""
    namespace = "one" if entropy.fraction() < 0.7 else "two"
    chance = entropy.fraction()
    ends_it = "cancel" if chance < 0.12 else "terminate" if chance < 0.24 else "timeout" if chance < 0.3 else ""
    shared = entropy.fraction() < 0.3
    errand = Errand(
        workflow_id="shared" if shared else f"wf-{index}",
        program=draw_program(entropy),
        asks=1 + entropy.below(4),
        ends_it=ends_it,
        chatter=entropy.below(6) if entropy.fraction() < 0.5 else 0,
        starts=1 + (entropy.below(2) if entropy.fraction() < 0.4 else 0),
        reuse=_one_of(
            entropy,
            (
                _Reuse.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
                _Reuse.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
                _Reuse.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE_FAILED_ONLY,
                _Reuse.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE,
            ),
        ),
        conflict=_one_of(
            entropy,
            (
                _Conflict.WORKFLOW_ID_CONFLICT_POLICY_FAIL,
                _Conflict.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
                _Conflict.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING,
            ),
        ),
    )
    if (
        errand.reuse == _Reuse.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE
        and errand.conflict == _Conflict.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING
    ):
        errand = msgspec.structs.replace(errand, conflict=_Conflict.WORKFLOW_ID_CONFLICT_POLICY_FAIL)
    if errand.conflict != _Conflict.WORKFLOW_ID_CONFLICT_POLICY_FAIL and entropy.fraction() < 0.4:
        errand = msgspec.structs.replace(errand, signals_with_start=True)
    return namespace, errand


def _store(entropy: SeededEntropy) -> FaultPlan:
    if entropy.fraction() < 0.25:
        return HEALTHY
    return FaultPlan(
        refused=_some(entropy, 0.01),
        lost=_some(entropy, 0.03),
        done=_some(entropy, 0.03),
        late=_some(entropy, 0.03),
        raised=_some(entropy, 0.01),
        torn=_some(entropy, 0.03),
        slow=_some(entropy, 0.05),
    )


def _network(entropy: SeededEntropy) -> NetworkPlan:
    if entropy.fraction() < 0.25:
        return CALM
    bad = 5 if entropy.fraction() < 0.4 else 1
    return NetworkPlan(
        delayed=_some(entropy, 0.05),
        late_reply=_some(entropy, 0.05),
        lost_request=bad * _some(entropy, 0.03),
        lost_reply=bad * _some(entropy, 0.03),
        twice=bad * _some(entropy, 0.03),
    )
