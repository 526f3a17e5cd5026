"""The run's diary: metrics.jsonl, rollouts, summary, environment and report, and services that mirror the figures."""

from __future__ import annotations

import json
import logging
import math
import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmrl.contracts.errors import BadSample, UserError
from mmrl.contracts.policy import Spelling
from mmrl.contracts.types import Group
from mmrl.recipe.secrets import masked
from mmrl.recipe.tracking import TrackingConfig
from mmrl.tracking.bad_samples import BadSamples
from mmrl.tracking.console import make_console
from mmrl.tracking.environment import read_environment
from mmrl.tracking.files import cannot_write, json_line, json_text, write_atomic
from mmrl.tracking.heldout import PREFIX
from mmrl.tracking.metrics import describe
from mmrl.tracking.report.live import LiveReport
from mmrl.tracking.rollouts import first_of_tasks, heldout_path, rollout_path, write_groups
from mmrl.tracking.run_files import BAD_SAMPLES, ROUNDS, read_lines
from mmrl.tracking.sinks import open_sinks
from mmrl.tracking.starts import Starts

logger = logging.getLogger(__name__)
RESERVED = ("step", "stage", "time")


class Tracker:
    """Writes one run's folder. Close it, or use it as a context manager.

    Args:
        folder: the run's folder; made where absent.
        config: which services and console to use, and how many rollouts to keep.
        total_steps: optimization steps of all stages together, for the progress bar.
        resume_step: None starts a run in a folder without one. Otherwise the step that training continues after:
            entries of later steps are dropped, so the run's files end up as if it had never stopped (all keys but
            those of `mmrl.tracking.metrics.is_wall_clock`). 0 starts over.
        strict: an undocumented metric raises instead of being written.

    Attributes:
        check_claim: called before each line; raises where the folder is another process's by now.

    Raises:
        UserError: the folder holds a run and `resume_step` is None, is not writable, or a service's package is missing.
    """

    def __init__(
        self,
        folder: Path,
        config: TrackingConfig,
        total_steps: int,
        resume_step: int | None = None,
        *,
        strict: bool = False,
    ):
        self.folder = Path(folder)
        self.check_claim: Callable[[], None] = lambda: None
        self.non_finite: Counter[str] = Counter()
        self._config = config
        self._strict = strict
        path = self.folder / "metrics.jsonl"
        self.starts = Starts(self.folder, _last_figure(path))
        if resume_step is not None:
            # Starting over repeats the evaluation before the first step, whose line is step 0: that line goes too.
            resume_step = resume_step or -1
            drop_after(self.folder, resume_step)
        elif path.exists() and path.stat().st_size:
            raise UserError(
                f"'{self.folder}' already holds a run; set `resume: auto` to go on with it, change `name`, or delete it"
            )
        self._sinks = []
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a", encoding="utf-8")
        except OSError as error:
            raise cannot_write(path, error) from error
        try:
            self._sinks = open_sinks(self.folder, config, resume_step)
        except BaseException:
            self._file.close()
            raise
        self._console = make_console(config.console, self.folder.name, total_steps, max(0, resume_step or 0))
        if resume_step == -1:
            (self.folder / BAD_SAMPLES).unlink(missing_ok=True)
        self._report = LiveReport(self.folder, config.report_every, self._console.warn)
        self._last_step = total_steps
        self._bad = BadSamples(self.folder / BAD_SAMPLES, self._console.warn)

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def begin(self, step: int, now: float, config: str, changes: Sequence[str]) -> None:
        """Records a start of the run, and says what has changed.

        Args:
            step: steps that are behind it.
            now: when it began, Unix seconds.
            config: its recipe, for config.yaml.
            changes: what differs from the recipe of those steps, a line each.

        Raises:
            UserError: the recipe cannot be written.
        """
        self.starts.begin(step, now, config, changes)
        write_atomic(self.folder / "config.yaml", config)
        for line in changes:
            self.say(line)

    def say(self, text: str) -> None:
        """Shows a line on the console."""
        self._console.warn(masked(text))

    def log(self, step: int, stage: str, metrics: Mapping[str, float]) -> None:
        """Appends one line to metrics.jsonl, tells services and console, and writes report.html where it is due.

        Args:
            step: optimization steps since the start of the run; not below an earlier call's.
            stage: name of the stage.
            metrics: name to value; None is written as null (does not apply), NaN and infinities too, with a warning.

        Raises:
            UserError: the line could not be written, or the folder is another process's by now.
            LookupError: strict, and a name is not documented.
        """
        self.check_claim()
        values = {name: self._value(name, value, step) for name, value in metrics.items()}
        line = json_line({"step": step, "stage": stage, "time": round(time.time(), 3), **values})
        try:
            self._file.write(line)
            self._file.flush()
        except OSError as error:
            raise cannot_write(self.folder / "metrics.jsonl", error) from error
        finite = {name: value for name, value in values.items() if value is not None}
        for sink in self._sinks:
            sink.log(step, stage, finite)
        self._console.update(step, stage, finite)
        if step < self._last_step:
            # After the last step the run's end writes the page.
            self._report.update(any(name.startswith(PREFIX) for name in values))

    def _value(self, name: str, value: Any, step: int) -> float | int | None:
        if name in RESERVED:
            raise ValueError(f"'{name}' is a key of every line of metrics.jsonl and cannot name a metric")
        if self._strict:
            describe(name)
        number = value.item() if hasattr(value, "item") else value
        if number is None or (isinstance(number, int) and not isinstance(number, bool)):
            return number
        if math.isfinite(number):
            return float(number)
        self.non_finite[name] += 1
        if self.non_finite[name] == 1:
            logger.warning("%s is %s at step %d; it is written as null, further ones are counted", name, number, step)
        return None

    def rollouts(self, step: int, stage: str, groups: Sequence[Group], spelling: Spelling | None = None) -> None:
        """Writes rollouts/step_*.jsonl with the first `rollouts_groups` groups, every `rollouts_every` steps and at 1.

        Args:
            spelling: see `write_groups`.

        Raises:
            UserError: an image cannot be read, or the disk cannot be written.
        """
        due = step % self._config.rollouts_every == 0 or step == 1
        chosen = groups[: self._config.rollouts_groups]
        if due and chosen:
            write_groups(rollout_path(self.folder, step), self.folder, step, stage, chosen, spelling)

    def held_out(self, step: int, stage: str, groups: Sequence[Group], spelling: Spelling | None = None) -> None:
        """Writes heldout/step_*.jsonl with the first `heldout_answers` answers of each task of an evaluation.

        Args:
            spelling: see `write_groups`.

        Raises:
            UserError: as of `rollouts`.
        """
        chosen = first_of_tasks(groups, self._config.heldout_answers)
        if chosen:
            write_groups(heldout_path(self.folder, step), self.folder, step, stage, chosen, spelling)

    def expect(self, bad: Sequence[tuple[str, BadSample]]) -> None:
        """Takes note of bad rows that nothing has drawn yet, see `BadSamples.expect`."""
        self._bad.expect(bad)

    def bad_sample(self, data: str, error: BadSample, dataset: str | None, row: int | None = None) -> None:
        """Writes a bad sample that is skipped to bad_samples.jsonl, and warns of it, once each; see `BadSamples.add`.

        Raises:
            UserError: the line could not be written.
        """
        self._bad.add(data, error, dataset, row)

    def summary(self, facts: Mapping[str, Any]) -> None:
        """Writes summary.json whole.

        The keys `start`, `after_<stage>` and `final` are what `final_table` and the report show, each
        `{task: accuracy, ..., "mean": accuracy}`.
        """
        write_atomic(self.folder / "summary.json", json_text(facts))

    def rounds(self, rounds: Mapping[str, Any]) -> None:
        """Writes rounds.json: by the name of rounds that a figure may end, its `values`, one per round."""
        if not rounds:
            (self.folder / ROUNDS).unlink(missing_ok=True)
        else:
            values = {name: each["values"] for name, each in rounds.items()}
            write_atomic(self.folder / ROUNDS, json_text(values))

    def environment(self, **facts: Any) -> None:
        """Writes environment.json: versions, machine, commit, command line, and `facts`."""
        write_atomic(self.folder / "environment.json", json_text({**read_environment(), **facts}))

    def close(self) -> None:
        """Closes files, services and console. Safe to call twice."""
        if self._file.closed:
            return
        self._console.close()
        self._file.close()
        for sink in self._sinks:
            sink.close()
        if self.non_finite:
            counts = ", ".join(f"{name} {count}x" for name, count in self.non_finite.most_common())
            logger.warning("not finite, written as null: %s", counts)


def _last_figure(path: Path) -> float | None:
    """When the last line of metrics.jsonl was written (Unix seconds)."""
    lines = read_lines(path)[0] if path.exists() else []
    times = [line["time"] for line in lines if isinstance(line.get("time"), int | float)]
    return times[-1] if times else None


def drop_after(folder: Path, step: int) -> None:
    """Removes what a run wrote after `step`: lines of metrics.jsonl (a half-written last one too), answers, videos.

    Raises:
        UserError: metrics.jsonl is damaged before its last line, or cannot be written.
    """
    path = folder / "metrics.jsonl"
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    earlier = []
    for number, line in enumerate(lines, start=1):
        try:
            if json.loads(line)["step"] <= step and line.endswith(b"\n"):
                earlier.append(line)
        except (ValueError, KeyError, TypeError):
            if number < len(lines):
                raise UserError(f"{path} line {number} is damaged; delete that line to resume") from None
    if earlier != lines:
        write_atomic(path, b"".join(earlier))
    kinds = ("rollouts/step_*.jsonl", "heldout/step_*.jsonl", "videos/step_*")
    for path in (path for kind in kinds for path in folder.glob(kind)):
        number = path.stem.removeprefix("step_")
        if number.isdigit() and int(number) > step:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
