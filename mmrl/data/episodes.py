"""Start states of a simulator as samples."""

from __future__ import annotations

from mmrl.contracts.types import Sample
from mmrl.data.rows import Rows
from mmrl.recipe.data import EpisodeData

# Stands for the episode that the simulator's scripted expert plays when a demonstration is drawn.
EXPERT = "scripted expert"


class Episodes(Rows):
    """Samples without messages, one for each start-state id from `first` on; the task is the simulator's key."""

    def __init__(self, config: EpisodeData):
        self.config = config
        self.name = config.name or config.simulator

    def __len__(self) -> int:
        return self.config.size

    def _row(self, row: int) -> Sample:
        episode = self.config.first + row
        return Sample(
            id=f"{self.name}/{episode}",
            messages=(),
            task=self.config.simulator,
            target={},
            demonstration=EXPERT,
            dataset=self.name,
            row=row,
            kind="episodes",
            simulator=self.config.simulator,
            episode=episode,
            expert_noise=self.config.expert_noise,
        )
