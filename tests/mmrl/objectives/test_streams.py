"""Streams are data: names are free, origins say what fills them, terms what acts on them."""

import pytest
import torch

from mmrl.contracts.errors import ConfigError
from mmrl.contracts.types import DEMO, Decision, Group, Likelihood, Sample, Trajectory
from mmrl.objectives import kernel
from mmrl.objectives.rows import Row, normaliser
from mmrl.recipe.methods import METHODS, resolve_objective
from mmrl.recipe.objective import Objective
from mmrl.recipe.streams import Stream
from mmrl.recipe.training import StageConfig
from mmrl.rollouts.collect import StepBatch
from mmrl.trainer.figures import metrics_of
from mmrl.trainer.rows import make_rows
from mmrl.trainer.step import plan_step

LUFFY = {
    "inject": {},
    "streams": {
        "rl": {"from": "rollouts", "coefficient": {"kind": "one"}, "normalise": "constant", "per_prompt": True},
        "expert": {"from": "injected", "coefficient": {"kind": "luffy"}, "normalise": "constant", "per_prompt": True},
    },
    "advantage": {"scale": "none"},
}
REPLAY = {"replay": {"from": "rollouts", "coefficient": {"kind": "cispo"}, "normalise": "token", "weight": 0.5}}
SAMPLE = Sample("s", (), "t", {})


def trajectory(units, reward, **fields):
    decision = Decision(None, torch.zeros(units, dtype=torch.long))
    return Trajectory((decision,), reward=reward, **fields)


def step(objective, batch, seed=0):
    """(gradient of each row in the log-probs, rows, metrics) of one step of random log-probs."""
    stage = StageConfig(name="x", method="grpo", steps=1)
    rows, _ = make_rows(batch, objective, stage)
    width = max(row.units for row in rows)
    mask = torch.arange(width)[None] < torch.tensor([row.units for row in rows])[:, None]
    drawn = torch.rand(len(rows), width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    log_probs = (-drawn * mask).requires_grad_()
    plan = plan_step(objective, rows, 0, 16)
    total, sums = kernel.loss(Likelihood(log_probs, mask, -log_probs.detach()), rows, plan)
    (gradient,) = torch.autograd.grad(total, log_probs)
    return gradient, rows, metrics_of({**sums, "loss_sum": total.item()}, plan.weights, objective)


BATCH = StepBatch(
    rollouts=(Group(SAMPLE, (trajectory(3, 1.0), trajectory(5, 0.0), trajectory(2, 1.0, origin=DEMO))),),
    demonstrations=(Group(SAMPLE, (trajectory(4, None, origin=DEMO),)),),
)


def test_streams_by_any_other_name_give_the_same_gradient_and_figures():
    table = METHODS.get("chord_mu").objective
    renamed = {
        "online": {**table["streams"]["rl"], "complement_of": "taught"},
        "taught": table["streams"]["demo"],
    }
    ours, rows, figures = step(Objective.model_validate({**table, "streams": renamed}), BATCH)
    theirs, _, expected = step(resolve_objective("chord_mu", {}), BATCH)
    assert torch.equal(ours, theirs)
    assert {row.stream for row in rows} == {"online", "taught"}
    names = {"rl": "online", "demo": "taught"}
    for old, new in names.items():
        expected = {key.replace(f"/{old}", f"/{new}"): value for key, value in expected.items()}
    assert figures == expected


def test_a_third_stream_of_rollouts_adds_its_own_term():
    both = resolve_objective("chord_mu", {"streams": REPLAY})
    gradient, rows, figures = step(both, BATCH)
    replayed = [row for row in rows if row.stream == "replay"]
    assert [row.units for row in replayed] == [3, 5, 2]
    ours = gradient[[i for i, row in enumerate(rows) if row.stream == "replay"]]
    wanted = [[0.5 * -row.advantage / 10] * row.units + [0.0] * (5 - row.units) for row in replayed]
    assert torch.allclose(ours, torch.tensor(wanted, dtype=torch.float64))
    assert figures["stream/replay_units"] == 10
    assert figures["stream/replay_weight"] == 0.5
    assert figures["loss/replay"] > 0


def test_injected_demonstrations_have_a_stream_of_their_own_where_one_takes_them():
    """LUFFY's group: the demonstration shares the advantage, and p / (p + gamma) takes the place of the ratio."""
    objective = Objective.model_validate(LUFFY)
    batch = StepBatch(rollouts=BATCH.rollouts)
    gradient, rows, _ = step(objective, batch)
    assert [row.stream for row in rows] == ["rl", "rl", "expert"]
    log_probs = torch.rand(3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    log_probs = (-log_probs).requires_grad_()
    p, mean = log_probs.exp(), 2 / 3
    rolled = (1 - mean) * log_probs[0, :3].sum() + (0 - mean) * log_probs[1].sum()
    shown = (1 - mean) * (p[2, :2] / (p[2, :2] + 0.1)).sum()
    published = -(rolled + shown) / (3 * 16)
    assert torch.allclose(gradient, torch.autograd.grad(published, log_probs)[0], rtol=1e-12, atol=0)
    mixed = resolve_objective("offline_mix", {})
    assert [row.stream for row in make_rows(batch, mixed, StageConfig(name="x", method="grpo", steps=1))[0]] == [
        "rl"
    ] * 3


def test_terms_say_what_acts_on_a_stream():
    given = {"kl": {"weight": 0.1}, "entropy": 0.1}
    plain = resolve_objective("chord_mu", given)
    assert plain.under("kl") == plain.under("entropy") == plain.under("mismatch") == {"rl"}
    pulled = resolve_objective(
        "chord_mu", {**given, "streams": {"demo": {"terms": ["kl"]}, "rl": {"terms": ["entropy"]}}}
    )
    assert (pulled.under("kl"), pulled.under("entropy"), pulled.under("mismatch")) == ({"demo"}, {"rl"}, set())
    decision = Decision(None, torch.zeros(2, dtype=torch.long))
    reference = torch.tensor([-2.0, -0.5])
    rows = [Row(decision, "demo", 0.0, 0, 2, reference=reference), Row(decision, "rl", 0.0, 1, 2, reference=reference)]
    log_probs = torch.full((2, 2), -1.0, dtype=torch.float64, requires_grad=True)
    plan = plan_step(pulled, rows, 0, 8)
    total, _ = kernel.loss(Likelihood(log_probs, torch.ones(2, 2, dtype=torch.bool)), rows, plan)
    gradient = torch.autograd.grad(total, log_probs)[0]
    assert torch.allclose(gradient[0], 0.9 * 0.1 * (1 - (reference.double() + 1).exp()) / 2)
    assert torch.equal(gradient[1], torch.zeros(2, dtype=torch.float64))


@pytest.mark.parametrize(
    ("method", "overrides", "said"),
    [
        ("sft", {"streams": {"extra": {}}}, "objective.streams.extra.from: this key is required"),
        ("sft", {"streams": {"demo": {"from": "demos"}}}, "demo.from: 'demos' is not allowed. Did you mean"),
        ("sft", {"streams": {"rl": {"from": "rollouts"}}}, "streams.rl takes rollouts, and this objective makes none"),
        ("grpo", {"streams": {"e": {"from": "injected"}}}, "streams.e takes injected, .* set inject"),
        ("grpo", {"demonstrations": True}, "none is from demonstrations, which this objective makes"),
        ("sft", {"streams": {"demo": {"terms": ["mismatch"]}}}, "none sampled demonstrations"),
        ("sft", {"kl": {"weight": 0.1}}, "kl.weight acts on no stream"),
        ("grpo", {"streams": {"rl": {"origin": "rollouts"}}}, "unknown key 'origin'.* Allowed: from, terms"),
    ],
)
def test_streams_that_cannot_be_are_refused(method, overrides, said):
    with pytest.raises(ConfigError, match=said):
        resolve_objective(method, overrides)


def test_no_file_of_the_trainer_or_the_kernel_knows_a_streams_name():
    from pathlib import Path

    import mmrl

    root = Path(mmrl.__file__).parent
    files = [*(root / "trainer").glob("*.py"), *(root / "objectives").glob("*.py"), *(root / "rollouts").glob("*.py")]
    known = {name for entry in METHODS.entries.values() for name in (entry.objective or {}).get("streams", {})}
    literals = [(f.name, name) for f in files for name in known if f'"{name}"' in f.read_text()]
    assert literals == []


def test_the_mean_of_a_prompt_s_units_leaves_masked_answers_out():
    """Two answers of one prompt, the second masked; and a prompt of which every answer is."""
    rows = [
        Row(Decision(None, torch.zeros(units, dtype=torch.long)), "rl", 1.0, i, units, 2, group=group, masked=masked)
        for i, (units, group, masked) in enumerate(((2, 0, False), (3, 0, True), (4, 2, True)))
    ]
    stream = Stream.model_validate({"from": "rollouts", "coefficient": {"kind": "one"}, "normalise": "prompt"})
    assert normaliser("rl", stream, rows, 10).scale(rows[0]) == 1 / 2 / 2


def test_what_parts_were_given_stands_in_their_rows_alone():
    rows = [
        Row(Decision(None, torch.zeros(2, dtype=torch.long)), "rl", 1.0, i, 2, given=given)
        for i, given in enumerate(({"a": torch.tensor([1.0, 2.0])}, {}, {"b": torch.tensor([3.0])}))
    ]
    like = torch.zeros(1, dtype=torch.float64)
    assert kernel._stack_given(rows, "a", like).tolist() == [[1, 2], [0, 0], [0, 0]]
    assert kernel._stack_given(rows, "b", like).tolist() == [[0], [0], [3]]
    assert kernel._stack_given(rows, "c", like) is None


@pytest.mark.parametrize("name", ["sft", "dft", "f_alpha", "dpo"])
def test_methods_of_data_alone_learn_from_demonstrations_and_sample_nothing(name):
    objective = resolve_objective(name, {})
    assert (objective.rollouts, objective.demonstrations) == (False, True)
