"""Where callbacks may go. Most refusals are compared in `tests/conformance/scenarios/callbacks.py`."""

import pytest
from temporalio.api.common.v1 import Callback, Link
from temporalio.api.workflowservice.v1 import StartWorkflowExecutionRequest

from perdure.base.errors import InvalidArgument
from perdure.base.limits import AddressRule, Limits
from perdure.frontend.callbacks import check_callbacks, check_links_of_start

LIMITS = Limits(callback_addresses=(AddressRule("*.inside:*", insecure=True), AddressRule("a.b")))


def _to(url: str, **header: str) -> Callback:
    return Callback(nexus=Callback.Nexus(url=url, header=header))


@pytest.mark.parametrize(
    "url", ["http://x.inside:80/", "https://x.y.inside:1", "https://a.b/c", "https://u:p@a.b/", "temporal://system"]
)
def test_what_a_rule_allows(url: str) -> None:
    check_callbacks([_to(url)], LIMITS)


@pytest.mark.parametrize(
    "url",
    [
        "http://a.b/",
        "https://a.b:1/",
        "https://axb/",
        "https://a.b.c/",
        "https://x.a.b/",
        "http://x.inside/",
        "http://x.inside:80@elsewhere/",
        "http://elsewhere/x.inside:80",
        "http://elsewhere?x.inside:80",
        "http://elsewhere#x.inside:80",
        "http://[::1/",
        "http://x.inside:port/",
        "//x.inside:80/",
        "file:///etc/passwd",
        "temporal://other",
        "http://x.inside:80/\n",
    ],
)
def test_what_no_rule_allows(url: str) -> None:
    with pytest.raises(InvalidArgument):
        check_callbacks([_to(url)], LIMITS)


def test_nothing_is_allowed_without_rules() -> None:
    with pytest.raises(InvalidArgument, match="does not match any configured callback address"):
        check_callbacks([_to("https://a.b/")], Limits())


def test_names_of_headers_become_lower_case() -> None:
    callback = _to("https://a.b/", **{"Some-Name": "Value"})
    check_callbacks([callback], LIMITS)
    assert dict(callback.nexus.header) == {"some-name": "Value"}


def test_a_link_that_a_callback_carries_is_the_callbacks() -> None:
    links = [Link(batch_job=Link.BatchJob(job_id=name)) for name in ("a", "b")]
    callback = _to("https://a.b/")
    callback.links.append(links[0])
    request = StartWorkflowExecutionRequest(links=links, completion_callbacks=[callback])
    check_links_of_start(request, LIMITS)
    assert list(request.links) == links[1:]
    assert list(request.completion_callbacks[0].links) == links[:1]


def test_links_are_not_compared_each_with_each() -> None:
    """A request has room for so many that this would take hours; here it would be half a minute."""
    links = [Link(batch_job=Link.BatchJob(job_id="a"))] * 20_000
    callback = Callback(nexus=Callback.Nexus(url="temporal://system"))
    callback.links.extend([Link(batch_job=Link.BatchJob(job_id="b"))] * 20_000)
    request = StartWorkflowExecutionRequest(links=links, completion_callbacks=[callback])
    with pytest.raises(InvalidArgument, match="cannot attach more than 10 links per request, got 40000"):
        check_links_of_start(request, LIMITS)
