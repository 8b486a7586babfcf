"""A server that sends traces: a collector gets the spans of a call, each in the one around it."""

import gzip
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import yaml
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from temporalio.client import Client
from temporalio.worker import Worker

from tests.e2e.commands import running
from tests.e2e.doubling import Doubling, double
from tests.e2e.processes import free_port


@contextmanager
def collecting() -> Iterator[tuple[str, list[Span]]]:
    """A collector's URL, and what it has got."""
    spans: list[Span] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            plain = gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body
            request = ExportTraceServiceRequest.FromString(plain)
            spans.extend(span for of in request.resource_spans for scope in of.scope_spans for span in scope.spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *_arguments: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1/traces", spans
        finally:
            server.shutdown()
            thread.join()


async def test_a_call_is_a_trace_down_to_its_commit(tmp_path: Path) -> None:
    with collecting() as (url, spans):
        config = tmp_path / "perdure.yaml"
        config.write_text(
            yaml.safe_dump(
                {
                    "store": {"sqlite": {"file": str(tmp_path / "perdure.db")}},
                    "frontend": {"port": free_port()},
                    "metrics": {"port": free_port()},
                    "telemetry": {"traces": {"endpoint": url, "ratio": 1}},
                }
            )
        )
        async with running(["server", "start", "--config", str(config)], tmp_path) as server:
            client = await Client.connect(server.address)
            async with Worker(client, task_queue="q", workflows=[Doubling], activities=[double]):
                assert await client.execute_workflow(Doubling.run, 21, id="w", task_queue="q") == 42
            server.send(signal.SIGTERM)
            assert await server.ended() == 0
    by_id = {span.span_id: span for span in spans}

    def path(span: Span) -> list[str]:
        around = by_id.get(span.parent_span_id)
        return [*(path(around) if around is not None else []), span.name]

    paths = [path(span) for span in spans if span.name == "commit"]
    assert ["StartWorkflowExecution", "history.StartWorkflow", "commit"] in paths
    assert [
        "PollWorkflowTaskQueue", "matching.PollWorkflowTaskQueue", "history.RecordWorkflowTaskStarted", "commit"
    ] in paths  # fmt: skip
    assert ["RespondWorkflowTaskCompleted", "history.RespondWorkflowTaskCompleted", "commit"] in paths
