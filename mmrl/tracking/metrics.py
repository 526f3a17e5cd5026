"""Every figure a run logs: name, unit, meaning. `python -m mmrl.tracking.metrics` writes docs/metrics.md from it.

A name with `<part>` stands for a family: `reward/<part>` documents `reward/format`, `reward/iou` and so on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mmrl.contracts.errors import nearest

WALL_CLOCK_PREFIXES = ("time/", "throughput/", "memory/", "video/")


@dataclass(frozen=True, slots=True)
class Metric:
    """A documented figure.

    Attributes:
        name: as logged; `<...>` marks the free part of a family.
        unit: of one value (`1` for plain numbers and shares).
        description: one sentence.
        higher_is_better: None where neither direction is good by itself.
    """

    name: str
    unit: str
    description: str
    higher_is_better: bool | None = None


_ENTRIES = (
    Metric("reward/mean", "1", "Mean reward of the step's policy trajectories.", True),
    Metric("reward/std", "1", "Standard deviation of the reward over the step's policy trajectories."),
    Metric("reward/<part>", "1", "Mean of one named reward part, over trajectories to which it applies.", True),
    Metric(
        "accuracy/mean", "share", "Mean task accuracy of the step's policy trajectories, format parts left out.", True
    ),
    Metric("accuracy/<task>", "share", "Mean accuracy of one task's policy trajectories.", True),
    Metric("eval/mean", "share", "Mean of the held-out accuracies, each task weighing the same.", True),
    Metric("eval/loss", "nats", "Held-out loss, the mean over the sets with demonstrations.", False),
    Metric(
        "eval/loss/<dataset>",
        "nats",
        "Mean -log pi of the tokens of a set's demonstrations, end tokens included.",
        False,
    ),
    Metric(
        "eval/<task>/success_at_end",
        "share",
        "Held-out episodes of one task that were in success at their last step; not part of the mean.",
        True,
    ),
    Metric(
        "eval/<task>",
        "share",
        "Held-out accuracy of one task, of episodes those in success at any step; failed samples count as 0.",
        True,
    ),
    Metric(
        "eval/truncated",
        "share",
        "Held-out answers that the limit of tokens cut: accuracy may be too low.",
        False,
    ),
    Metric("eval/unreadable", "share", "Held-out rows of no known task that cannot be read: in no accuracy.", False),
    Metric(
        "eval_rows/mean",
        "rows",
        "Held-out rows that would make one accuracy as sure as the mean; all where tasks have equally many.",
    ),
    Metric("eval_rows/<task>", "rows", "Held-out rows behind `eval/<task>`, bad ones included."),
    Metric(
        "sparse_to_dense/frames", "frames", "Mean frames per video at the level whose answer stands, in evaluation."
    ),
    Metric("sparse_to_dense/frames_read", "frames", "Mean frames per video over all levels it was read at.", False),
    Metric("sparse_to_dense/agreement", "share", "Mean share of the samples that give the answer that stands."),
    Metric("sparse_to_dense/<settled>", "share", "Held-out videos settled at a level: `settled_32` at 32 frames."),
    Metric("policy/entropy", "nats", "Mean entropy of the policy's distribution at sampled units."),
    Metric(
        "policy/kl_ref",
        "nats",
        "Estimated KL divergence from the policy to the reference or to what kl.to names, unit mean.",
    ),
    Metric("policy/clip_low", "share", "Units clipped because the ratio fell below 1 - low with A < 0."),
    Metric("policy/clip_high", "share", "Units clipped because the ratio rose above 1 + high with A > 0."),
    Metric("policy/ratio_mean", "1", "Mean probability ratio of the current to the sampling policy."),
    Metric("policy/ratio_max", "1", "Largest probability ratio of the current to the sampling policy."),
    Metric(
        "gap/log_prob_mean", "nats", "Mean |engine log-prob - trainer log-prob| of sampled units, same weights.", False
    ),
    Metric("loss/value", "1", "Mean Huber loss of the value head against GAE's targets.", False),
    Metric("value/mean", "1", "Mean value that the critic gave before the step's updates."),
    Metric(
        "value/explained_variance", "share", "1 - E[(target - value)^2] / Var[target] before the step's updates.", True
    ),
    Metric("offline/weight_mean", "1", "Mean weight of the demonstrated units, exp(A / temperature) or 1 where A > 0."),
    Metric("offline/effective", "share", "(sum w)^2 / (n sum w^2) of these weights: 1 where all are equal."),
    Metric("gap/log_prob_max", "nats", "Largest |engine log-prob - trainer log-prob| of sampled units.", False),
    Metric(
        "gap/probe_<modality>",
        "nats",
        "Largest |engine log-prob - trainer log-prob| on the probe of a modality (text, image, video) after a sync.",
        False,
    ),
    Metric("sees/right", "nats", "Mean log-prob per token of answers to training rows, as the trainer scores them."),
    Metric("sees/other", "nats", "The same answers under the pictures and videos of other rows."),
    Metric("sees/none", "nats", "The same answers without pictures and videos."),
    Metric("sees/shuffled", "nats", "The same answers with the frames of the videos out of order."),
    Metric("sees/engine", "nats", "The same answers as the engine that gave them scores them."),
    Metric("sees/change", "nats", "Largest change of a token's log-prob when pictures are scrambled.", True),
    Metric("length/mean", "units", "Mean likelihood units (tokens) of a trajectory."),
    Metric("length/max", "units", "Likelihood units of the longest trajectory."),
    Metric("length/truncated", "share", "Trajectories ended by the length limit.", False),
    Metric("group/zero_advantage", "share", "Groups whose rewards are all equal, which teach nothing.", False),
    Metric("group/pool", "answers", "Answers sampled per prompt, of which `rollout.pool` keeps `rollout.n`."),
    Metric(
        "group/kept", "share", "Drawn groups that the filter kept, and those that gave way to a demonstration.", True
    ),
    Metric("group/injected", "share", "Drawn groups in which a demonstration took the place of a rollout."),
    Metric("group/gated", "share", "Drawn groups that gave up their rollouts for a demonstration."),
    Metric("group/waiting", "prompts", "Unsolved prompts that wait for their demonstrations to be learned."),
    Metric("group/released", "prompts", "Prompts that have waited, and whose demonstrations this step learns."),
    Metric("group/rounds", "draws", "Rounds of drawing that dynamic sampling needed.", False),
    Metric("stream/<name>_units", "units", "Likelihood units of one stream."),
    Metric("stream/<name>_weight", "1", "Weight of one stream in the loss."),
    Metric(
        "control/<key>", "1", "What controllers set: a key of the objective, `learning_rate` (a factor), `temperature`."
    ),
    Metric("loss/total", "1", "The whole loss; its value need not fall under RL."),
    Metric("loss/<stream>", "1", "Loss of one stream or auxiliary term, before its weight."),
    Metric("optim/lr", "1", "Learning rate of the main parameters."),
    Metric("optim/lr_vision", "1", "Learning rate of the vision tower."),
    Metric("optim/lr_value", "1", "Learning rate of the value head."),
    Metric("optim/grad_norm", "1", "Global gradient norm before clipping."),
    Metric("optim/skipped", "steps", "Optimizer steps skipped because the gradient was not finite.", False),
    Metric("time/rollout", "s", "Seconds spent sampling.", False),
    Metric("time/update", "s", "Seconds spent in forward, backward and optimizer.", False),
    Metric("time/sync", "s", "Seconds spent handing the weights to the engine.", False),
    Metric("time/eval", "s", "Seconds spent in held-out evaluation.", False),
    Metric("time/step", "s", "Seconds of the whole step.", False),
    Metric("throughput/tokens_per_s", "tokens/s", "Sampled or trained tokens per second of the step.", True),
    Metric("throughput/samples_per_s", "samples/s", "Trajectories or demonstrations per second of the step.", True),
    Metric("memory/rss_gb", "GB", "Resident memory of the process.", False),
    Metric("memory/device_gb", "GB", "Peak device memory of the step.", False),
    Metric("memory/read_ahead_gb", "GB", "Frames that were read ahead and wait for their samples, after the step."),
    Metric("video/read", "videos", "Videos given to samples since the line before, those of an evaluation included."),
    Metric("video/read_ahead", "videos", "Videos given to samples whose reading had begun ahead of their use.", True),
    Metric("video/wait_seconds", "s", "Seconds that samples waited for videos and for cached pictures.", False),
    Metric("video/decode_seconds", "s", "Seconds of decoding, those of all threads added up.", False),
    Metric("video/cache_hits", "videos", "Videos and pictures found in `data.cache`.", True),
    Metric("video/cache_misses", "videos", "Those that were not, or of no use: decoded, here or elsewhere.", False),
    Metric("video/cache_rebuilt", "entries", "Damaged or foreign entries met, and made again.", False),
    Metric("video/cache_evicted", "entries", "Entries that had to go for `max_gb`.", False),
    Metric("video/cache_not_stored", "videos", "Decoded and not kept: no space, no permission, or too large.", False),
    Metric("data/skipped", "samples", "Bad samples skipped since the start.", False),
    Metric(
        "data/other_places",
        "share",
        "The step's demonstrations that name another box or point than their target; absent where none does.",
        False,
    ),
    Metric("data/epoch", "epochs", "Passes over the training mixture since the start."),
    Metric("sampler/seen", "share", "Rows that the sampler has drawn, of all that it may draw."),
    Metric("sampler/resting", "share", "Rows that `filter` leaves out of its next draws."),
    Metric(
        "sampler/estimate",
        "share",
        "Mean pass rate that `difficulty` expects of the rows that it has drawn, `pcl` and `dots` of their latest.",
    ),
    Metric(
        "sampler/error",
        "share",
        "Mean distance of the pass rates that `pcl` or `dots` expected of the step's rows from those measured.",
        False,
    ),
    Metric("sampler/stage", "1", "Stage of the curriculum that `staged` draws from, from 0."),
    Metric("sampler/value/<category>", "1", "What `sec` or `dump` expects of a category: its mean absolute advantage."),
    Metric("sampler/share/<category>", "share", "Chance of a category at the next draw, or its share of draws so far."),
    Metric("episode/success_once", "share", "Episodes that reached success at any step.", True),
    Metric("episode/success_at_end", "share", "Episodes that were in success at their last step.", True),
    Metric("episode/return", "1", "Mean sum of rewards of an episode.", True),
    Metric("episode/length", "steps", "Mean simulator steps of an episode."),
    Metric(
        "episode/dropped",
        "episodes",
        "Episodes since the start in which a simulator failed; each was played again.",
        False,
    ),
)

METRICS: dict[str, Metric] = {metric.name: metric for metric in _ENTRIES}
_FAMILIES = tuple(
    (re.compile(re.sub(r"<\w+>", "(.+)", metric.name)), metric) for metric in _ENTRIES if "<" in metric.name
)


@cache
def describe(name: str) -> Metric:
    """The documentation of a logged name; the family's entry where the name itself has none.

    Raises:
        LookupError: the name is not documented.
    """
    if name in METRICS:
        return METRICS[name]
    for pattern, metric in _FAMILIES:
        if pattern.fullmatch(name):
            return metric
    raise LookupError(f"metric '{name}' is not documented in mmrl.tracking.metrics.{nearest(name, METRICS)}")


def is_wall_clock(name: str) -> bool:
    """True for keys of metrics.jsonl that measure the machine: `time` and the families of `WALL_CLOCK_PREFIXES`.

    All other keys of a resumed run equal those of an uninterrupted one.
    """
    return name == "time" or name.startswith(WALL_CLOCK_PREFIXES)


def document() -> str:
    """docs/metrics.md as markdown."""
    lines = [
        "# Metrics",
        "",
        "Generated by `python -m mmrl.tracking.metrics`; edit `mmrl/tracking/metrics.py` instead.",
        "",
        "Each line of a run's `metrics.jsonl` is one JSON object: `step` (optimization steps since the start of the",
        "run), `stage`, `time` (Unix seconds) and the figures below. A figure that was not finite is `null`.",
        "`time` and everything under `time/`, `throughput/`, `memory/` and `video/` measure the machine; all else is",
        "the same, value for value, in a run that was interrupted and resumed.",
    ]
    room = None
    for metric in _ENTRIES:
        if metric.name.split("/")[0] != room:
            room = metric.name.split("/")[0]
            lines += ["", f"## {room}", "", "| name | unit | better | meaning |", "|---|---|---|---|"]
        better = {True: "higher", False: "lower", None: ""}[metric.higher_is_better]
        meaning = metric.description.replace("|", "\\|")
        lines.append(f"| `{metric.name}` | {metric.unit} | {better} | {meaning} |")
    return "\n".join(lines) + "\n"


def main(path: str = "docs/metrics.md") -> None:
    """Writes the document to `path`."""
    from mmrl.tracking.files import write_atomic

    print(write_atomic(Path(path), document()))


if __name__ == "__main__":
    import sys

    main(*sys.argv[1:2])
