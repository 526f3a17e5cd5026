"""What the loop tells the builder of a step."""

from types import SimpleNamespace

from mmrl.rollouts.collect import StepBatch
from mmrl.trainer.loop import collect
from mmrl.trainer.place import Place


class Told:
    """A builder that writes down what it is told."""

    def __init__(self):
        self.progress, self.ahead = [], []

    def collect(self, seed, progress):
        self.progress.append(progress)
        return StepBatch()

    def read_ahead(self, count):
        self.ahead.append(count)


def test_a_step_is_collected_at_its_share_of_the_stage_and_the_next_one_is_read_ahead():
    told, stage = Told(), SimpleNamespace(name="rl", steps=4)
    recipe = SimpleNamespace(seed=0, data=SimpleNamespace(prefetch=7))
    session = SimpleNamespace(recipe=recipe, now=SimpleNamespace(recipe=recipe))
    for done in range(4):
        # Steps of an earlier stage do not count.
        collect(session, stage, told, Place(step=10 + done, stage=1, stage_step=done))
    assert told.progress == [0, 1 / 4, 2 / 4, 3 / 4]
    assert told.ahead == [7, 7, 7, 7]
