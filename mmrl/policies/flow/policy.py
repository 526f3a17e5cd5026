"""The shared half of flow policies: sampling, densities of sampled steps, and the flow-matching loss, on one network.

A unit is one dimension of one action, in normalised coordinates, action after action: of an executed one, or in a
demonstration of one that is known, up to the whole horizon. Its log-prob is the mean over the decision's trained
denoising steps of the log-density of x after the step (pi_RL, arXiv 2510.25889), by choice with that of the noise
before them. A row of a demonstration has none, and
minus its flow-matching loss stands in the place: a coefficient of 1 then gives the policy's own supervised loss.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mmrl.contracts.errors import BadSample, ConfigError
from mmrl.contracts.types import Decision, Likelihood, PolicyBatch, Sample
from mmrl.policies.adapted_model import AdaptedModel
from mmrl.policies.flow import sampling
from mmrl.policies.flow.context import FlowContext, FlowPrompt, Noise, Prefix, generator_of
from mmrl.policies.flow.normaliser import Kind, Rescaling, make_normaliser
from mmrl.policies.statistics import choose, cure_of_sizes
from mmrl.policies.value_head import ValueHead
from mmrl.recipe.policies.flow import FlowParams, Pi0Settings


@dataclass(frozen=True, slots=True)
class Evaluations:
    """Points at which one forward pass asks for the velocity.

    Attributes:
        row_E: int64, the row of the batch.
        x_EHD: float32.
        time_E: float32.
    """

    row_E: Tensor
    x_EHD: Tensor
    time_E: Tensor


@dataclass(frozen=True, slots=True)
class FlowShape:
    """What a checkpoint predicts, and how it was trained to.

    Attributes:
        horizon: actions predicted at once.
        dims: dimensions of an action; the robot's come first, the others are padding.
        steps: denoising steps.
        time_offset, time_scale, time_alpha: the times of training are t = offset + scale Beta(alpha, 1).
    """

    horizon: int
    dims: int
    steps: int
    time_offset: float
    time_scale: float
    time_alpha: float


class FlowPolicy(AdaptedModel):
    """The adapter, less its network; see `mmrl.contracts.policy.Policy` for the contract."""

    # Boxes are text, and this policy writes none.
    coordinates = "resized_pixel"
    eos_ids: tuple[int, ...] = ()

    def __init__(
        self,
        model: nn.Module,
        statistics: Mapping[str, Any],
        params: FlowParams,
        config: Pi0Settings,
        kind: Kind,
        shape: FlowShape,
        value_head: ValueHead | None = None,
        delta: Sequence[int] = (),
    ):
        """
        Args:
            delta: action dimensions that are predicted as differences from the state of the same number.
        """
        super().__init__(model, config, value_head)
        self.delta = tuple(delta)
        self.statistics: dict[str, Any] = dict(statistics)
        self.params, self.kind = params, kind
        self._shape = shape
        self.horizon, self.dims = shape.horizon, shape.dims
        self.steps = params.steps or shape.steps
        try:
            self._noisy_steps = params.noisy_steps(self.steps)
        except ValueError as error:
            raise ConfigError(str(error)) from None
        self._normalisers: dict[str, Rescaling] = {}

    # --- the network, of which a subclass is made

    def _prefix(self, prompts: Sequence[FlowPrompt]) -> Prefix:
        """Prompts, each computed once."""
        raise NotImplementedError

    def _velocity(self, prefix_E: Prefix, x_EHD: Tensor, time_E: Tensor) -> tuple[Tensor, Tensor]:
        """Velocities float32 [E, H, D], and the expert's states [E, T, H'] of which the last H are the actions'."""
        raise NotImplementedError

    def _critic_states(self, prefix: Prefix, states_ETH: Tensor) -> Tensor:
        """[E, H']: what the value head reads, a function of the observation alone."""
        raise NotImplementedError

    # --- actions

    def normaliser(self, part: str) -> Rescaling:
        """The normaliser of `action` or `proprio`. Raises ConfigError where statistics are missing or unclear."""
        if part not in self._normalisers:
            key = choose(self.statistics, self.params.statistics)
            self._normalisers[part] = make_normaliser(self.kind, self.statistics, key, part)
        return self._normalisers[part]

    def set_statistics(self, key: str, entry: Mapping[str, Any]) -> None:
        """See `Policy.set_statistics`."""
        make_normaliser(self.kind, {key: entry}, key, "action")
        self.statistics[key] = dict(entry)
        self._normalisers = {}

    def take_cameras(self, names: Sequence[str]) -> None:
        """See `Seeing.take_cameras`."""
        self.params = self.params.model_copy(update={"cameras": list(names)})

    @property
    def action_dim(self) -> int:
        """Dimensions of the robot's actions; the network's others are padding."""
        dims = len(self.normaliser("action").shift_A)
        if dims > self.dims:
            raise ConfigError(
                f"the policy's statistics have {dims} action dimensions, and its checkpoint's actions have up to "
                f"{self.dims}; set policy.params.statistics to a dataset of this robot, or use a checkpoint of more"
            )
        return dims

    def units_per_action(self, action_dim: int) -> int:
        """One per dimension. Raises ConfigError where the statistics have another number of them."""
        known = len(self.normaliser("action").shift_A)
        if action_dim != known:
            raise ConfigError(
                f"the simulator's actions have {action_dim} dimensions and the policy's statistics {known}; "
                f"{cure_of_sizes(self.config.type, 'action', action_dim)}"
            )
        return self.action_dim

    def actions(self, units_BU: Tensor, action_dim: int) -> Tensor:
        """float32 [B, C, A] in the simulator's units."""
        self.units_per_action(action_dim)
        return self.normaliser("action").restore(units_BU.unflatten(1, (-1, action_dim)))

    def action_units(self, actions_BCA: Tensor) -> Tensor:
        """float32 [B, C x A]: the simulator's actions, normalised."""
        self.units_per_action(actions_BCA.shape[-1])
        return self.normaliser("action").normalise(actions_BCA).flatten(1)

    def absolute(self, actions_BCA: Tensor, prompts: Sequence[FlowPrompt]) -> Tensor:
        """See `Relative.absolute`."""
        return actions_BCA + self._from_state(actions_BCA, prompts)

    def relative(self, actions_BCA: Tensor, prompts: Sequence[FlowPrompt]) -> Tensor:
        """See `Relative.relative`."""
        return actions_BCA - self._from_state(actions_BCA, prompts)

    def _from_state(self, actions_BCA: Tensor, prompts: Sequence[FlowPrompt]) -> Tensor:
        """float32 [B, 1, A]: the state in dimensions that are differences from it, 0 in others."""
        size, sensed = actions_BCA.shape[-1], [prompt.sensed for prompt in prompts]
        beyond = [dim for dim in self.delta if dim >= size or any(dim >= len(state) for state in sensed)]
        if beyond:
            raise ConfigError(
                f"policy.params.delta_actions: {beyond[0]} is beyond the {size} dimensions of an action or the "
                f"{min(map(len, sensed))} of the state; name dimensions that both have"
            )
        shift_BA = torch.zeros(len(prompts), size)
        for row, state in enumerate(sensed):
            for dim in self.delta:
                shift_BA[row, dim] = state[dim]
        return shift_BA[:, None]

    def localise(self, sample: Sample, prompt: FlowPrompt) -> Sample:
        """The sample as it is: actions have no boxes."""
        return sample

    def demonstration(self, sample: Sample, max_units: int) -> Tensor:
        """Raises BadSample: this policy's demonstrations are actions."""
        raise BadSample(sample.where, f"is a text demonstration, and policy.type '{self.config.type}' only acts")

    def decode_text(self, tokens: Tensor) -> str:
        """Units as text, for logs."""
        return " ".join(f"{value:.2f}" for value in tokens.tolist())

    def allowed_tokens(self, restrict: str | None) -> Tensor:
        """Raises ConfigError: there are no tokens to sample."""
        raise ConfigError(f"policy.type '{self.config.type}' samples no tokens; engine.name 'flow' samples it")

    def batch_tokens(self, prompts: Sequence[FlowPrompt], rows_per_prompt: Sequence[Sequence[int]]) -> int:
        """Tokens of one forward pass: each prompt once, and the expert's of each evaluation."""
        evaluations = sum(map(len, rows_per_prompt)) * self._evaluations_per_row
        return len(prompts) * max(p.length for p in prompts) + evaluations * (self.horizon + 1)

    @property
    def _evaluations_per_row(self) -> int:
        return 1 if self.params.trained == "one" else len(self._noisy_steps)

    # --- sampling

    @torch.no_grad()
    def sample(
        self,
        prompts: Sequence[FlowPrompt],
        repeats: int,
        units: int,
        generator: torch.Generator | Sequence[torch.Generator],
        deterministic: bool = False,
    ) -> list[Decision]:
        """`repeats` chunks of actions for each prompt, in order.

        Args:
            units: of a chunk: executed actions x action_dim.
            generator: see `Denoising.sample`.
            deterministic: follow the ODE; the decisions then have log-probs of 0 and no context.

        Raises:
            ConfigError: a chunk beyond the horizon that the checkpoint predicts.
        """
        self._check_chunk(units)
        count = len(prompts) * repeats
        with self._autocast():
            prefix = self._prefix(prompts).take(
                torch.arange(len(prompts), device=self.device).repeat_interleave(repeats)
            )
        noise_of = Noise(generator, count, repeats, self.device)
        x = noise_of.normal(self.horizon, self.dims)
        noisy_BK = self._draw_steps(count, noise_of)
        befores, afters = [], []
        whole = self.params.mean_over == "chain" and not deterministic
        density = sampling.noise_density(x) if whole else torch.zeros_like(x)
        for step in range(self.steps):
            steps_B = torch.full((count,), step, device=self.device)
            time_B = sampling.time_of(steps_B, self.steps)
            with self._autocast():
                v, states = self._velocity(prefix, x, time_B)
            chosen = noisy_BK[:, step, None, None]
            noise = noise_of.normal(self.horizon, self.dims)
            after = sampling.ode(x, v, time_B[:, None, None], 1 / self.steps).mean
            if not deterministic:
                move = self._transition(x, v, states, time_B)
                noisy = move.mean + move.std * noise
                after = torch.where(chosen, noisy, after)
                density = density + torch.where(chosen, sampling.log_density(noisy, move), 0.0)
            befores.append(x)
            afters.append(after)
            x = after
        terms_B = noisy_BK.sum(1) + int(whole)
        log_probs = (density / terms_B[:, None, None])[..., : self.action_dim].flatten(1)[:, :units].cpu()
        tokens = x[..., : self.action_dim].flatten(1)[:, :units].cpu()
        contexts: Sequence[Any] = [None] * count
        if not deterministic:
            contexts = self._contexts(noisy_BK.cpu(), torch.stack(befores, 1).cpu(), torch.stack(afters, 1).cpu())
        return [
            Decision(prompts[b // repeats], tokens[b].clone(), log_probs[b].clone(), "action", context=contexts[b])
            for b in range(count)
        ]

    def _check_chunk(self, units: int) -> None:
        if units > self.horizon * self.action_dim:
            raise ConfigError(
                f"rollout.action_chunk {units // self.action_dim} is beyond the {self.horizon} actions that the policy "
                f"predicts; set it to at most {self.horizon}"
            )

    def _draw_steps(self, count: int, noise: Noise) -> Tensor:
        """bool [B, K]: the noisy steps of each row."""
        noisy = torch.zeros(count, self.steps, dtype=torch.bool, device=self.device)
        allowed = torch.tensor(self._noisy_steps, device=self.device)
        if self.params.trained != "one":
            noisy[:, allowed] = True
            return noisy
        drawn = noise.below(len(allowed))
        return noisy.scatter(1, allowed[drawn][:, None], True)

    @staticmethod
    def _contexts(noisy_BK: Tensor, before_BKHD: Tensor, after_BKHD: Tensor) -> list[FlowContext]:
        return [
            FlowContext(noisy.nonzero().squeeze(-1), before[noisy], after[noisy])
            for noisy, before, after in zip(noisy_BK, before_BKHD, after_BKHD)
        ]

    def _transition(self, x: Tensor, v: Tensor, states_ETH: Tensor, time_E: Tensor) -> sampling.Transition:
        """The noisy step from each x; steps start at `time_E`."""
        t, d = time_E[:, None, None], 1 / self.steps
        if self.params.sampler == "noise":
            std = self._model.noise_head(states_ETH[:, -self.horizon :])
            return sampling.flow_noise(x, v, t, d, std)
        step = {"sde": sampling.flow_sde, "cps": sampling.flow_cps}[self.params.sampler]
        return step(x, v, t, d, self.params.eta)

    # --- scoring

    def log_probs(self, batch: PolicyBatch, entropy: str = "none") -> Likelihood:
        """Mean log-densities of rows with a context, minus the flow-matching loss of the others; no temperature.

        Entropies are those of the Gaussians, 0 for demonstrations. The values read the observation alone.
        """
        count, width = batch.tokens_RU.shape
        self.check_units(width)
        contexts = batch.contexts or (None,) * count
        sampled = [r for r, context in enumerate(contexts) if context is not None]
        shown = [r for r, context in enumerate(contexts) if context is None]
        demos = [self._demonstration_point(batch, r) for r in shown]
        points = self._points(contexts, sampled, shown, demos)
        with self._autocast():
            prefix_E = self._prefix(batch.prompts).take(batch.prompt_index_R.to(self.device)[points.row_E])
            v, states = self._velocity(prefix_E, points.x_EHD, points.time_E)
            values = self._values(prefix_E, states, points.row_E, count)
        density, spread, split = [], [], len(points.row_E) - len(shown)
        if sampled:
            after = torch.cat([contexts[r].after_SHD for r in sampled]).to(self.device)
            start = None  # [rows, H, D]: the noise that each chain starts from, where it counts
            if self.params.mean_over == "chain":
                start = torch.stack([contexts[r].before_SHD[0] for r in sampled]).to(self.device)
            move = self._transition(points.x_EHD[:split], v[:split], states[:split], points.time_E[:split])
            noise = None if start is None else sampling.noise_density(start)
            density.append(self._units(sampling.log_density(after, move), len(sampled), width, noise))
            noise = None if start is None else sampling.entropy(torch.ones_like(start))
            spread.append(self._units(sampling.entropy(move.std.expand_as(after)), len(sampled), width, noise))
        if shown:
            target = torch.stack([velocity for _, _, velocity in demos]).to(self.device)
            density.append(-self._matching_loss(v[split:], target)[:, :width])
            spread.append(torch.zeros_like(density[-1]))
        # Back from sampled rows first to the batch's order.
        order = torch.tensor([*sampled, *shown], device=self.device).argsort()
        mask = batch.mask_RU.to(self.device)
        log_probs, entropies = (torch.cat(x).index_select(0, order) * mask for x in (density, spread))
        return Likelihood(log_probs, mask, entropies if entropy != "none" else None, values)

    def check_units(self, width: int) -> None:
        """Raises ConfigError where a decision of so many numbers is longer than the horizon."""
        if width > self.horizon * self.action_dim:
            raise ConfigError(
                f"a demonstration has {-(-width // self.action_dim)} actions, and the policy predicts {self.horizon}; "
                f"set rollout.action_chunk, or the dataset's chunk, to at most {self.horizon}"
            )

    def _points(self, contexts: Sequence[Any], sampled: list[int], shown: list[int], demos: Sequence) -> Evaluations:
        """Every trained step of the sampled rows, row by row, then one point of each demonstration."""
        rows = [r for r in sampled for _ in contexts[r].steps_S] + shown
        x = [contexts[r].before_SHD for r in sampled] + [point[None] for point, _, _ in demos]
        times = [sampling.time_of(contexts[r].steps_S, self.steps) for r in sampled]
        times += [time.reshape(1) for _, time, _ in demos]
        return Evaluations(*(part.to(self.device) for part in (torch.tensor(rows), torch.cat(x), torch.cat(times))))

    def _units(self, values_EHD: Tensor, rows: int, width: int, start_RHD: Tensor | None) -> Tensor:
        """[rows, U]: the mean over each row's evaluations, of the real dimensions of the executed actions.

        Args:
            start_RHD: the term of the noise that each chain starts from, under `mean_over: chain`.
        """
        values_REU = values_EHD[..., : self.action_dim].flatten(1).unflatten(0, (rows, -1))
        if start_RHD is not None:
            values_REU = torch.cat([start_RHD[..., : self.action_dim].flatten(1)[:, None], values_REU], 1)
        return values_REU.mean(1)[:, :width]

    def _values(self, prefix_E: Prefix, states_ETH: Tensor, row_E: Tensor, count: int) -> Tensor | None:
        if self.value_head is None:
            return None
        # The first evaluation of each row: all of a row's read the same observation.
        first_R = (row_E[None, :] == torch.arange(count, device=self.device)[:, None]).int().argmax(1)
        return self.value_head(self._critic_states(prefix_E, states_ETH).index_select(0, first_R))

    # --- flow matching

    def _demonstration_point(self, batch: PolicyBatch, row: int) -> tuple[Tensor, Tensor, Tensor]:
        """(x_t [H, D], t, eps - a [H, D]) of a demonstration.

        Noise and time depend on torch's seed and on the row itself, not on the batch it is in. Actions are 0 beyond the
        robot's dimensions, and beyond the demonstrated ones, which no loss reads: there the mean action says nothing,
        while copies of the last one, noised anew, would tell the network what it has to denoise.
        """
        units = batch.tokens_RU[row][batch.mask_RU[row]].float().cpu()
        prompt = batch.prompts[int(batch.prompt_index_R[row])]
        generator = generator_of(torch.initial_seed(), prompt.digest, units)
        short = -len(units) % self.action_dim
        known = torch.cat([units, units.new_zeros(short)]).unflatten(0, (-1, self.action_dim))
        actions = torch.zeros(self.horizon, self.dims)
        actions[: len(known), : self.action_dim] = known
        noise = torch.randn(actions.shape, generator=generator)
        time = self._draw_time(generator)
        return time * noise + (1 - time) * actions, time, noise - actions

    def _draw_time(self, generator: torch.Generator) -> Tensor:
        """t = offset + scale Beta(alpha, 1), by inversion: U^(1/alpha) is Beta(alpha, 1)."""
        uniform = torch.rand((), generator=generator)
        return self._shape.time_offset + self._shape.time_scale * uniform ** (1 / self._shape.time_alpha)

    def _matching_loss(self, v_EHD: Tensor, target_EHD: Tensor) -> Tensor:
        """[E, H x A]: squared errors, shared out so that the mean over an action's units is that over all D elements.

        Padded dimensions are learnt, for they are denoised with the others.
        """
        errors = (v_EHD - target_EHD).square()
        real, padding = errors[..., : self.action_dim], errors[..., self.action_dim :]
        return ((real * self.action_dim + padding.sum(-1, keepdim=True)) / self.dims).flatten(1)
