"""The text of the figures, read by Prometheus' own parser."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from gapless.serve.metrics import Labels, Metrics
from gapless.serve.operations.exposition import FAMILIES, render

NASTY = 'a "quoted" \\ back\\n slash\nand a new line, {braces}='


def parsed(text: str) -> dict[tuple[str, Labels], float]:
    """Return the samples of a text by name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_what_is_counted_is_read_back() -> None:
    """Counters, gauges and labels of any text come back as they were."""
    metrics = Metrics()
    metrics.add("gapless_requests_failed_total", 3, code=NASTY)
    metrics.add("gapless_actions_total", action="sequence_create")
    metrics.set("gapless_open_writers", 2.5)
    metrics.set("gapless_disk_free_bytes", float(2**60))
    assert parsed(render(metrics.snapshot())) == metrics.snapshot()


def test_every_family_has_its_type_and_is_in_one_piece() -> None:
    """A type and a sentence stand once, before the samples, whatever the order of counting."""
    metrics = Metrics()
    for code in ("b", "a"):
        metrics.add("gapless_requests_failed_total", code=code)
        metrics.add("gapless_requests_total", method=code)
    lines = render(metrics.snapshot()).splitlines()
    assert lines.count("# TYPE gapless_requests_failed_total counter") == 1
    families = [line.split("{")[0] for line in lines if not line.startswith("#")]
    assert families == sorted(families)
    kinds = {family.name: family.type for family in text_string_to_metric_families("\n".join(lines) + "\n")}
    assert kinds == {"gapless_requests_failed": "counter", "gapless_requests": "counter"}


def test_a_histogram_is_one_family() -> None:
    """Buckets go upwards by number, then the sum and the count; the parser takes them for one histogram."""
    labels = {"action": "x"}
    metrics = Metrics()
    for bound, count in (("+Inf", 9), ("10.0", 8), ("0.5", 1), ("2.0", 4)):
        metrics.add("gapless_action_seconds_bucket", count, le=bound, **labels)
    metrics.add("gapless_action_seconds_count", 9, **labels)
    metrics.add("gapless_action_seconds_sum", 12.5, **labels)
    text = render(metrics.snapshot())
    (family,) = text_string_to_metric_families(text)
    assert (family.name, family.type) == ("gapless_action_seconds", "histogram")
    assert [sample.value for sample in family.samples] == [1, 4, 8, 9, 12.5, 9]
    assert text.count("# TYPE") == 1


def test_numbers_that_are_none_are_written_as_prometheus_wants() -> None:
    """Infinities and NaN have names of their own."""
    metrics = Metrics()
    for name, value in (("up", float("inf")), ("down", float("-inf")), ("none", float("nan"))):
        metrics.set("x", value, of=name)
    values = [line.split()[-1] for line in render(metrics.snapshot()).splitlines()[1:]]
    assert values == ["-Inf", "NaN", "+Inf"]


def test_the_table_is_sound() -> None:
    """A counter ends in ``_total``, a gauge does not, and each has a sentence."""
    for name, family in FAMILIES.items():
        assert family.help.endswith("."), name
        assert (family.kind == "counter") == name.endswith("_total"), name
