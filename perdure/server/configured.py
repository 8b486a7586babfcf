"""What a configuration means for a server: its options, with every value checked that only their readers can judge."""

from collections.abc import Sequence
from functools import partial

from perdure.base.clock import SECOND_NS
from perdure.base.errors import InvalidArgument
from perdure.base.files import read_file
from perdure.cluster.members import Role
from perdure.server.config import Config, DynamicSection, NamespaceSection
from perdure.server.dynamic import Dynamic, Settings, checked
from perdure.server.options import (
    Listener,
    ServingOptions,
    WantedNamespace,
    check_namespace,
    search_attribute,
)
from perdure.server.security import Security
from perdure.server.stores import Choice, InCassandra, InFile
from perdure.server.yaml_files import parse_yaml


def serving_options(config: Config, roles: Sequence[str] = ()) -> tuple[ServingOptions, list[str]]:
    """A server's options, and the dynamic keys that are not known here. `roles`: of this process, instead of those that
    the configuration names. Raises InvalidArgument, which names the key, and FailedPrecondition if the store's driver
    isn't installed.
    """
    values, unknown = _dynamic(config.dynamic)
    settings = values.settings
    namespaces = tuple(_wanted(namespace, settings) for namespace in config.namespaces)
    names = [namespace.name for namespace in namespaces]
    for name in names:
        if names.count(name) > 1:
            raise InvalidArgument(f"namespaces: {name} stands twice")
    options = ServingOptions(
        store=_store(config),
        roles=_roles(config, roles),
        ip=_address(config.frontend.listen),
        port=config.frontend.port,
        history=Listener(_address(config.history.listen), config.history.port),
        matching=Listener(_address(config.matching.listen), config.matching.port),
        advertise=config.cluster.advertise or "",
        cluster_name=config.cluster.name,
        security=partial(Security, config.tls, config.auth, config.audit),
        metrics_ip=_address(config.metrics.listen),
        metrics_port=config.metrics.port,
        traces=config.telemetry.traces.options() if config.telemetry.traces is not None else None,
        namespaces=namespaces,
        dynamic=config.dynamic.values,
        dynamic_file=config.dynamic.file or "",
        shards=config.history.shards,
        auto_split=config.history.auto_split,
        auto_merge=config.history.auto_merge,
        store_wait_s=config.start.store_wait if config.store.cassandra is not None else 0.0,
        leave_s=config.stop.leave,
        drain_s=config.stop.drain,
        checkpoint_s=config.stop.checkpoint,
    )
    return options, unknown


def _roles(config: Config, roles: Sequence[str]) -> tuple[Role, ...]:
    wanted = set(roles or config.roles)
    found = tuple(role for role in Role if role in wanted or "all" in wanted)
    if config.store.sqlite is not None and len(found) < len(Role):
        raise InvalidArgument("roles: expected all of them: a store in a file is for one process")
    return found


def _dynamic(section: DynamicSection) -> tuple[Dynamic, list[str]]:
    """The values in force, were a server started now, and keys that are not known here. Raises InvalidArgument."""
    try:
        parsed = checked(section.values)
    except InvalidArgument as error:
        raise InvalidArgument(f"dynamic: {error.message}") from None
    unknown = list(parsed.unknown)
    dynamic = Dynamic()
    dynamic.apply(parsed)
    if section.file is not None:
        found = parse_yaml(section.file, read_file(section.file), "limit.blobSize.error")
        try:
            unknown += checked(found).unknown
        except InvalidArgument as error:
            raise InvalidArgument(f"{section.file}: {error.message}") from None
    return dynamic, unknown


def _store(config: Config) -> Choice:
    store = config.store
    if store.cassandra is not None:
        return InCassandra(store.cassandra.options(config.start.store_wait), is_dev=False)
    if store.sqlite is None:
        raise AssertionError("the configuration has one of the two")
    return InFile(store.sqlite.file)


def _address(name: str) -> str:
    return "127.0.0.1" if name == "localhost" else name


def _wanted(namespace: NamespaceSection, settings: Settings) -> WantedNamespace:
    attributes: dict[str, int] = {}
    try:
        check_namespace(namespace.name, settings.limits)
        for name, type_name in namespace.search_attributes.items():
            attributes[name] = search_attribute(name, type_name)
    except InvalidArgument as error:
        raise InvalidArgument(f"namespaces, {namespace.name}: {error.message}") from error
    return WantedNamespace(namespace.name, int(namespace.retention * SECOND_NS), attributes)
