"""What ends a stage before its last step."""

import pytest
from pydantic import ValidationError

from mmrl.contracts.errors import ConfigError
from mmrl.recipe.schema import load_recipe
from mmrl.recipe.until import Until
from mmrl.tracking.run_files import _planned
from mmrl.trainer.place import Place


@pytest.mark.parametrize(
    ("settings", "values", "ends_at"),
    [
        ({"below": 0.3, "window": 2}, [0.1, 0.9, 0.4, 0.2, 0.1], 4),
        ({"above": 0.5, "window": 1}, [0.1, 0.5, 0.6], 2),
        ({"plateau": 0.0, "window": 2}, [0.1, 0.2, 0.3, 0.4, 0.4, 0.3], 5),
        ({"plateau": 0.1, "window": 1}, [0.0, 0.5, 0.6], 2),
        ({"above": 2.0, "window": 1}, [0.1, 0.5, 0.6], None),
    ],
)
def test_a_figure_ends_a_stage(settings, values, ends_at):
    until = Until(figure="accuracy/mean", **settings)
    assert next((i for i in range(len(values)) if until.reached(values[: i + 1])), None) == ends_at
    # A place keeps only what it needs.
    place, stage = Place(), StageOf(until)
    for i, value in enumerate(values):
        place.watch(stage, {"accuracy/mean": value})
        assert place.over == until.reached(values[: i + 1])
    assert len(place.watched) <= until.kept


class StageOf:
    name = "rl"

    def __init__(self, until, loops=None):
        self.until, self.loops = until, loops


def test_a_figure_that_is_not_there_is_refused_and_the_next_stage_begins_anew():
    place = Place(watched=[1.0], over=True)
    with pytest.raises(
        ConfigError, match=r"stages\.rl\.until\.figure: unknown figure 'acuracy'. Did you mean 'accuracy'"
    ):
        place.watch(StageOf(Until(figure="acuracy", below=1)), {"accuracy": 1.0})
    place.watch(StageOf(Until(figure="eval/ocr", below=1)), {"accuracy": 1.0})
    place.next_stage([StageOf(None), StageOf(None)])
    assert (place.stage, place.watched, place.over) == (1, [], False)


@pytest.mark.parametrize("settings", [{}, {"below": 1.0, "above": 0.0}])
def test_it_takes_one_condition(settings):
    with pytest.raises(ValidationError, match="needs one of below, above and plateau"):
        Until(figure="x", **settings)


def test_a_stage_always_has_a_last_step():
    stage = {"name": "rl", "method": "grpo", "until": {"figure": "accuracy/mean", "plateau": 0.0}}
    raw = {"name": "x", "policy": {"path": "quickstart"}, "data": {"train": [{"type": "digits"}]}, "stages": [stage]}
    with pytest.raises(ConfigError, match=r"stages\.0\.steps: this key is required"):
        load_recipe(raw)
    raw["stages"] = [{**stage, "steps": 9}]
    assert load_recipe(raw).stages[0].until.window == 10


def test_the_report_knows_how_long_such_a_stage_was():
    stages = [{"name": "a", "steps": 9, "until": {"figure": "x"}}, {"name": "b", "steps": 4}]
    records = [{"stage": "a", "step": 3}, {"stage": "b", "step": 4}]
    assert [(span.start, span.end) for span in _planned(stages, records, {})] == [(0, 3), (3, 7)]
    assert [(span.start, span.end) for span in _planned(stages, records[:1], {})] == [(0, 9), (9, 13)]
