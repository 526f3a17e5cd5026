"""The whole recipe as typed models: YAML in, dotted overrides, JSON schema out.

Nothing here imports torch: a recipe is read and refused before anything heavy loads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PositiveInt, field_validator, model_validator

from mmrl.contracts.errors import ConfigError, unknown
from mmrl.contracts.policy import params_of
from mmrl.recipe.base import Settings
from mmrl.recipe.beginnings import check_beginnings
from mmrl.recipe.checks.companions import check_companions
from mmrl.recipe.checks.data import check_budgets, check_episodes, check_read, check_recorded, check_rewarded
from mmrl.recipe.checks.evaluation import check_held_out
from mmrl.recipe.checks.generating import check_generating, settle_generated
from mmrl.recipe.checks.names import check_name, check_path
from mmrl.recipe.checks.objectives import check_adapters, check_context, check_critic, check_objective, check_value_head
from mmrl.recipe.checks.parallel import check_parallel
from mmrl.recipe.checks.policies import (
    check_data,
    check_evaluation,
    check_gripper,
    check_pictures,
    check_policy,
    check_sampler,
    check_stage,
    check_state,
)
from mmrl.recipe.checks.rounds import check_rounds
from mmrl.recipe.checks.simulators import check_groups
from mmrl.recipe.checks.sources import check_sources
from mmrl.recipe.code import Code
from mmrl.recipe.companions import CompanionConfig
from mmrl.recipe.data import AnyData, DataConfig, EpisodeData
from mmrl.recipe.engines import AnyEngine, HFSettings, check_engine, with_engine
from mmrl.recipe.evaluation import EvalConfig
from mmrl.recipe.health import HealthConfig
from mmrl.recipe.parallel import ParallelConfig
from mmrl.recipe.policies.registry import AnyPolicy
from mmrl.recipe.reading import STAGE_SECTIONS, apply_overrides, read_yaml, validate
from mmrl.recipe.rewards import RewardConfig, check_own, check_rewards, kinds_of, uses_rewards, with_rewards
from mmrl.recipe.simulators import AnySimulator
from mmrl.recipe.stages import expand
from mmrl.recipe.tracking import TrackingConfig
from mmrl.recipe.training import CheckpointConfig, StageConfig

FROM_PYTHON = "from Python, train_data= may be given to mmrl.train instead"


def check_part(recipe: Recipe) -> None:
    """What of a recipe is checked for stages that have the same data, rewards, evaluation and engine.

    Raises:
        ValueError, ConfigError: something does not fit.
    """
    if not recipe.data.train and not {"train_data", "eval_data"} & recipe.code.keys():
        key = "data.train: a dataset is needed" if "data" in recipe.model_fields_set else "data: this key is required"
        raise ValueError(f"{key}; {FROM_PYTHON}")
    check_policy(recipe.policy)
    check_rewards(recipe.rewards, recipe.data, recipe.code)
    if "reward" not in recipe.code:
        check_own(recipe.rewards)
    check_engine(recipe.engine, recipe.policy.type)
    recipe.check_processes(recipe.parallel.processes or 1)
    for stage in recipe.stages:
        check_context(stage, recipe.policy)
        if stage.generate is not None:
            check_generating(stage, recipe)
            continue
        check_objective(stage)
        if stage.objective.rollouts:
            recipe.engine.refuse_sampling(stage.rollout, f"stages.{stage.name}.rollout")
        check_stage(stage, recipe.policy)
        check_critic(stage, recipe.policy)
        check_adapters(stage, recipe.policy)
        check_rewarded(stage, recipe.data.train)
        check_episodes(stage, recipe.data.train)
    check_evaluation(recipe.evaluation, recipe.policy)
    check_data(recipe.data, recipe.policy)
    check_sampler(recipe.data, recipe.policy)
    check_gripper(params_of(recipe.policy), recipe.simulators, recipe.data.train)
    check_state(params_of(recipe.policy), recipe.data, recipe.simulators)
    check_sources(recipe.stages, recipe.evaluation, recipe.data)
    check_pictures(recipe.data, recipe.simulators)
    check_budgets(recipe.data, recipe.policy)
    check_read(recipe.data)
    for data in (*recipe.data.train, *recipe.data.eval):
        if isinstance(data, EpisodeData) and data.simulator not in recipe.simulators:
            raise ValueError(unknown("simulator", data.simulator, recipe.simulators))
    check_held_out(recipe.data, recipe.simulators)
    check_recorded(recipe.data, recipe.policy, recipe.stages, recipe.simulators)


class Recipe(Settings):
    """A whole run."""

    name: str = Field(description="of the run's folder in `output`; `a/b` lies in a folder there")
    seed: int = 0
    output: str = Field("runs", description="folder in which the run's folder is made")
    resume: Literal["auto", "never"] | str = Field("never", description="auto, never, or a checkpoint folder")
    threads: PositiveInt | None = Field(None, description="CPU threads; None: torch's own choice")
    micro_tokens: PositiveInt = Field(8192, description="tokens per micro-batch, prompts and padding included")
    policy: AnyPolicy
    companions: dict[str, CompanionConfig] = Field(
        {}, description="by a name of one's own, other checkpoints that score the policy's units"
    )
    data: DataConfig = DataConfig()
    engine: AnyEngine = Field(
        HFSettings(), description="what samples, in every stage and in evaluation; default: the policy's own"
    )
    simulators: dict[str, AnySimulator] = {}
    rewards: list[RewardConfig] = Field([], description="default: route, where data hold questions")
    stages: list[StageConfig] = Field(min_length=1)
    evaluation: EvalConfig = EvalConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    health: HealthConfig = HealthConfig()
    parallel: ParallelConfig = ParallelConfig()
    tracking: TrackingConfig = TrackingConfig()
    code: dict[str, Code] = Field({}, description="written by a run: where the parts of it that are code came from")

    @field_validator("name")
    @classmethod
    def _stays_in_output(cls, name: str) -> str:
        return check_name(name)

    @field_validator("output")
    @classmethod
    def _can_be_a_folder(cls, output: str) -> str:
        return check_path(output)

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_rest(cls, raw: Any) -> Any:
        return with_rewards(with_engine(raw))

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        names = [stage.name for stage in self.stages]
        settle_generated(self.stages, self.data, self.folder)
        if len(set(names)) != len(names):
            raise ValueError(f"stages: names must differ, got {names}")
        check_policy(self.policy)
        check_value_head(self.stages, self.policy)
        check_beginnings(self)
        check_companions(self.companions, self.stages, self.policy)
        check_rounds(self)
        for part in self.apart():
            own = part.stages[0].own_sections
            try:
                check_part(part)
            except (ValueError, ConfigError) as error:
                if not own:
                    raise
                raise ValueError(f"stages.{part.stages[0].name}: {error}") from None
        check_groups({stage.name: stage.rollout.pipeline for stage in self.stages}, self.simulators)
        return self

    def of(self, stage: StageConfig) -> Recipe:
        """The recipe as it stands in a stage: with the sections that the stage has of its own."""
        own = {key: getattr(stage, key) for key in STAGE_SECTIONS if getattr(stage, key) is not None}
        if stage.policy is not None:
            trains = {"freeze": stage.policy.freeze, "lora": stage.policy.lora}
            own["policy"] = self.policy.model_copy(update=trains)
        if stage.checkpoint is not None:
            own["checkpoint"] = self.checkpoint.model_copy(update={"best": stage.checkpoint.best})
        return self.model_copy(update=own) if own else self

    def apart(self) -> list[Recipe]:
        """The recipe as each stage has it: one for all stages with the same sections, which are its `stages`."""
        alike: list[tuple[dict[str, Any], list[StageConfig]]] = []
        for stage in self.stages:
            own = stage.own_sections
            members = next((members for sections, members in alike if sections == own), None)
            if members is None:
                alike.append((own, [stage]))
            else:
                members.append(stage)
        return [self.of(stages[0]).model_copy(update={"stages": stages}) for _, stages in alike]

    def evaluation_chunk(self, stage: StageConfig) -> int:
        """Actions per decision in held-out episodes of a policy that `stage` trains or is about to."""
        return self.evaluation.action_chunk or stage.rollout.action_chunk

    def evaluation_limit(self, stage: StageConfig) -> int:
        """Most tokens of a held-out answer of a policy that `stage` trains or is about to."""
        return self.evaluation.sampling.max_new_tokens or stage.rollout.max_new_tokens

    @property
    def evaluation_loss(self) -> bool:
        """Whether held-out demonstrations are measured beside answers to their rows."""
        wanted = self.evaluation.loss
        return any(stage.objective.demonstrations for stage in self.stages) if wanted is None else wanted

    @property
    def asks_held_out(self) -> bool:
        """Whether some of what evaluation measures are answers, which a limit of tokens may cut."""
        return bool(self.evaluation.benchmarks) or uses_rewards(kinds_of({"eval": self.data.eval}, self.code))

    def rolls_out(self, data: AnyData) -> bool:
        """Whether some stage has the policy answer the rows of a training set, so that something must reward them."""
        answering = any(stage.objective.rollouts or stage.generate is not None for stage in self.stages)
        return data.use != "demonstrations" and answering

    @property
    def pipeline(self) -> int:
        """Groups of worlds that take turns, in every stage and in held-out episodes."""
        return self.stages[0].rollout.pipeline

    def check_processes(self, size: int) -> None:
        """Raises ConfigError where so many processes cannot train this together."""
        for part in self.apart():
            check_parallel(size, self.policy, part.engine, part.evaluation, part.stages)

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return Path(self.output) / self.name


def load_recipe(
    source: str | Path | Mapping[str, Any], overrides: Sequence[str] = (), passed: Mapping[str, Code] | None = None
) -> Recipe:
    """Reads a recipe from a YAML file or a mapping, applies `a.b=c` overrides and checks all of it.

    Args:
        passed: what is given from Python instead of parts of the recipe, such as `train_data` (`mmrl.recipe.record`).

    Raises:
        ConfigError: one line naming the key, its value, what is allowed and the nearest valid spelling.
    """
    raw = dict(source) if isinstance(source, Mapping) else read_yaml(Path(source))
    written = apply_overrides(raw, overrides)
    if passed:
        written["code"] = {name: code.model_dump() for name, code in passed.items()} | written.get("code", {})
    # Named before it is checked, so that what is wrong with a key of the engine says what it reads.
    return validate(Recipe, with_engine(expand(written)), written=written)
