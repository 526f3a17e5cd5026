"""A benchmark's rows before anything is asked: their digest, what is refused, and media that are missing."""

import hashlib
from types import SimpleNamespace

import pytest
from PIL import Image

from mmrl.contracts.errors import UserError
from mmrl.contracts.types import Group, Sample, Trajectory
from mmrl.evaluation.runner import _truncated
from mmrl.evaluation.suite import listing, protocol
from mmrl.evaluation.suite import survey as module
from mmrl.evaluation.suite.comparing import _interval
from mmrl.evaluation.suite.survey import survey
from mmrl.recipe.benchmarks import BENCHMARKS


def question(text="Größe?", **more):
    return Sample("q0", ({"role": "user", "content": text},), "ocr", {"text": "ß"}, **more)


def test_the_digest_is_of_what_is_asked_in_utf8():
    """Digests of earlier results must stay comparable, so the bytes are written out here."""
    asked = '[[{"content": "Größe?", "role": "user"}], {"text": "ß"}, ["b.png"], "", 0]\n'
    sample = question(images=("a/b.png",), root="/nowhere", simulator="", episode=0)
    found = survey("own", object(), [sample], 0)
    assert found.digest == hashlib.sha256(asked.encode()).hexdigest()[:16]
    assert (found.count, list(found.missing)) == (1, [0])


def test_folders_of_frames_are_media_as_files_are(tmp_path):
    (tmp_path / "frames").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "frames" / "0.png")
    for videos, missing in ((("frames",), []), (("gone",), [0]), (({"path": "frames", "start": 0.0},), [])):
        found = survey("own", object(), [question(videos=videos, root=str(tmp_path))], 0)
        assert list(found.missing) == missing


def test_a_right_answer_that_the_metric_refuses_stops_a_described_benchmark_alone(monkeypatch):
    def gold(sample):
        raise ValueError("no letter")

    benchmark = SimpleNamespace(gold=gold)
    assert survey("own", benchmark, [question()], 0).count == 1
    monkeypatch.setattr(module, "Described", SimpleNamespace)
    with pytest.raises(UserError, match=r"benchmark 'own': .*its metric refuses the right answer: no letter"):
        survey("own", benchmark, [question()], 0)
    rows = [question(), question(), question()]
    assert survey("own", SimpleNamespace(gold=lambda sample: None), rows, 2).count == 2
    with pytest.raises(UserError, match="has no rows"):
        survey("own", benchmark, [], 0)


def test_the_protocol_of_scoring_is_what_the_benchmark_says_of_it(monkeypatch):
    described = SimpleNamespace(protocol={"extractor": "letter", "prompt": "left out"})
    monkeypatch.setattr(protocol, "Described", SimpleNamespace)
    scoring = protocol.scoring_of(described)
    assert scoring.pop("code")
    assert scoring == {"extractor": "letter"}


@pytest.mark.parametrize(
    "part", ["vision_rewards/plain.py", "vision_rewards/rewards/iou.py", "benchmarks/lmms_task.py", "/figures.py"]
)
def test_the_digest_of_scoring_is_another_when_what_decides_scores_is(monkeypatch, part):
    def read(path):
        return b"changed" if path.as_posix().endswith(part) else path.read_text("utf-8").encode()

    before = protocol._code_digest.__wrapped__()
    monkeypatch.setattr(protocol.Path, "read_bytes", read)
    assert protocol._code_digest.__wrapped__() != before


def test_the_listing_of_one_benchmark_is_about_it_alone():
    name, other = sorted(BENCHMARKS.names())[:2]
    assert listing.lines([name])[0].startswith(f"{name}: ")
    assert not any(line.startswith(f"{other}: ") for line in listing.lines([name]))
    named = [line.split(":")[0] for line in listing.lines() if not line.startswith(" ")]
    assert named == list(BENCHMARKS.names())


def test_the_share_that_the_limit_cut_is_of_answers_alone():
    def answer(cut, episode=None):
        return SimpleNamespace(truncated=cut, episode=episode)

    groups = [
        Group(question(), (answer(True), answer(False))),
        Group(question(), (answer(True, "played"), answer(False))),
    ]
    assert _truncated(groups) == {"eval/truncated": 1 / 3}
    assert _truncated([Group(question(), (answer(True, "played"),))]) == {}
    assert Trajectory(()).episode is None


def test_the_interval_of_a_change_is_1_96_standard_errors():
    """Of four rows by themselves, the sum of whose errors varies by 4/3 x 4 x (1/2)^2; one source tells nothing."""
    low, high = _interval([1.0, 0.0, 0.0, 1.0], ["a", "b", "c", "d"])
    half = 1.96 * (4 / 3 * 4 * 0.25) ** 0.5 / 4
    assert (low, high) == pytest.approx((0.5 - half, 0.5 + half), abs=1e-4)
    assert _interval([1.0, 0.0], ["a", "a"]) is None
