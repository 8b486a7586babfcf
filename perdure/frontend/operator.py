"""Search attributes of a namespace: added, listed, removed. They are part of the namespace's record."""

from collections.abc import Callable, Mapping

import msgspec
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import (
    AddSearchAttributesRequest,
    AddSearchAttributesResponse,
    ListSearchAttributesRequest,
    ListSearchAttributesResponse,
    RemoveSearchAttributesRequest,
    RemoveSearchAttributesResponse,
)

from perdure.base.errors import InvalidArgument
from perdure.cluster.namespaces import Namespace
from perdure.cluster.roles import Call
from perdure.frontend.methods import Scope, rpc
from perdure.frontend.namespaces import check_size
from perdure.frontend.services import Services
from perdure.visibility.attributes import OWN, is_reserved, type_name

_NOT_SET = "SearchAttributes are not set on request."


class Operator:
    """The RPCs of an operator."""

    def __init__(self, services: Services) -> None:
        self._namespaces = services.namespaces
        self._limits = services.options.limits

    @rpc(AddSearchAttributesRequest, Scope.NONE)
    async def AddSearchAttributes(
        self, request: AddSearchAttributesRequest, _call: Call
    ) -> AddSearchAttributesResponse:
        """A name that is there keeps its type, as in the reference."""
        await self._find(request.namespace)
        if not request.search_attributes:
            raise InvalidArgument(_NOT_SET)
        for name, value_type in request.search_attributes.items():
            if is_reserved(name):
                raise InvalidArgument(f"Search attribute {name} is reserved by system.")
            if value_type not in IndexedValueType.values():
                raise InvalidArgument(f"Unknown search attribute type: {value_type}.")
        _check_named(request.namespace)
        for value_type in request.search_attributes.values():
            if not value_type:
                message = "Unable to create search attributes: cannot have more than 0 search attribute of type"
                raise InvalidArgument(f"{message} {type_name(value_type)}.")
        added = {name: int(value_type) for name, value_type in request.search_attributes.items()}
        await self._change(request.namespace, lambda present: added | dict(present))
        return AddSearchAttributesResponse()

    @rpc(RemoveSearchAttributesRequest, Scope.NONE)
    async def RemoveSearchAttributes(
        self, request: RemoveSearchAttributesRequest, _call: Call
    ) -> RemoveSearchAttributesResponse:
        await self._find(request.namespace)
        if not request.search_attributes:
            raise InvalidArgument(_NOT_SET)
        _check_named(request.namespace)
        removed = frozenset(request.search_attributes)
        for name in request.search_attributes:
            if name in OWN:
                raise InvalidArgument(f"Unable to remove non-custom search attributes: {name}.")
        await self._change(
            request.namespace, lambda present: {name: kind for name, kind in present.items() if name not in removed}
        )
        return RemoveSearchAttributesResponse()

    @rpc(ListSearchAttributesRequest, Scope.NONE)
    async def ListSearchAttributes(
        self, request: ListSearchAttributesRequest, _call: Call
    ) -> ListSearchAttributesResponse:
        _check_named(request.namespace)
        namespace = await self._namespaces.by_name(request.namespace)
        return ListSearchAttributesResponse(
            custom_attributes=namespace.search_attributes,  # type: ignore[arg-type]  # stored numbers of the enum
            system_attributes=OWN,
        )

    async def _find(self, name: str) -> None:
        if name:
            await self._namespaces.by_name(name)

    async def _change(self, name: str, change: Callable[[Mapping[str, int]], dict[str, int]]) -> None:
        def changed(namespace: Namespace) -> Namespace:
            attributes = change(namespace.search_attributes)
            aliases = {field: alias for field, alias in namespace.aliases.items() if alias in attributes}
            after = msgspec.structs.replace(namespace, search_attributes=attributes, aliases=aliases)
            check_size(after, self._limits.of(namespace.name))
            return after

        await self._namespaces.change(name, changed)


def _check_named(namespace: str) -> None:
    if not namespace:
        raise InvalidArgument("Namespace is not set on request.")
