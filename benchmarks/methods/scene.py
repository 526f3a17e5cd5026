"""One small step: a real model in float64, sampled groups and demonstrations, and mmrl's own path through them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from benchmarks.methods.plain import Plain, Step, forward, plain_inputs
from mmrl.contracts.source import Ready
from mmrl.contracts.types import DEMO, Decision, Group, Sample, StopReason, Trajectory
from mmrl.contracts.world import ALONE, World
from mmrl.data.digits import Digits
from mmrl.objectives.stateful import Stateful
from mmrl.policies.opening import load_policy
from mmrl.policies.tiny import write_tiny
from mmrl.recipe.data import DigitsData
from mmrl.recipe.policies.registry import policy_settings
from mmrl.recipe.training import StageConfig
from mmrl.rollouts.collect import Builder
from mmrl.trainer.comparing import heads_of
from mmrl.trainer.rows import make_rows
from mmrl.trainer.scoring import measure_references, score_rollouts
from mmrl.trainer.step import accumulate, minibatches, plan_step, prepare

TEMPERATURE, LIMIT = 0.9, 8
# Accuracies and marks for form of each group's answers: one mixed, one never solved, one always (of fewer), one seldom.
ACCURACY = ((1, 0, 0, 1), (0, 0, 0, 0), (1, 1, 1), (0, 1, 0, 0))
FORM = ((1, 0, 1, 1), (0, 0, 0, 0), (1, 1, 1), (0, 1, 1, 0))
LENGTHS = ((3, 8, 1, 5), (2, 4, 6, 1), (4, 2, 7), (6, 3, 5, 8))
CUT = {(0, 1), (3, 3)}
WORSE = (2, 5, 3, 4)
DEMO_REWARD = 1.2
# What each prompt's other answers earned, of which its group was chosen.
POOLED = (0.0, 1.2, 0.2)
REJECTED_TEXT = "no"


class Scene:
    """Groups of answers to prompts, with pictures and without, and a demonstration of each.

    Log-probs of three policies are apart: the trained one, the one before the first update, and the reference; what
    sampled the rows differs from the second once more.
    """

    def __init__(self, critic: bool = False, pictures: bool = True, seed: int = 0):
        # A value head begins with random biases.
        torch.manual_seed(seed)
        with tempfile.TemporaryDirectory() as folder:
            size = {"layers": 2 if pictures else 1, "vision_layers": 1}
            write_tiny("qwen2_5_vl", Path(folder) / "model", size=size)
            head = {"value_head": {}} if critic else {}
            self.policy = load_policy(policy_settings(path=f"{folder}/model", device="cpu", **head))
        self.policy.module.double()
        if critic:
            self.policy.value_head.double()
        self._draw(seed)
        samples = Digits(DigitsData(type="digits", tasks=["ocr", "counting"]))
        self.samples: list[Sample] = [
            replace(samples[i], id=f"s{i}", rejected=REJECTED_TEXT, draw=(0, i)) for i in range(len(ACCURACY))
        ]
        for i in range(0 if not pictures else len(ACCURACY) - 1, len(ACCURACY)):
            self.samples[i] = _without_pictures(self.samples[i])
        self._make(seed)

    def _draw(self, seed: int) -> None:
        """Three sets of weights, large enough for pictures to sway what is said."""
        g = torch.Generator().manual_seed(seed)
        named = [(name, p) for name, p, _ in self.policy.trainable()]
        base, self.weights = {}, {}
        for name, parameter in named:
            size = 0.1 if "embed_tokens" in name else 0.2
            noise = torch.randn(parameter.shape, generator=g, dtype=torch.float64)
            base[name] = size * noise if parameter.ndim > 1 else parameter.detach().clone()
        for place in ("now", "old", "reference", "teacher"):
            self.weights[place] = {
                name: value + (0.0 if place == "now" else 0.006) * torch.randn(value.shape, generator=g).double()
                for name, value in base.items()
            }

    @contextmanager
    def at(self, place: str) -> Iterator[None]:
        """Inside, the policy has the weights of `now`, `old`, `reference` or `teacher`."""
        # Not copied into: the plain graph stays, and a backward pass through it comes after the weights are back.
        for name, parameter, _ in self.policy.trainable():
            parameter.data = self.weights[place][name]
        yield

    def _make(self, seed: int) -> None:
        """The step's groups and demonstrations, and the same as padded tensors."""
        g = torch.Generator().manual_seed(seed + 1)
        prompts = self.policy.prepare(self.samples)
        allowed = self.policy.allowed_tokens(None).nonzero()[:, 0]
        answers = [
            [allowed[torch.randint(len(allowed), (length,), generator=g)] for length in LENGTHS[i]]
            for i in range(len(self.samples))
        ]
        demos = [self.policy.demonstration(sample, 64)[-6:] for sample in self.samples]
        owners = [i for i, group in enumerate(answers) for _ in group]
        worse = [allowed[torch.randint(len(allowed), (length,), generator=g)] for length in WORSE]
        places = [*owners, *range(len(demos)), *range(len(demos)), *range(len(worse))]
        tokens = [*(t for group in answers for t in group), *demos, *demos, *worse]
        count, width = len(owners), max(map(len, tokens))
        self.inputs = plain_inputs(self.policy, [self.samples[i] for i in places], tokens)
        self.width, self.demo_count = width, len(demos)
        # Demonstrations stand there twice: by themselves, and at the temperature of the answers they may stand beside.
        self.temperature = torch.tensor(
            [TEMPERATURE] * count + [1.0] * len(demos) + [TEMPERATURE] * len(demos) + [1.0] * len(worse),
            dtype=torch.float64,
        )
        self.tokens = torch.zeros(len(tokens), width, dtype=torch.long)
        mask = torch.zeros(len(tokens), width, dtype=torch.float64)
        for i, t in enumerate(tokens):
            self.tokens[i, : len(t)], mask[i, : len(t)] = t, 1.0
        self.mask = mask
        scored = {}
        with torch.no_grad():
            for place in ("reference", "old", "teacher"):
                with self.at(place):
                    scored[place] = self._plain_scores()
        gap = 0.15 * torch.randn(mask.shape, generator=g).double()
        self.engine = (scored["old"][0] + gap) * mask
        self.old, self.reference, self.teacher = scored["old"], scored["reference"], scored["teacher"]
        with self.at("reference"):
            self.policy.keep_reference()
        self.places, self.count = torch.tensor(places), count
        self._collect(prompts, answers, demos, worse)

    def _plain_scores(self) -> tuple[Tensor, Tensor, Tensor]:
        logits, values = forward(self.policy, self.inputs, self.width)
        logits = (logits / self.temperature[:, None, None]).masked_fill(~self.policy.allowed_tokens(None), -1e9)
        every = logits.log_softmax(-1)
        return every.gather(-1, self.tokens[:, :, None])[:, :, 0] * self.mask, every, values

    def ready(self, sample: Sample) -> Ready:
        """The sample with its prompt."""
        group = next(group for group in self.groups if group.sample.id == sample.id)
        return Ready(sample, (group.trajectories[0].decisions[0].prompt,))

    def _collect(
        self,
        prompts: Sequence[Any],
        answers: Sequence[Sequence[Tensor]],
        demos: Sequence[Tensor],
        worse: Sequence[Tensor],
    ) -> None:
        self.groups, self.demos, self.worse, row = [], [], [], 0
        for i, (sample, prompt) in enumerate(zip(self.samples, prompts)):
            trajectories = []
            for k, tokens in enumerate(answers[i]):
                decision = Decision(prompt, tokens, self.engine[row, : len(tokens)], temperature=TEMPERATURE)
                right, form = float(ACCURACY[i][k]), float(FORM[i][k])
                stop = StopReason.LENGTH if (i, k) in CUT else StopReason.END
                parts = {"accuracy": right, "format": form}
                trajectories.append(
                    Trajectory(
                        (decision,),
                        reward=right + 0.2 * form,
                        accuracy=right,
                        parts=parts,
                        stop=stop,
                        info={"context": k == len(answers[i]) - 1},
                    )
                )
                row += 1
            others = [replace(trajectories[0], decisions=(), reward=reward) for reward in POOLED]
            self.groups.append(Group(sample, tuple(trajectories), pool=(*trajectories, *others)))
            shown = Decision(prompt, demos[i])
            parts = {"accuracy": 1.0, "format": 1.0}
            demo = Trajectory((shown,), origin=DEMO, reward=DEMO_REWARD, accuracy=1.0, parts=parts)
            self.demos.append(Group(sample, (demo,)))
            self.worse.append(Group(sample, (replace(demo, decisions=(Decision(prompt, worse[i]),)),)))

    def plain(self) -> Plain:
        """The step's rows at the trained weights: answers, demonstrations, and these at the answers' temperature."""
        with self.at("now"):
            logp, every, values = self._plain_scores()
        flat = [t for group in self.groups for t in group.trajectories]
        shown = [t for groups in (self.demos, self.demos, self.worse) for group in groups for t in group.trajectories]
        rows = [*flat, *shown]
        column = [
            torch.tensor([value(t) for t in rows], dtype=torch.float64)
            for value in (lambda t: t.reward, lambda t: t.accuracy, lambda t: t.parts["format"])
        ]
        return Plain(
            logp, every, self.mask, self.old[0], self.reference[0], self.engine, self.reference[1], *self.teacher[:2],
            *column,
            self.places, torch.tensor([t.origin == DEMO for t in rows]), torch.tensor([t.truncated for t in rows]),
            values, self.old[2],
        )  # fmt: skip

    def split(self, plain: Plain) -> Step:
        """The rows by what they are."""
        return Step(plain, self.count, self.demo_count)

    def stage(self, method: str, objective: Mapping[str, Any]) -> StageConfig:
        """One stage of the method, with a second update, so that ratios count."""
        return StageConfig(
            name="check",
            method=method,
            steps=1000,
            prompts=len(self.groups),
            demonstrations=len(self.demos),
            epochs=2,
            objective=objective,
            rollout={"n": 4, "max_new_tokens": LIMIT, "temperature": TEMPERATURE},
        )

    def gradients(
        self, stage: StageConfig, splits: Sequence[Any], step: int = 0, world: World = ALONE
    ) -> list[list[Tensor]]:
        """mmrl's gradient of the first update, for each split of the rows, shared by processes."""
        builder = Scripted(self, stage)
        objective, policy = stage.objective, self.policy
        batch = builder.collect(seed=0)
        with self.at("old"):
            asked: Any = {name: Beside(self) for _, name in objective.companions()}
            measured = measure_references(batch.rollouts, objective, policy, 100_000, asked, world)
            rows, _ = make_rows(batch, objective, stage, measured, Stateful(objective))
            rows = score_rollouts(rows, objective, stage, policy, 100_000, measured, asked, world)
        heads = heads_of(objective, policy, asked)
        results = []
        shuffle = torch.Generator().manual_seed(0)
        part = minibatches(rows, stage.minibatches, stage.epochs, shuffle)[0]
        for budget, order in splits:
            g = torch.Generator().manual_seed(order)
            shuffled = [part[i] for i in torch.randperm(len(part), generator=g).tolist()] if order else part
            with self.at("now"):
                plan = plan_step(objective, shuffled, step, stage.rollout.max_new_tokens)
                prepared = prepare(shuffled, objective, policy, budget, world)
                accumulate(prepared, plan, policy, budget, heads=heads, world=world)
            results.append(take_gradients(policy))
        return results


def _without_pictures(sample: Sample) -> Sample:
    words = tuple({**m, "content": [p for p in m["content"] if p["type"] == "text"]} for m in sample.messages)
    return replace(sample, messages=words, images=())


class Beside:
    """The scene's companion: the policy at its teacher's weights."""

    def __init__(self, scene: Scene):
        self._scene = scene

    @contextmanager
    def scoring(self) -> Iterator[Any]:
        """Inside, it has the teacher's weights; before and after, those before the first update."""
        with self._scene.at("teacher"):
            yield self._scene.policy
        with self._scene.at("old"):
            pass

    def logits(self, states_NH: Tensor) -> Tensor:
        """[N, V] of its hidden states."""
        name = next(n for n in self._scene.weights["teacher"] if n.endswith(("lm_head.weight", "embed_tokens.weight")))
        return states_NH @ self._scene.weights["teacher"][name].T


class Scripted(Builder):
    """The builder of a step, whose groups and demonstrations are the scene's instead of an engine's."""

    def __init__(self, scene: Scene, stage: StageConfig):
        preparer: Any = SimpleNamespace(
            rewarder=SimpleNamespace(at=lambda progress: None),
            take=scene.ready,
            make=lambda sample, rewarded: scene.ready(sample),
        )
        mixture: Any = SimpleNamespace(
            next=self._next,
            datasets=[scene.samples],
            reject=None,
            again=lambda dataset, row, epoch: scene.samples[row],
        )
        waiting, nobody = Stateful(stage.objective).waiting, None
        super().__init__(
            scene.policy,
            nobody,
            mixture,
            preparer,
            nobody,
            stage,
            stage.objective,
            waiting,  # type: ignore[arg-type]
        )
        self.scene = scene

    def _next(self, count: int, demonstrations: bool = False) -> list[Sample]:
        return (self.scene.samples * count)[:count]

    def sample(self, samples: Sequence[Sample], seed: int) -> list[Group]:
        """The scene's groups of these samples."""
        by_id = {group.sample.id: group for group in self.scene.groups}
        return [by_id[sample.id] for sample in samples]

    def _demonstrate(self, ready: Sequence[Any], scored: bool = False, dressed: bool = False) -> dict[int, Any]:
        found = {}
        for i, item in enumerate(ready):
            sample = item.sample
            groups = self.scene.worse if sample.demonstration == REJECTED_TEXT else self.scene.demos
            found[i] = next(group for group in groups if group.sample.id == sample.id)
        return found


def take_gradients(policy: Any) -> list[Tensor]:
    """Every trained parameter's gradient; clears them."""
    slopes = []
    for _, parameter, _ in policy.trainable():
        slopes.append(torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.clone())
        parameter.grad = None
    return slopes
