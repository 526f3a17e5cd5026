"""Rewards say which keys of their targets hold places; all of them move together."""

import pytest

from tests.support.rewards import NAMES, examples
from vision_rewards import validate
from vision_rewards.places import KINDS, move_places
from vision_rewards.registry import place_keys, reward_class


def double(numbers):
    return [2 * number for number in numbers]


def holds_numbers(value):
    """Whether a list of two or four numbers stands anywhere inside."""
    if isinstance(value, dict):
        return any(map(holds_numbers, value.values()))
    if not isinstance(value, list):
        return False
    plain = all(isinstance(item, (int, float)) for item in value)
    return len(value) in (2, 4) if plain else any(map(holds_numbers, value))


# Seconds, orders, schemas, and masks, whose pixels are those of the size that they name.
ELSE = {"interval", "time", "order", "schema", "mask", "candidates"}


@pytest.mark.parametrize("name", NAMES)
def test_every_key_that_holds_places_is_declared(name):
    declared = {}
    for reward, example in examples(name):
        members = [reward, *reward.readers(example.target.get("task", ""))]
        declared |= {key: kind for member in members for key, kind in member.places.items()}
    for _, example in examples(name):
        holding = {key for key, value in example.target.items() if holds_numbers(value)}
        assert holding - ELSE <= set(declared), example.target
    keys = {key.rstrip("?") for key in reward_class(name).target_keys}
    assert set(reward_class(name).places) <= keys


def test_keys_mean_one_thing_in_all_rewards():
    assert place_keys() == {"box": "box", "boxes": "boxes", "end_box": "box", "point": "point", "track": "track"}
    for name in NAMES:
        assert reward_class(name).places.items() <= place_keys().items(), name
        assert set(reward_class(name).places.values()) <= set(KINDS)


@pytest.mark.parametrize("name", [name for name in NAMES if reward_class(name).places])
def test_a_moved_target_has_a_moved_right_answer(name):
    for reward, example in examples(name):
        moved = move_places(example.target, place_keys(), double)
        held = {key: value for key, value in example.target.items() if key in place_keys()}
        assert (moved != example.target) == holds_numbers(held)
        validate(reward, [moved])


def test_every_form_moves_and_all_else_stays():
    target = {
        "box": [1, 2, 3, 4],
        "boxes": [[1, 2, 3, 4], {"box": [5, 6, 7, 8], "label": "cat"}],
        "point": (1, 2),
        "track": {"0": None, "1": [1, 2, 3, 4]},
        "end_box": None,
        "interval": [1, 2],
    }
    assert move_places(target, place_keys(), double) == {
        "box": [2, 4, 6, 8],
        "boxes": [[2, 4, 6, 8], {"box": [10, 12, 14, 16], "label": "cat"}],
        "point": [2, 4],
        "track": {"0": None, "1": [2, 4, 6, 8]},
        "end_box": None,
        "interval": [1, 2],
    }


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("box", "[1, 2, 3, 4]"),
        ("box", [1, 2, 3]),
        ("box", [1, 2, 3, float("inf")]),
        ("point", [1, "2"]),
        ("boxes", [[1, 2, 3, 4], {"label": "cat"}]),
        ("boxes", 4),
        ("track", [[1, 2, 3, 4]]),
    ],
)
def test_what_is_no_place_is_named_with_its_key(key, value):
    with pytest.raises(ValueError, match=f"'{key}' is .*, not "):
        move_places({key: value}, place_keys(), double)
