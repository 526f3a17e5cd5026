"""Trains by a coefficient and a controller of your own: `python examples/custom_method.py [KEY=VALUE …]`."""

import sys

from mmrl import load_recipe, train
from mmrl.objectives.controllers import Control
from mmrl.recipe.coefficients import Coefficient, OfLevel
from mmrl.recipe.controllers import Controller, ControllerSettings


class Rare(OfLevel):
    power: float = 1.0


def rare(units, own):  # psi [R, U]: improbable tokens count more
    return units.ratio_RU * (1 - units.log_probs_RU.exp()) ** own.power


class Fading:  # the power falls by 0.1 per step; its state is in checkpoints
    def __init__(self, own, objective):
        self.state = {"power": objective.streams["rl"].coefficient.power}

    def control(self):
        return Control({"streams.rl.coefficient.power": self.state["power"]})

    def observe(self, figures):
        self.state["power"] = max(0.0, self.state["power"] - 0.1)

    def state_dict(self):
        return dict(self.state)

    def load_state_dict(self, state):
        self.state.update(state)


RARE = Coefficient(code=rare, settings=Rare, needs=frozenset({"ratio", "probability"}), doc="r (1 - p)^power")
FADE = Controller(code=Fading, settings=ControllerSettings, doc="the power falls by 0.1 per step")
STREAMS = {"rl": {"coefficient": {"kind": "custom_method:RARE"}}}
OBJECTIVE = {"streams": STREAMS, "controllers": {"fade": {"kind": "custom_method:FADE"}}}

if __name__ == "__main__":
    base = {"name": "custom_method", "policy": {"path": "quickstart"}, "data": {"train": [{"type": "digits"}]}}
    train(load_recipe({**base, "method": "grpo", "steps": 20, "objective": OBJECTIVE}, sys.argv[1:]))
