"""Dynamic configuration values: which keys there are, what they set, and what they refuse."""

import ast
from typing import Any

import pytest

from perdure.base.clock import SECOND_NS
from perdure.base.errors import InvalidArgument
from perdure.base.limits import AddressRule, Limits, QueueRule, RetryDefaults
from perdure.rpc.server import ServerOptions, channel_arguments
from perdure.server.dynamic import Dynamic, Settings, checked, parse, with_parsed
from perdure.server.dynamic_keys import ABSENT, KEYS, Scope
from tests.tidy.sources import ROOT


def _set(*values: tuple[str, object]) -> Settings:
    parsed = checked(dict(values))
    assert parsed.unknown == []
    return with_parsed(Settings(), parsed)


def test_keys_are_known_whatever_their_case() -> None:
    limits = _set(("LIMIT.maxIdLength", 7), ("history.longPollExpirationInterval", "3s")).limits
    assert (limits.id_bytes_max, limits.long_poll_ns) == (7, 3 * SECOND_NS)


def test_unknown_keys_are_told_and_change_nothing() -> None:
    parsed = parse({"frontend.noSuchThing": True, "limit.maxIDLength": 9})
    assert with_parsed(Settings(), parsed) == Settings(limits=Limits(id_bytes_max=9))
    assert parsed.unknown == ["frontend.noSuchThing"]


def _example(key: str) -> tuple[Any, Any]:
    """A value that isn't the default, and what becomes of it."""
    part, field, read = KEYS[key].part, KEYS[key].field, KEYS[key].read
    default = getattr(getattr(Settings(), part) if part else Settings(), field)
    if KEYS[key].is_gathered:
        return True, (QueueRule(value=True),)
    if isinstance(default, RetryDefaults):
        return {"MaximumAttempts": 3}, RetryDefaults(maximum_attempts=3)
    if isinstance(default, bool):
        return not default, not default
    if read("90s") == 90_000 if field.endswith(("_ms", "_ms_min")) else False:
        return "90s", 90_000
    if default == ():
        return [{"Pattern": "*:80", "AllowInsecure": True}, {}], (AddressRule("*:80", insecure=True),)
    if field.endswith(("_ns", "_ns_max")):
        return "90s", 90 * SECOND_NS
    return 77, 77


@pytest.mark.parametrize("key", KEYS)
def test_a_key_sets_its_field_and_no_other(key: str) -> None:
    part, field = KEYS[key].part, KEYS[key].field
    value, expected = _example(key)
    settings = _set((key, value))
    owner: Any = getattr(settings, part) if part else settings
    assert getattr(owner, field) == expected
    fresh: Any = getattr(Settings(), part) if part else Settings()
    assert [name for name in fresh.__struct_fields__ if getattr(owner, name) != getattr(fresh, name)] == [field]


def test_no_two_keys_set_the_same() -> None:
    targets = [(key.part, key.field) for key in KEYS.values()]
    assert len(set(targets)) == len(targets)


def test_what_a_key_sets_is_read_by_something() -> None:
    """A key that sets what nobody reads would be accepted and do nothing."""
    read = {
        node.attr
        for path in (ROOT / "perdure").rglob("*.py")
        if "testing" not in path.parts
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    }
    assert {key.field for key in KEYS.values()} <= read


@pytest.mark.parametrize(
    ("key", "value", "expectation"),
    [
        ("limit.maxIDLength", "many", "a whole number from 1 on"),
        ("limit.maxIDLength", None, "a whole number from 1 on"),
        ("limit.maxIDLength", True, "a whole number from 1 on"),
        ("limit.maxIDLength", 0, "a whole number from 1 on"),
        ("limit.maxIDLength", 1.5, "a whole number from 1 on"),
        ("limit.maxIDLength", [{"value": 5, "constraint": {}}], "a list of objects with value and constraints"),
        ("limit.maxIDLength", [{"value": 5, "constraints": {"namespace": "a"}}], "values are for the server"),
        ("limit.blobSize.error", [{"value": 5, "constraints": {"taskQueueName": "a"}}], "values are for a namespace"),
        ("limit.blobSize.error", [{"value": 5, "constraints": {"shardID": 1}}], "there is no 'shardID' here"),
        ("limit.blobSize.error", [{"value": 5, "constraints": ["a"]}], "constraints: expected names with values"),
        ("limit.blobSize.error", [{"value": 5, "constraints": {"namespace": [1]}}], "namespace: expected a text"),
        ("matching.longPollExpirationInterval", [{"value": 5, "constraints": {"taskType": "Nap"}}], "Workflow or Act"),
        ("frontend.namespaceBurstRatio", 0, "a number above 0"),
        ("frontend.namespaceBurstRatio", "2", "a number above 0"),
        ("system.enableActivityEagerExecution", 1, "true or false"),
        ("system.enableEagerWorkflowStart", "true", "true or false"),
        ("history.longPollExpirationInterval", "soon", "a duration such as 10s"),
        ("history.longPollExpirationInterval", -1, "a duration such as 10s"),
        ("history.longPollExpirationInterval", True, "a duration such as 10s"),
        ("frontend.keepAliveMaxConnectionAge", "1us", "a duration from 1ms to 24 days"),
        ("frontend.keepAliveMaxConnectionAge", "1000h", "a duration from 1ms to 24 days"),
        ("callback.allowedAddresses", "*", "a list of objects with Pattern and AllowInsecure"),
        ("callback.allowedAddresses", ["*"], "a list of objects with Pattern and AllowInsecure"),
        ("callback.allowedAddresses", [{"Pattern": 1}], "a list of objects with Pattern and AllowInsecure"),
        ("callback.allowedAddresses", [{"AllowHttp": True}], "a list of objects with Pattern and AllowInsecure"),
        ("history.defaultActivityRetryPolicy", 3, "an object with InitialInterval"),
        ("history.defaultActivityRetryPolicy", {"Initial": "1s"}, "there is no 'Initial'"),
        ("history.defaultActivityRetryPolicy", {"BackoffCoefficient": 0.5}, "BackoffCoefficient: expected a number"),
        ("history.defaultWorkflowRetryPolicy", {"MaximumAttempts": -1}, "MaximumAttempts: expected a whole number"),
    ],
)
def test_a_bad_value_is_refused_with_its_key_and_what_was_expected(key: str, value: object, expectation: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        _set((key, value))
    assert refused.value.message.startswith(f"{key}: ")
    assert expectation in refused.value.message


def test_retry_policies_of_activities_and_of_runs_are_apart() -> None:
    policy = {
        "InitialInterval": "2s", "maximumIntervalCoefficient": 10, "BackoffCoefficient": 1.5, "MaximumAttempts": 0,
    }  # fmt: skip
    limits = _set(
        ("history.defaultActivityRetryPolicy", policy),
        ("history.defaultWorkflowRetryPolicy", {"InitialIntervalInSeconds": 5}),
    ).limits
    assert limits.activity_retry == RetryDefaults(
        initial_interval_ns=2 * SECOND_NS, maximum_coefficient=10, backoff_coefficient=1.5
    )
    assert limits.workflow_retry == RetryDefaults(initial_interval_ns=5 * SECOND_NS)


def test_keys_of_connections_reach_grpc() -> None:
    listener = _set(("frontend.keepAliveMaxConnectionAge", "2m"), ("frontend.keepAliveMinTime", 1)).listener
    arguments = dict(channel_arguments(listener))
    assert arguments["grpc.max_connection_age_ms"] == 120_000
    assert arguments["grpc.http2.min_ping_interval_without_data_ms"] == 1_000
    assert dict(channel_arguments(ServerOptions()))["grpc.max_connection_age_ms"] == 300_000


@pytest.mark.parametrize(
    ("key", "most"),
    [
        ("limit.maxIDLength", 10_000),
        ("limit.memoSize.error", 8 << 20),
        ("limit.mutableStateSize.error", 12 << 20),
        ("system.transactionSizeLimit", 8 << 20),
    ],
)
def test_no_limit_is_beyond_what_stores_take(key: str, most: int) -> None:
    assert _set((key, most)) != Settings()
    with pytest.raises(InvalidArgument, match=f"{key}: expected at most {most}"):
        checked({key: most + 1})


# What people set, of the reference's keys: each acts here, or is listed with the reason why not.
_PEOPLE_SET = [
    "frontend.ListWorkersEnabled",
    "frontend.WorkerHeartbeatsEnabled",
    "frontend.enableCancelWorkerPollsOnShutdown",
    "frontend.enableServerVersionCheck",
    "frontend.enableUpdateWorkflowExecution",
    "frontend.enableUpdateWorkflowExecutionAsyncAccepted",
    "frontend.globalNamespaceCount",
    "frontend.globalNamespaceRPS",
    "frontend.globalNamespaceRPS.visibility",
    "frontend.globalRPS",
    "frontend.keepAliveMaxConnectionAge",
    "frontend.keepAliveMinTime",
    "frontend.keepAlivePermitWithoutStream",
    "frontend.namespaceBurstRatio",
    "frontend.namespaceCount",
    "frontend.namespaceRPS",
    "frontend.namespaceRPS.visibility",
    "frontend.persistenceMaxQPS",
    "frontend.persistenceNamespaceMaxQPS",
    "frontend.rps",
    "frontend.shutdownDrainDuration",
    "frontend.throttledLogRPS",
    "frontend.visibilityMaxPageSize",
    "frontend.workerVersioningDataAPIs",
    "frontend.workerVersioningRuleAPIs",
    "frontend.workerVersioningWorkflowAPIs",
    "history.cacheSizeBasedLimit",
    "history.defaultActivityRetryPolicy",
    "history.defaultWorkflowRetryPolicy",
    "history.defaultWorkflowTaskTimeout",
    "history.enableCHASMCallbacks",
    "history.enableChasm",
    "history.enableTransitionHistory",
    "history.hostLevelCacheMaxSize",
    "history.hostLevelCacheMaxSizeBytes",
    "history.longPollExpirationInterval",
    "history.maxTotalUpdates",
    "history.maximumSignalsPerExecution",
    "history.persistenceGlobalMaxQPS",
    "history.persistenceMaxQPS",
    "history.persistencePerShardNamespaceMaxQPS",
    "history.rps",
    "limit.blobSize.error",
    "limit.blobSize.warn",
    "limit.historyCount.error",
    "limit.historyCount.suggestContinueAsNew",
    "limit.historySize.error",
    "limit.historySize.suggestContinueAsNew",
    "limit.maxIDLength",
    "limit.memoSize.warn",
    "limit.mutableStateSize.error",
    "limit.numPendingActivities.error",
    "matching.enableFairness",
    "matching.longPollExpirationInterval",
    "matching.numTaskqueueReadPartitions",
    "matching.numTaskqueueWritePartitions",
    "matching.persistenceMaxQPS",
    "matching.priorityLevels",
    "matching.rps",
    "system.enableActivityEagerExecution",
    "system.enableDeploymentVersions",
    "system.enableEagerWorkflowStart",
    "system.enableReadFromSecondaryVisibility",
    "system.forceSearchAttributesCacheRefreshOnRead",
    "system.secondaryVisibilityWritingMode",
    "system.transactionSizeLimit",
    "system.visibilityPersistenceMaxReadQPS",
    "system.visibilityPersistenceMaxWriteQPS",
    "worker.perNamespaceWorkerCount",
    "worker.persistenceMaxQPS",
    "worker.schedulerNamespaceStartWorkflowRPS",
]


@pytest.mark.parametrize("name", _PEOPLE_SET)
def test_what_people_set_acts_or_is_listed_as_absent(name: str) -> None:
    assert (name.lower() in KEYS) != (name in ABSENT)
    assert name.lower() not in KEYS or KEYS[name.lower()].name == name


def _for(value: object, **constraints: str) -> dict[str, object]:
    return {"value": value, "constraints": constraints}


def test_the_most_specific_value_holds_and_of_equals_the_first() -> None:
    dynamic = Dynamic()
    dynamic.apply(
        checked(
            {
                "limit.blobSize.error": [_for(1), _for(2), _for(3, namespace="a"), _for(4, Namespace="a")],
                "matching.longPollExpirationInterval": [
                    _for("1s"),
                    _for("2s", namespace="a"),
                    _for("3s", taskQueueName="q"),
                    _for("4s", namespace="a", taskQueueName="q"),
                    _for("5s", namespace="a", taskQueueName="q", taskType="activity"),
                ],
            }
        )
    )
    assert [dynamic.of(name).blob_bytes_max for name in ("", "a", "b")] == [1, 3, 1]
    asked = [("", ""), ("a", ""), ("b", "q"), ("a", "q"), ("a", "p")]
    assert [dynamic.of(*where, "Workflow").matching_poll_ns // SECOND_NS for where in asked] == [1, 2, 3, 4, 2]
    assert dynamic.of("a", "q", "Activity").matching_poll_ns == 5 * SECOND_NS
    assert dynamic.of("a", "q", "Activity").blob_bytes_max == 3
    assert dynamic.settings.limits.blob_bytes_max == 1


def test_limits_are_made_once_for_each_namespace_and_anew_after_a_change() -> None:
    dynamic = Dynamic()
    assert dynamic.of("a") is dynamic.of("b")
    dynamic.apply(checked({"limit.blobSize.error": [_for(3, namespace="a")]}))
    first = dynamic.of("a")
    assert dynamic.of("a", "q", "Workflow") is first
    assert dynamic.apply(checked({"limit.blobSize.error": [_for(4, namespace="a")]})) == ["limit.blobSize.error"]
    assert dynamic.of("a").blob_bytes_max == 4


def test_a_bad_value_leaves_the_former_one_in_force_and_a_key_that_is_gone_its_default() -> None:
    dynamic = Dynamic(Settings(limits=Limits(blob_bytes_max=50)))
    dynamic.apply(checked({"limit.blobSize.error": 1, "limit.maxIDLength": 7}))
    changed = dynamic.apply(parse({"limit.blobSize.error": "many", "frontend.rps": 9}))
    assert changed == ["frontend.rps", "limit.maxIDLength"]
    assert (dynamic.of().blob_bytes_max, dynamic.of().id_bytes_max, dynamic.of().host_rps) == (1, 1000, 9)
    dynamic.apply(parse({}))
    assert dynamic.settings == Settings(limits=Limits(blob_bytes_max=50))


def test_names_of_queues_fill_no_memory() -> None:
    dynamic = Dynamic()
    dynamic.apply(checked({"matching.longPollExpirationInterval": [_for("3s", taskQueueName="q")]}))
    for number in range(20_001):
        dynamic.of("a", str(number))
    assert len(dynamic._kept) <= 10_000
    assert dynamic.of("b", "q").matching_poll_ns == 3 * SECOND_NS


def test_a_key_that_stands_twice_in_other_letters_is_a_fault() -> None:
    assert parse({"frontend.rps": 1, "frontend.RPS": 2}).faults == {"frontend.RPS": "stands twice, in other letters"}


def test_keys_of_the_whole_server_take_no_constraints() -> None:
    assert {key.scope for key in KEYS.values() if key.part != "limits"} == {Scope.GLOBAL}
