"""bad_samples.jsonl: each bad row once, also over a resumed run; warnings with an end; the table of the report."""

import json

import pytest

from mmrl.contracts.errors import BadSample, UserError
from mmrl.recipe.tracking import TrackingConfig
from mmrl.tracking.bad_samples import WARNED, BadSamples
from mmrl.tracking.console import Live, Plain
from mmrl.tracking.report.page import write_report
from mmrl.tracking.tracker import Tracker

QUIET = TrackingConfig(console="none", tensorboard=False)


def bad(row, path=None, reason="is broken"):
    return BadSample(f"rows.jsonl row {row} (id {row})", reason, path=path)


def entries(folder):
    return [json.loads(line) for line in (folder / "bad_samples.jsonl").read_text().splitlines()]


def test_rows_are_written_once(tmp_path):
    log = BadSamples(tmp_path / "bad_samples.jsonl")
    for _ in range(2):
        for row in range(5):
            log.add("train", bad(row, f"{row}.mp4"), "mine")
    log.add("eval", bad(0), "mine")
    found = entries(tmp_path)
    assert len(found) == 6
    assert found[3] == {
        "data": "train", "dataset": "mine", "row": 3, "where": "rows.jsonl row 3 (id 3)", "path": "3.mp4",
        "reason": "is broken",
    }  # fmt: skip


def test_each_kind_of_fault_is_named_once_with_the_rows_known_to_be_alike(tmp_path):
    said = []
    log = BadSamples(tmp_path / "bad_samples.jsonl", said.append)
    log.expect([("train", bad(row, reason=f"file '{row}.png' does not exist")) for row in range(32)])
    for row in (40, 3, 7):
        log.add("train", bad(row, reason=f"file '{row}.png' does not exist"), "mine")
    log.add("eval", bad(3, reason="file '3.png' does not exist"), "held out")
    log.add("train", bad(3, reason="is broken"), "mine")
    assert said == [
        "bad sample, skipped (train mine): rows.jsonl row 40 (id 40): file '40.png' does not exist (and 32 rows alike)",
        "bad sample, skipped (eval held out): rows.jsonl row 3 (id 3): file '3.png' does not exist",
    ]
    assert len(entries(tmp_path)) == 4


def test_a_row_does_not_count_itself_and_a_resumed_run_says_nothing_again(tmp_path):
    for _ in range(2):
        said = []
        log = BadSamples(tmp_path / "bad_samples.jsonl", said.append)
        log.expect([("train", bad(row)) for row in range(2)])
        log.add("train", bad(1), "mine")
        log.add("train", bad(5), "mine")
    assert said == []
    assert [entry["row"] for entry in entries(tmp_path)] == [1, 5]


def test_naming_has_an_end(tmp_path):
    said = []
    log = BadSamples(tmp_path / "bad_samples.jsonl", said.append)
    for number in range(WARNED + 5):
        log.add("train", bad(0, reason=f"is broken in way {chr(97 + number)}"), "mine")
        log.add("train", BadSample(f"{number}.jsonl row 0", "is broken"), "mine")
    assert len(said) == WARNED + 1
    assert said[-1].startswith("further kinds of bad samples")
    assert said[-1].endswith("bad_samples.jsonl")


def test_a_dataset_that_is_not_named_is_read_from_the_error(tmp_path):
    log = BadSamples(tmp_path / "bad_samples.jsonl", print)
    log.add("train", bad(7), None)
    log.add("train", BadSample("somewhere", "is broken"), None)
    assert [(e["dataset"], e["row"]) for e in entries(tmp_path)] == [("rows.jsonl", 7), ("somewhere", None)]


def test_a_resumed_run_adds_and_one_that_starts_over_begins_anew(tmp_path):
    with Tracker(tmp_path, QUIET, 4) as first:
        first.log(1, "a", {"loss/total": 1.0})
        first.bad_sample("train", bad(1), "mine")
    with (tmp_path / "bad_samples.jsonl").open("a") as file:
        file.write('{"data": "tra')
    with Tracker(tmp_path, QUIET, 4, resume_step=1) as again:
        again.bad_sample("train", bad(1), "mine")
        again.bad_sample("train", bad(2), "mine")
    assert [entry["row"] for entry in entries(tmp_path)] == [1, 2]
    with Tracker(tmp_path, QUIET, 4, resume_step=0):
        assert not (tmp_path / "bad_samples.jsonl").exists()


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    with Tracker(tmp_path, QUIET, 4) as tracker:
        (tmp_path / "bad_samples.jsonl").mkdir()
        with pytest.raises(UserError, match=r"cannot write .*bad_samples\.jsonl"):
            tracker.bad_sample("train", bad(1), "mine")


@pytest.mark.parametrize("view", [Plain, Live])
def test_consoles_show_a_warning_as_it_is(capsys, view):
    shown = view("run", 10, 0)
    shown.warn("bad sample, skipped: [bold]a.mp4 [not_a_video]")
    shown.close()
    assert "bad sample, skipped: [bold]a.mp4 [not_a_video]" in capsys.readouterr().out


def test_the_report_has_a_table_and_escapes_it(tmp_path):
    with Tracker(tmp_path, QUIET, 4) as tracker:
        tracker.log(1, "a", {"loss/total": 1.0})
        assert "Bad samples" not in write_report(tmp_path).read_text()
        for row in range(103):
            tracker.bad_sample("eval", bad(row, "<b>.mp4", "holds <script>"), "set & more")
    page = write_report(tmp_path).read_text()
    assert "Bad samples, skipped: 103" in page
    assert "<td>eval</td><td>set &amp; more</td><td>0</td><td>&lt;b&gt;.mp4</td><td>holds &lt;script&gt;</td>" in page
    assert "… and 3 more in bad_samples.jsonl" in page
    assert page.count("<td>set &amp; more</td>") == 100
