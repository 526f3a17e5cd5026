"""The benchmark scripts run and print what they promise. Speeds are never compared here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import checkpoints, features, growth, memory
from tests.support.benchmarks import result_of
from tests.support.paths import ROOT


@pytest.mark.slow
def test_step_throughput_prints_its_result(tmp_path: Path) -> None:
    """A smoke run ends with the JSON line, both sides having done the same work."""
    pytest.importorskip("trl")
    output = tmp_path / "result.json"
    result = result_of("step_throughput", "--small", "--threads", "1", "--output", str(output))
    assert result["value"] > 0
    assert result["higher_is_better"] is True
    details = result["details"]
    for side in ("mmrl", "trl"):
        assert details[side]["tokens_per_s"] > 0
        assert details[side]["peak_rss_gb"] > 0
        assert details[side]["step_s"] == pytest.approx(details[side]["rollout_s"] + details[side]["update_s"], rel=0.5)
    assert details["mmrl"]["prompt_tokens"] == details["trl"]["prompt_tokens"]
    # Images pass both vision towers, in sampling and in training: once per group here, once per completion there.
    assert details["trl"]["image_patches_a_step"] == details["work"]["n"] * details["mmrl"]["image_patches_a_step"] > 0
    assert {"versions", "parameters", "threads", "limit"} <= set(details)
    written = json.loads(output.read_text())
    assert written["value"] == result["value"]
    assert {"date", "machine"} <= set(written)


@pytest.mark.slow
def test_segment_attention_prints_its_result(tmp_path: Path) -> None:
    """A smoke run ends with the JSON line, and its three sides compute the same."""
    output = tmp_path / "result.json"
    result = result_of("segment_attention", "--small", "--output", str(output), timeout=600)
    assert result["value"] > 0
    assert result["higher_is_better"] is False
    assert result["details"]["largest_relative_difference"] < 1e-5
    for by_count in result["details"]["cells"].values():
        for sides in by_count.values():
            assert set(sides) == {"row", "dense", "segments"}
            assert all(figures["seconds_per_1000_tokens"] > 0 for figures in sides.values())
    assert {**json.loads(output.read_text()), "date": 0, "machine": 0} == {**result, "date": 0, "machine": 0}


@pytest.mark.slow
def test_growth_prints_its_result(tmp_path: Path) -> None:
    """A smoke run ends with the JSON line: a figure for each number of answers, and the first and last compared."""
    output = tmp_path / "result.json"
    result = result_of("growth", "--small", "--output", str(output), timeout=600)
    answers = result["details"]["answers"]
    assert set(answers) == {"1", "2"}
    assert all(figures["seconds"] > 0 for figures in answers.values())
    assert {**json.loads(output.read_text()), "date": 0, "machine": 0} == {**result, "date": 0, "machine": 0}


def test_growth_is_that_of_a_token() -> None:
    """Seconds and peak per token: four times of both for twice the tokens is a growth of two."""
    cells = {n: {"seconds": s, "peak_gb": s / 10, "seconds_per_1000_tokens": 1000 * s / (100 + 10 * n)}
             for n, s in ((1, 1.1), (12, 4.4))}  # fmt: skip
    result = growth.summary(cells, prompt_tokens=100, length=11)
    assert result["value"] == pytest.approx(2.0)
    assert result["details"]["peak_growth"] == pytest.approx(2.0)


@pytest.mark.slow
def test_checkpoints_are_compared_by_their_bytes() -> None:
    cell = {"seconds": 1.0, "bytes": 2e9, "peak_gb": 0.5, "parameters": 7}
    result = checkpoints.summary({"adapters": cell, "adapters and model": {**cell, "bytes": 8e9}})
    assert result["value"] == 4.0
    assert result["details"]["forms"]["adapters"] == {"seconds": 1.0, "gb": 2.0, "peak_gb": 0.5}


def test_features_are_compared_by_processor_seconds() -> None:
    result = features.summary({"kept": {"seconds": 2.0, "passes": 4}, "anew": {"seconds": 3.0, "passes": 16}})
    assert (result["value"], result["details"]["anew_passes"]) == (1.5, 16)


@pytest.mark.slow
def test_decoding_prints_its_result(tmp_path: Path) -> None:
    """A smoke run ends with the JSON line, and its value is the lowest ratio."""
    output = tmp_path / "result.json"
    result = result_of("decoding", "--small", "--repeats", "1", "--output", str(output), timeout=600)
    cases = result["details"]["cases"].values()
    assert result["value"] == min(case["ratio"] for case in cases) > 0
    assert all(case["engine_tokens_per_cpu_s"] > 0 for case in cases)
    assert {**json.loads(output.read_text()), "date": 0, "machine": 0} == {**result, "date": 0, "machine": 0}


def test_rewards_prints_its_result() -> None:
    """A smoke run ends with the JSON line, and its value is the slowest of the light rewards that were measured."""
    result = result_of("rewards", "--seconds", "0.01", "--only", "iou", "ocr", "table", "judge")
    assert (result["name"], result["higher_is_better"]) == ("rewards", True)
    rates = result["details"]["scores_per_second"]
    assert set(rates) == {"iou", "ocr", "table", "judge"}
    assert result["value"] == min(rates["iou"], rates["ocr"]) > 0


@pytest.mark.slow
def test_memory_is_estimated_for_a_published_size() -> None:
    """The page shows what the estimate gives today; building the model checks its number of parameters."""
    line = memory.row("Qwen2-VL-2B", "LoRA, rank 64", [])
    assert line in (ROOT / "docs/memory.md").read_text().splitlines(), "put what it prints into the page"
