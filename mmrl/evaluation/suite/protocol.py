"""What a benchmark's figure was made of, as one object that is stored and hashed beside it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import vision_rewards
from mmrl import __version__
from mmrl.contracts.benchmark import Benchmark, Described, Played
from mmrl.contracts.policy import Policy, TemplatesChat
from mmrl.evaluation.suite.survey import Survey
from mmrl.recipe.changes import Change, nested_differences
from mmrl.recipe.rollout import SamplingConfig
from mmrl.tracking.environment import version_of

PACKAGES = ("torch", "transformers")
SIMULATED_BY = {"maniskill": ("mani-skill",), "libero": ("hf-libero", "mujoco")}
# Settings of a simulator that no episode depends on.
HOW = ("num_envs", "device", "timeout", "assets")
# Settings of a policy that decide what it sees and says, where its family has them.
READ = ("image", "video", "max_prompt_tokens", "action_bins", "params")
# What decides what an answer scores and what scores come to: all of `vision_rewards` but these, and of evaluation.
UNSCORING = ("docs.py", "chat.py")
SCORING = ("benchmarks/*.py", "figures.py", "suite/draws.py", "suite/judging.py", "suite/scorers*.py")


@dataclass(frozen=True, slots=True)
class Protocol:
    """All but the checkpoint that a figure depends on, in plain values.

    Attributes:
        benchmark: its name.
        rows: how many, and the digest of what they ask and hold for right.
        prompt: template, its digest, system prompt.
        scoring: extractor, metric, and the digest of the code of both.
        policy: its budgets of pixels and frames, its longest prompt, and the params of its family.
        decoding: sampling settings, token limit, seed, answers to each row where there are several; for episodes the
            actions per decision.
        engine: its name, what forward passes compute in, and the versions of what it is made of.
        chat_template: the digest of the checkpoint's; None: it has none.
        simulators: settings of those that play; None: nothing is played.
    """

    benchmark: str
    rows: Mapping[str, Any]
    prompt: Mapping[str, Any]
    scoring: Mapping[str, Any]
    policy: Mapping[str, Any]
    decoding: Mapping[str, Any]
    engine: Mapping[str, Any]
    chat_template: str | None
    simulators: Mapping[str, Any] | None

    @property
    def plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        return json.loads(json.dumps(asdict(self)))


def digest_of(value: Any) -> str:
    """16 hexadecimal digits of plain values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:16]


def digest_of_files(root: Path, files: Iterable[Path]) -> str:
    """16 hexadecimal digits of files below a folder, and of where they lie in it."""
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def protocol_of(
    name: str,
    benchmark: Benchmark,
    survey: Survey,
    policy: Policy,
    engine: str,
    sampling: SamplingConfig,
    seed: int,
    chunk: int,
    samples: int = 1,
    judge: Mapping[str, Any] | None = None,
) -> Protocol:
    """The protocol of asking a policy a benchmark's rows."""
    said = dict(benchmark.protocol) if isinstance(benchmark, Described) else {}
    template = said.get("template")
    settings = policy.config
    read = {key: _plain(getattr(settings, key)) for key in READ if getattr(settings, key, None) is not None}
    decoding = {**sampling.model_dump(mode="json"), "seed": seed, **({"samples": samples} if samples > 1 else {})}
    simulators = simulators_of(benchmark) if isinstance(benchmark, Played) else None
    return Protocol(
        benchmark=name,
        rows={"count": survey.count, "digest": survey.digest},
        prompt={"template": template, "digest": digest_of(template), "system": said.get("system")},
        scoring=scoring_of(benchmark, judge),
        policy=read,
        decoding={**decoding, "action_chunk": chunk} if simulators else decoding,
        engine={"name": engine, "dtype": settings.dtype, "mmrl": __version__, **_versions()},
        chat_template=digest_of(policy.chat_template) if isinstance(policy, TemplatesChat) else None,
        simulators=simulators,
    )


def simulators_of(benchmark: Played) -> dict[str, Any]:
    """What plays a benchmark's episodes: settings that episodes depend on, and the versions of their packages."""
    plain = {}
    for name, settings in benchmark.simulators.items():
        packages = SIMULATED_BY.get(settings["type"], ())
        plain[name] = {key: value for key, value in settings.items() if key not in HOW} | _versions(packages)
    return json.loads(json.dumps(plain))


def scoring_of(benchmark: Benchmark, judge: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Extractor, metric and the digest of their code; and of a judge its model and the digest of its prompts.

    Under the protocol of another suite, its name too.

    Args:
        judge: see `AnswerJudge.protocol`.
    """
    said = dict(benchmark.protocol) if isinstance(benchmark, Described) else {}
    scoring = {key: said[key] for key in ("extractor", "metric") if key in said}
    if judge is not None:
        scoring["judge"] = {**judge, "prompts": digest_of(judge["prompts"])}
    named = dict(getattr(benchmark, "suite", {}))
    return json.loads(json.dumps({**scoring, **named, "code": _code_digest()}))


def protocol_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    """What differs between two protocols as they are stored."""
    return nested_differences(old, new)


def named(changes: Sequence[Change]) -> str:
    """The first changes, in words."""
    more = f" and {len(changes) - 3} more" if len(changes) > 3 else ""
    return "; ".join(map(str, changes[:3])) + more


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else value


def _versions(packages: Sequence[str] = PACKAGES) -> dict[str, str | None]:
    return {package: version_of(package) for package in packages}


@cache
def _code_digest() -> str:
    rewards, evaluation = Path(str(vision_rewards.__file__)).parent, Path(__file__).parents[1]
    scoring = [path for pattern in SCORING for path in evaluation.glob(pattern)]
    of_rewards = [path for path in rewards.rglob("*.py") if path.name not in UNSCORING]
    return digest_of([digest_of_files(evaluation, scoring), digest_of_files(rewards, of_rewards)])
