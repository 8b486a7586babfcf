"""Dynamic configuration values: which keys there are, what they set, and what they refuse."""

import ast
from typing import Any

import pytest

from perdure.base.clock import SECOND_NS
from perdure.base.errors import InvalidArgument
from perdure.base.limits import AddressRule, Limits, RetryDefaults
from perdure.rpc.server import ServerOptions, channel_arguments
from perdure.server.dynamic import KEYS, Settings, with_values
from tests.tidy.sources import ROOT


def _set(*values: tuple[str, object]) -> Settings:
    settings, unknown = with_values(Settings(), values)
    assert unknown == []
    return settings


def test_keys_are_known_whatever_their_case() -> None:
    limits = _set(("LIMIT.maxIdLength", 7), ("history.longPollExpirationInterval", "3s")).limits
    assert (limits.id_bytes_max, limits.long_poll_ns) == (7, 3 * SECOND_NS)


def test_unknown_keys_are_told_and_change_nothing() -> None:
    values = [("frontend.enableUpdateWorkflowExecution", True), ("limit.maxIDLength", 9)]
    settings, unknown = with_values(Settings(), values)
    assert settings == Settings(limits=Limits(id_bytes_max=9))
    assert unknown == ["frontend.enableUpdateWorkflowExecution"]


def _example(key: str) -> tuple[Any, Any]:
    """A value that isn't the default, and what becomes of it."""
    part, field, read = KEYS[key]
    default = getattr(getattr(Settings(), part) if part else Settings(), field)
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
    part, field, _ = KEYS[key]
    value, expected = _example(key)
    settings = _set((key, value))
    owner: Any = getattr(settings, part) if part else settings
    assert getattr(owner, field) == expected
    fresh: Any = getattr(Settings(), part) if part else Settings()
    assert [name for name in fresh.__struct_fields__ if getattr(owner, name) != getattr(fresh, name)] == [field]


def test_no_two_keys_set_the_same() -> None:
    targets = [(part, field) for part, field, _ in KEYS.values()]
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
    assert {field for _, field, _ in KEYS.values()} <= read


@pytest.mark.parametrize(
    ("key", "value", "expectation"),
    [
        ("limit.maxIDLength", "many", "a whole number from 1 on"),
        ("limit.maxIDLength", None, "a whole number from 1 on"),
        ("limit.maxIDLength", True, "a whole number from 1 on"),
        ("limit.maxIDLength", 0, "a whole number from 1 on"),
        ("limit.maxIDLength", 1.5, "a whole number from 1 on"),
        ("limit.maxIDLength", [{"value": 5}], "a whole number from 1 on"),
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
        with_values(Settings(), [(key, most + 1)])
