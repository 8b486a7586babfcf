"""The smallest program with an activity, in a module of its own, as the SDK's sandbox wants it."""

from datetime import timedelta

from temporalio import activity, workflow


@activity.defn
async def double(number: int) -> int:
    return 2 * number


@workflow.defn
class Doubling:
    @workflow.run
    async def run(self, number: int) -> int:
        return await workflow.execute_activity(double, number, start_to_close_timeout=timedelta(seconds=10))
