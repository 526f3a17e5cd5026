"""Answers as a source: prompts to completions to rewarded trajectories of one decision; recorded demonstrations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from torch import Tensor

from mmrl.contracts.context import Begins, Context, Dressed, Dresses, Rephrases
from mmrl.contracts.engine import Completion, Engine, Request, Sampling
from mmrl.contracts.errors import BadSample, ConfigError
from mmrl.contracts.policy import Policy, acting, opening_of, recorded_units
from mmrl.contracts.source import Means, Ready, Scorer, Terms
from mmrl.contracts.types import DEMO, Decision, Group, Prompt, Sample, Trajectory
from mmrl.data.turns import answer_text, turns_of
from mmrl.recipe.rollout import Pool
from mmrl.rollouts.contexts.asking import begun_requests, shown_requests
from mmrl.rollouts.pooling import chosen, enough


class AnswerSource:
    """Has samples answered in text; what demonstrates them, an answer or actions, stands in the data.

    See `Source`.
    """

    rewarded: ClassVar[bool] = True
    recorded: ClassVar[bool] = True

    def __init__(self, means: Means):
        self.means = means

    @staticmethod
    def prepare(sample: Sample, policy: Policy, rewarder: Scorer, rewarded: bool) -> Ready:
        """The sample with its boxes where the policy sees them, and its prompt; a recorded episode has one per step."""
        if sample.steps:
            steps = tuple(sample.steps)
            return Ready(replace(sample, steps=steps), tuple(policy.prepare(steps)))
        if sample.learned and not rewarded:
            return _conversation(sample, policy)
        (prompt,) = policy.prepare([sample])
        local = policy.localise(sample, prompt)
        if rewarded and sample.actions is None:
            rewarder.check(local)
        return Ready(local, (prompt,))

    @staticmethod
    def again(group: Group) -> Ready:
        """See `Source.again`."""
        return Ready(group.sample, (group.trajectories[0].decisions[0].prompt,))

    def plan(self, ready: Sequence[Ready], terms: Terms) -> list[Group]:
        """See `Source.plan`, `answer`."""
        means = self.means
        if terms.pool is not None:
            return pooled(means, ready, terms, terms.pool)
        if terms.context is None:
            return answer(means.policy, means.engine, ready, terms.sampling, terms.n, terms.seed, means.rewarder)
        if isinstance(terms.context, Dresses):
            return self._dressed(ready, terms, terms.context)
        if isinstance(terms.context, Rephrases):
            return self._rephrased(ready, terms, terms.context)
        if terms.on_fail:
            return self._helped(ready, terms)
        return self._under_context(ready, terms)

    def _dressed(self, ready: Sequence[Ready], terms: Terms, context: Dresses) -> list[Group]:
        """Groups of the samples in other forms, sampled and scored there, with what rewards of the form give."""
        means = self.means
        forms = [context.dress(item.sample, terms.seed) for item in ready]
        items = _redressed(ready, forms, means.policy)
        groups = answer(means.policy, means.engine, items, terms.sampling, terms.n, terms.seed, means.rewarder)
        return [_graded(group, form) for group, form in zip(groups, forms, strict=True)]

    def _rephrased(self, ready: Sequence[Ready], terms: Terms, context: Rephrases) -> list[Group]:
        """Groups whose answers are dealt to forms of their samples in turn, each sampled and scored under its own."""
        means = self.means
        forms = [list(context.forms(item.sample))[: terms.n] for item in ready]
        counts = [[len(range(form, terms.n, len(each))) for form in range(len(each))] for each in forms]
        prompts = iter(means.policy.prepare([form for each in forms for form in each]))
        asked = [[next(prompts) for _ in each] for each in forms]
        requests = [
            Request(p, n) for own, each in zip(asked, counts, strict=True) for p, n in zip(own, each, strict=True)
        ]
        made = iter(means.engine.generate(requests, terms.sampling, terms.seed))
        answers, under = [], []
        for own in asked:
            dealt = [next(made) for _ in own]
            answers.append([dealt[i % len(own)][i // len(own)] for i in range(terms.n)])
            under.append([own[i % len(own)] for i in range(terms.n)])
        groups = scored_groups(means.policy, ready, answers, means.rewarder, under)
        return [
            replace(
                group,
                trajectories=tuple(
                    replace(t, info={**t.info, "sampled_under": own[i % len(own)].question})
                    for i, t in enumerate(group.trajectories)
                ),
            )
            for group, own in zip(groups, forms, strict=True)
        ]

    def _helped(self, ready: Sequence[Ready], terms: Terms) -> list[Group]:
        """Groups of which those without a right answer have others, sampled under the context, for their last ones.

        Contexts are tried one after the other, each in the groups that have no right answer yet.
        """
        means = self.means
        groups = answer(means.policy, means.engine, ready, terms.sampling, terms.n, terms.seed, means.rewarder)
        for level, context in enumerate((terms.context, *terms.further), start=1):
            failed = [i for i, group in enumerate(groups) if all(t.measured() < 1.0 for t in group.trajectories)]
            if not failed:
                break
            again = replace(terms, n=terms.shown, seed=terms.seed + level, context=context)
            others = self._under_context([ready[i] for i in failed], again)
            for i, other in zip(failed, others, strict=True):
                kept = groups[i].trajectories[: terms.n - terms.shown]
                groups[i] = replace(groups[i], trajectories=(*kept, *other.trajectories))
        return groups

    def _under_context(self, ready: Sequence[Ready], terms: Terms) -> list[Group]:
        """Scored groups of which the last `terms.shown` answers were sampled under the context."""
        means, plain, context = self.means, terms.n - terms.shown, terms.context
        if isinstance(context, Begins):
            told = begun_requests(means.policy, context, ready, terms)
        elif isinstance(context, Context):
            told = shown_requests(means.policy, context, ready, terms)
        else:
            raise ConfigError(f"rollout.context: '{type(context).__name__}' has none of shown, begin and dress")
        requests = [each.request for each in told]
        requests += [Request(item.prompts[0], plain) for item in ready] if plain else []
        completions = means.engine.generate(requests, terms.sampling, terms.seed)
        told_of, others = completions[: len(ready)], completions[len(ready) :] or [[]] * len(ready)
        settled = [[*b, *(each.settled(c) for c in a)] for a, b, each in zip(told_of, others, told, strict=True)]
        groups = scored_groups(means.policy, ready, settled, means.rewarder)
        return [
            replace(
                group,
                trajectories=tuple(
                    t if i < plain else replace(t, info={**t.info, "context": True, **each.facts})
                    for i, t in enumerate(group.trajectories)
                ),
            )
            for group, each in zip(groups, told, strict=True)
        ]

    def demonstrate(self, ready: Sequence[Ready], terms: Terms, scored: bool) -> list[Group | BadSample]:
        """See `Source.demonstrate`."""
        if isinstance(terms.context, Dresses):
            plain = [item for item in ready if is_question(item)]
            forms = [terms.context.dress(item.sample, terms.seed) for item in plain]
            dressed = iter(_redressed(plain, forms, self.means.policy))
            ready = [next(dressed) if is_question(item) else item for item in ready]
        groups: list[Group | BadSample] = []
        for item in ready:
            try:
                group = demonstrate(self.means.policy, item, terms.sampling.max_new_tokens)
            except BadSample as error:
                groups.append(error)
                continue
            if scored:
                trajectories = tuple(self.means.rewarder.score(t, item.sample) for t in group.trajectories)
                group = replace(group, trajectories=trajectories)
            groups.append(group)
        return groups


def pooled(means: Means, ready: Sequence[Ready], terms: Terms, pool: Pool) -> list[Group]:
    """Groups of n answers each, chosen of those sampled in rounds until each prompt has enough, or all of its pool."""
    sampled: list[tuple[Trajectory, ...]] = [() for _ in ready]
    samples = [item.sample for item in ready]
    size, turn = pool.round or pool.size, 0
    asking = list(range(len(ready)))
    while asking:
        left = min(size, pool.size - turn * size)
        groups = answer(
            means.policy,
            means.engine,
            [ready[i] for i in asking],
            terms.sampling,
            left,
            terms.seed + 7919 * turn,
            means.rewarder,
        )
        for i, group in zip(asking, groups, strict=True):
            sampled[i], samples[i] = (*sampled[i], *group.trajectories), group.sample
        turn += 1
        asking = [] if turn * size >= pool.size else [i for i in asking if not enough(sampled[i], terms.n, pool)]
    return [
        Group(sample, chosen(everything, terms.n, pool.keep), pool=everything)
        for sample, everything in zip(samples, sampled, strict=True)
    ]


def answer(
    policy: Policy, engine: Engine, ready: Sequence[Ready], sampling: Sampling, n: int, seed: int, rewarder: Scorer
) -> list[Group]:
    """Samples n answers to each prompt and scores them."""
    return scored_groups(
        policy, ready, engine.generate([Request(item.prompts[0], n) for item in ready], sampling, seed), rewarder
    )


def scored_groups(
    policy: Policy,
    ready: Sequence[Ready],
    completions: Sequence[Sequence[Completion]],
    rewarder: Scorer,
    prompts: Sequence[Sequence[Prompt]] | None = None,
) -> list[Group]:
    """A group of each sample's completions, with their rewards.

    Args:
        prompts: of each completion; None: the samples' own.

    Raises:
        BadSample: a completion was refused.
    """
    drafts, begun = [], opening_of(policy)
    for number, (item, answers) in enumerate(zip(ready, completions)):
        if refused := [completion.failed for completion in answers if completion.failed is not None]:
            raise BadSample(item.sample.where, refused[0])
        texts = [begun + (c.text if c.text is not None else policy.decode_text(c.tokens)) for c in answers]
        sample = rewarder.with_group(texts, item.sample) if len(answers) > 1 else item.sample
        asked = prompts[number] if prompts is not None else [item.prompts[0]] * len(answers)
        for completion, text, prompt in zip(answers, texts, asked, strict=True):
            decision = completion.decision(prompt)
            drafts.append((Trajectory((decision,), text=text, stop=completion.stop), sample))
    scored = iter(rewarder.score_all(drafts))
    return [Group(item.sample, tuple(next(scored) for _ in answers)) for item, answers in zip(ready, completions)]


def is_question(item: Ready) -> bool:
    """Whether the sample is one question with one answer."""
    return len(item.prompts) == 1 and not item.turns and item.sample.actions is None


def _redressed(ready: Sequence[Ready], forms: Sequence[Dressed], policy: Policy) -> list[Ready]:
    """The samples in their forms, with the prompts of these."""
    prompts = policy.prepare([form.sample for form in forms])
    return [
        replace(item, sample=form.sample, prompts=(prompt,))
        for item, form, prompt in zip(ready, forms, prompts, strict=True)
    ]


def _graded(group: Group, form: Dressed) -> Group:
    """The group with the rewards of its form beside its own, and the form's name on record."""
    trajectories = [replace(t, info={**t.info, "form": form.name}) for t in group.trajectories]
    if form.grades is not None:
        graded = form.grades.score_all([(t, group.sample) for t in trajectories])
        trajectories = [
            replace(
                t,
                reward=(1 - form.weight) * float(t.reward or 0.0) + form.weight * float(own.reward or 0.0),
                parts={**t.parts, "form": own.reward},
            )
            for t, own in zip(trajectories, graded, strict=True)
        ]
    return replace(group, trajectories=tuple(trajectories))


def _conversation(sample: Sample, policy: Policy) -> Ready:
    """A conversation with several answers to learn: each with a prompt of all that was said before it.

    Boxes in earlier answers are converted as those of the last one are, where they are learned and where they are read.
    """
    (whole,) = policy.prepare([sample])
    local = policy.localise(sample, whole)
    messages = list(sample.messages)
    for place in sample.learned:
        written = answer_text(messages[place])
        text = policy.localise(replace(sample, demonstration=written), whole).demonstration
        if text != written:
            messages[place] = {**messages[place], "content": [{"type": "text", "text": text}]}
    turns = turns_of(replace(local, messages=tuple(messages)))
    if turns[-1].messages != sample.messages:
        return Ready(local, tuple(policy.prepare(turns)), tuple(turns))
    return Ready(local, (*policy.prepare(turns[:-1]), whole), tuple(turns))


def demonstrate(policy: Policy, ready: Ready, max_units: int) -> Group:
    """The sample's demonstration as a group of one. Raises BadSample where it is missing or too long."""
    sample = ready.sample
    if sample.steps:
        return _recorded_episode(policy, sample, ready.prompts)
    if ready.turns:
        units = [demonstrated_units(policy, turn, max_units) for turn in ready.turns]
        decisions = tuple(Decision(prompt, tokens) for prompt, tokens in zip(ready.prompts, units, strict=True))
        answers = {"answers": len(decisions)}
        last = ready.turns[-1].demonstration or ""
        return Group(sample, (Trajectory(decisions, origin=DEMO, text=last, info=answers),))
    (prompt,) = ready.prompts
    if sample.actions is not None:
        decision = Decision(prompt, demonstrated_units(policy, sample, max_units, prompt), restrict="action")
        info = {"actions": sample.actions.tolist()}
        return Group(sample, (Trajectory((decision,), origin=DEMO, info=info),))
    tokens = demonstrated_units(policy, sample, max_units, prompt)
    trajectory = Trajectory((Decision(prompt, tokens),), origin=DEMO, text=sample.demonstration or "")
    return Group(sample, (trajectory,))


def _recorded_episode(policy: Policy, sample: Sample, prompts: Sequence[Prompt]) -> Group:
    """A recorded episode as a trajectory of a decision for each of its steps, with the rewards they earned."""
    decisions = []
    for step, prompt in zip(sample.steps, prompts, strict=True):
        units = demonstrated_units(policy, step, 0, prompt)
        decisions.append(
            Decision(prompt, units, restrict="action", reward=sum(step.rewards), step_rewards=step.rewards)
        )
    total = sum(decision.reward for decision in decisions)
    trajectory = Trajectory(tuple(decisions), origin=DEMO, reward=total, parts={"return": total})
    # As of a played one, the group's sample shows the first observation.
    return Group(replace(sample.steps[0], id=sample.id), (trajectory,))


def demonstrated_units(policy: Policy, sample: Sample, max_units: int, prompt: Prompt | None = None) -> Tensor:
    """The units of a sample's demonstration; `max_units` limits text, chunks of actions have their own length.

    Args:
        prompt: as the policy prepared the sample, from which actions may be differences; None: their number is wanted.

    Raises:
        BadSample: it has none, or one that this policy cannot represent.
    """
    if sample.actions is None:
        return policy.demonstration(sample, max_units)
    if prompt is None:
        return acting(policy).action_units(sample.actions[None])[0]
    return recorded_units(acting(policy), sample.actions[None], [prompt])[0]
