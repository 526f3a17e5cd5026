"""A judge beside the rules of benchmarks: what it is asked, what it decides, and what becomes of a judge that fails."""

import json
import shutil
from types import SimpleNamespace

import pytest

from mmrl.contracts.errors import UserError
from mmrl.evaluation.suite.stored import rescore
from mmrl.recipe.suite import JudgeConfig
from tests.support.chat_server import serving
from tests.support.suite import ask, settings
from vision_rewards import judging

ROWS = [{"question": f"What is in picture {i}?", "answer": f"a red car {i}"} for i in range(6)]


@pytest.fixture(autouse=True)
def bare(monkeypatch):
    """No judge is known, no proxy is used, and nobody waits between tries."""
    judging._sessions.clear()
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr("tenacity.nap.time", SimpleNamespace(sleep=lambda seconds: None))
    yield
    judging._sessions.clear()


@pytest.fixture
def own(tmp_path):
    """A benchmark of open answers that a judge may grade."""
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    path = tmp_path / "own.yaml"
    path.write_text(
        "rows: rows.jsonl\ntask: open_ended\njudged: true\nparams: {open_ended: {metric: rougeL}}\nmeasure: exact\n"
    )
    return str(path)


def says(sample):
    """Rows 0 and 1 in the reference's words, 2 and 3 in others, 4 and 5 wrong."""
    number = sample.row
    return ROWS[number]["answer"] if number < 2 else f"an auto, red, {number}" if number < 4 else "a dog"


def kind(body):
    """Grades answers that name an auto, and holds reasoning about row 1 for unsound."""
    text = body["messages"][1]["content"]
    if "Grade the reasoning" in text:
        return json.dumps({"grade": int("picture 1" not in text)})
    return json.dumps({"grade": int("an auto" in text)})


def judged(server, **keys):
    return JudgeConfig(url=server.url, model="j", retries=0, timeout=30.0, **keys)


def scores(output):
    lines = (output / "own.yaml/samples.jsonl").read_text().splitlines()
    return [(record["score"], record["judge"]) for record in map(json.loads, lines)]


def test_a_judge_grades_what_rules_refuse_and_the_protocol_says_so(own, tmp_path):
    with serving(kind) as server:
        result = ask(settings(tmp_path / "out", [own], judge=judged(server)), says)["own.yaml"]
    right, wrong = (1.0, {"answer": 1.0}), (0.0, {"answer": 0.0})
    assert scores(tmp_path / "out") == [(1.0, {}), (1.0, {}), right, right, wrong, wrong]
    assert (result["score"], result["judge"]) == (pytest.approx(4 / 6), {"asked": 4, "unreadable": 0})
    said = result["protocol"]["scoring"]["judge"]
    assert (said["model"], len(said["prompts"])) == ("j", 16)
    assert len(server.bodies) == 4


def test_reasoning_of_right_answers_is_graded_and_counts_in_cot_pass_at_k(own, tmp_path):
    keys = {"samples": 2, "sampling": {"temperature": 1.0}}
    with serving(kind) as server:
        result = ask(settings(tmp_path / "out", [own], judge=judged(server, reasoning=True), **keys), says)["own.yaml"]
    assert result["draws"]["pass@1"] == pytest.approx(4 / 6)
    assert result["draws"]["cot_pass@1"] == result["judge"]["sound"] == pytest.approx(3 / 6)
    assert scores(tmp_path / "out")[2] == (1.0, {"reasoning": 0.0})


def test_reasoning_that_nobody_graded_has_no_figure(own, tmp_path):
    keys = {"samples": 2, "sampling": {"temperature": 1.0}}
    with serving(kind) as server:
        result = ask(settings(tmp_path / "out", [own], judge=judged(server), **keys), says)["own.yaml"]
    assert set(result["draws"]) == {"pass@1", "pass@2", "distinct", "majority"}


def test_a_reply_without_a_grade_is_none_and_is_counted(own, tmp_path):
    with serving(lambda body: "I like it") as server:
        result = ask(settings(tmp_path / "out", [own], judge=judged(server)), says)["own.yaml"]
    assert (result["score"], result["judge"]) == (pytest.approx(2 / 6), {"asked": 4, "unreadable": 4})


def test_answers_that_the_judge_refuses_are_ungraded_unless_it_refuses_everything(own, tmp_path):
    def refuses(body):
        text = body["messages"][1]["content"]
        return '{"grade": 1}' if "Say hi." in text else 400

    with serving(refuses) as server:
        result = ask(settings(tmp_path / "out", [own], judge=judged(server)), says)["own.yaml"]
        assert (result["score"], result["judge"]) == (pytest.approx(2 / 6), {"asked": 4, "unreadable": 4})
        server.answer = lambda body: 422
        judging._sessions.clear()
        with pytest.raises(UserError, match=r"gave no verdict \(judge_http_422\)"):
            ask(settings(tmp_path / "all", [own], judge=judged(server)), says)


def test_answers_that_nobody_asks_about_are_not_counted_as_asked(own, tmp_path):
    with serving(kind) as server:
        result = ask(settings(tmp_path / "out", [own], judge=judged(server)), lambda sample: "")["own.yaml"]
    assert (result["score"], result["judge"], server.bodies) == (0.0, {"asked": 0, "unreadable": 0}, [])


def test_where_no_answer_is_right_none_is_right_with_sound_reasoning(tmp_path):
    keys = {"samples": 2, "sampling": {"temperature": 1.0}, "limit": 2}
    with serving(kind) as server:
        config = settings(tmp_path / "out", ["digits"], judge=judged(server, reasoning=True), **keys)
        result = ask(config, lambda sample: "none")["digits"]
    assert result["judge"] == {"asked": 0, "unreadable": 0, "sound": 0.0}
    assert result["draws"]["cot_pass@2"] == 0.0


def test_a_benchmark_that_the_judge_never_grades_has_the_protocol_of_one_without_it(own, tmp_path):
    with serving(kind) as server:
        config = settings(tmp_path / "out", ["digits", own], judge=judged(server), limit=2)
        results = ask(config, says)
        anew = rescore(tmp_path / "out", tmp_path / "anew", str(tmp_path), judge=judged(server), say=lambda line: None)
    plain = ask(settings(tmp_path / "plain", ["digits"], limit=2), says)
    for each in (results, anew):
        assert each["digits"]["protocol_digest"] == plain["digits"]["protocol_digest"]
        assert "judge" in each["own.yaml"]["protocol"]["scoring"]
        assert "judge" not in each["digits"]


def test_a_judge_that_is_down_ends_in_one_line_and_the_run_goes_on_later(own, tmp_path):
    with serving(kind) as server:
        config = settings(tmp_path / "out", [own], judge=judged(server), batch_size=2)
        server.answer = lambda body: 503
        with pytest.raises(UserError, match=r"judge 'j' at .* gave no verdict \(judge_http_503\)") as error:
            ask(config, says)
        assert "\n" not in str(error.value)
        assert [score for score, _ in scores(tmp_path / "out")] == [1.0, 1.0]
        assert not (tmp_path / "out/results.json").exists()
        server.answer = kind
        whole = ask(settings(tmp_path / "whole", [own], judge=judged(server), batch_size=6), says)
        assert ask(config, says) == whole
        server.answer = lambda body: 500
        judging._sessions.clear()
        with pytest.raises(UserError, match="gave no verdict"):
            rescore(tmp_path / "whole", tmp_path / "anew", str(tmp_path), judge=judged(server))
        assert not (tmp_path / "anew").exists()


def test_answers_are_scored_anew_with_another_judge(own, tmp_path):
    ask(settings(tmp_path / "out", [own]), says)
    assert [score for score, _ in scores(tmp_path / "out")] == [1.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    with pytest.raises(UserError, match=r"no 'own\.yaml' here; run the command where that file lies"):
        rescore(tmp_path / "out", tmp_path / "anew", None)
    with serving(kind) as server:
        anew = rescore(tmp_path / "out", tmp_path / "anew", str(tmp_path), judge=judged(server), say=lambda line: None)
    assert anew["own.yaml"]["score"] == pytest.approx(4 / 6)
    assert anew["own.yaml"]["protocol"]["scoring"]["judge"]["model"] == "j"


def test_a_judge_with_nothing_to_grade_or_without_its_key_is_refused(own, tmp_path, monkeypatch):
    config = JudgeConfig(url="http://localhost:9", model="j")
    with pytest.raises(UserError, match="rules score every answer of these benchmarks"):
        ask(settings(tmp_path / "out", ["digits"], judge=config, limit=2), lambda sample: "1")
    config = JudgeConfig(url="http://localhost:9", model="j", key_env="NO_SUCH_KEY")
    with pytest.raises(UserError, match="judge: the environment variable 'NO_SUCH_KEY' is not set"):
        ask(settings(tmp_path / "out", [own], judge=config), says)
    assert not (tmp_path / "out").exists()
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
