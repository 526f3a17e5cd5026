"""Combining: the gated product, bands that tighten over training, and both inside a recipe's rewarder."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mmrl
from mmrl.contracts.errors import BadSample
from mmrl.contracts.types import Sample, Trajectory
from mmrl.recipe.rewards import RewardConfig
from mmrl.rollouts.rewarding import Rewarder
from vision_rewards import get_reward, validate
from vision_rewards.rewards.combine import in_band

BOX = {"box": [0, 0, 10, 10]}
VISION_R1 = [[0.5, 0.75], [0.75, 0.9]]


def box_of(iou):
    """A box inside the target's with this IoU."""
    return f"[0, 0, 10, {10 * iou}]"


COUNT = [("counting", 3), ("format", 1, {"pattern": "answer"})]


@pytest.mark.parametrize(
    ("completion", "right", "tagged"),
    [
        ("<answer>3</answer>", 1, 1),
        ("<answer>three</answer>", 1, 1),
        ("<answer> 3 </answer>", 1, 1),
        ("<answer>3.0</answer>", 1, 1),
        ("3", 1, 0),
        ("There are 3.", 1, 0),
        ("three", 1, 0),
        ("<answer>4</answer>", 0, 1),
        ("<answer>-3</answer>", 0, 1),
        ("<answer>33</answer>", 0, 1),
        ("<answer>3 or 4</answer>", 0, 1),
        ("<answer>not 3</answer>", 0, 1),
        ("<answer>3 3</answer>", 0, 1),
        ("<answer>30%</answer>", 0, 1),
        ("<answer>1 2 3 4 5</answer>", 0, 1),
        ("4", 0, 0),
        ("", 0, 0),
        ("   ", 0, 0),
        ("<answer></answer>", 0, 0),
        ("<answer>3", 0, 0),
        ("answer: <b>", 0, 0),
        ("3 4 5 6 7 8 9", 0, 0),
    ],
)
def test_a_weighted_mean_and_a_gate_of_count_and_form(completion, right, tagged):
    """3/4 for the count and 1/4 for the tags; the product gives nothing unless both are there."""
    target = {"count": 3}
    mean, product = (get_reward("combine", parts=COUNT, mode=mode) for mode in ("mean", "product"))
    assert mean(completion, target).score == pytest.approx((3 * right + tagged) / 4)
    assert product(completion, target).score == pytest.approx(right * tagged)
    assert mean.accuracy(mean(completion, target)) == right


@pytest.mark.parametrize(
    ("completion", "mean", "product"),
    [
        ("<answer>EXIT</answer>", 1, 1),
        ("EXIT", 0.75, 0),
        ("<answer>EXIS</answer>", (3 * 0.75 + 1) / 4, 0.75**3),
        ("<answer>zzzz</answer>", 0.25, 0),
        ("<answer></answer>", 0, 0),
        ("", 0, 0),
    ],
)
def test_modes(completion, mean, product):
    parts = [("ocr", 3), ("format", 1)]
    assert get_reward("combine", parts=parts)(completion, {"text": "EXIT"}).score == pytest.approx(mean)
    assert get_reward("combine", parts=parts, mode="product")(completion, {"text": "EXIT"}).score == pytest.approx(
        product
    )


def test_a_product_leaves_out_what_does_not_apply():
    reward = get_reward("combine", parts=[("ocr", 1), ("counting", 1)], mode="product")
    assert reward("EXIT", {"text": "EXIT"}).score == 1
    assert reward("EXIT", {"text": "EXIT", "box": [0, 0, 1, 1]}).parts["counting"] is None


# Vision-R1's rule by hand: 0 below the low edge, 1 above the high one, itself between.
@pytest.mark.parametrize(
    ("iou", "first", "second"),
    [(0.4, 0, 0), (0.5, 0.5, 0), (0.6, 0.6, 0), (0.75, 1, 0.75), (0.8, 1, 0.8), (0.9, 1, 1), (1.0, 1, 1)],
)
def test_bands_are_those_of_vision_r1(iou, first, second):
    reward = get_reward("combine", parts=[("iou", 1)], bands={"iou": VISION_R1})
    for progress, expected in ((0, first), (0.49, first), (0.5, second), (0.99, second), (1, second)):
        result = reward.at(progress)(box_of(iou), BOX)
        assert result.score == pytest.approx(expected), progress
        assert (result.parts["iou"], result.parts["iou/banded"]) == (pytest.approx(iou), result.score)
    assert reward(box_of(iou), BOX).score == pytest.approx(second), "without progress the last phase holds"


@given(
    st.floats(0, 1),
    st.lists(st.tuples(st.floats(0, 1), st.floats(0.01, 1)), min_size=1, max_size=5),
    st.lists(st.floats(0, 1), min_size=2, max_size=2),
)
def test_bands_keep_order_and_never_loosen(score, edges, progress):
    lows, highs = sorted(low for low, _ in edges), sorted(high for _, high in edges)
    bands = tuple((min(low, high), high) for low, high in zip(lows, highs))
    early, late = (in_band(score, bands, p) for p in sorted(progress))
    assert 0 <= late <= 1
    assert late <= early or early == score, "what counted in full may shrink to itself, nothing grows"
    assert in_band(1.0, bands, progress[0]) == 1.0
    assert in_band(score, bands, progress[0]) <= in_band(min(1.0, score + 0.1), bands, progress[0])


def test_gold_scores_one_all_along():
    reward = get_reward("combine", parts=[("iou", 9), ("format", 1)], bands={"iou": VISION_R1})
    for progress in (0, 0.3, 0.7, 1):
        validate(reward.at(progress), [BOX])


def test_bands_follow_a_part_that_routes():
    reward = get_reward("combine", parts=[("route", 9), ("format", 1)], bands={"route": VISION_R1})
    chosen = reward.for_task("rec").at(0)
    assert chosen(f"<answer>{box_of(0.8)}</answer>", BOX).score == 1
    assert chosen.at(1)(f"<answer>{box_of(0.8)}</answer>", BOX).parts["iou/banded"] == pytest.approx(0.8)


def test_progress_reaches_every_depth():
    inner = get_reward("combine", parts=[("iou", 1)], bands={"iou": VISION_R1})
    outer = get_reward("combine", parts=[(inner, 1), ("format", 1)], mode="product")
    answer = f"<answer>{box_of(0.8)}</answer>"
    assert outer.at(0)(answer, BOX).score == 1
    assert outer.at(1)(answer, BOX).score == pytest.approx(0.8)
    ocr = get_reward("ocr")
    assert ocr.at(0.5) is ocr, "most rewards do not change"


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"mode": "sum"}, "'mode'"),
        ({"bands": {"ocr": VISION_R1}}, "no part 'ocr' to band"),
        ({"bands": [[0.5, 0.75]]}, "not a mapping"),
        ({"bands": {"iou": []}}, "one per phase"),
        ({"bands": {"iou": [0.5, 0.75]}}, "not \\[low, high\\]"),
        ({"bands": {"iou": [[0.75, 0.5]]}}, "low <= high"),
        ({"bands": {"iou": [[0, 0]]}}, "high above 0"),
        ({"bands": {"iou": [[0.5, 1.5]]}}, "low <= high <= 1"),
        ({"bands": {"iou": [[0.5, 0.9], [0.5, 0.75]]}}, "laxer than"),
        ({"bands": {"iou": [[math.nan, 0.9]]}}, "not \\[low, high\\]"),
        ({"progress": 2}, "'progress'"),
    ],
)
def test_mistakes_are_named(params, words):
    with pytest.raises(ValueError, match=words):
        get_reward("combine", parts=[("iou", 1)], **params)


def test_a_recipes_rewards_tighten_with_progress():
    config = RewardConfig(name="combine", params={"parts": [["iou", 1]], "bands": {"iou": VISION_R1}})
    rewarder = Rewarder([config])
    sample = Sample("0", (), "grounding", BOX)
    answer = Trajectory((), text=box_of(0.8))
    assert rewarder.at(0.0).score(answer, sample).reward == 1
    assert rewarder.at(0.5).score(answer, sample).reward == pytest.approx(0.8)
    assert rewarder.score(answer, sample).reward == pytest.approx(0.8)
    assert rewarder.at(0.0).score(answer, sample).accuracy == 1, "accuracy is that of IoU 0.5, at any time"


def test_rewards_that_wait_are_scored_side_by_side_in_order():
    asked = []

    def policy(messages):
        asked.append(messages)
        return '{"grade": 1}' if "even" in messages[1]["content"].split("<<<ANSWER")[1] else '{"grade": 0}'

    rewarder = Rewarder([RewardConfig(name="judge", params={"policy": policy, "cache": None})])
    sample = Sample("0", (), "judge", {"question": "even?", "answer": "yes"})
    pairs = [(Trajectory((), text="even" if i % 2 == 0 else "odd"), sample) for i in range(40)]
    assert [trajectory.reward for trajectory in rewarder.score_all(pairs)] == [1, 0] * 20
    assert len(asked) == 40


def test_training_tells_its_rewards_how_far_it_is(workplace, tiny_recipe, monkeypatch):
    told = []

    def at(self, progress):
        told.append(progress)
        return self

    monkeypatch.setattr(Rewarder, "at", at)
    stages = [{"name": name, "method": "grpo", "steps": steps} for name, steps in (("first", 2), ("second", 4))]
    mmrl.train({**{key: tiny_recipe[key] for key in tiny_recipe if key not in ("method", "steps")}, "stages": stages})
    assert told == [0, 0.5, 0, 0.25, 0.5, 0.75]


def test_a_sample_that_no_reward_scores_is_named_with_the_reason():
    rewarder = Rewarder([RewardConfig(name="judge")])
    sample = Sample("7", (), "judge", {"answer": "yes"}, dataset="talk.jsonl", row=7)
    with pytest.raises(
        BadSample, match=r"talk.jsonl row 7 .* no reward gave a score for task 'judge': judge_unconfigured"
    ):
        rewarder.score(Trajectory((), text="no"), sample)
