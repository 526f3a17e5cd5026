"""What a run holds while it trains: policy, data, rewards, tracker, and how they are evaluated and saved."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict
from functools import partial
from typing import Any

import torch

from mmrl.contracts.engine import Engine
from mmrl.contracts.errors import CheckpointError, ConfigError, DeadPolicy, UserError, unknown
from mmrl.contracts.heldout import ROWS, best_figure, is_loss
from mmrl.contracts.policy import Policy, Spelling
from mmrl.contracts.types import DEMO, Group
from mmrl.contracts.world import ALONE, World
from mmrl.data.mixture import Mixture
from mmrl.engines import open_engine
from mmrl.evaluation.runner import Evaluator
from mmrl.evaluation.sees import answers_pictures, check_sight, look
from mmrl.objectives.controllers import Controllers
from mmrl.parallel.alike import check_alike, step_facts
from mmrl.policies.alive import refuse_dead_weights
from mmrl.recipe.beginnings import needed_later
from mmrl.recipe.engines import EngineSettings
from mmrl.recipe.policy import PolicyConfig, TrainedConfig
from mmrl.recipe.schema import Recipe
from mmrl.recipe.training import StageConfig
from mmrl.rollouts.preparing import Preparer
from mmrl.rollouts.simulators import Simulators
from mmrl.tracking.tracker import Tracker
from mmrl.tracking.videos import EpisodeVideos, videos_folder
from mmrl.trainer import checkpoint
from mmrl.trainer.comparing import Companions
from mmrl.trainer.gap_gate import GapGate
from mmrl.trainer.health import Health, Proven, explain
from mmrl.trainer.opened import Program
from mmrl.trainer.optim import Optimizer
from mmrl.trainer.place import Place
from mmrl.trainer.seeding import derive
from mmrl.trainer.stopping import StopRequest
from mmrl.trainer.surroundings import surroundings


class Session:
    """One run in progress."""

    def __init__(
        self,
        recipe: Recipe,
        policy: Policy,
        engine: Engine,
        program: Program,
        simulators: Simulators,
        tracker: Tracker,
        stop: StopRequest,
        open_anew: Callable[[PolicyConfig], Policy],
        resumed: Mapping[str, torch.Tensor] | None = None,
        resumed_state: Mapping[str, Any] | None = None,
        companions: Companions | None = None,
        world: World = ALONE,
    ):
        self.recipe, self.policy, self.engine, self.program = recipe, policy, engine, program
        self.simulators, self.tracker, self.stop, self.open_anew = simulators, tracker, stop, open_anew
        self.world = world
        self.begun: int | None = None  # the stage that has opened the policy
        self.companions = companions or {}
        self.now = program.parts[0]
        self._sampled_by: EngineSettings | None = None  # None: as the stage entered first has it
        self._resumed, self._resumed_state = resumed, resumed_state
        self._figures: dict[str, float] = {}  # of the latest evaluation, besides accuracy
        self._warned = False  # of answers longer than evaluation allows
        self._evaluated: int | None = None  # the step whose weights an evaluation has measured
        self.folder = recipe.folder / "checkpoints"
        self.health, self.proven = Health(recipe.health, tracker.say), Proven()
        self.health.load_state_dict((resumed_state or {}).get("health", {}))
        self.gaps = GapGate(recipe.health.gap, tracker.say)
        self.gaps.load_state_dict((resumed_state or {}).get("gaps", {}))

    def enter(self, stage: StageConfig, updates: int) -> None:
        """Takes the data, rewards, evaluation and engine of a stage.

        Args:
            updates: optimizer steps so far: the version of the weights.
        """
        self.now = self.program.of(stage.name)
        self.now.serve()
        wanted = self.now.recipe.engine
        if self._sampled_by not in (None, wanted):
            self._open_engine(updates)
        self._sampled_by = wanted

    def _open_engine(self, updates: int) -> None:
        self.engine.close()
        self.engine = open_engine(self.now.recipe.engine, self.policy, self.world)
        self.engine.sync(self.policy, updates)
        self.gaps = GapGate(self.recipe.health.gap, self.tracker.say)

    def take(self, config: PolicyConfig, stage: int, updates: int) -> None:
        """Goes on with a policy that is opened anew, by a stage that `enter` has taken; its engine too.

        Args:
            stage: the number of the stage.
            updates: as for `enter`.
        """
        self.policy, self.begun = self.open_anew(config), stage
        self._open_engine(updates)

    def close(self) -> None:
        """Closes the engine and the simulators."""
        with closing(self.simulators), closing(self.engine):
            pass

    @property
    def mixture(self) -> Mixture:
        """What the stage draws from."""
        return self.now.mixture

    @property
    def preparer(self) -> Preparer:
        """Prepares samples for the stage."""
        return self.now.preparer

    @property
    def evaluator(self) -> Evaluator:
        """The held-out evaluation of the stage. Its seed is the run's, so that stages with the same sets compare."""
        now, seed = self.now, derive(self.recipe.seed, "eval")
        # Losses are measured in every stage where one of them draws demonstrations.
        recipe = now.recipe.model_copy(update={"stages": self.recipe.stages})
        note = partial(self.tracker.bad_sample, "eval")
        return Evaluator(recipe, self.policy, self.engine, now.eval_sets, now.preparer, self.simulators, seed, note)

    def look_if_due(self, step: int) -> dict[str, float]:
        """`sees/…` of the training set whose pictures sway the model least; empty where it is not due, or none has any.

        Args:
            step: steps taken.

        Raises:
            UserError: the model does not see what it is shown, or the engine sees something else.
        """
        every = self.recipe.health.sees
        if every is None or step % every or not answers_pictures(self.policy):
            return {}
        sights = [look(self.policy, self.engine, data) for data in self.mixture.datasets]
        known = [sight for sight in sights if sight is not None]
        for sight in known:
            check_sight(sight, self.policy.config.dtype, f"after step {step}, training data")
        return min(known, key=lambda sight: sight.change).metrics() if known else {}

    def evaluate(self, stage: StageConfig, step: int) -> dict[str, float]:
        """Held-out accuracy per task and `mean`, and held-out loss; empty where the recipe has no held-out data.

        Args:
            stage: the one in progress, or about to begin: episodes are played with its chunks of actions, unless
                `evaluation.action_chunk` says otherwise.
            step: steps taken; names the folder of `evaluation.videos`.

        Raises:
            ConfigError: checkpoint.best names no figure of the evaluation.
        """
        evaluator = self.evaluator
        if not evaluator.measures:
            return {}
        videos = EpisodeVideos(videos_folder(self.recipe.folder, step), {"step": step})
        measured = evaluator.run(stage, videos.keep if self.world.writes else None)
        videos.close()
        self.tracker.held_out(step, stage.name, measured.groups, self._spelling)
        self._figures = measured.figures | {f"{ROWS}{name}": rows for name, rows in measured.rows.items()}
        # What the others go by too: losses and benchmarks are measured by each process.
        results = self.world.exchange("held-out figures", measured.results)[0]
        self._evaluated = step
        best = self.now.recipe.checkpoint.best
        if best is not None and best_figure(best, results) not in results:
            raise ConfigError(f"checkpoint.best: {unknown('held-out figure', best, results)}")
        return results

    def evaluate_if_due(self, place: Place, ended: bool) -> dict[str, float] | None:
        """Evaluates every n steps and at the end of a stage; None where it is not due."""
        every = self.now.recipe.evaluation.every
        if ended or (every is not None and place.step % every == 0):
            return self.evaluate(self.recipe.stages[place.stage], place.step)
        return None

    def log(self, place: Place, stage: StageConfig, metrics: dict, results: Mapping[str, float] | None) -> None:
        """One line of metrics: the step's and, where there was one, the evaluation's."""
        held_out = {**{f"eval/{k}": v for k, v in results.items()}, **self._figures} if results else {}
        self.tracker.log(place.step, stage.name, {**metrics, **held_out})

    def note_rollouts(self, step: int, stage: StageConfig, groups: Sequence[Group]) -> None:
        """Writes the step's sampled trajectories."""
        self.tracker.rollouts(step, stage.name, groups, self._spelling)

    @property
    def _spelling(self) -> Spelling | None:
        return self.policy if isinstance(self.policy, Spelling) else None

    def warn_of_lengths(self, groups: Sequence[Group], stage: StageConfig) -> None:
        """Says, once, that a rollout or demonstration is longer than what evaluation lets an answer become."""
        limit = self.now.recipe.evaluation_limit(stage)
        if self._warned or not self.now.recipe.asks_held_out:
            return
        answers = [t for group in groups for t in group.trajectories if t.text]
        lengths = [
            (len(decision.tokens), trajectory.origin) for trajectory in answers for decision in trajectory.decisions
        ]
        longest, origin = max(lengths, default=(0, ""))
        if longest > limit:
            what = "a demonstration" if origin == DEMO else "a rollout"
            self.tracker.say(
                f"evaluation cuts answers at {limit} tokens, and {what} has {longest}: held-out figures may be "
                "too low; raise evaluation.sampling.max_new_tokens, or leave it out for rollout.max_new_tokens"
            )
            self._warned = True

    def save_if_due(
        self,
        place: Place,
        optimizer: Optimizer,
        controllers: Controllers,
        results: Mapping[str, float] | None,
        ended: bool,
    ) -> None:
        """Checkpoints every n steps, at the end of a stage, at the best evaluation so far, and when asked to stop."""
        config = self.recipe.checkpoint
        score = self._score(results)
        # Figures of other held-out data say nothing of which is better: such a stage has a best of its own.
        of = self.program.measured_as(self.recipe.stages[place.stage].name)
        before = place.best if place.best is not None and place.best.get("of", of) == of else None
        is_best = score is not None and (before is None or self._better(results or {}, score, before["score"]))
        if is_best:
            place.best = {"score": score, "step": place.step, "folder": checkpoint.step_name(place.step), "of": of}
        due = config.every is not None and place.step % config.every == 0
        if ended:
            place.ends[self.recipe.stages[place.stage].name] = place.step
        if ended or is_best or due or self.stop.signum is not None:
            last = config.merged == "end" and ended and place.is_last(self.recipe.stages, trained=True)
            self.save(place, optimizer, controllers, config.merged == "always" or last)

    def _score(self, results: Mapping[str, float] | None) -> float | None:
        """The figure that `checkpoint.best` goes by; None where it names none, or nothing was measured."""
        best = self.now.recipe.checkpoint.best
        return results.get(best_figure(best, results)) if results and best else None

    def _better(self, results: Mapping[str, float], score: float, before: float) -> bool:
        best = self.now.recipe.checkpoint.best
        falls = best is not None and is_loss(best_figure(best, results))
        return score < before if falls else score > before

    def save(self, place: Place, optimizer: Optimizer, controllers: Controllers, merged: bool = False) -> None:
        """Writes a checkpoint of everything that training continues from.

        Args:
            merged: see `mmrl.trainer.checkpoint.save`.

        Raises:
            DeadPolicy: instead of saving one.
        """
        refuse_dead_weights(self.policy)
        if self.world.writes:
            self._write(place, optimizer, controllers, merged)
        self.proven.saved = checkpoint.step_name(place.step)
        if self._evaluated == place.step:
            self.proven.prove()
        if self.world.writes:
            started_from = needed_later(self.recipe, place.stage)
            ends = {checkpoint.step_name(step) for name, step in place.ends.items() if name in started_from}
            kept = {place.best["folder"] if place.best else None, self.proven.healthy, *ends}
            checkpoint.rotate(self.folder, self.recipe.checkpoint, kept)

    def _write(self, place: Place, optimizer: Optimizer, controllers: Controllers, merged: bool) -> None:
        policy = self.policy
        tensors = {f"optimizer/{k}": v for k, v in optimizer.state().items()}
        config = policy.config
        lora = isinstance(config, TrainedConfig) and config.lora is not None
        if checkpoint.with_adapters(policy) is None and (lora or config.dtype != "float32"):
            # model/ then holds merged or rounded weights; the exact ones, float32, are kept here.
            tensors |= {f"{checkpoint.PARAMETER}{name}": p.detach() for name, p, _ in policy.trainable()}
        reference = policy.reference_state() or {}
        tensors |= {f"reference/{k}": v.detach() for k, v in reference.items()}
        state = {
            "place": asdict(place),
            "optimizer_steps": optimizer.step_count,
            "controllers": controllers.state_dict(),
            "parts": controllers.stateful.state_dict(),
            **self.program.state_dict(),
            "stages": [stage.name for stage in self.recipe.stages],
            "parameters": fingerprint(policy),
            "surroundings": surroundings(policy.device),
            "health": self.health.state_dict(),
            "gaps": self.gaps.state_dict(),
        }
        checkpoint.save(self.folder, place.step, policy, tensors, state, merged)

    def save_for_resume(self, place: Place, optimizer: Optimizer, controllers: Controllers) -> None:
        """Writes a checkpoint where something has failed, unless there is one of this step, and says so."""
        folder = self.folder / checkpoint.step_name(place.step)
        if place.step and not folder.exists():
            self.save(place, optimizer, controllers)
            self.tracker.say(f"checkpoint before the failure: {folder}; go on from it with resume=auto")

    @contextmanager
    def kept_on_error(self, place: Place, optimizer: Optimizer, controllers: Controllers) -> Iterator[None]:
        """What fails inside, where no weight changes yet, leaves a checkpoint from which the run goes on exactly."""
        before, parts = self.mixture.state_dict(), controllers.stateful.state_dict()
        try:
            yield
        except DeadPolicy:
            # Of a policy that samples nothing there is nothing to go on from.
            raise
        except Exception as error:
            self.world.fail(error)
            self.mixture.load_state_dict(before)
            controllers.stateful.load_state_dict(parts)
            self.save_for_resume(place, optimizer, controllers)
            with suppress(UserError):
                # A launcher ends all soon after the first one: none ends before the checkpoint is whole.
                self.world.exchange("the checkpoint before the failure", None)
            raise

    def agree(self, metrics: dict[str, float], groups: Sequence[Group]) -> dict[str, float]:
        """A step's figures, which every process has found to be the same; what the clock decides, as process 0 has it.

        Raises:
            UserError: they differ, or the groups do.
        """
        check_alike(self.world, "the step's figures", lambda: step_facts(groups, metrics))
        return self.world.exchange("the step's clock", metrics)[0]

    def asked_to_stop(self) -> bool:
        """Whether a signal has asked one of the processes to stop; then `stop` says so in all of them."""
        signums = self.world.exchange("signals", self.stop.signum)
        asked = [signum for signum in signums if signum is not None]
        if asked:
            # Else it stays as it is: a signal that arrived meanwhile counts after the next step.
            self.stop.signum = asked[0]
        return bool(asked)

    def observe(self, stage: StageConfig, metrics: Mapping[str, float], sampled: Sequence[Group], broken: str) -> None:
        """Takes note of a step whose figures are finite, and so of the weights before it (`Health.observe`)."""
        self.health.observe(stage, metrics, sampled, broken)
        if not self.health.alarmed:
            self.proven.prove()

    def explain(self, error: DeadPolicy, place: Place) -> DeadPolicy:
        """The error with all that the run knows, see `mmrl.trainer.health.explain`."""
        stage = self.recipe.stages[min(place.stage, len(self.recipe.stages) - 1)].name
        healthy = self.folder / self.proven.healthy if self.proven.healthy else None
        return explain(error, self.policy, place.step, stage, healthy)

    def restore(self, optimizer: Optimizer, controllers: Controllers, stage: StageConfig) -> None:
        """Puts the optimizer, controllers and reference of a resumed run, inside of `stage`, back."""
        if self._resumed is None or self._resumed_state is None:
            raise RuntimeError("this run resumes nothing, or has put it back already")
        controllers.load_state_dict(self._resumed_state.get("controllers", {}))
        controllers.stateful.load_state_dict(self._resumed_state.get("parts", {}))
        optimizer.load_state(_part(self._resumed, "optimizer/"), self._resumed_state["optimizer_steps"])
        reference = _part(self._resumed, "reference/")
        if reference:
            self.policy.load_reference(reference)
        elif stage.objective.has_reference and stage.objective.kl.reference == "base":
            # Nothing of it was copied, so that no checkpoint holds it.
            self.policy.keep_reference(base=True)
        self._resumed = None


def restore_parameters(policy: Policy, tensors: Mapping[str, torch.Tensor]) -> None:
    """Copies exact trained parameters from a checkpoint, where it keeps them apart from model/."""
    exact = _part(tensors, checkpoint.PARAMETER)
    if not exact:
        return
    with torch.no_grad():
        for name, parameter, _ in policy.trainable():
            if name not in exact or exact[name].shape != parameter.shape:
                raise CheckpointError(
                    f"the checkpoint does not hold '{name}' as this recipe trains it: other policy settings"
                )
            parameter.copy_(exact[name])


def fingerprint(policy: Policy) -> str:
    """A digest of the names and shapes of the trained parameters: tells a checkpoint of another model."""
    import hashlib

    text = "\n".join(f"{name} {tuple(p.shape)}" for name, p, _ in policy.trainable())
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _part(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
