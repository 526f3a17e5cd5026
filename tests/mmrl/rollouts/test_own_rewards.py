"""Rewards of one's own: every form as it is written elsewhere, what they may ask for, None, and what a failure says."""

import math

import pytest

from mmrl.contracts.errors import BadSample, ConfigError
from mmrl.contracts.types import Sample, Trajectory
from mmrl.recipe.rewards import RewardConfig
from mmrl.recipe.schema import load_recipe
from mmrl.rollouts import rewarding
from mmrl.rollouts.own_rewards import RewardError, Score
from mmrl.rollouts.rewarding import UNREWARDED, Rewarder
from vision_rewards.pool import WorkerKilled

ASK = ({"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "How many?"}]},)
OPTIONS = {"A": "1", "B": "2"}


def sample(row=0, target=None, **columns):
    target = {"answer": "A", "options": OPTIONS} if target is None else target
    return Sample(str(row), ASK, "counting", target, images=("red.png",), dataset="rows", row=row, columns=columns)


def scored(reward, *groups, **params):
    """Rewards of groups, each a sample and its texts."""
    rewarder = Rewarder([], reward) if not isinstance(reward, str) else None
    rewarder = rewarder or Rewarder([RewardConfig(name=reward, params=params)])
    pairs = [(Trajectory((), text=text), owner) for owner, texts in groups for text in texts]
    return rewarder.score_all(pairs)


def rewards(*args, **params):
    return [trajectory.reward for trajectory in scored(*args, **params)]


@pytest.fixture
def calls():
    return []


def test_trl(calls):
    # As TRL's own accuracy_reward and think_format_reward read them.
    def accuracy(prompts, completions, solution, **kwargs):
        calls.append((len(prompts), sorted(kwargs)))
        contents = [completion[0]["content"] for completion in completions]
        assert prompts[0][-1]["role"] == "user"
        return [1.0 if text == right else None if text == "?" else 0.0 for text, right in zip(contents, solution)]

    one, other = sample(0, solution="3", source="a"), sample(1, solution="4", source="b")
    assert rewards(accuracy, (one, ["3", "4"]), (other, ["3", "4"])) == [1.0, 0.0, 0.0, 1.0]
    ((count, named),) = calls
    assert count == 4
    assert {"source", "task", "options", "images", "completion_ids"} <= set(named)


def test_a_column_that_no_row_has_is_told():
    def asks(completions, answer_key):
        return [0.0] * len(completions)

    with pytest.raises(RewardError, match=r"reward 'asks' asks for the column 'answer_key'; the rows have answer, "):
        rewards(asks, (sample(), ["x"]))

    def may_ask(completions, answer_key=None, solution=None):
        return [float(right == "A" and answer_key is None) for right in solution]

    assert rewards(may_ask, (sample(), ["x"])) == [1.0]


def test_easyr1():
    # As in examples/reward_function/math.py and r1v.py.
    def compute_score(reward_inputs, format_weight=0.1):
        assert isinstance(reward_inputs, list)
        return [
            {"overall": 0.9 * (x["response"] == x["ground_truth"]) + format_weight, "format": 1.0, "accuracy": 0.5}
            for x in reward_inputs
        ]

    first, second = scored(compute_score, (sample(answer="3"), ["3", "4"]))
    assert (first.reward, second.reward) == (pytest.approx(1.0), pytest.approx(0.1))
    assert (first.accuracy, first.parts["compute_score.format"]) == (0.5, 1.0)

    def sequential(reward_input):
        assert reward_input["response_length"] == 0
        return {"overall": float(reward_input["response"] == reward_input["ground_truth"])}

    assert rewards(sequential, (sample(answer="3"), ["3", "4"])) == [1.0, 0.0]

    def older(predicts, ground_truths):
        return [{"overall": float(a == b)} for a, b in zip(predicts, ground_truths)]

    assert rewards(older, (sample(answer="3"), ["3", "4"])) == [1.0, 0.0]

    def oldest(predict_str, ground_truth):
        return float(predict_str == ground_truth)

    assert rewards(oldest, (sample(answer="3"), ["3", "4"])) == [1.0, 0.0]


def test_verl():
    def compute_score(data_source, solution_str, ground_truth, extra_info=None):
        assert (data_source, extra_info["index"]) == ("openai/gsm8k", 7)
        return {"score": float(solution_str == ground_truth), "acc": 0.25, "pred": solution_str}

    row = sample(
        data_source="openai/gsm8k", reward_model={"style": "rule", "ground_truth": "72"}, extra_info={"index": 7}
    )
    first, second = scored(compute_score, (row, ["72", "7"]))
    assert (first.reward, second.reward, first.accuracy) == (1.0, 0.0, 0.25)

    def batch(data_sources, solution_strs, ground_truths, extra_infos):
        return [float(a == b) for a, b in zip(solution_strs, ground_truths)]

    assert rewards(batch, (row, ["72", "7"])) == [1.0, 0.0]


def test_what_is_right_where_rows_have_no_such_column():
    def compute_score(solution_str, ground_truth):
        return float(solution_str == str(ground_truth))

    assert rewards(compute_score, (sample(target={"count": 4}), ["4", "5"])) == [1.0, 0.0]
    assert rewards(compute_score, (sample(), ["A", "B"])) == [1.0, 0.0]


def test_one_call_per_step_or_group(calls):
    def per_step(completions, samples, images):
        calls.append((completions, [s.row for s in samples], images))
        return [len(text) / 10 for text in completions]

    groups = (sample(0), ["a", "bb"]), (sample(1), ["ccc"])
    assert rewards(per_step, *groups) == [0.1, 0.2, 0.3]
    assert calls == [(["a", "bb", "ccc"], [0, 0, 1], [("red.png",)] * 3)]
    calls.clear()

    def per_group(completions, sample, trajectories):
        calls.append((completions, sample.row, [t.text for t in trajectories]))
        return [1 / len(completions)] * len(completions)

    assert rewards(per_group, *groups) == [0.5, 0.5, 1.0]
    assert calls == [(["a", "bb"], 0, ["a", "bb"]), (["ccc"], 1, ["ccc"])]


def test_what_a_function_may_ask_for():
    def asks(completion, sample, images, options, group, trajectory, weight=0.5):
        assert (images, options, group) == (("red.png",), OPTIONS, ("x", "y"))
        assert trajectory.text == completion
        return weight

    assert rewards(asks, (sample(), ["x", "y"])) == [0.5, 0.5]


def mean(completion, sample):
    return 1.0


def test_each_part_is_reported_under_a_name_of_its_own():
    configs = [RewardConfig(name="format"), RewardConfig(name="route"), RewardConfig(name="format", weight=3.0)]
    sample = Sample("0", (), "ocr", {"text": "EXIT"})
    scored = Rewarder(configs).score(Trajectory((), text="EXIT"), sample)
    assert {name for name in scored.parts if "." not in name} == {"format", "route", "format#2"}
    assert scored.reward == pytest.approx((4 * scored.parts["format"] + scored.parts["route"]) / 5)


def test_no_part_and_no_task_is_named_as_the_total():
    with pytest.raises(ConfigError, match=r"rewards.1.name: 'mean' would be reported as reward/mean"):
        Rewarder([RewardConfig(), RewardConfig(name=f"{__name__}:mean")])
    with pytest.raises(ConfigError, match="reward= is named 'mean'"):
        Rewarder([], mean)
    with pytest.raises(BadSample, match="the task is named 'mean', and accuracy/mean is that of all tasks"):
        Rewarder([]).check(Sample("0", (), "mean", {}))


def test_none_does_not_apply():
    def half(completion, sample):
        return None if completion == "?" else float(completion)

    one, other = (sample(0), ["0.2", "?", "0.6"]), (sample(1), ["?", "?"])
    found = scored(half, one, other)
    assert [t.reward for t in found] == pytest.approx([0.2, 0.4, 0.6, 0.0, 0.0])
    assert [UNREWARDED in t.info for t in found] == [False, True, False, True, True]
    assert [t.parts["half"] for t in found] == [0.2, None, 0.6, None, None]
    # Beside another reward the mean is over those that apply.
    rewarder = Rewarder(
        [RewardConfig(name="tests.support.runs:abstains"), RewardConfig(name="tests.support.runs:half")]
    )
    assert rewarder.score(Trajectory((), text="x"), sample()).reward == 0.5


@pytest.mark.parametrize("value", [math.nan, "1", [1.0], {"reward": 1.0, "part": math.inf}])
def test_what_is_no_score_is_refused(value):
    with pytest.raises(
        RewardError, match=r"returned .*finite number.*sample rows row 3 \(id 3\), target .*completion 'x'"
    ):
        rewards(lambda completion, sample: value, (sample(3), ["x"]))


def test_a_list_of_another_length_is_refused():
    with pytest.raises(RewardError, match="was called with 2 answers and returned 1 values"):
        rewards(lambda completions, samples: [1.0], (sample(), ["x", "y"]))


def test_a_failure_names_sample_target_and_completion():
    def fails(completion, sample):
        return sample.target["count"]

    with pytest.raises(RewardError) as caught:
        rewards(fails, (sample(3), ["seven"]))
    said = str(caught.value)
    assert "\n" not in said
    assert "reward 'fails' failed: KeyError: 'count' (" in said
    assert "test_own_rewards.py, line" in said
    assert "sample rows row 3 (id 3), target {'answer': 'A'" in said
    assert "completion 'seven'" in said
    assert isinstance(caught.value.__cause__, KeyError)


@pytest.mark.parametrize("digits", [400, 5000])
def test_a_number_that_no_float_holds_is_refused(digits):
    value = -(10**digits)
    with pytest.raises(RewardError, match=r"returned reward=.*; give a finite number") as caught:
        rewards(lambda completion, sample: value, (sample(), ["x"]))
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("source", "params", "said"),
    [
        ("def f(completion): ...", {}, r"rewards.0: 'own_f:f' is called with \(completion, sample\) and params \[\]"),
        ("def f(text, sample, scale=1): ...", {"scal": 2}, "unexpected keyword argument 'scal'. Did you mean 'scale'"),
        ("def f(text, sample, needed): ...", {}, "missing a required.* argument: 'needed'"),
        ("def f(completions, sample, *, needed): ...", {}, "missing a required.* argument: 'needed'"),
        ("f = 3", {}, "'own_f:f' is no function and no reward class, but int"),
    ],
)
def test_signatures_are_bound_when_the_recipe_is_read(workplace, tiny_recipe, source, params, said, monkeypatch):
    (workplace / "own_f.py").write_text(source)
    monkeypatch.delitem(__import__("sys").modules, "own_f", raising=False)
    with pytest.raises(ConfigError, match=said):
        load_recipe({**tiny_recipe, "rewards": [{"name": "own_f:f", "params": params}]})


def ten(completion, sample):
    """Out of ten."""
    return float(completion)


def test_what_lies_outside_of_0_and_1_is_told_once(caplog):
    def graded(completion, sample):
        return {"reward": float(completion), "accuracy": 2 * float(completion)}

    asked = sample(3)
    assert rewards(graded, (asked, ["0", "0.5", "1"])) == [0.0, 0.5, 1.0]
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("reward function 'graded' returned accuracy=2, outside of [0, 1], for rows row 3")
    caplog.clear()
    rewarder = Rewarder([], ten)
    pairs = [(Trajectory((), text=text), asked) for text in ("0", "7", "-1", "1e300")]
    for _ in range(2):
        assert [each.reward for each in rewarder.score_all(pairs)] == [0.0, 7.0, -1.0, 1e300]
    (line,) = [record.getMessage() for record in caplog.records]
    assert "reward=7, outside of [0, 1]" in line
    assert "range: [low, high] scales it" in line


def test_a_range_becomes_0_to_1(workplace, tiny_recipe, monkeypatch, caplog):
    (workplace / "own_range.py").write_text("def ten(text, sample):\n    return {'reward': float(text), 'more': 9}")
    monkeypatch.delitem(__import__("sys").modules, "own_range", raising=False)
    own = {"name": "own_range:ten", "range": [-10, 10]}
    config = load_recipe({**tiny_recipe, "rewards": [own]}).rewards
    pairs = [(Trajectory((), text=text), sample(4)) for text in ("-10", "0", "5", "10")]
    made = Rewarder(config).score_all(pairs)
    assert [each.reward for each in made] == [each.accuracy for each in made] == [0.0, 0.5, 0.75, 1.0]
    assert made[0].parts == {"ten": 0.0, "ten.more": 9.0}
    assert not caplog.records
    with pytest.raises(RewardError, match=r"returned 11, outside of its range \[-10, 10\]; widen rewards\.0\.range"):
        Rewarder(config).score_all([(Trajectory((), text="11"), sample(4))])


@pytest.mark.parametrize(
    ("name", "span", "said"),
    [
        ("own_range:ten", [1, 1], r"rewards\.0\.range: \[1, 1\] is no range"),
        ("own_range:ten", [0, float("inf")], r"rewards\.0\.range: \[0, inf\] is no range"),
        ("format", [0, 10], r"rewards\.0\.range: 'format' gives scores in \[0, 1\]"),
    ],
)
def test_a_range_that_is_none_is_refused(workplace, tiny_recipe, name, span, said, monkeypatch):
    (workplace / "own_range.py").write_text("def ten(text, sample):\n    return float(text)")
    monkeypatch.delitem(__import__("sys").modules, "own_range", raising=False)
    with pytest.raises(ConfigError, match=said):
        load_recipe({**tiny_recipe, "rewards": [{"name": name, "range": span}]})


def test_a_worker_that_is_killed_from_outside_is_an_error_and_no_score(monkeypatch):
    """Not 0: the answer is right."""

    def killed(*_, **__):
        raise WorkerKilled("a worker process of a reward was killed by SIGKILL")

    monkeypatch.setattr("vision_rewards.rewards.math.bounded", killed)
    asked = Sample("0", ASK, "math", {"answer": "(x+1)^2"}, dataset="rows", row=0)
    rewarder = Rewarder([RewardConfig(name="math")])
    with pytest.raises(RewardError, match=r"gave no score for rows row 0 .*killed by SIGKILL") as caught:
        rewarder.score_all([(Trajectory((), text="\\boxed{x^2+2x+1}"), asked)])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("accuracy", "noted"), [(0.25, {"accuracy": 0.25}), (0.0, {"accuracy": 0.0}), (None, {})])
def test_an_accuracy_is_noted_where_a_function_gives_one(accuracy, noted):
    reward, info = rewarding._from_user(Score(0.5, accuracy, {"length": 0.1}))
    assert reward == 0.5
    assert info == {"parts": {"length": 0.1}, "is_answer": bool(noted), **noted}


def test_the_first_answer_s_accuracy_counts_whatever_form_is_asked_for_before_it():
    sample = Sample("s", (), "ocr", {"text": "24"})
    rewards = [RewardConfig(name=name) for name in ("format", "ocr")]
    trajectory = Trajectory((), text="<think>x</think><answer>17</answer>")
    (scored,) = Rewarder(rewards).score_all([(trajectory, sample)])
    assert (scored.parts["format"], scored.parts["ocr"], scored.accuracy) == (1.0, 0.0, 0.0)
