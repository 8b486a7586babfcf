"""Time skipping of a run: how its time follows from its events, what runs after and below it inherit, and what is
shown of it.

A run's time is its shard's plus what was skipped. All times in its state are in its own, so timers and timeouts need
to know nothing of it; tasks are mapped to the shard's time where they are derived. Source: the reference
(`service/history/workflow/timeskipping.go`). When a run skips is `perdure.workflow.skipping`'s.
"""

from typing import Any

import msgspec
from temporalio.api.common.v1 import (
    TimeSkippingConfig,
    TimeSkippingFastForwardInfo,
    TimeSkippingInfo,
    TimeSkippingStatePropagation,
)
from temporalio.api.history.v1 import WorkflowExecutionTimeSkippingTransitionedEventAttributes

from perdure.base.clock import from_duration, from_timestamp, to_duration, to_timestamp
from perdure.workflow.state import TimeSkipping


def begun(attributes: Any, now_ns: int) -> TimeSkipping:
    """Of a run that begins at `now_ns` (its own time), by its Started event."""
    handed_on = attributes.time_skipping_state_propagation
    config = attributes.time_skipping_config if attributes.HasField("time_skipping_config") else None
    begins = TimeSkipping(skipped_ns=handed_on_ns(handed_on), skips=handed_on.initial_skip_count)
    return _configured(begins, config, now_ns, from_timestamp(handed_on.fast_forward_target_time))


def handed_on_ns(handed_on: TimeSkippingStatePropagation) -> int:
    """By how much a run is ahead as it begins: more, perhaps, than any duration that a caller may ask for."""
    return handed_on.initial_skipped_duration.ToNanoseconds()


def reconfigured(former: TimeSkipping | None, config: TimeSkippingConfig | None, now_ns: int) -> TimeSkipping:
    """After an update of the run's options at `now_ns` (its own time): a new count begins, and a new fast-forward."""
    return _configured(msgspec.structs.replace(former or TimeSkipping(), skips=0), config, now_ns)


def _configured(
    former: TimeSkipping, config: TimeSkippingConfig | None, now_ns: int, forward_to_ns: int = 0
) -> TimeSkipping:
    """With this configuration; its fast-forward goes on to `forward_to_ns` if the run before had one."""
    if config is None:
        return msgspec.structs.replace(former, config=None, enabled=False, forward_to_ns=0, forwarded=False)
    if not config.HasField("fast_forward_config"):
        forward_to_ns = 0
    elif not forward_to_ns:
        forward_to_ns = now_ns + from_duration(config.fast_forward_config.duration)
    forwarded = 0 < forward_to_ns <= now_ns
    return msgspec.structs.replace(
        former,
        config=config.SerializeToString(deterministic=True),
        enabled=config.enabled and not forwarded,
        forward_to_ns=forward_to_ns,
        forwarded=forwarded,
    )


def transitioned(
    former: TimeSkipping, attributes: WorkflowExecutionTimeSkippingTransitionedEventAttributes, now_ns: int
) -> TimeSkipping:
    """After the event of a skip, or of a fast-forward's end, at `now_ns` (the run's own time before it)."""
    target_ns = from_timestamp(attributes.target_time)
    skips = former.skips + 1
    ends = attributes.disabled_after_fast_forward or skips >= effective(former).max_session_skip_count
    return msgspec.structs.replace(
        former,
        skipped_ns=former.skipped_ns + (target_ns - now_ns if target_ns else 0),
        skips=skips,
        enabled=former.enabled and not ends,
        forwarded=former.forwarded or attributes.disabled_after_fast_forward,
    )


def effective(skipping: TimeSkipping) -> TimeSkippingConfig:
    """The configuration as it is now."""
    config = TimeSkippingConfig.FromString(skipping.config or b"")
    config.enabled = skipping.enabled
    return config


def for_next_run(skipping: TimeSkipping) -> tuple[TimeSkippingConfig | None, TimeSkippingStatePropagation]:
    """What the next run of the chain goes on with."""
    handed_on = TimeSkippingStatePropagation(
        initial_skipped_duration=to_duration(skipping.skipped_ns), initial_skip_count=skipping.skips
    )
    if skipping.forward_to_ns:
        handed_on.fast_forward_target_time.CopyFrom(to_timestamp(skipping.forward_to_ns))
    return effective(skipping) if skipping.config is not None else None, handed_on


def for_child(skipping: TimeSkipping) -> tuple[TimeSkippingConfig | None, TimeSkippingStatePropagation | None]:
    """What a child goes on with: its parent's time, and the rest unless that is not to be propagated; a fast-forward
    is the parent's own.
    """
    handed_on = None
    if skipping.skipped_ns:
        handed_on = TimeSkippingStatePropagation(initial_skipped_duration=to_duration(skipping.skipped_ns))
    config = effective(skipping)
    if skipping.config is None or config.disable_propagation:
        return None, handed_on
    config.ClearField("fast_forward_config")
    return config, handed_on


def shown(skipping: TimeSkipping, now_ns: int) -> TimeSkippingInfo:
    """What Describe shows at `now_ns` (the run's own time)."""
    info = TimeSkippingInfo(current_time=to_timestamp(now_ns))
    if skipping.config is not None:
        info.effective_config.CopyFrom(effective(skipping))
    forward = fast_forward(skipping)
    if forward is not None:
        info.fast_forward_info.CopyFrom(forward)
    return info


def fast_forward(skipping: TimeSkipping | None) -> TimeSkippingFastForwardInfo | None:
    """What is shown of the fast-forward, if there is one."""
    if skipping is None or not skipping.forward_to_ns:
        return None
    config = effective(skipping).fast_forward_config
    return TimeSkippingFastForwardInfo(
        fast_forward_duration=config.duration,
        fast_forward_id=config.id,
        target_time=to_timestamp(skipping.forward_to_ns),
        has_completed=skipping.forwarded,
    )
