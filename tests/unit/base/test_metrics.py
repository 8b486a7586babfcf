"""What is counted, and the page that it makes, read by prometheus-client's own parser."""

import pytest
from prometheus_client import enable_created_metrics
from prometheus_client.parser import text_string_to_metric_families

from perdure.base.metrics import (
    BYTES,
    COUNTS,
    HISTOGRAM_SERIES_MAX,
    OTHER,
    SECONDS,
    SERIES_MAX,
    VALUES_MAX,
    Metrics,
    Reading,
    counter,
    gauge,
    histogram,
)

REQUESTS = counter("requests", "namespace operation service_name", "Calls.")
QUEUES = counter("polls", "namespace taskqueue service_name", "Polls.")
LATENCY = histogram("latency", "taskqueue service_name", "Seconds.")
LEVEL = gauge("level", "service_name", "How high.")


def page(metrics: Metrics) -> str:
    """All of it."""
    return b"".join(metrics.page()).decode()


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample of the page by name and labels. The parser names a counter's as clients in Python do."""
    return {
        (sample.name.removesuffix("_total"), tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page(metrics))
        for sample in family.samples
    }


def test_a_counter_keeps_its_bare_name() -> None:
    metrics = Metrics()
    metrics.family(REQUESTS).labels("default", "Start", "frontend").inc()
    metrics.family(REQUESTS).labels("default", "Start", "frontend").inc(2)
    assert page(metrics) == (
        "# HELP requests Calls.\n# TYPE requests counter\n"
        'requests{namespace="default",operation="Start",service_name="frontend"} 3.0\n'
    )


def test_only_names_at_the_head_of_a_metric_are_corrected() -> None:
    told = counter("requests", "operation", "Says # HELP requests_total and\n# TYPE requests_total counter.")
    metrics = Metrics()
    metrics.family(told).labels("requests_total ").inc()
    assert page(metrics) == (
        "# HELP requests Says # HELP requests_total and\\n# TYPE requests_total counter.\n"
        "# TYPE requests counter\n"
        'requests{operation="requests_total_"} 1.0\n'
    )


def test_no_metric_says_when_it_was_made() -> None:
    """The library would add `_created` to counters and histograms, unless it is told not to."""
    enable_created_metrics()  # type: ignore[no-untyped-call]  # the library says no types of it
    metrics = Metrics()
    metrics.family(REQUESTS).labels("default", "Start", "frontend").inc()
    metrics.family(LATENCY).labels("q", "matching").observe(1)
    assert "_created" not in page(metrics)


def test_a_histogram_is_cumulative_and_ends_in_all() -> None:
    metrics = Metrics()
    child = metrics.family(LATENCY).labels("q", "matching")
    for seconds in (0.0005, 0.001, 0.0011, 3.0, 5_000.0):
        child.observe(seconds)
    found = samples(metrics)
    at = (("service_name", "matching"), ("taskqueue", "q"))
    buckets = {dict(labels)["le"]: value for (name, labels), value in found.items() if name == "latency_bucket"}
    assert list(map(float, buckets)) == [*SECONDS, float("inf")]
    assert (buckets["0.001"], buckets["0.002"], buckets["2.0"], buckets["5.0"]) == (2, 3, 3, 4)
    assert (buckets["1000.0"], buckets["+Inf"]) == (4, 5)
    assert found["latency_count", at] == 5
    assert found["latency_sum", at] == pytest.approx(5_003.0026)


def test_the_buckets_are_those_of_dashboards() -> None:
    assert SECONDS[:4] == (0.001, 0.002, 0.005, 0.01)
    assert SECONDS[-1] == 1000
    assert (len(SECONDS), COUNTS[-1], BYTES[0], BYTES[-1]) == (19, 100_000, 1_024, 16_777_216)


def test_strange_characters_become_underscores() -> None:
    metrics = Metrics()
    hostile = 'a-b.c/d"}\nx 1\\é'
    metrics.family(QUEUES).labels("default", hostile, "matching").inc()
    ((_, labels),) = samples(metrics)
    assert dict(labels)["taskqueue"] == "a_b_c_d___x_1__"


def test_values_that_are_written_alike_are_one_series() -> None:
    metrics = Metrics()
    for queue in ("a-b", "a.b", "a-b"):
        metrics.family(QUEUES).labels("default", queue, "matching").inc()
    assert list(samples(metrics).values()) == [3]


def test_a_caller_can_make_only_so_many_series_of_a_label() -> None:
    metrics = Metrics()
    for number in range(3 * VALUES_MAX):
        metrics.family(QUEUES).labels("default", f"q{number}", "matching").inc()
    found = samples(metrics)
    assert len(found) == VALUES_MAX + 1
    rest = ("polls", (("namespace", "default"), ("service_name", "matching"), ("taskqueue", OTHER)))
    assert found[rest] == 2 * VALUES_MAX
    assert sum(found.values()) == 3 * VALUES_MAX


def test_labels_multiply_only_so_far() -> None:
    metrics = Metrics()
    for namespace in range(60):
        for queue in range(60):
            metrics.family(QUEUES).labels(f"n{namespace}", f"q{queue}", "matching").inc()
    found = samples(metrics)
    assert len(found) <= SERIES_MAX + 1
    assert sum(found.values()) == 3_600


def test_many_hostile_callers_make_a_page_of_bounded_size() -> None:
    metrics = Metrics()
    many = [histogram(f"h{number}", "taskqueue service_name", "Seconds.") for number in range(5)]
    for definition in many:
        for number in range(2_000):
            metrics.family(definition).labels("x" * 100 + str(number), "matching").observe(1)
    text = page(metrics)
    assert text.count("_count{") == 5 * (HISTOGRAM_SERIES_MAX + 1)
    assert len(text) < 5 << 20


def test_what_is_kept_for_callers_is_bounded_too() -> None:
    """What isn't told apart must not be remembered by its name either."""
    metrics = Metrics()
    family = metrics.family(QUEUES)
    for number in range(10_000):
        family.labels("default", f"q{number}", "matching")
    assert len(family._children) <= 2 * SERIES_MAX
    assert len(metrics._bounds.values["taskqueue"]) == VALUES_MAX


def test_gauges_are_read_when_the_page_is() -> None:
    metrics = Metrics()
    readings = iter(([(LEVEL, ("history",), 5), (LEVEL, ("matching",), 1)], [(LEVEL, ("history",), 1.5)]))
    metrics.on_read(lambda: next(readings))
    history, matching = (("level", (("service_name", service),)) for service in ("history", "matching"))
    assert samples(metrics) == {history: 5, matching: 1}
    assert samples(metrics) == {history: 1.5}


def test_readings_of_one_series_are_one() -> None:
    """Also of what is told apart no more."""
    depth = gauge("depth", "taskqueue", "How many.")
    age = gauge("age", "taskqueue", "How old is the oldest.", max)
    metrics = Metrics()
    metrics.on_read(lambda: [(depth, ("q.2",), 40)])
    metrics.on_read(lambda: [(depth, (f"q-{number}",), number) for number in range(VALUES_MAX + 2)])
    metrics.on_read(lambda: [(age, (f"q-{number}",), number) for number in range(VALUES_MAX + 2)])
    found = samples(metrics)
    assert len(found) == 2 * VALUES_MAX
    assert found["depth", (("taskqueue", "q_2"),)] == 42
    assert found["depth", (("taskqueue", OTHER),)] == 3 * VALUES_MAX
    assert found["age", (("taskqueue", OTHER),)] == VALUES_MAX + 1


def test_what_is_measured_by_reading_is_on_the_same_page() -> None:
    metrics = Metrics()
    looks = metrics.family(REQUESTS).labels("default", "Look", "history")

    def read() -> list[Reading]:
        looks.inc()
        return []

    metrics.on_read(read)
    assert list(samples(metrics).values()) == [1]


def test_two_metrics_of_one_name_are_a_defect() -> None:
    metrics = Metrics()
    metrics.family(LEVEL)
    with pytest.raises(AssertionError, match="level"):
        metrics.family(gauge("level", "service_name", "Another."))


def test_a_wrong_number_of_labels_is_a_defect() -> None:
    with pytest.raises(AssertionError, match="requests"):
        Metrics().family(REQUESTS).labels("default")


def test_nothing_measured_is_an_empty_page() -> None:
    assert list(Metrics().page()) == []


def test_what_a_role_does_elsewhere_counts_for_the_process_that_does_it() -> None:
    assert Metrics().home("history") == "history"
    assert Metrics(("matching",)).home("history") == "matching"


def test_a_metric_of_many_series_is_written_in_parts_that_add_up() -> None:
    metrics = Metrics()
    for number in range(SERIES_MAX // 2):
        metrics.family(QUEUES).labels("default", f"q{number}", "matching").inc(number)
        metrics.family(LATENCY).labels(f"q{number}", "matching").observe(1)
    parts = list(metrics.page())
    assert len(parts) > 10
    assert max(map(len, parts)) < 100_000
    text = b"".join(parts).decode()
    assert text.count("# TYPE polls counter\n") == text.count("# HELP polls ") == 1
    found = samples(metrics)
    assert sum(value for (name, _), value in found.items() if name == "polls") == sum(range(SERIES_MAX // 2))
    assert sum(value for (name, _), value in found.items() if name == "latency_count") == SERIES_MAX // 2
