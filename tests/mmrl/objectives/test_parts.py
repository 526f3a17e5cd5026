"""Advantages, reward transforms, auxiliary terms and controllers as parts, against forms written out here."""

import math
from statistics import fmean, stdev

import pytest
import torch

from mmrl.contracts.errors import CheckpointError, ConfigError
from mmrl.contracts.types import Decision, Group, Likelihood, Sample, Trajectory
from mmrl.objectives import kernel
from mmrl.objectives.advantages import gdpo
from mmrl.objectives.controllers import Control, Controllers
from mmrl.objectives.reward_transforms import clip, group_length
from mmrl.objectives.rows import Row
from mmrl.objectives.scored import Scored
from mmrl.policies.token_log_probs import token_log_probs
from mmrl.recipe.advantages import GDPO
from mmrl.recipe.methods import resolve_objective
from mmrl.recipe.objective import Objective
from mmrl.recipe.reward_transforms import GroupLength, RewardClip
from mmrl.recipe.training import StageConfig
from mmrl.rollouts.collect import StepBatch
from mmrl.trainer.rows import make_rows
from mmrl.trainer.step import plan_step


def stage(method="grpo", **objective):
    return StageConfig(name="x", method=method, steps=1, objective=objective)


# --- advantages


def groups_of(*parts):
    return [[Scored(0.0, parts=dict(zip("abc", scores))) for scores in group] for group in parts]


def test_gdpo_standardises_each_reward_by_itself():
    """As TRL's `normalize_then_sum`, group by group."""
    table = [[(1.0, 0.2), (0.0, 0.9), (0.0, 0.4)], [(1.0, 0.1), (1.0, 0.8)]]
    weights, eps = {"a": 1.0, "b": 0.5}, 1e-4
    sums = []
    for group in table:
        columns = list(zip(*group))
        standard = [[(x - fmean(c)) / (stdev(c) + eps) for x in c] for c in columns]
        sums.append([weights["a"] * a + weights["b"] * b for a, b in zip(*standard)])
    flat = [x for group in sums for x in group]
    expected = [[(x - fmean(flat)) / (stdev(flat) + eps) for x in group] for group in sums]
    got = gdpo(groups_of(*table), GDPO(kind="gdpo", weights=weights, epsilon=eps))
    assert [x for group in got for x in group] == pytest.approx([x for group in expected for x in group], abs=1e-12)


def test_gdpo_gives_exactly_nothing_to_what_is_alone_equal_or_does_not_apply():
    own = GDPO(kind="gdpo", weights={"a": 1.0, "b": 1.0})
    assert gdpo(groups_of([(0.1, 0.3)] * 7, [(0.5, 1.0)]), own) == [[0.0] * 7, [0.0]]
    got = gdpo(groups_of([(1.0, None), (0.0, None)], [(None, 0.0), (None, 1.0)]), own)
    assert got[0][0] == -got[0][1] == got[1][1] > 0
    assert gdpo([], own) == []
    with pytest.raises(ConfigError, match=r"weights.iou: no trajectory has this reward.* Allowed: a, b"):
        gdpo(groups_of([(1.0, 0.0)]), GDPO(kind="gdpo", weights={"iou": 1.0}))


def test_an_advantage_from_outside_reads_the_parts_of_rewards(workplace):
    (workplace / "own_advantages.py").write_text(
        "from mmrl.recipe.advantages import Advantage, AdvantageSettings\n"
        "class Signed(AdvantageSettings):\n    part: str\n"
        "def sign(groups, own):\n    return [[1.0 if t.parts[own.part] > 0.5 else -1.0 for t in g] for g in groups]\n"
        "SIGN = Advantage(code=sign, settings=Signed, doc='its sign')\n"
    )
    decision = Decision(None, torch.zeros(2, dtype=torch.long))
    answers = [Trajectory((decision,), reward=0.0, parts={"iou": x}) for x in (0.2, 0.9)]
    made = stage(advantage={"kind": "own_advantages:SIGN", "part": "iou"})
    rows, noted = make_rows(
        StepBatch(rollouts=(Group(Sample("s", (), "t", {}), tuple(answers)),)), made.objective, made
    )
    assert [row.advantage for row in rows] == [-1.0, 1.0]
    assert [t.info["advantage"] for t in noted[0].trajectories] == [-1.0, 1.0]


# --- reward transforms


def test_rewards_are_clipped():
    rewards = [[Scored(x) for x in (-3.0, 0.5, 2.0)]]
    assert clip(rewards, RewardClip(kind="clip")) == [[-1.0, 0.5, 1.0]]


def test_the_length_reward_is_kimis():
    """l = 0.5 - (len - min) / (max - min): l for right answers, min(0, l) for wrong ones, 0 where all are as long."""
    group = [Scored(1.0, accuracy=a, units=n) for a, n in ((1.0, 10), (0.0, 10), (1.0, 20), (0.0, 30), (1.0, 30))]
    same = [Scored(1.0, accuracy=1.0, units=7)] * 2
    got = group_length([group, same], GroupLength(kind="group_length", weight=0.2))
    assert got == [pytest.approx([1.1, 1.0, 1.0, 0.9, 0.9]), [1.0, 1.0]]
    with pytest.raises(ConfigError, match="none is measured"):
        group_length([[Scored(1.0)]], GroupLength(kind="group_length"))


def test_transforms_follow_one_another_before_the_advantage():
    decision = Decision(None, torch.zeros(8, dtype=torch.long))
    group = Group(Sample("s", (), "t", {}), tuple(Trajectory((decision,), reward=r) for r in (5.0, 0.0)))
    plain = {"baseline": "none", "scale": "none"}
    for order, expected in (
        ({"clip": {}, "overlong": {"cache": 4}}, [0.0, -1.0]),
        ({"overlong": {"cache": 4}, "clip": {}}, [1.0, -1.0]),
    ):
        made = StageConfig(
            name="x",
            method="grpo",
            steps=1,
            rollout={"max_new_tokens": 8},
            objective={"advantage": plain, "reward_transforms": order},
        )
        rows, _ = make_rows(StepBatch(rollouts=(group,)), made.objective, made)
        assert [row.advantage for row in rows] == expected


def test_null_takes_a_methods_transform_out():
    assert resolve_objective("dapo", {"reward_transforms": {"overlong": None}}).reward_transforms == {}
    assert (
        resolve_objective("dapo", {"reward_transforms": {"overlong": {"cache": 9}}}).reward_transforms["overlong"].cache
        == 9
    )


# --- auxiliary terms


def test_z_loss_is_the_mean_of_the_squared_normaliser_however_the_step_is_split():
    g = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 4, 11, dtype=torch.float64, generator=g).requires_grad_()
    lengths = [4, 2, 3]
    mask = torch.arange(4)[None] < torch.tensor(lengths)[:, None]
    names = ["rl", "rl", "demo"]
    rows = [
        Row(Decision(None, torch.zeros(n, dtype=torch.long)), s, 0.0, i, n)
        for i, (n, s) in enumerate(zip(lengths, names))
    ]
    for streams, chosen in ((None, [0, 1, 2]), (["rl"], [0, 1])):
        terms = {"z": {"kind": "z_loss", "weight": 0.3, "streams": streams}}
        objective = resolve_objective("chord_mu", {"auxiliary_terms": terms, "streams": {"demo": {"weight": 0.0}}})
        plan = plan_step(objective, rows, 0, 8)
        total = 0.0
        for part in ([0], [1, 2]):
            log_all = logits[part].log_softmax(-1)
            likelihood = Likelihood(log_all[..., 0], mask[part], log_normaliser_RU=logits[part].logsumexp(-1))
            loss, _ = kernel.loss(likelihood, [rows[i] for i in part], plan)
            total = total + loss
        squares = [logits[i, : lengths[i]].exp().sum(-1).log() ** 2 for i in chosen]
        published = 0.3 * sum(x.sum() for x in squares) / sum(lengths[i] for i in chosen)
        ours, theirs = (torch.autograd.grad(x, logits, retain_graph=True)[0] for x in (total, published))
        assert torch.allclose(ours, theirs, rtol=1e-12, atol=1e-15)
        assert float(theirs.abs().max()) > 1e-3


@pytest.mark.parametrize("elements", [1 << 26, 30])
def test_the_normaliser_is_that_of_the_softmax_over_allowed_tokens(elements, monkeypatch):
    monkeypatch.setattr("mmrl.policies.token_log_probs.CHUNK_ELEMENTS", elements)
    g = torch.Generator().manual_seed(1)
    hidden = torch.randn(7, 5, dtype=torch.float64, generator=g).requires_grad_()
    head = torch.randn(11, 5, dtype=torch.float64, generator=g)
    allowed = torch.arange(11) < 8
    _, _, normaliser, _ = token_log_probs(hidden, lambda h: h @ head.T, torch.arange(7), allowed, 0.7)
    expected = ((hidden @ head.T)[:, :8] / 0.7).logsumexp(-1)
    assert torch.allclose(normaliser, expected)
    ours, theirs = (torch.autograd.grad(x.square().sum(), hidden, retain_graph=True)[0] for x in (normaliser, expected))
    assert torch.allclose(ours, theirs)


def test_a_term_that_needs_the_entropys_gradient_gets_it(workplace):
    from types import SimpleNamespace

    from mmrl.trainer.step import accumulate

    (workplace / "own_terms.py").write_text(
        "from mmrl.recipe.auxiliary_terms import AuxiliaryTerm, AuxiliaryTermSettings\n"
        "def square(units, own):\n    return units.likelihood.entropy_RU.square()\n"
        "FLAT = AuxiliaryTerm(code=square, settings=AuxiliaryTermSettings, needs=frozenset({'entropy'}), doc='H^2')\n"
    )
    objective = resolve_objective("sft", {"auxiliary_terms": {"flat": {"kind": "own_terms:FLAT", "weight": 0.1}}})
    rows = [Row(Decision(None, torch.zeros(2, dtype=torch.long)), "demo", 1.0, 0, 2)]
    asked = []

    def log_probs(batch, entropy):
        asked.append(entropy)
        x = torch.full((1, 2), -1.0, requires_grad=True)
        return Likelihood(x, batch.mask_RU, x * 2)

    policy = SimpleNamespace(batch_tokens=lambda *_: 1, log_probs=log_probs)
    sums = accumulate(rows, plan_step(objective, rows, 0, 8), policy, 10)
    assert asked == ["gradient"]
    assert sums["term_flat_sum"] == pytest.approx(8.0)
    assert sums["loss_sum"] == pytest.approx(1.0 + 0.1 * 8 / 2)


# --- controllers


def test_adaptive_kl_is_zieglers():
    controllers = Controllers(stage(kl={"weight": 0.2}, controllers={"adaptive_kl": {"target": 0.05}}))
    weight, seen = 0.2, []
    for kl in (0.5, 0.055, 0.05, 0.0, 0.04):
        controllers.observe({"policy/kl_ref": kl})
        weight *= 1 + 0.1 * max(-0.2, min(0.2, kl / 0.05 - 1))
        seen.append(controllers.control().objective["kl.weight"])
        assert seen[-1] == pytest.approx(weight, rel=1e-15)
    assert seen[0] == pytest.approx(0.2 * 1.02)
    controllers.observe({"reward/mean": 1.0})
    assert controllers.control().objective["kl.weight"] == seen[-1]


def test_adaptive_entropy_acts_below_its_target_alone():
    controllers = Controllers(stage(controllers={"adaptive_entropy": {"target": 1.0, "delta": 0.1, "high": 0.25}}))
    begun = Controllers(stage(entropy=0.2, controllers={"adaptive_entropy": {"target": 1.0}}))
    assert begun.control().objective["entropy"] == 0.2, "it acts until something is observed"
    bonuses = []
    for entropy in (0.5, 0.5, 1.0, 1.5, 0.9):
        controllers.observe({"policy/entropy": entropy})
        bonuses.append(controllers.control().objective["entropy"])
    assert bonuses == pytest.approx([0.1, 0.2, 0.25, 0.0, 0.25])
    for entropy in (1.5, 1.5, 0.9):
        controllers.observe({"policy/entropy": entropy})
    assert controllers.control().objective["entropy"] == pytest.approx(0.25 - 0.1 - 0.1 + 0.1)


class Set:
    """A controller that sets what it is told."""

    def __init__(self, control):
        self.set = control

    def control(self):
        return self.set


def test_what_controllers_set_holds_in_the_objective_of_the_step():
    made = stage("chord_mu")
    controllers = Controllers(made)
    controllers.parts = {
        "a": Set(Control({"streams.demo.weight": 0.3, "streams.rl.coefficient.high": 0.5}, learning_rate=0.5)),
        "b": Set(Control({"kl.weight": 0.1}, learning_rate=0.5, temperature=0.8)),
    }
    control = controllers.control()
    now = controllers.applied(control)
    assert now.objective.streams["demo"].weight == 0.3
    assert now.objective.streams["rl"].coefficient.high == 0.5
    assert (now.objective.kl.weight, now.rollout.temperature, control.learning_rate) == (0.1, 0.8, 0.25)
    assert control.figures() == {
        "control/streams.demo.weight": 0.3,
        "control/streams.rl.coefficient.high": 0.5,
        "control/kl.weight": 0.1,
        "control/learning_rate": 0.25,
        "control/temperature": 0.8,
    }
    assert made.objective.streams["demo"].weight != 0.3
    assert Controllers(made).applied(Control()) is made


@pytest.mark.parametrize(
    ("set_by_both", "said"),
    [
        ([Control({"kl.wight": 0.1})], "'kl.wight' is no key of the objective"),
        ([Control({"kl.weight": -1.0})], "objective, as controllers set it.kl.weight"),
        (
            [Control({"kl.weight": 0.1}), Control({"kl.weight": 0.2})],
            "controllers.1 sets kl.weight, as another one does",
        ),
        ([Control(temperature=0.1), Control(temperature=0.2)], "controllers.1 sets temperature"),
    ],
)
def test_what_controllers_cannot_set_is_named(set_by_both, said):
    controllers = Controllers(stage())
    controllers.parts = {str(i): Set(control) for i, control in enumerate(set_by_both)}
    with pytest.raises(ConfigError, match=said):
        controllers.applied(controllers.control())


def test_controllers_state_is_put_back_and_anothers_is_refused():
    def fresh():
        return Controllers(stage(kl={"weight": 0.2}, controllers={"adaptive_kl": {"target": 0.05}}))

    first, second = fresh(), fresh()
    first.observe({"policy/kl_ref": math.pi})
    second.load_state_dict(first.state_dict())
    assert second.control() == first.control() != fresh().control()
    with pytest.raises(CheckpointError, match=r"state of controllers\.adaptive_kl has no 'weight'"):
        second.load_state_dict({"adaptive_kl": {"bonus": 1}})


# --- refusals


@pytest.mark.parametrize(
    ("method", "overrides", "said"),
    [
        ("grpo", {"advantage": {"kind": "gdpo"}}, "advantage.weights: this key is required"),
        ("grpo", {"advantage": {"kind": "gdop"}}, "advantage.kind: unknown advantage 'gdop'. Did you mean 'gdpo'"),
        ("dapo", {"advantage": {"kind": "gdpo", "weights": {"a": 1}}}, r"gdpo .* reward_transforms \(overlong\)"),
        ("grpo", {"reward_transforms": {"overlog": {}}}, "Did you mean 'overlong'"),
        ("sft", {"reward_transforms": {"clip": {}}}, "reward_transforms needs rollouts: true"),
        ("grpo", {"reward_transforms": {"clip": {"low": 2}}}, "low 2.0 is not below high 1.0"),
        ("grpo", {"controllers": {"adaptive_kl": {"target": 0.1}}}, "adaptive_kl needs kl.weight above 0"),
        ("sft", {"controllers": {"adaptive_entropy": {"target": 0.1}}}, "needs a stream with the term entropy"),
        ("grpo", {"controllers": {"k": {"kind": "mmrl.recipe.advantages:ADVANTAGES"}}}, "a Controller of .* is needed"),
        ("grpo", {"auxiliary_terms": {"z_loss": {"streams": ["rll"]}}}, "unknown stream 'rll'. Did you mean 'rl'"),
        ("grpo", {"auxiliary_terms": {"rl": {"kind": "z_loss"}}}, "a stream has this name"),
    ],
)
def test_parts_that_do_not_fit_are_refused(method, overrides, said):
    with pytest.raises(ConfigError, match=said):
        resolve_objective(method, overrides)


def test_an_objective_with_every_kind_of_part_reads_back_as_it_is_written():
    objective = resolve_objective(
        "grpo",
        {
            "kl": {"weight": 0.1},
            "advantage": {"kind": "gdpo", "weights": {"a": 1.0}},
            "auxiliary_terms": {"z_loss": {}},
            "controllers": {"adaptive_kl": {"target": 0.1}, "adaptive_entropy": {"target": 1.0}},
        },
    )
    assert Objective.model_validate(objective.model_dump(mode="json")) == objective
