"""The registry of metrics and the document made from it."""

import pytest

from mmrl.tracking.metrics import METRICS, describe, document, is_wall_clock, main
from tests.support.paths import ROOT


def test_document_is_current():
    text = (ROOT / "docs" / "metrics.md").read_text()
    assert text == document(), "run: python -m mmrl.tracking.metrics"


def test_main_writes_the_document(tmp_path):
    main(str(tmp_path / "metrics.md"))
    assert (tmp_path / "metrics.md").read_text() == document()


def test_exact_names_win_over_families():
    assert describe("reward/mean").name == "reward/mean"
    assert describe("reward/format").name == "reward/<part>"
    assert describe("stream/demo_units").name == "stream/<name>_units"
    assert describe("eval/multiple_choice").name == "eval/<task>"


def test_undocumented_name_is_refused_with_the_nearest():
    with pytest.raises(LookupError, match=r"policy/entropi.*Did you mean 'policy/entropy'"):
        describe("policy/entropi")
    with pytest.raises(LookupError):
        describe("reward/")


def test_every_entry_is_whole():
    for name, metric in METRICS.items():
        assert name == metric.name
        assert "/" in name
        assert metric.unit
        assert metric.description.endswith("."), name


def test_wall_clock_names():
    assert all(map(is_wall_clock, ("time", "time/step", "throughput/tokens_per_s", "memory/rss_gb")))
    assert not any(map(is_wall_clock, ("step", "stage", "reward/mean", "timely/x")))
