"""A controller with a memory: sets a stream's weight, the learning rate and the temperature by what it has seen."""

from mmrl.objectives.controllers import Control
from mmrl.recipe.controllers import Controller, ControllerSettings


class Swing(ControllerSettings):
    """How much of the past counts."""

    memory: float = 0.5


class Swinging:
    def __init__(self, own, objective):
        self.own, self.level = own, 0.5

    def control(self):
        weights = {"streams.demo.weight": 0.1 + 0.5 * self.level}
        return Control(weights, learning_rate=1 - 0.5 * self.level, temperature=1 + 0.2 * self.level)

    def observe(self, figures):
        seen = min(1.0, figures["optim/grad_norm"])
        self.level = self.own.memory * self.level + (1 - self.own.memory) * seen

    def state_dict(self):
        return {"level": self.level}

    def load_state_dict(self, state):
        self.level = state["level"]


SWING = Controller(code=Swinging, settings=Swing, doc="swings by the gradient's norm")
