"""What a configuration of time skipping may say, and that it is refused where it is not switched on."""

import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio.api.common.v1 import FastForwardConfig, TimeSkippingConfig
from temporalio.api.workflowservice.v1 import StartWorkflowExecutionRequest

from perdure.base.errors import InvalidArgument, Unimplemented
from perdure.base.limits import Limits
from perdure.frontend.time_skipping import fill_time_skipping

_ON = Limits(time_skipping=True, time_skips_max=7)


def filled(config: TimeSkippingConfig | None, limits: Limits = _ON) -> TimeSkippingConfig:
    request = StartWorkflowExecutionRequest(time_skipping_config=config)
    fill_time_skipping(request, limits)
    assert request.HasField("time_skipping_config") == (config is not None)
    return request.time_skipping_config


def forward(seconds: int = 1, name: str = "ff") -> FastForwardConfig:
    return FastForwardConfig(id=name, duration=Duration(seconds=seconds))


def test_a_request_without_one_stays_as_it_is() -> None:
    filled(None)
    filled(None, Limits())


def test_any_is_refused_where_it_is_not_switched_on() -> None:
    with pytest.raises(Unimplemented, match=r"The Time-Skipping feature is not enabled for namespace\."):
        filled(TimeSkippingConfig(), Limits())


@pytest.mark.parametrize("given", [0, -1])
def test_the_number_of_skips_is_filled_in(given: int) -> None:
    assert filled(TimeSkippingConfig(max_session_skip_count=given)).max_session_skip_count == 7
    assert filled(TimeSkippingConfig(max_session_skip_count=9)).max_session_skip_count == 9


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (TimeSkippingConfig(enabled=True, fast_forward_config=forward(0)), "duration must be positive"),
        (TimeSkippingConfig(enabled=True, fast_forward_config=forward(-1)), "duration must be positive"),
        (TimeSkippingConfig(enabled=True, fast_forward_config=forward(name=" \t")), "fast_forward_id must be set"),
        (TimeSkippingConfig(fast_forward_config=forward()), "cannot set fast_forward when enabled is false"),
    ],
)
def test_what_contradicts_itself_is_refused(config: TimeSkippingConfig, text: str) -> None:
    with pytest.raises(InvalidArgument, match=text):
        filled(config)
