"""Rounds that a figure ends before their last one: as a recipe is read, where training stands, and in the report."""

import copy
import dataclasses

import pytest
import yaml

from mmrl.contracts.errors import ConfigError
from mmrl.recipe.beginnings import opened_at
from mmrl.recipe.generating import as_generating
from mmrl.recipe.reading import to_yaml
from mmrl.recipe.schema import load_recipe
from mmrl.tracking.report.rounds import render_rounds
from mmrl.tracking.run_files import Run, _planned
from mmrl.trainer.place import Place, refuse_unknown_figures

UNTIL = {"figure": "accuracy/mean", "plateau": 0.0}
RL = {"name": "rl", "method": "grpo", "steps": 2}
SFT = {"name": "sft", "method": "sft", "steps": 2}
MAKE = {"name": "make", "generate": {}}


def program(*stages, **settings):
    data = {"train": [{"type": "digits", "size": 16}]}
    return {"name": "program", "policy": {"path": "quickstart"}, "data": data, "stages": list(stages), **settings}


def walk(recipe, figures):
    """The stages that run, where each step of a stage has the next of `figures`; the place in the end."""
    place, ran, left = Place(), [], list(figures)
    while place.stage < len(recipe.stages):
        stage = recipe.stages[place.stage]
        ran.append(stage.name)
        if stage.method == "grpo":
            for _ in range(stage.steps):
                place.watch(stage, {"accuracy/mean": left.pop(0)})
        # A checkpoint between any two stages changes nothing.
        place = Place(**copy.deepcopy(dataclasses.asdict(place)))
        lines = place.next_stage(recipe.stages)
        assert all("accuracy/mean" in line for line in lines)
    return ran, place


def test_rounds_end_when_their_figure_does_and_the_run_goes_on_behind_them():
    rounds = {"rounds": 5, "until": UNTIL, "stages": [SFT, RL, MAKE]}
    recipe = load_recipe(program(rounds, {**SFT, "name": "end"}))
    # Means of the rounds: .2, .5, .4.
    ran, place = walk(recipe, [0.1, 0.3, 0.4, 0.6, 0.4, 0.4])
    assert ran == [f"{name}_{n}" for n in (1, 2, 3) for name in ("sft", "rl", "make")] + ["end"]
    assert place.rounds["stages.0"]["values"] == pytest.approx([0.2, 0.5, 0.4])
    assert place.skipped == list(range(9, 15))
    rising, place = walk(recipe, [0.1 * i for i in range(10)])
    assert rising == [stage.name for stage in recipe.stages]
    assert place.skipped == []


def test_rounds_within_rounds_end_each_time_anew():
    inner = {"rounds": 3, "until": {"figure": "accuracy/mean", "above": 0.5}, "stages": [RL]}
    recipe = load_recipe(program({"rounds": 2, "stages": [SFT, inner]}))
    ran, place = walk(recipe, [0.1, 0.1, 0.9, 0.9, 0.2, 0.2, 0.3, 0.3, 0.4, 0.4])
    assert ran == ["sft_1", "rl_1_1", "rl_2_1", "sft_2", "rl_1_2", "rl_2_2", "rl_3_2"]
    assert {name: len(each["values"]) for name, each in place.rounds.items()} == {
        "stages.0.stages.1, round 1": 2,
        "stages.0.stages.1, round 2": 3,
    }


def test_a_place_knows_whether_its_stage_is_the_last():
    recipe = load_recipe(program({"rounds": 3, "until": {**UNTIL, "plateau": 0.5}, "stages": [RL, MAKE]}))
    place = Place(stage=2, rounds={"stages.0": {"values": [0.4], "measured": [0.5]}})
    assert not place.is_last(recipe.stages)
    assert place.is_last(recipe.stages, trained=True)
    assert place.rounds["stages.0"]["measured"] == [0.5]
    improving = Place(stage=2, rounds={"stages.0": {"values": [0.1], "measured": [0.9]}})
    assert not improving.is_last(recipe.stages, trained=True)


def test_a_figure_that_no_stage_of_a_round_has_is_refused_when_the_round_is_over():
    recipe = load_recipe(program({"rounds": 3, "until": {**UNTIL, "figure": "acuracy"}, "stages": [RL]}))
    with pytest.raises(ConfigError, match=r"stages\.0\.until\.figure: no stage of round 1 has a figure 'acuracy'"):
        Place().next_stage(recipe.stages)


def test_rounds_that_did_not_come_open_no_policy():
    own = {**RL, "policy": {"freeze": ["vision"]}}
    recipe = load_recipe(program({"rounds": 3, "until": UNTIL, "stages": [SFT, own]}, {**RL, "name": "end", **{}}))
    skipped = [4, 5]
    assert opened_at(recipe, 3, skipped) == 3
    # `end` trains what the recipe says, and so opens the policy itself.
    assert opened_at(recipe, 6, skipped) == 6
    last = load_recipe(program({"rounds": 3, "until": UNTIL, "stages": [SFT, own]}, {**own, "name": "end"}))
    assert (opened_at(last, 6), opened_at(last, 6, skipped)) == (5, 3)


def test_the_record_reads_as_the_recipe():
    recipe = load_recipe(program({"rounds": 3, "until": UNTIL, "stages": [SFT, RL, MAKE]}))
    written = yaml.safe_load(to_yaml(recipe))
    assert written["stages"][5]["loops"][0]["round"] == 2
    assert load_recipe(written).model_dump() == recipe.model_dump()


@pytest.mark.parametrize(
    ("rounds", "said"),
    [
        ({"stages": [RL]}, r"stages\.0: stages without `rounds` would never end; add rounds: N"),
        ({"stages": [RL], "until": UNTIL}, r"would never end, should no round reach until; add rounds: N"),
        ({"rounds": 2, "stages": [RL], "until": UNTIL}, "needs 2 rounds before it can end them, and rounds is 2"),
        ({"rounds": 9, "stages": [MAKE], "until": UNTIL}, "none of these stages trains"),
        ({"rounds": 9, "stages": [RL], "until": {"figure": "x"}}, "needs one of below, above and plateau"),
        ({"rounds": 9, "stages": [RL], "until": {**UNTIL, "windw": 1}}, r"stages\.0\.until\.windw: .*window"),
        ({"rounds": 9, "stages": [RL], "until": 3}, r"stages\.0\.until: a mapping is needed"),
        ({"rounds": 9, "stages": [RL], "until": {**UNTIL, "figure": "eval/mean"}}, "measured on held-out data"),
    ],
)
def test_rounds_that_could_not_end_are_refused(rounds, said):
    with pytest.raises(ConfigError, match=said):
        load_recipe(program(rounds))


@pytest.mark.parametrize(
    ("reader", "said"),
    [
        ({**RL, "name": "end", "from": "rl_2"}, r"stages\.end\.from: 'rl_2' is in round 2"),
        (
            {**SFT, "name": "end", "data": {"train": [{"type": "generated", "stage": "make_3"}]}},
            r"stages\.end\.data\.train: 'make_3' is in round 3",
        ),
        (
            {**SFT, "name": "end", "data": {"eval": [{"type": "generated", "stage": "make_3"}]}},
            r"stages\.end\.data\.eval: 'make_3' is in round 3",
        ),
    ],
)
def test_what_a_round_leaves_is_not_counted_on_where_the_round_may_not_come(reader, said):
    rounds = {"rounds": 3, "until": UNTIL, "stages": [RL, MAKE]}
    with pytest.raises(ConfigError, match=said):
        load_recipe(program(rounds, reader))
    (part,) = reader.get("data", {"": None})
    sure = {"data": {part: [{"type": "generated", "stage": "make_1"}]}} if part else {"from": "rl_1"}
    assert load_recipe(program(rounds, {**reader, **sure})).stages[-1].name == "end"


def test_a_figure_that_nothing_logs_is_refused_before_the_first_round():
    refuse_unknown_figures(load_recipe(program({"rounds": 5, "until": UNTIL, "stages": [RL]})).stages)
    recipe = load_recipe(program({"rounds": 5, "until": {**UNTIL, "figure": "policy/entropie"}, "stages": [RL]}))
    with pytest.raises(ConfigError, match=r"stages\.0\.until\.figure: metric 'policy/entropie' is not documented"):
        refuse_unknown_figures(recipe.stages)


def test_the_report_shows_each_round_and_leaves_out_those_that_did_not_come(tmp_path):
    recipe = load_recipe(program({"rounds": 4, "until": UNTIL, "stages": [RL]}, {**SFT, "name": "end"}))
    config = yaml.safe_load(to_yaml(recipe))
    run = Run(tmp_path, config=config, rounds={"stages.0": [0.25, 0.125]})
    page = render_rounds(run)
    assert "after round 2 of 4, by its figure" in page
    assert "0.25, 0.125" in page
    spans = [(span.name, span.end) for span in run.planned]
    assert spans == [("rl_1", 2), ("rl_2", 4), ("end", 6)]
    going = Run(tmp_path, config=config, rounds={"stages.0": [0.25, 0.5]})
    assert "2 of 4 so far" in render_rounds(going)
    assert len(_planned(config["stages"], [], going.rounds)) == 5
    assert render_rounds(Run(tmp_path, config=config)) == ""


def test_one_recorded_stage_of_rounds_generates_alone():
    """It is in no rounds that a figure ends, whose held-out data it lacks."""
    until = {"figure": "eval/mean", "above": 0.9}
    data = {"train": [{"type": "digits", "size": 16}], "eval": [{"type": "digits", "size": 4}]}
    whole = load_recipe(program({"rounds": 2, "until": until, "stages": [RL, MAKE]}, data=data))
    recorded = whole.model_dump(mode="json", by_alias=True)
    (stage,) = load_recipe(as_generating(recorded, "make_2")).stages
    assert (stage.name, stage.loops) == ("make_2", None)
