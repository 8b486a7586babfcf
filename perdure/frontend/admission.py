"""What happens to a call before its method: who calls is judged, its namespace is found, and it is charged.

Invariant: a method with a namespace is called with one that exists, that its task token belongs to, and whose
allowance has been charged. A token of one namespace is never accepted under another.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from google.protobuf.message import Message
from temporalio.api.enums.v1 import NamespaceState

from perdure.base.errors import InvalidArgument, NamespaceInvalidState
from perdure.cluster.namespaces import Namespace
from perdure.cluster.roles import Call
from perdure.frontend.checks import too_long
from perdure.frontend.grades import LOWEST, WAITING, grade_of, waits
from perdure.frontend.guards import Guards
from perdure.frontend.lookups import Lookups
from perdure.frontend.methods import Mark, Scope
from perdure.frontend.rates import Rates
from perdure.frontend.services import Services
from perdure.rpc.call import CallMeta, Handler
from perdure.workflow.context import Caller
from perdure.workflow.tokens import QueryToken, TaskToken, decode_query_token, decode_token

_REGISTERED = NamespaceState.NAMESPACE_STATE_REGISTERED
_WAITS_AT_TIMES = "GetWorkflowExecutionHistory"


class Admission:
    """Wraps marked methods into handlers."""

    def __init__(self, services: Services, guards: Guards) -> None:
        options = services.options
        self._clock = services.clock
        self._guards = guards
        self._limits = options.limits
        self._rates = Rates(
            options.limits,
            services.clock,
            throttled=options.throttled,
            list_throttled=options.list_throttled,
            frontends=guards.frontends,
        )
        self._lookups = Lookups(services.namespaces, self._rates, services.clock)

    def handler(self, name: str, mark: Mark, method: Callable[..., Any]) -> Handler:
        """What a transport calls for a marked method of this name."""
        return self._guards.handler(name, self._admitted(name, mark, method), self._lookups, self._clock)

    def _admitted(self, name: str, mark: Mark, method: Callable[..., Any]) -> Handler:
        grade = grade_of(name)
        if mark.scope is Scope.NAMESPACE:
            return self._by_name(mark, self._waiting(name, method) if name in WAITING else method, name)
        if mark.scope is Scope.TASK:
            return self._by_token(method, decode_token, grade)
        if mark.scope is Scope.QUERY:
            return self._by_token(method, decode_query_token, grade)
        return self._unscoped(method, grade, is_named="namespace" in mark.request.DESCRIPTOR.fields_by_name)

    def _by_name(self, mark: Mark, method: Callable[..., Awaitable[Message | bytes]], rpc: str) -> Handler:
        visibility, begins, own_grade, may_wait = mark.visibility, mark.begins, grade_of(rpc), rpc == _WAITS_AT_TIMES

        async def handle(request: Any, meta: CallMeta) -> Message | bytes:
            name = request.namespace
            if not name:
                raise InvalidArgument("Namespace is empty.")
            self._check_name(name)
            namespace = await self._lookups.by_name(name, own_grade)
            if begins and namespace.state != _REGISTERED:
                raise NamespaceInvalidState(name, namespace.state)  # type: ignore[arg-type]  # a stored number
            grade = LOWEST if may_wait and waits(rpc, request) else own_grade
            self._rates.admit(name, grade, visibility=visibility)
            return await method(request, namespace, call_of(meta, namespace.version))

        return handle

    def _waiting(
        self, rpc: str, method: Callable[..., Awaitable[Message | bytes]]
    ) -> Callable[..., Awaitable[Message | bytes]]:
        """The method, of which only so many calls may wait at once."""

        async def wait(request: Any, namespace: Namespace, call: Call) -> Message | bytes:
            if not waits(rpc, request):
                return await method(request, namespace, call)
            self._rates.enter(namespace.name, rpc)
            try:
                return await method(request, namespace, call)
            finally:
                self._rates.leave(namespace.name, rpc)

        return wait

    def _by_token(
        self,
        method: Callable[..., Awaitable[Message | bytes]],
        decode: Callable[[bytes], TaskToken | QueryToken],
        grade: int,
    ) -> Handler:
        async def handle(request: Any, meta: CallMeta) -> Message | bytes:
            if not request.task_token:
                raise InvalidArgument("Task token not set on request.")
            token = decode(request.task_token)
            namespace = await self._lookups.by_id(token.namespace_id, grade)
            if request.namespace and request.namespace != namespace.name:
                await self._refuse_other(request.namespace, grade)
            self._rates.admit(namespace.name, grade)
            return await method(request, namespace, token, call_of(meta, namespace.version))

        return handle

    async def _refuse_other(self, name: str, grade: int) -> Namespace:
        """The request names another namespace than its token. One that doesn't exist is told as such."""
        self._check_name(name)
        await self._lookups.by_name(name, grade)
        raise InvalidArgument("Operation requested with a token from a different namespace.")

    def _check_name(self, name: str) -> None:
        """Stores take no key of any length."""
        if too_long(name, self._limits.of().id_bytes_max):
            raise InvalidArgument("Namespace length exceeds limit.")

    def _unscoped(self, method: Callable[..., Awaitable[Message | bytes]], grade: int, *, is_named: bool) -> Handler:
        async def handle(request: Any, meta: CallMeta) -> Message | bytes:
            if is_named:
                self._check_name(request.namespace)
            self._rates.admit("", grade)
            return await method(request, call_of(meta))

        return handle


def call_of(meta: CallMeta, namespace_version: int = 0) -> Call:
    """What roles learn of a call."""
    caller = Caller(meta.client_name, meta.client_version)
    return Call(caller, meta.timeout_ns, namespace_version=namespace_version)
