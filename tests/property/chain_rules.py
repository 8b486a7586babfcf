"""Rules of the random machine that make chains of runs: retry policies, schedules, continue-as-new."""

from typing import Any

from temporalio.api.command.v1 import Command
from temporalio.api.common.v1 import Payload, Payloads, RetryPolicy

from perdure.base.clock import SECOND_NS, to_duration
from tests.property.rules import CLOSE_COMMANDS, Draw, rule
from tests.transcripts.scenarios import command, start
from tests.transcripts.stage import Stage


def _policy(attempts: int) -> RetryPolicy:
    second = to_duration(SECOND_NS)
    return RetryPolicy(
        initial_interval=second, backoff_coefficient=2, maximum_interval=second, maximum_attempts=attempts
    )


@rule
def starts_a_chain(stage: Stage, draw: Draw) -> None:
    fields: dict[str, Any] = draw.of(
        [
            {"retry_policy": _policy(2)},
            {"cron_schedule": "@daily"},
            {"cron_schedule": "@every 5s", "workflow_execution_timeout": to_duration(40 * SECOND_NS)},
            {"cron_schedule": "@daily", "retry_policy": _policy(3)},
        ]
    )
    if draw.of([True, False]):
        fields = {**fields, "workflow_run_timeout": to_duration(8 * SECOND_NS)}
    stage.decide(start(draw.of(["d", "e"]), **fields))


def continue_as_new(stage: Stage, draw: Draw) -> Command:
    attributes: dict[str, Any] = draw.of(
        [
            {},
            {"input": Payloads(payloads=[Payload(data=b"in")])},
            {"retry_policy": _policy(2), "workflow_run_timeout": to_duration(9 * SECOND_NS)},
            {"cron_schedule": "@daily", "backoff_start_interval": to_duration(3 * SECOND_NS)},
        ]
    )
    return command("CONTINUE_AS_NEW_WORKFLOW_EXECUTION", **attributes)


CLOSE_COMMANDS.append(continue_as_new)
