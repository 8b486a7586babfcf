"""The frontend role: every method of the public API that is there, as one table.

Holds the topics and nothing of its own. Invariant: the table is what the topics mark, and what the API has beyond
it is listed as absent, so that no method is silently unknown.
"""

from collections.abc import Sequence
from contextlib import suppress

from perdure.base.clock import Clock
from perdure.base.entropy import Entropy
from perdure.base.errors import PerdureError
from perdure.cluster.namespaces import Namespaces
from perdure.cluster.operations import Operations
from perdure.cluster.roles import Directory
from perdure.frontend.activities import Activities
from perdure.frontend.activity_operations import ActivityOperations
from perdure.frontend.admin_diagnosis import DiagnosisCalls
from perdure.frontend.admin_queues import QueueCalls
from perdure.frontend.admin_shards import ShardCalls
from perdure.frontend.admission import Admission
from perdure.frontend.guards import Guards
from perdure.frontend.history import Histories
from perdure.frontend.interventions import Interventions
from perdure.frontend.lists import Lists
from perdure.frontend.methods import api_methods, full_name, marked
from perdure.frontend.namespace_updates import NamespaceUpdates
from perdure.frontend.namespaces import NamespaceCalls
from perdure.frontend.operator import Operator
from perdure.frontend.polls import Polls
from perdure.frontend.queues import Queues
from perdure.frontend.resets import Resets
from perdure.frontend.routing import Routing
from perdure.frontend.services import FrontendOptions, Services
from perdure.frontend.system import System
from perdure.frontend.tasks import Tasks
from perdure.frontend.time_skipping import TimeSkippingCalls
from perdure.frontend.updates import Updates
from perdure.frontend.workers import WorkerCalls
from perdure.frontend.workflows import Workflows
from perdure.rpc.call import Method
from perdure.store.contract import VisibilityStore
from perdure.workflow.tasks import QueueKey

HEALTH_NAME = "temporal.api.workflowservice.v1.WorkflowService"
TOPICS: tuple[type, ...] = (
    NamespaceCalls,
    NamespaceUpdates,
    Workflows,
    Updates,
    Interventions,
    Resets,
    Histories,
    Tasks,
    Activities,
    ActivityOperations,
    Queues,
    WorkerCalls,
    Lists,
    System,
    TimeSkippingCalls,
    Operator,
)


ADMIN_TOPICS: tuple[type, ...] = (ShardCalls, QueueCalls, DiagnosisCalls)


class Frontend:
    """`methods`: the table that a transport serves. `absent`: the API's methods that are not in it."""

    def __init__(
        self,
        namespaces: Namespaces,
        directory: Directory,
        visibility: VisibilityStore,
        clock: Clock,
        entropy: Entropy,
        options: FrontendOptions,
        guards: Guards = Guards(),  # noqa: B008 - it is frozen
    ) -> None:
        self._polls = polls = Polls()
        routing = Routing(directory, entropy)
        services = Services(namespaces, directory, visibility, clock, entropy, options, routing, polls)
        self._services = services
        self._admission = Admission(services, guards)
        self.methods: dict[str, Method] = {}
        for kind in TOPICS:
            self._add(kind(services))
        self.absent: tuple[str, ...] = tuple(name for name in api_methods() if name not in self.methods)

    def administer(self, operations: Operations) -> None:
        """Serve what operators ask, too."""
        for kind in ADMIN_TOPICS:
            self._add(kind(self._services, operations))

    def _add(self, topic: object) -> None:
        for name, mark, method in marked(topic):
            self.methods[full_name(name)] = Method(mark.request, self._admission.handler(name, mark, method))

    @property
    def waiting_polls(self) -> int:
        """How many polls and other calls wait now."""
        return len(self._polls)

    async def drain(self) -> None:
        """Answer whoever waits, and everybody who would, at once: the process is about to stop. Returns when nobody
        waits.
        """
        await self._polls.drain(self._release)

    async def _release(self, partition: QueueKey, ids: Sequence[str]) -> None:
        with suppress(PerdureError):  # polls that can't be released are given up
            await self._services.routing.on_matching(partition, lambda role: role.release_polls(partition, ids), 0)
