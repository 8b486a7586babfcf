"""What a configuration means for a server: its options, with every value checked that only their readers can judge."""

from collections.abc import Iterator, Mapping

from perdure.base.clock import SECOND_NS
from perdure.base.errors import InvalidArgument
from perdure.server.config import Config, NamespaceSection
from perdure.server.dynamic import Settings, with_values
from perdure.server.options import ServingOptions, WantedNamespace, check_namespace, search_attribute
from perdure.server.stores import Choice, InCassandra, InFile


def serving_options(config: Config) -> tuple[ServingOptions, list[str]]:
    """A server's options, and the dynamic keys that are not known here. Raises InvalidArgument, which names the key,
    and FailedPrecondition if the store's driver isn't installed.
    """
    settings, unknown = with_values(Settings(), _dynamic_values(config.dynamic))
    namespaces = tuple(_wanted(namespace, settings) for namespace in config.namespaces)
    names = [namespace.name for namespace in namespaces]
    for name in names:
        if names.count(name) > 1:
            raise InvalidArgument(f"namespaces: {name} stands twice")
    options = ServingOptions(
        store=_store(config),
        ip=_address(config.frontend.listen),
        port=config.frontend.port,
        metrics_ip=_address(config.metrics.listen),
        metrics_port=config.metrics.port,
        namespaces=namespaces,
        limits=settings.limits,
        listener=settings.listener,
        cache_bytes_max=settings.cache_bytes_max,
        shards=config.history.shards,
        store_wait_s=config.start.store_wait if config.store.cassandra is not None else 0.0,
        drain_s=config.stop.drain,
        checkpoint_s=config.stop.checkpoint,
    )
    return options, unknown


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


def _dynamic_values(values: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """Keys with their values, written as a value or, as in files for other servers, as a list of `value` with
    `constraints`; a value for some namespaces only is refused rather than given to all.
    """
    for key, value in values.items():
        if not isinstance(value, list) or not any(isinstance(entry, dict) and "value" in entry for entry in value):
            yield key, value
            continue
        entry = value[0]
        if len(value) > 1 or not isinstance(entry, dict) or entry.get("constraints") or entry.keys() - _PARTS:
            raise InvalidArgument(f"dynamic, {key}: expected one value; values with constraints are not there yet")
        yield key, entry["value"]


_PARTS = {"value", "constraints"}
