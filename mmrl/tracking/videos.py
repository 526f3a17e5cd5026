"""videos/step_*/: films of an evaluation's episodes as .mp4, and episodes.jsonl, which says what each one shows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrl.contracts.errors import UserError
from mmrl.tracking.files import cannot_write, json_line, write_atomic

if TYPE_CHECKING:
    from torch import Tensor

INDEX = "episodes.jsonl"
FRAMES_PER_SECOND = 5.0


def videos_folder(run: Path, step: int) -> Path:
    """The folder of the evaluation after one step."""
    return run / "videos" / f"step_{step:06d}"


class EpisodeVideos:
    """Writes the films of one evaluation: `<folder>/<dataset>/<simulator>/<episode>_{success|failure}.mp4`.

    Args:
        folder: made with the first film.
        facts: what every line of the index says, besides a film's own.
        setting: what asks for films, for errors.
    """

    def __init__(self, folder: Path, facts: Mapping[str, Any], setting: str = "evaluation.videos"):
        self.folder, self._facts, self._setting = Path(folder), facts, setting
        self._lines: list[str] = []

    def keep(self, frames_THWC: Tensor, facts: Mapping[str, Any]) -> None:
        """Writes a film, uint8 [T, H, W, 3], in place of an earlier one of the same episode.

        Raises:
            UserError: it cannot be written, or the package av is missing.
        """
        from robotics.recording import write_video

        parent = self.folder / _name(facts["dataset"]) / _name(facts["simulator"])
        path = parent / f"{facts['episode']}_{'success' if facts['success'] else 'failure'}.mp4"
        try:
            parent.mkdir(parents=True, exist_ok=True)
            for outcome in ("success", "failure"):
                (parent / f"{facts['episode']}_{outcome}.mp4").unlink(missing_ok=True)
            write_video(frames_THWC, path, FRAMES_PER_SECOND)
        except OSError as error:
            raise cannot_write(path, error) from error
        except ImportError as error:
            raise UserError(f"{self._setting}: {error}") from None
        count, height, width, _ = frames_THWC.shape
        file = path.relative_to(self.folder).as_posix()
        size = {"frames": count, "width": width, "height": height}
        self._lines.append(json_line({**self._facts, **facts, **size, "file": file}))

    def close(self) -> None:
        """Writes the index, where there was an episode."""
        if self._lines:
            write_atomic(self.folder / INDEX, "".join(self._lines))


def _name(text: str) -> str:
    """`text` as the name of a folder."""
    return re.sub(r"[^\w+-]", "_", text) or "_"
