"""Companion policies: what is recorded and refused of them, what they score, and that they stay as they are."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

import mmrl
from mmrl.commands.dry_run import dry_run
from mmrl.contracts.errors import CheckpointError, ConfigError
from mmrl.contracts.types import Decision, Distribution, Likelihood
from mmrl.objectives import kernel
from mmrl.objectives.coefficients import Units, pear
from mmrl.objectives.rows import Row, collate
from mmrl.policies.companions import Companion, open_companions, settle_companions
from mmrl.policies.token_log_probs import divergence, token_log_probs
from mmrl.recipe.coefficients import PEAR
from mmrl.recipe.companions import CompanionConfig
from mmrl.recipe.schema import load_recipe
from mmrl.trainer.comparing import heads_of, score_others
from mmrl.trainer.step import accumulate, plan_step
from tests.support.policy import adapt, demo_rows, digits, load
from tests.support.runs import metrics, recipe
from tests.support.toy import Toy, assert_same, objective_of, ppo_term


def raw_recipe(model, output, teacher, name="run", **settings):
    raw = recipe(model, output, name, method="kdrl", steps=2, evaluation={}, **settings)
    return raw | {"companions": {"teacher": {"path": str(teacher)}}}


@pytest.mark.slow
def test_a_run_is_held_to_its_teacher_and_records_it(tiny_qwen, tmp_path):
    teacher = tiny_qwen(seed=1)
    raw = raw_recipe(tiny_qwen(), tmp_path, teacher)
    raw["objective"] = {"kl": {"weight": 0.5, "kind": "k3"}, "controllers": {"anneal": None}}
    folder = mmrl.train(raw).folder
    figures = [line for line in metrics(folder) if "policy/kl_ref" in line]
    assert len(figures) == 2
    assert all(line["policy/kl_ref"] > 1e-6 for line in figures), "other weights than the policy's, from the start"
    recorded = yaml.safe_load((folder / "config.yaml").read_text())
    own = recorded["companions"]["teacher"]
    assert own["dtype"] == "float32"
    assert len(own["digest"]) == 32
    assert (
        settle_companions({"t": CompanionConfig(path=str(teacher))}, load_recipe(raw).policy)["t"].digest
        == own["digest"]
    )
    assert f"companion teacher: {teacher}, " in dry_run(load_recipe(raw | {"name": "dry"}))
    recorded["companions"]["teacher"]["path"] = str(tiny_qwen(seed=2))
    with pytest.raises(
        CheckpointError, match=r"companions.teacher: the weights of .* have digest .* and the recipe says"
    ):
        mmrl.train(recorded | {"name": "again", "resume": "never"})


def test_what_does_not_fit_is_refused_when_the_recipe_is_read(tmp_path):
    raw = raw_recipe("quickstart", tmp_path, "quickstart")
    plain = {key: value for key, value in raw.items() if key != "companions"}
    for changed, said in (
        (plain, r"stages.kdrl.objective.kl.to: unknown companion 'teacher'.* give it a checkpoint"),
        (raw | {"companions": {"techer": {"path": "quickstart"}}}, r"Did you mean 'techer'\?"),
        (raw | {"method": "grpo"}, r"companions.teacher: no stage reads it; set objective.kl.to: teacher"),
        (raw | {"objective": {"kl": {"weight": 0.0}}}, r"kl.to: 'teacher' is compared with at kl.weight 0"),
        (raw | {"objective": {"kl": {"decay": 0.9}}}, r"to: teacher stays as it is; leave out decay"),
        (raw | {"companions": {"teacher": {"pth": "x"}}}, r"companions.teacher.pth: unknown key 'pth'"),
        (
            raw | {"companions": {"old": {"path": "x"}}, "objective": {"kl": {"to": "old"}}},
            r"companions.old: give it another name",
        ),
    ):
        with pytest.raises(ConfigError, match=said):
            load_recipe(changed)


def test_only_policies_of_text_have_companions(tmp_path):
    raw = {
        "name": "x",
        "output": str(tmp_path),
        "policy": {"path": "quickstart_robot", "type": "openvla"},
        "companions": {"teacher": {"path": "quickstart_robot"}},
        "simulators": {"tabletop": {"type": "tabletop"}},
        "data": {"train": [{"type": "episodes", "simulator": "tabletop"}]},
        "method": "kdrl",
        "steps": 1,
    }
    with pytest.raises(ConfigError, match=r"no other checkpoint can score the units of policy.type 'openvla'"):
        load_recipe(raw)


def test_another_tokenizer_or_another_reading_of_pictures_is_refused(tiny_qwen, tmp_path):
    policy = load(tiny_qwen(), awake=False)
    other = shutil.copytree(tiny_qwen(seed=1), tmp_path / "other")
    settings = {"teacher": CompanionConfig(path=str(other), digest=None)}
    assert open_companions(settings, policy)["teacher"]
    path = other / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    vocabulary = tokenizer["model"]["vocab"]
    first, second = list(vocabulary)[10:12]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    path.write_text(json.dumps(tokenizer))
    with pytest.raises(ConfigError, match=r"companions.teacher: it has another tokenizer than the policy"):
        open_companions(settings, policy)
    shutil.copy(tiny_qwen(seed=1) / "tokenizer.json", path)
    policy.processor.image_processor.image_mean = [0.1, 0.2, 0.3]
    with pytest.raises(
        ConfigError, match=r"companions.teacher: image_mean is .* and the policy's is \[0.1, 0.2, 0.3\]"
    ):
        open_companions(settings, policy)


def test_a_companion_scores_as_a_policy_of_its_weights_would_and_never_changes(tiny_qwen):
    policy, folder = load(tiny_qwen()), tiny_qwen(seed=1)
    companion = open_companions({"teacher": CompanionConfig(path=str(folder))}, policy)["teacher"]
    objective = objective_of(
        "sft",
        kl={"to": "teacher", "weight": 0.3, "kind": "k3"},
        streams={"demo": {"terms": ["kl"]}},
        auxiliary_terms={"divergence": {"to": "teacher", "form": "reverse"}},
    )
    rows = demo_rows(policy, digits(2, "ocr"))
    scored = score_others(rows, objective, policy, {"teacher": companion}, 10_000)
    alone = load(folder, awake=False)
    with torch.no_grad():
        expected = alone.log_probs(collate(rows)).log_probs_RU
    for i, row in enumerate(scored):
        assert torch.allclose(row.companions["teacher"], expected[i, : row.units], atol=1e-5)
        assert row.states["teacher"].shape[0] == row.units
    heads = heads_of(objective, policy, {"teacher": companion})
    accumulate(scored, plan_step(objective, scored, 0, 64), policy, 10_000, heads=heads)
    with companion.scoring() as other:
        weights = list(other.module.parameters())
        assert not any(weight.requires_grad for weight in weights)
        assert all(weight.grad is None for weight in weights)
        assert not other.module.training
    assert any(p.grad is not None and bool(p.grad.any()) for _, p, _ in policy.trainable())


def test_under_lora_the_reference_s_distribution_is_that_of_its_own_adapters(tiny_qwen):
    policy, objective = adapt(load(tiny_qwen(), lora={"rank": 2})), objective_of("asft")
    rows = demo_rows(policy, digits(2, "ocr"))
    for base in (False, True):
        policy.keep_reference(base=base)
        scored = score_others(rows, objective, policy, {}, 10_000)
        plan = plan_step(objective, scored, 0, 64)
        sums = accumulate(scored, plan, policy, 10_000, heads=heads_of(objective, policy, {}))
        assert sums["term_divergence_units_sum"] == sum(row.units for row in rows)
        assert (abs(sums["term_divergence_sum"]) > 1e-3) == base, "nothing has moved since the stage began"


def test_offloaded_weights_are_back_on_their_device_while_they_score_alone(monkeypatch):
    moves = []

    class Module(torch.nn.Linear):
        def to(self, device):
            moves.append(str(device))
            return self

    class Stub:
        device, module = torch.device("cuda"), Module(2, 2)

    companion = Companion(Stub(), offload=True)
    assert moves == ["cpu"]
    with companion.scoring():
        assert moves == ["cpu", "cuda"]
    assert moves == ["cpu", "cuda", "cpu"]


def test_a_row_that_its_companion_did_not_score_is_no_silent_zero():
    objective = objective_of("grpo", kl={"to": "teacher", "weight": 0.3})
    with pytest.raises(ValueError, match="a row of stream 'rl' was not scored by companion 'teacher'"):
        Toy(0).kernel_gradient(objective)


class Beside(Toy):
    """The toy with a companion, whose log-probs are those of the reference."""

    def rows(self, *streams, **settings):
        # Demonstrations have no reference there.
        return [
            replace(row, companions={"teacher": self.reference[row.trajectory, : row.units]})
            for row in super().rows(*streams, **settings)
        ]


@pytest.mark.parametrize("seed", range(3))
def test_a_companion_in_the_place_of_the_reference_gives_the_same_gradient(seed):
    toy = Beside(seed)
    for kind in ("k1", "k2", "k3"):
        own = {"weight": 0.3, "kind": kind}
        ours = objective_of("grpo", kl={**own, "to": "teacher"})
        assert torch.equal(toy.kernel_gradient(ours), toy.kernel_gradient(objective_of("grpo", kl=own)))


@pytest.mark.parametrize("seed", range(3))
def test_the_ratio_is_to_the_mixture(seed):
    toy, published = Beside(seed), 0.0
    for i in toy.indices("rl"):
        n, a = toy.lengths[i], toy.advantages[i]
        r = toy.p(i) / (0.7 * toy.old[i, :n] + 0.3 * toy.reference[i, :n]).exp()
        published = published - torch.minimum(r * a, r.clamp(0.8, 1.2) * a).sum() / toy.units("rl")
    own = {"kind": "anchored_clip", "to": "teacher", "share": 0.3}
    assert_same(
        toy.kernel_gradient(objective_of("rlad", streams={"rl": {"coefficient": own}})), toy.gradient(published)
    )
    alone = -sum(ppo_term(toy, i).sum() for i in toy.indices("rl")) / toy.units("rl")
    own["share"] = 0.0
    assert_same(toy.kernel_gradient(objective_of("rlad", streams={"rl": {"coefficient": own}})), toy.gradient(alone))


@given(st.integers(0, 10_000), st.sampled_from(["suffix", "sequence"]), st.floats(0.5, 1.0))
def test_pear_weighs_by_what_is_behind_whatever_stands_beside(seed, form, gamma):
    g = torch.Generator().manual_seed(seed)
    lengths, width = torch.randint(1, 6, (4,), generator=g), 7
    log_probs, teacher = torch.randn(2, 4, width, dtype=torch.float64, generator=g).mul(0.2)
    mask = torch.arange(width) < lengths[:, None]
    units = Units(log_probs, log_probs, torch.ones(4, 1), mask, others={"teacher": teacher})
    own = PEAR(kind="pear", to="teacher", form=form, gamma=gamma, low=0.5, high=1.5)
    given_RU = pear(units, own)
    for i, n in enumerate(lengths.tolist()):
        step = (log_probs[i] - teacher[i]).clamp(-0.08, 0.3)
        for t in range(n):
            weight = step[t + 1 : n].sum().exp() * gamma ** (n - 1 - t) if form == "suffix" else step[:n].sum().exp()
            assert float(given_RU[i, t]) == pytest.approx(float(weight.clamp(0.5, 1.5)), rel=1e-12)


@given(st.integers(0, 10_000), st.floats(0.3, 2.0), st.integers(0, 3))
def test_divergences_are_those_of_distributions_over_what_is_allowed(seed, temperature, padding):
    """0 to itself, Jensen-Shannon symmetric and below log 2; a vocabulary padded further changes nothing."""
    g = torch.Generator().manual_seed(seed)
    hidden, other = torch.randn(2, 5, 6, dtype=torch.float64, generator=g)
    heads = torch.randn(2, 9, 6, dtype=torch.float64, generator=g)
    allowed = torch.rand(9, generator=g) < 0.7
    allowed[:2] = True
    padded = torch.cat([heads[1], torch.randn(padding, 6, dtype=torch.float64, generator=g)])
    theirs = Distribution(other, lambda h: h @ padded.T)
    ours = Distribution(hidden, lambda h: h @ heads[0].T)
    p, q = (
        (h @ w[:9].T / temperature).masked_fill(~allowed, -torch.inf).log_softmax(-1)
        for h, w in ((hidden, heads[0]), (other, padded))
    )
    got = {form: divergence(form, p, theirs, allowed, temperature) for form in ("forward", "reverse", "js")}
    a, b = (torch.distributions.Categorical(logits=x[:, allowed]) for x in (p, q))
    assert torch.allclose(got["forward"], torch.distributions.kl_divergence(b, a))
    assert torch.allclose(got["reverse"], torch.distributions.kl_divergence(a, b))
    assert bool((got["js"] >= -1e-12).all())
    assert bool((got["js"] <= 0.6932).all())
    assert torch.allclose(got["js"], divergence("js", q, ours, allowed, temperature))
    for form in got:
        assert float(divergence(form, p, ours, allowed, temperature).abs().max()) < 1e-12


def test_a_divergence_is_the_same_in_chunks(monkeypatch):
    g = torch.Generator().manual_seed(1)
    hidden = torch.randn(7, 5, dtype=torch.float64, generator=g).requires_grad_()
    head, theirs = torch.randn(2, 11, 5, dtype=torch.float64, generator=g)
    other = Distribution(torch.randn(7, 5, dtype=torch.float64, generator=g), lambda h: h @ theirs.T)
    allowed = torch.arange(11) < 8

    def gradient(form):
        *_, (value,) = token_log_probs(
            hidden, lambda h: h @ head.T, torch.arange(7), allowed, 0.7, "value", [(form, other)]
        )
        return torch.autograd.grad(value.square().sum(), hidden)[0]

    for form in ("forward", "reverse", "js"):
        whole = gradient(form)
        with monkeypatch.context() as patch:
            patch.setattr("mmrl.policies.token_log_probs.CHUNK_ELEMENTS", 30)
            assert torch.allclose(gradient(form), whole, rtol=1e-12)


def test_a_term_is_a_mean_over_its_own_streams_alone():
    """Rows of other streams keep no states, and what is computed of them is in no term."""
    log_probs = torch.full((2, 2), -1.0, requires_grad=True)
    mask = torch.ones(2, 2, dtype=torch.bool)
    beside = torch.tensor([[0.1, 0.3], [torch.inf, 5.0]])
    decision = Decision(None, torch.zeros(2, dtype=torch.long))
    rows = [Row(decision, stream, 1.0, i, 2) for i, stream in enumerate(("rl", "demo"))]
    terms = {"divergence": {"to": "teacher", "form": "js", "weight": 0.5, "streams": ["rl"]}}
    objective = objective_of("chord_mu", auxiliary_terms=terms)
    plan = plan_step(objective, rows, 0, 8)
    likelihood = Likelihood(log_probs, mask, divergences={("js", "teacher"): beside})
    _, sums = kernel.loss(likelihood, rows, plan)
    assert sums["term_divergence_sum"] == pytest.approx(0.4)
    assert sums["term_divergence_units_sum"] == 2
