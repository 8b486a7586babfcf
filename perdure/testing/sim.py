"""The simulator: whole clusters on virtual time, one per seed, under faults and then without; every rule is checked.

`python -m perdure.testing.sim --seeds 100 --first 7 --jobs 2` runs the seeds 7 to 106 on two cores. A seed that fails,
fails again: the same seed is the same run, step by step.
"""

import argparse
import asyncio
import gc
import logging
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, Self

import msgspec
import structlog
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import CountWorkflowExecutionsRequest

from perdure.base.errors import PerdureError
from perdure.base.tasks import Background
from perdure.frontend.routing import MAYBE_DONE
from perdure.server.cluster import Roles
from perdure.testing.checkers import Evidence, Violation, check, vacuous
from perdure.testing.client import Client
from perdure.testing.cluster import RETENTION_S, SimCluster
from perdure.testing.collecting import Collector
from perdure.testing.loop import run_virtual, running_loop
from perdure.testing.nemesis import Nemesis
from perdure.testing.onlooker import Onlooker
from perdure.testing.operator import Operator
from perdure.testing.oplog import Kind, OpLog
from perdure.testing.processes import SimProcesses
from perdure.testing.running import Running, is_outlived
from perdure.testing.scenario import HostTrouble, Scenario, draw_scenario
from perdure.testing.updater import Updater
from perdure.testing.worker import Worker

# Rule 26: what is due is done by then, in virtual seconds after everything was healed.
SETTLED_S = 150.0
_REST_S = 12.0
# A receiver that failed is given a rest of a minute, and a call of its own that it comes to a minute after.
_CALLED_S = 240.0
_LOOK_S = 3.0
# So many failed seeds say as much as all would.
_FAILED_MAX = 10
_YOUNG_OBJECTS = 50_000
# By then every checkpoint was written, whatever the cluster's options.
_CHECKPOINTED_S = 90.0
# These befall a host whenever they are planned; to be cut off is nothing to one that dies meanwhile.
_PAUSE_TRIES = 60
_HARMLESS = frozenset({"debug", "info", "warning"})
_ONLOOKERS = 4
_CERTAIN = (
    HostTrouble.CRASH,
    HostTrouble.ZOMBIE,
    HostTrouble.RELEASE,
    HostTrouble.PAUSE,
    HostTrouble.STORM,
    HostTrouble.OUTAGE,
    HostTrouble.JOIN,
    HostTrouble.MOVE,
    HostTrouble.SPLIT,
    HostTrouble.MERGE,
)
LEAST = {Kind.START: 2, Kind.POLL_WORKFLOW: 4, Kind.COMPLETE_WORKFLOW: 2}


class Outcome(msgspec.Struct, frozen=True):
    """What a seed came to. `digest`: of everything that clients and workers saw. `events`: what histories hold."""

    seed: int
    violations: list[Violation]
    digest: str
    done: Counter[str]
    faults: dict[str, int]
    events: Counter[str]


class Simulation:
    """One run of a scenario."""

    def __init__(self, seed: int, scenario: Scenario, build: Callable[..., Roles] = Roles) -> None:
        loop = running_loop()
        self.scenario = scenario
        self.log = OpLog(loop.clock)
        self.nemesis: Nemesis | None = None
        if scenario.cluster.processes:
            processes = SimProcesses(loop, loop.entropy.fork("cluster"), self.log, scenario.cluster)
            self.nemesis = Nemesis(processes, loop.entropy.fork("processes"))
            self.cluster: SimCluster = processes
        else:
            self.cluster = SimCluster(loop, loop.entropy.fork("cluster"), self.log, scenario.cluster, build)
        self.workers = [
            Worker("worker-0", "one", self.cluster, scenario.habits, "two"),
            Worker("worker-1", "one", self.cluster, scenario.habits, "two"),
            Worker("worker-2", "two", self.cluster, scenario.habits, "one"),
        ]
        self.clients = [
            Client(f"client-{index}", namespace, self.cluster, errand)
            for index, (namespace, errand) in enumerate(scenario.errands)
        ]
        self.updaters = [
            Updater(f"updater-{index}", namespace, self.cluster, errand)
            for index, (namespace, errand) in enumerate(scenario.errands)
            if errand.updates
        ]
        self.onlookers = [
            Onlooker(f"onlooker-{namespace}-{index}", namespace, self.cluster)
            for namespace in (scenario.cluster.namespaces if scenario.cluster.is_shared else ())
            for index in range(_ONLOOKERS)
        ]
        namespaces = scenario.cluster.namespaces if scenario.has_operators else ()
        self.operators = [
            Operator(
                f"operator-{namespace}",
                namespace,
                self.cluster,
                [errand.workflow_id for where, errand in scenario.errands if where == namespace],
            )
            for namespace in namespaces
        ]
        self._background = Background(self._unexpected)
        self._chance = loop.entropy.fork("nemesis")

    async def run(self) -> Evidence:
        """Faults first, then none; then everything has to settle, and is looked at."""
        cluster, scenario = self.cluster, self.scenario
        await cluster.begin()
        for worker in self.workers:
            worker.start()
        errands = [self._background.spawn(client.run(), client.name) for client in self.clients]
        operations = [self._background.spawn(operator.run(), operator.name) for operator in self.operators]
        operations += [self._background.spawn(onlooker.run(), onlooker.name) for onlooker in self.onlookers]
        operations += [self._background.spawn(updater.run(), updater.name) for updater in self.updaters]
        cluster.faults.plan = scenario.store
        cluster.network.plan = scenario.network
        for mark, nth in scenario.marks:
            cluster.arm(mark, nth)
        keeper = self._background.spawn(self._keep_up(), "keeper")
        await self._trouble()
        await self._heal()
        unsettled = await self._settle(errands)
        misplaced = await cluster.ending()
        for task in (keeper, *operations):
            task.cancel()
        for worker in self.workers:
            await worker.stop()
        collector = Collector(cluster)
        evidence = await collector.collect()
        evidence.unsettled += [*unsettled, *misplaced]
        evidence.unsettled += [f"{history.name} is still open" for history in evidence.deserted]
        cluster.crash_all()
        await cluster.come_back()
        await collector.again(evidence)
        if scenario.outlasts_retention and not evidence.unsettled:  # else what never ends would go on for a day
            await asyncio.sleep(RETENTION_S + _CHECKPOINTED_S)
            await collector.after_retention(evidence)
        evidence.unsettled += cluster.alarms
        evidence.doubled += cluster.doubled
        await self._background.close()
        cluster.crash_all()
        return evidence

    async def _trouble(self) -> None:
        """What befalls hosts, at its times."""
        loop = running_loop()
        begun = loop.time()
        for at_s, trouble in self.scenario.troubles:
            await asyncio.sleep(max(0.0, begun + at_s - loop.time()))
            while all(host is None for host in self.cluster.hosts):  # it may die at a mark while it starts
                await self.cluster.start_missing()
            await self._befall(trouble)
        await asyncio.sleep(max(0.0, begun + self.scenario.heal_s - loop.time()))

    async def _befall(self, trouble: HostTrouble) -> None:
        if self.nemesis is not None:
            self.nemesis.befall(trouble)
            return
        cluster, chance = self.cluster, self._chance
        host = cluster.one_of(chance.fraction())
        if trouble is HostTrouble.CRASH:
            cluster.crash(host)
        elif trouble is HostTrouble.ZOMBIE:
            cluster.abandon(host)
            self._background.spawn(self._bury(host), "bury")
        elif trouble is HostTrouble.PAUSE:
            self._background.spawn(self._pause(host), "pause")
        elif trouble is HostTrouble.RELEASE:
            await cluster.release(host)
        elif trouble is HostTrouble.CUT:
            self._background.spawn(cluster.cut(host, 0.2 + 5 * chance.fraction()), "cut")
        elif trouble is HostTrouble.STORM:
            self._background.spawn(cluster.storm(0.5 + 4 * chance.fraction()), "storm")
        elif trouble is HostTrouble.OUTAGE:
            cluster.fired["outage"] += 1
            cluster.crash_all()
        else:
            cluster.set_clock(host, chance.fraction())

    async def _bury(self, zombie: Running | None) -> None:
        """End what was left behind, some time later."""
        await asyncio.sleep(1 + 4 * self._chance.fraction())
        if zombie is not None:
            self.cluster.crash(zombie)

    async def _pause(self, host: Running | None) -> None:
        """Stop a host that owns something, and let it go on when its lease is over; often it can't learn that."""
        for _ in range(_PAUSE_TRIES):
            if host is not None and not host.is_abandoned and not host.is_dead and _has_shards(host):
                break
            await asyncio.sleep(0.1)
            host = self.cluster.one_of(self._chance.fraction())
        while host is None or host.is_dead:
            await asyncio.sleep(0.1)
            host = self.cluster.one_of(self._chance.fraction())
        self.cluster.pause(host)
        lease_s = self.scenario.cluster.roles.shards.lease_s
        await asyncio.sleep(1.3 * lease_s + (2 + 3 * self._chance.fraction()))
        if self._chance.fraction() < 0.7:
            self.cluster.faults.without_leases.add(host.name)
        self.cluster.go_on(host)
        await self._bury(host)

    async def _keep_up(self) -> None:
        """Start a new host some time after an old one died."""
        while True:
            await asyncio.sleep(0.3 + self._chance.fraction())
            await self.cluster.start_missing()

    async def _heal(self) -> None:
        self.log.note("healed")
        self.cluster.disarm()
        self.cluster.faults.heal()
        if self.nemesis is not None:
            await self.nemesis.finish()
            self.cluster.faults.heal()
        self.cluster.network.heal()
        self.cluster.outside.calm()
        await self.cluster.faults.land()
        for zombie in tuple(self.cluster.zombies):
            self.cluster.crash(zombie)
        for worker in self.workers:
            worker.calm()
        for operator in self.operators:
            operator.calm()

    async def _settle(self, errands: Sequence[asyncio.Task[Any]]) -> list[str]:
        """Wait until everything is done; what isn't within the time."""
        if errands:
            await asyncio.wait(errands, timeout=SETTLED_S)
        for _ in range(int(SETTLED_S / _LOOK_S)):
            if not await self._is_something_open():
                break
            await asyncio.sleep(_LOOK_S)
        for _ in range(int(_CALLED_S / _LOOK_S)):
            if not self.cluster.outside.uncalled():
                break
            await asyncio.sleep(_LOOK_S)
        await asyncio.sleep(_REST_S)
        unsettled = [f"{client.name} is not done" for client in self.clients if not client.is_done]
        if None in self.cluster.hosts:
            unsettled.append("there is no host")
            await self.cluster.start_missing()
        return unsettled

    async def _is_something_open(self) -> bool:
        """Whether lists show a run that goes on: a child may outlive everybody who waits."""
        for namespace in self.cluster.options.namespaces:
            request = CountWorkflowExecutionsRequest(namespace=namespace, query='ExecutionStatus = "Running"')
            try:
                response = await self.cluster.call("CountWorkflowExecutions", request)
            except PerdureError:
                return True
            if response.count:
                return True
        return False

    def _unexpected(self, error: BaseException) -> None:
        self.cluster.alarms.append(repr(error))


def _has_shards(host: Running) -> bool:
    return host.history is not None and bool(host.history.shards.owned())


def run_seed(seed: int, scenario: Scenario | None = None, build: Callable[..., Roles] = Roles) -> Outcome:
    """Run one seed and check every rule."""
    scenario = scenario or draw_scenario(seed)
    simulations: list[Simulation] = []

    async def simulate() -> Evidence:
        simulations.append(Simulation(seed, scenario, build))
        return await simulations[0].run()

    def doubted(workflow_id: str) -> None:
        simulations[0].cluster.doubted(workflow_id)

    with _Alarms(doubted) as alarms:
        try:
            evidence = run_virtual(simulate(), seed)
        except (RuntimeError, PerdureError) as error:  # a deadlock, or steps without end
            evidence = Evidence(ops=simulations[0].log.ops, histories=[], unsettled=[f"the run ended with {error!r}"])
    evidence.unsettled += alarms.found
    planned = Counter(str(trouble) for _, trouble in scenario.troubles if trouble in _CERTAIN)
    violations = [*check(evidence), *vacuous(evidence, LEAST, planned)]
    done = Counter(str(op.kind) for op in evidence.ops if op.ok)
    return Outcome(seed, violations, simulations[0].log.digest(), done, evidence.faults, _events(evidence))


def _events(evidence: Evidence) -> Counter[str]:
    """How many events of each type the histories have, by their names in small letters."""
    types = Counter(event.event_type for history in evidence.histories for event in history.events)
    names = {kind: EventType.Name(kind).removeprefix("EVENT_TYPE_").lower() for kind in types}
    return Counter({names[kind]: count for kind, count in types.items()})


class _Alarms:
    """Gathers what the cluster logs as errors: each is a defect by its own account. `doubted` is told the workflow ids
    of calls that were repeated although they may have been done.
    """

    def __init__(self, doubted: Callable[[str], None]) -> None:
        self.found: list[str] = []
        self._doubted = doubted

    def __enter__(self) -> Self:
        self._before = structlog.get_config()
        structlog.configure(
            processors=[self._take],
            wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
            cache_logger_on_first_use=False,
        )
        return self

    def __exit__(self, *_: object) -> None:
        structlog.configure(**self._before)

    def _take(self, _logger: Any, level: str, event: MutableMapping[str, Any]) -> str:
        if event["event"] == MAYBE_DONE and "wf_id" in event:
            self._doubted(event["wf_id"])
        if level not in _HARMLESS and not is_outlived():
            self.found.append(", ".join(f"{key}={value!r}" for key, value in event.items()))
        raise structlog.DropEvent


def _hurry() -> None:
    """Most objects of a run live as long as it does: looking for garbage often costs a sixth of the time."""
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, 20, 20)


def outcomes(seeds: Iterable[int], jobs: int = 1) -> Iterator[Outcome]:
    """What each seed comes to, in their order; `jobs` at a time, each in a process of its own if it is more than 1."""
    if jobs == 1:
        _hurry()
        yield from map(run_seed, seeds)
        return
    pool = ProcessPoolExecutor(jobs, get_context("spawn"), _hurry)
    try:
        yield from pool.map(run_seed, seeds)
    finally:
        pool.shutdown(cancel_futures=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code: 1 if a rule was broken."""
    parser = argparse.ArgumentParser(prog="python -m perdure.testing.sim", description=__doc__)
    parser.add_argument("--seeds", type=int, default=50, help="how many seeds to run")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--jobs", type=int, default=1, help="how many seeds at a time")
    parser.add_argument("--verbose", action="store_true", help="one line a seed, and every violation in full")
    options = parser.parse_args(arguments)
    failed: list[Outcome] = []
    done: Counter[str] = Counter()
    fired: Counter[str] = Counter()
    events: Counter[str] = Counter()
    count = 0
    for outcome in outcomes(range(options.first, options.first + options.seeds), max(1, options.jobs)):
        count += 1
        done += outcome.done
        fired.update(outcome.faults)
        events += outcome.events
        if outcome.violations:
            failed.append(outcome)
            _report(outcome, options.verbose)
            if len(failed) == _FAILED_MAX:
                print(f"stopped after {_FAILED_MAX} failed seeds")
                break
        elif options.verbose:
            print(f"seed {outcome.seed}: ok, {sum(outcome.done.values())} calls, {outcome.digest}")
    print(f"{count} seeds, {len(failed)} failed; {sum(done.values())} acknowledged calls")
    print("calls:  " + ", ".join(f"{kind} {count}" for kind, count in sorted(done.items())))
    print("events: " + ", ".join(f"{name} {count}" for name, count in sorted(events.items())))
    print("faults: " + ", ".join(f"{fault} {count}" for fault, count in sorted(fired.items())))
    return 1 if failed else 0


def _report(outcome: Outcome, verbose: bool) -> None:
    print(f"seed {outcome.seed}: {len(outcome.violations)} violations")
    different = Counter(str(violation) for violation in outcome.violations)
    for violation, times in list(different.items())[: None if verbose else 5]:
        print(f"  {violation}" + (f" ({times} times)" if times > 1 else ""))
    print(f"  again: python -m perdure.testing.sim --first {outcome.seed} --seeds 1 --verbose")


if __name__ == "__main__":
    sys.exit(main())
