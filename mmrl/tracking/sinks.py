"""Where figures go besides metrics.jsonl: one class per service."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import ClassVar, Protocol

from mmrl.contracts.errors import UserError
from mmrl.recipe.tracking import SINKS, TrackingConfig
from mmrl.tracking.files import cannot_write, write_atomic


class Sink(Protocol):
    """A receiver of figures. Made with (run folder, project name, step resumed from or None), once its `package`, where
    it names one, is known to be there."""

    def log(self, step: int, stage: str, metrics: Mapping[str, float]) -> None:
        """Takes finite figures of one step."""

    def close(self) -> None:
        """Flushes and lets go."""


def check_sinks(config: TrackingConfig) -> None:
    """Raises UserError where the package of a sink that is on is not installed."""
    for name in config.open:
        package = getattr(SINKS.get(name), "package", None)
        if package is None:
            continue
        try:
            import_module(package)
        except ImportError:
            raise UserError(
                f"tracking.{package} is true, but {package} is not installed; run: pip install {package}"
            ) from None


class TensorBoard:
    """Event files under `tensorboard/`; on resume, later steps of the old files are marked as purged."""

    package: ClassVar[str] = "tensorboard"

    def __init__(self, folder: Path, project: str, resume_step: int | None):
        # tensorboard logs a banner at import when TensorFlow is absent.
        logging.getLogger("tensorboard").setLevel(logging.ERROR)
        from torch.utils.tensorboard import SummaryWriter

        purge = None if resume_step is None else resume_step + 1
        self._folder = folder / "tensorboard"
        with self._errors():
            self._writer = SummaryWriter(str(self._folder), purge_step=purge)

    def log(self, step: int, stage: str, metrics: Mapping[str, float]) -> None:
        with self._errors():
            for name, value in metrics.items():
                self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        with self._errors():
            self._writer.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Inside, a failure of tensorboard's writing thread, which comes up with a later call, is a UserError."""
        try:
            yield
        except OSError as error:
            raise cannot_write(self._folder, error) from error


class Wandb:
    """Weights & Biases. The run's id is kept in `wandb_id`, so a resumed run goes on in the same place."""

    package: ClassVar[str] = "wandb"

    def __init__(self, folder: Path, project: str, resume_step: int | None):
        import wandb

        note = folder / "wandb_id"
        known = note.read_text().strip() if resume_step is not None and note.is_file() else None
        self._run = wandb.init(project=project, name=folder.name, dir=str(folder), id=known, resume="allow")
        # wandb refuses steps below its own counter, which a resumed run would send; `step` is an axis of ours.
        self._run.define_metric("*", step_metric="step")
        write_atomic(note, f"{self._run.id}\n")

    def log(self, step: int, stage: str, metrics: Mapping[str, float]) -> None:
        self._run.log({"step": step, "stage": stage, **metrics})

    def close(self) -> None:
        self._run.finish()


class Trackio:
    """trackio, Hugging Face's local-first tracker."""

    package: ClassVar[str] = "trackio"

    def __init__(self, folder: Path, project: str, resume_step: int | None):
        import trackio

        resume = "never" if resume_step is None else "allow"
        self._run = trackio.init(project=project, name=folder.name, resume=resume, embed=False)

    def log(self, step: int, stage: str, metrics: Mapping[str, float]) -> None:
        self._run.log({"stage": stage, **metrics}, step=step)

    def close(self) -> None:
        self._run.finish()


def open_sinks(folder: Path, config: TrackingConfig, resume_step: int | None) -> list[Sink]:
    """The sinks that `config` switches on.

    Raises:
        UserError: a package is missing; the message has the pip command.
    """
    check_sinks(config)
    return [SINKS.get(name)(folder, config.project, resume_step) for name in config.open]
