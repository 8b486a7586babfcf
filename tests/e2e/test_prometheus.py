"""Dashboards and alerts on a real server: what public dashboards select is there, and ours work on Prometheus."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import promql_parser
import pytest
import pytest_asyncio
import yaml
from prometheus_client.parser import text_string_to_metric_families
from temporalio.client import Client

from perdure.server.boards import BOARDS
from perdure.server.dashboards import dashboard, rules
from tests.e2e.commands import running
from tests.e2e.metric_load import play, workers
from tests.e2e.processes import free_port
from tests.e2e.prometheus import PROMETHEUS, PROMTOOL, Prometheus, plain, queries, selected

pytestmark = pytest.mark.asyncio(loop_scope="module")
needs_prometheus = pytest.mark.skipif(PROMETHEUS is None or PROMTOOL is None, reason="there is no Prometheus here")

_SELECTORS = Path(__file__).with_name("public_selectors.txt")
# What dashboards ask for and is not here, by a pattern of the selector.
_ABSENT = {
    r'visibility_type="standard_visibility"': "lists are of one kind, which filters by search attributes",
    r"elasticsearch_|add_search_attributes_workflow_": "lists are kept by the store itself",
    r"^(acquire_lock_failed|stale_mutable_state)": "chains have no locks, and one owner",
    r'operation="HistoryCacheGet\w*Current|cache_type="events"': "there is one cache, of whole executions",
    r'"(Transfer|Timer)ActiveTaskCommand"': "nothing is called so, also in the reference",
    r"^\w+_command\{": "the reference counts them as `command`, too",
    r"^task_errors_limit_exceeded_counter": "tasks are not given up by a limit",
    r"^(buffer_throttle_count|condition_failed_errors|lease_\w+|tasks_expired)": "matching keeps no tasks in the store",
    r"^remote_to_\w+_matches": "polls go to tasks at the root of a queue, never tasks to polls",
    r'"TimerActiveTaskWorkflowTimeout"': "called TimerActiveTaskWorkflowTaskTimeout, as in the reference by now",
    r"^sharditem_acquisition_latency\{": "a histogram without `_bucket`: a mistake of that dashboard",
    r"^memory_num_gc\{": "a histogram without `_count`, likewise",
    r"^(executor|scavenger|batcher|replicator|parent_close|namespace_repl|task_(processed|deleted)|taskqueue_"
    r"|executions_outstanding|started\{|stopped\{)": "there is no role of workers",
    r"^membership_changed_count": "one process on a store of its own has no members",
}  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def loaded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[int]:
    """The metrics port of a server that workflows of every outcome have run on."""
    port, folder = free_port(), tmp_path_factory.mktemp("loaded")
    async with running(["dev", "--port", "0", "--metrics-port", str(port)], folder) as server:
        client = await Client.connect(server.address)
        async with workers(client):
            await play(client, "first")
        yield port


async def _samples(port: int) -> list[tuple[str, dict[str, str]]]:
    def read() -> str:
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            text: str = answer.read().decode()
            return text

    families = text_string_to_metric_families(await asyncio.to_thread(read))
    # The parser names counters as clients in Python do.
    return [(s.name.removesuffix("_total"), dict(s.labels)) for family in families for s in family.samples]


def _matches(matcher: promql_parser.Matcher, value: str) -> bool:
    operator, wanted = matcher.op, str(matcher.value)
    if operator in (promql_parser.MatchOp.Equal, promql_parser.MatchOp.NotEqual):
        return (value == wanted) == bool(operator == promql_parser.MatchOp.Equal)
    return (re.fullmatch(wanted, value) is not None) == bool(operator == promql_parser.MatchOp.Re)


def _reason(selector: str) -> str:
    return next((reason for pattern, reason in _ABSENT.items() if re.search(pattern, selector)), "")


async def test_what_public_dashboards_select_is_there_where_its_feature_is(loaded: int) -> None:
    samples = await _samples(loaded)
    lines = [line.split(" ", 1) for line in _SELECTORS.read_text().splitlines() if not line.startswith("#")]
    missing, superfluous = [], set(_ABSENT.values())
    for _, text in lines:
        (selector,) = selected(promql_parser.parse(text))
        found = any(
            (not selector.name or name == selector.name)
            and all(
                _matches(each, {"__name__": name, **labels}.get(each.name, "")) for each in selector.matchers.matchers
            )
            for name, labels in samples
        )
        reason = _reason(text)
        superfluous.discard(reason)
        if found == bool(reason):
            missing.append(f"{text}: {reason or 'nothing'}")
    assert not missing
    assert not superfluous


@needs_prometheus
async def test_our_dashboards_have_data(loaded: int, tmp_path: Path) -> None:
    """But where nothing happened: no error between roles, no second process, no Cassandra, no security."""
    alerts = tmp_path / "alerts.yaml"
    alerts.write_text(rules())
    prometheus = Prometheus(tmp_path, [f"127.0.0.1:{loaded}"], [alerts])
    await prometheus.start()
    try:
        await prometheus.scraped(3)
        silent = {
            name for board in BOARDS for query in queries(dashboard(board)) for name in await _silent(prometheus, query)
        }
        allowed = ("cassandra_", "membership_", "certificate_", "jwks_", "audit_", "dynamic_config_", "callback_")
        assert {name for name in silent if not name.startswith(allowed)} <= {
            "client_errors", "heartbeat_timeout", "persistence_error_with_type", "schedule_to_close_timeout",
            "schedule_to_start_timeout", "service_panics", "shard_handovers",
            "service_authorization_latency_bucket",
            "shards_reshaped", "start_to_close_timeout", "visibility_persistence_error_with_type",
        }  # fmt: skip
        raised = await prometheus.ask('ALERTS{alertstate="firing"}')
        assert not raised
        names = {each["metric"]["alertname"] for each in await prometheus.ask("ALERTS")}
        assert "PerdureNoShardOwner" not in names
    finally:
        await prometheus.stop()


async def _silent(prometheus: Prometheus, query: str) -> list[str]:
    """The metrics of a query that has no series. Raises ValueError for one that Prometheus can't read."""
    await prometheus.ask(plain(query, "10s"))
    found = {selector.name or "" for selector in selected(promql_parser.parse(plain(query)))}
    return [name for name in found if not await prometheus.ask(name)]


_BETWEEN = 'job="p", service_name="frontend", service_role="history"'
_STARTS = 'job="p", service_name="frontend", operation="StartWorkflowExecution"'
# Alert -> series of the input, one value a minute; each raises it.
_RAISED = {
    "PerdureNoShardOwner": {'numshards_gauge{job="p"}': "0x30"},
    "PerdureNotServing": {'host_health{job="p", service_name="history", instance="a"}': "2x30"},
    "PerdureHostsLeave": {'membership_leases_lost{job="p"}': "0x25 1x5"},
    "PerdureViewsDiffer": {
        'membership_version{job="p", instance="a"}': "7x30", 'membership_version{job="p", instance="b"}': "6x30",
    },
    "PerdureShardsMove": {'sharditem_removed_count{job="p"}': "0+6x60", 'numshards_gauge{job="p"}': "16x60"},
    "PerdureAuditorRepairs": {'auditor_repairs{job="p", task_type="offer"}': "0x5 1x25"},
    "PerdureErrors": {
        'service_errors{job="p", service_name="frontend"}': "0+20x30",
        'service_requests{job="p", service_name="frontend"}': "0+1000x30",
    },
    "PerdureDefects": {'service_panics{job="p", service_name="history"}': "0x26 1x4"},
    "PerdureLimits": {
        'service_errors_resource_exhausted{job="p", namespace="n", resource_exhausted_cause="RpsLimit"}': "0+120x30",
    },
    "PerdureCallsBetweenRoles": {
        f'client_errors{{{_BETWEEN}, error_type="serviceerror_Unavailable"}}': "0+100x30",
        f"client_requests{{{_BETWEEN}}}": "0+1000x30",
    },
    "PerdureBacklogAge": {
        'approximate_backlog_age_seconds{job="p", namespace="n", taskqueue="q", task_type="Workflow"}': "400x30",
    },
    "PerdureStoreErrors": {'persistence_errors{job="p"}': "0+20x30", 'persistence_requests{job="p"}': "0+1000x30"},
    "PerdureCassandraNodesDown": {'cassandra_nodes{job="p", state="down"}': "1x30"},
    "PerdureDynamicConfig": {'dynamic_config_faults{job="p", instance="a"}': "1x30"},
    "PerdureCertificateExpires": {'certificate_expiry_seconds{job="p", certificate="frontend"}': "86400-60x30"},
    "PerdureKeys": {'jwks_refreshes{job="p", outcome="failure"}': "0+1x30"},
    "PerdureAuditLost": {'audit_records{job="p", outcome="failure"}': "0x25 1x5"},
    "PerdureSlowStarts": {
        f"service_requests{{{_STARTS}}}": "0+60x30",
        f'service_latency_bucket{{{_STARTS}, le="2"}}': "0x30",
        f'service_latency_bucket{{{_STARTS}, le="5"}}': "0+60x30",
        f'service_latency_bucket{{{_STARTS}, le="+Inf"}}': "0+60x30",
    },
    "PerdureLateTasks": {
        'task_latency_queue_bucket{job="p", task_type="t", le="50"}': "0x30",
        'task_latency_queue_bucket{job="p", task_type="t", le="100"}': "0+60x30",
        'task_latency_queue_bucket{job="p", task_type="t", le="+Inf"}': "0+60x30",
    },
    "PerdureSlowStore": {
        'persistence_latency_bucket{job="p", operation="AppendGroup", le="0.5"}': "0x30",
        'persistence_latency_bucket{job="p", operation="AppendGroup", le="1"}': "0+60x30",
        'persistence_latency_bucket{job="p", operation="AppendGroup", le="+Inf"}': "0+60x30",
    },
}  # fmt: skip
# What is no reason to look: nine hosts are restarted, each leaves, goes, comes and serves, in some minutes; others see
# each change up to a minute late; shards move along. Somebody else's fetch of keys goes on.
_QUIET = {
    "PerdureHostsLeave": {
        'membership_changed_count{job="p", instance="a"}': "0x5 0+6x6 36x18",
        **{f'membership_members{{job="p", instance="a", member_role="{role}"}}': "3x30"
           for role in ("frontend", "history", "matching")},
    },
    "PerdureViewsDiffer": {
        'membership_version{job="p", instance="a"}': "0+1x30", 'membership_version{job="p", instance="b"}': "0 0+1x29",
    },
    "PerdureShardsMove": {
        'sharditem_removed_count{job="p"}': "0x5 0+8x4 32x20", 'numshards_gauge{job="p"}': "16x30",
    },
    "PerdureKeys": {
        'jwks_refreshes{job="p", instance="a", outcome="success"}': "0+1x30",
        'jwks_refreshes{job="p", instance="a", outcome="failure"}': "0x10 1x20",
    },
}  # fmt: skip


def _trial(name: str, series: dict[str, str], *, is_raised: bool = True) -> dict[str, Any]:
    """A test of one alert, as promtool reads it: its series raise it within half an hour, or don't."""
    raised = f'ALERTS{{alertname="{name}", alertstate="firing"}}'
    return {
        "name": name,
        "interval": "1m",
        "input_series": [{"series": each, "values": values} for each, values in series.items()],
        "promql_expr_test": [
            {
                "expr": f"count({raised})" if is_raised else f"count_over_time({raised}[29m])",
                "eval_time": "29m",
                "exp_samples": [{"labels": "{}", "value": 1}] if is_raised else [],
            }
        ],
    }


@needs_prometheus
async def test_each_alert_is_raised_by_what_it_is_for(tmp_path: Path) -> None:
    (tmp_path / "alerts.yaml").write_text(rules())
    written = {rule["alert"] for group in yaml.safe_load(rules())["groups"] for rule in group["rules"]}
    assert written == _RAISED.keys()
    trials = [_trial(name, series) for name, series in _RAISED.items()]
    trials += [_trial(name, series, is_raised=False) for name, series in _QUIET.items()]
    (tmp_path / "trials.yaml").write_text(
        json.dumps({"rule_files": ["alerts.yaml"], "evaluation_interval": "1m", "tests": trials})
    )
    for command in (("check", "rules", "alerts.yaml"), ("test", "rules", "trials.yaml")):
        assert PROMTOOL is not None
        process = await asyncio.create_subprocess_exec(
            PROMTOOL, *command, cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        output, _ = await process.communicate()
        assert process.returncode == 0, output.decode()
