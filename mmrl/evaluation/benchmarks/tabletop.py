"""The embedded simulator as a benchmark: reach the named block, from starts that nothing trains on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from mmrl.contracts.benchmark import Facts, Scored
from mmrl.contracts.types import Sample
from mmrl.data.episodes import Episodes
from mmrl.evaluation.figures import weighted
from mmrl.recipe.data import EpisodeData

FIRST, STARTS = 1_000_000, 512


class TabletopReach:
    """Reach the block of the named colour within eight steps, of two blocks on a table seen from above."""

    about = "reach the named one of two blocks in the embedded simulator, 512 starts"
    facts = Facts(
        source="the simulator that ships with mmrl",
        split=f"starts {FIRST} to {FIRST + STARTS - 1}",
        size=STARTS,
        metric="share of episodes in success at any step",
        licence="Apache-2.0 (mmrl)",
        media="none: they are rendered",
    )
    limit = 64
    simulators: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "tabletop": {
            "type": "tabletop",
            "tasks": ["reach"],
            "num_blocks": 2,
            "image_size": 28,
            "max_steps": 8,
            "reward": "dense",
        }
    }

    def rows(self, root: str | None) -> Sequence[Sample]:
        """See `Benchmark.rows`; `root` is not read."""
        return Episodes(EpisodeData(type="episodes", simulator="tabletop", first=FIRST, size=STARTS))

    def score(self, completion: str, sample: Sample) -> float:
        """Raises ValueError: the simulator scores its episodes."""
        raise ValueError("episodes are scored by their simulator")

    def gold(self, sample: Sample) -> str | None:
        """None: no text is right."""
        return None

    def weights(self, scored: Sequence[Scored]) -> Mapping[str, Sequence[float]]:
        """The mean over all starts."""
        return {"score": [1.0 / len(scored)] * len(scored)}

    def cluster(self, sample: Sample) -> str:
        """Every start is its own."""
        return sample.id

    def aggregate(self, scored: Sequence[Scored]) -> Mapping[str, float]:
        """The share of episodes in success at any step."""
        return {"score": weighted([answer.score for answer in scored], self.weights(scored)["score"])}

    @property
    def protocol(self) -> Mapping[str, Any]:
        """See `Described.protocol`."""
        return {"extractor": "simulator", "metric": "success_once"}
