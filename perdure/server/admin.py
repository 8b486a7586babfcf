"""`perdure admin`: what operators ask of a running cluster, through any of its frontends.

Exit codes: 0 it was done; 1 it was not, and the line says why; 2 the command line is wrong. Refuses to know how a
frontend finds out.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import click
import orjson
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest, DescribeWorkflowExecutionRequest

from perdure.base.errors import PerdureError
from perdure.rpc.asking import ask
from perdure.rpc.tls import ChannelFiles
from perdure.server import admin_shown as shown

_SERVICE = "perdure.admin.v1.Admin"
_TYPES = {
    "workflow": TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
    "activity": TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
}
_Command = Callable[..., Any]
_OPTIONS = (
    click.option(
        "--address", default="127.0.0.1:7233", show_default=True, envvar="TEMPORAL_ADDRESS",
        help="HOST:PORT of a frontend.",
    ),
    click.option("--api-key", default="", envvar="TEMPORAL_API_KEY", help="A token, if the cluster wants one."),
    click.option("--tls", is_flag=True, envvar="TEMPORAL_TLS", help="Use TLS, with the machine's authorities."),
    click.option(
        "--tls-ca-path", "--tls-ca", "ca", default="", envvar="TEMPORAL_TLS_SERVER_CA_CERT_PATH",
        help="Use TLS; the server's certificate must be of these authorities (PEM).",
    ),
    click.option(
        "--tls-cert-path", "--tls-cert", "cert", default="", envvar="TEMPORAL_TLS_CLIENT_CERT_PATH",
        help="Shown to a server that asks for one.",
    ),
    click.option(
        "--tls-key-path", "--tls-key", "key", default="", envvar="TEMPORAL_TLS_CLIENT_KEY_PATH",
        help="The key of that certificate.",
    ),
    click.option(
        "--tls-server-name", default="", envvar="TEMPORAL_TLS_SERVER_NAME",
        help="The name that the server's certificate has, if not its address's.",
    ),
    click.option(
        "--timeout", type=click.FloatRange(0.1, 600), default=40.0, show_default=True,
        help="For the answer, in seconds.",
    ),
    click.option("--output", "-o", type=click.Choice(["text", "json"]), default="text", show_default=True),
)  # fmt: skip
_namespace = click.option("--namespace", "-n", default="default", show_default=True, envvar="TEMPORAL_NAMESPACE")


def _asking(command: _Command) -> _Command:
    """The options that say where to ask, and how to show the answer."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.group()
def admin() -> None:
    """Look into a running cluster, and change how its shards lie."""


@admin.command()
@_asking
def ring(**options: Any) -> None:
    """Show the members: roles, addresses, state, age, release, TLS between roles; and the pins."""
    _show(_ask("Ring", Struct(), options), shown.ring, options)


@admin.command("shards")
@_asking
def shards_command(**options: Any) -> None:
    """Show the shards: slots, owner, and what the hosts say of each."""
    _show(_ask("ListShards", Struct(), options), shown.shards, options)


@admin.command()
@click.argument("queue")
@_namespace
@click.option("--type", "kind", type=click.Choice(list(_TYPES)), default=None, help="Default: both.")
@_asking
def queues(queue: str, namespace: str, kind: str | None, **options: Any) -> None:
    """Show the partitions of a task queue: owner, pollers, backlog, rates."""
    _show(_ask("Queues", _queue(queue, namespace, kind), options), shown.queues, options)


@admin.command()
@click.argument("queue")
@_namespace
@click.option("--type", "kind", type=click.Choice(list(_TYPES)), default=None, help="Default: both.")
@_asking
def tasks(queue: str, namespace: str, kind: str | None, **options: Any) -> None:
    """Show the first tasks that wait in a task queue, as the shards know them."""
    _show(_ask("Tasks", _queue(queue, namespace, kind), options), shown.tasks, options)


@admin.command()
@click.argument("workflow_id", metavar="WORKFLOW")
@click.option("--run-id", "-r", default="", help="Default: the current run.")
@_namespace
@_asking
def diagnose(workflow_id: str, run_id: str, namespace: str, **options: Any) -> None:
    """Say why a workflow doesn't move, and what to do."""
    execution = WorkflowExecution(workflow_id=workflow_id, run_id=run_id)
    request = DescribeWorkflowExecutionRequest(namespace=namespace, execution=execution)
    _show(_ask("Diagnose", request, options), shown.diagnosis, options)


@admin.group()
def shard() -> None:
    """Split, merge and move shards while they serve."""


@shard.command("list")
@_asking
def list_shards(**options: Any) -> None:
    """Show the shards; the same as `perdure admin shards`."""
    _show(_ask("ListShards", Struct(), options), shown.shards, options)


@shard.command()
@click.argument("shard_id", metavar="SHARD")
@click.option("--parts", type=click.IntRange(2, 64), default=2, show_default=True)
@_asking
def split(shard_id: str, parts: int, **options: Any) -> None:
    """Split a shard into parts of equal size."""
    _show(_ask("SplitShard", _struct(shard=shard_id, parts=parts), options), shown.reshaped, options)


@shard.command()
@click.argument("shard_ids", metavar="SHARD SHARD...", nargs=-1, required=True)
@_asking
def merge(shard_ids: tuple[str, ...], **options: Any) -> None:
    """Merge shards that are neighbours; they are moved to one host first."""
    if len(shard_ids) < 2:
        raise click.UsageError("expected two shards or more")
    _show(_ask("MergeShards", _struct(shards=list(shard_ids)), options), shown.reshaped, options)


@shard.command()
@click.argument("shard_id", metavar="SHARD")
@click.option("--host", default="", help="The id or name of a history host.")
@click.option("--unpin", is_flag=True, help="Let it go where the ring gives it.")
@_asking
def move(shard_id: str, host: str, unpin: bool, **options: Any) -> None:
    """Move a shard to a host, on which it stays while that host serves."""
    if bool(host) == unpin:
        raise click.UsageError("expected one of --host and --unpin")
    found = _ask("MoveShard", _struct(shard=shard_id, host=host), options)
    _show(found, shown.moved, options)
    if not found["served"]:
        raise SystemExit(1)


def _queue(queue: str, namespace: str, kind: str | None) -> DescribeTaskQueueRequest:
    request = DescribeTaskQueueRequest(namespace=namespace, task_queue=TaskQueue(name=queue))
    if kind is not None:
        request.task_queue_type = _TYPES[kind]
    return request


def _struct(**values: Any) -> Struct:
    request = Struct()
    request.update(values)
    return request


def _ask(method: str, request: Message, options: dict[str, Any]) -> dict[str, Any]:
    """The answer as plain values. Raises ClickException."""
    if bool(options["cert"]) != bool(options["key"]):
        raise click.UsageError("--tls-cert-path and --tls-key-path belong together: expected both or neither")
    files = ChannelFiles(
        authority=options["ca"],
        server_name=options["tls_server_name"],
        certificate=options["cert"],
        key=options["key"],
    )
    has_tls = options["tls"] or any((options["ca"], options["cert"], options["tls_server_name"]))
    headers = {"client-name": "perdure-admin"}
    if options["api_key"]:
        headers["authorization"] = f"Bearer {options['api_key']}"
    work = ask(
        options["address"],
        f"/{_SERVICE}/{method}",
        request,
        tls=files if has_tls else None,
        headers=headers,
        timeout_s=options["timeout"],
    )
    try:
        reply = asyncio.run(work)
    except PerdureError as error:
        raise click.ClickException(error.message) from None
    found: dict[str, Any] = _whole(MessageToDict(reply))
    return found


def _whole(value: Any) -> Any:
    """Whole numbers as such: a Struct has none."""
    if isinstance(value, dict):
        return {name: _whole(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_whole(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _show(found: dict[str, Any], as_text: Callable[[dict[str, Any]], str], options: dict[str, Any]) -> None:
    if options["output"] == "json":
        click.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
    else:
        click.echo(as_text(found))
