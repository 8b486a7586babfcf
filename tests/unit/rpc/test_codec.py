"""Values of the contracts as bytes: what callers hand over as it came out of a message."""

from temporalio.api.worker.v1 import WorkerHeartbeat
from temporalio.api.workflowservice.v1 import RecordWorkerHeartbeatRequest

from perdure.rpc.codec import reader, write


def test_a_repeated_field_of_a_message_travels_as_a_list() -> None:
    beats = [WorkerHeartbeat(worker_instance_key="a"), WorkerHeartbeat(worker_instance_key="b")]
    request = RecordWorkerHeartbeatRequest(worker_heartbeat=beats)
    assert reader(list[WorkerHeartbeat])(write(request.worker_heartbeat)) == beats
