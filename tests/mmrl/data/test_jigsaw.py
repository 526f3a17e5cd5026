"""Puzzles of any pictures and clips: what is asked fits what is shown, and the right answer scores 1."""

import json

import numpy as np
import pytest
from PIL import Image

from mmrl.contracts.errors import BadSample, ConfigError, UserError
from mmrl.contracts.types import Trajectory
from mmrl.data.jigsaw import Jigsaw
from mmrl.recipe.data import DataConfig, JigsawData
from mmrl.recipe.reading import validate
from mmrl.recipe.rewards import RewardConfig
from mmrl.rollouts.rewarding import Rewarder

KINDS = ["jigsaw", "rotation", "crop_location", "frame_order"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Seven pictures, each pixel of which says where it was, and a folder of frames, each of one brightness."""
    root = tmp_path_factory.mktemp("photos")
    (root / "photos").mkdir()
    rows, columns = np.mgrid[0:90, 0:120]
    for i in range(7):
        pixels = np.stack([columns * 2, rows * 2, np.full_like(rows, 30 * i)], -1).astype(np.uint8)
        Image.fromarray(pixels).save(root / "photos" / f"picture_{i}.png")
    (root / "clip").mkdir()
    for i in range(10):
        Image.new("RGB", (60, 60), (20 * i, 0, 0)).save(root / "clip" / f"frame_{i}.png")
    return root


def opened(folder, **settings):
    return Jigsaw(JigsawData(type="jigsaw", path=str(folder), **settings))


def first(image):
    return image.getpixel((0, 0))


def test_gold_scores_one_and_any_other_order_does_not(folder):
    rows, rewarder = opened(folder, puzzles=KINDS, size=24), Rewarder([RewardConfig(name="route")])
    for i in range(24):
        sample = rows[i]
        rewarder.check(sample)
        gold = rewarder.score(Trajectory((), text=sample.demonstration), sample)
        assert (gold.reward, gold.accuracy) == (1.0, 1.0), sample.columns
        wrong = sample.demonstration[::-1] if "order" in sample.target else "E"
        if wrong != sample.demonstration:
            assert rewarder.score(Trajectory((), text=wrong), sample).accuracy == 0.0
        assert len(sample.images) == sum(part["type"] == "image" for part in sample.messages[0]["content"])


def test_pieces_make_the_picture_in_the_order_of_the_answer(folder):
    for sample in opened(folder / "photos", grid=[2, 3]):
        corners = [first(sample.images[number - 1])[:2] for number in sample.target["order"]]
        assert corners == [(x, y) for y in (0, 90) for x in (0, 80, 160)]
    assert len({tuple(sample.target["order"]) for sample in opened(folder / "photos")}) > 2


def test_frames_are_in_the_order_of_the_answer_and_equally_far_apart(folder):
    sample = opened(folder, puzzles=["frame_order"])[0]
    reds = [first(sample.images[number - 1])[0] for number in sample.target["order"]]
    assert reds == [0, 60, 120, 180]


def test_a_turn_and_a_part_are_what_the_letter_says(folder):
    corner = {"A": (0, 0), "B": (0, 1), "C": (1, 1), "D": (1, 0)}
    answers = set()
    for sample in opened(folder / "photos", puzzles=["rotation"], size=16):
        (image,) = sample.images
        assert image.width == image.height
        x, y = first(image)[:2]
        # Clockwise by 90 degrees, what was below on the left comes to the top left.
        assert (int(x > 120), int(y > 90)) == corner[sample.target["answer"]]
        answers.add(sample.target["answer"])
    assert len(answers) > 2
    sample = opened(folder / "photos", puzzles=["crop_location"], grid=[1, 2])[0]
    assert first(sample.images[1])[0] == {"A": 0, "B": 120}[sample.target["answer"]]
    assert sample.target["options"]["B"] == "row 1, column 2"


def test_rows_are_the_same_again_and_differ_by_seed_and_pass(folder):
    orders = [
        [sample.target["order"] for sample in opened(folder / "photos", seed=seed, size=14)] for seed in (0, 0, 1)
    ]
    assert orders[0] == orders[1] != orders[2]
    assert orders[0][:7] != orders[0][7:]


def test_training_and_test_share_no_file(folder):
    files = [{sample.columns["file"] for sample in opened(folder, split=split)} for split in ("train", "test", "all")]
    assert not files[0] & files[1]
    assert files[0] | files[1] == files[2]


@pytest.mark.slow
def test_frames_of_a_video_file(tmp_path):
    pytest.importorskip("av")
    from tests.support.clips import encode

    encode(tmp_path / "a.mp4")
    sample = opened(tmp_path, puzzles=["frame_order"], frames=3)[0]
    blues = [np.asarray(sample.images[number - 1])[..., 2].mean() for number in sample.target["order"]]
    assert blues == sorted(blues)
    assert blues[2] - blues[0] > 50


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"grid": [1, 1]}, "grid [1, 1] makes 1 pieces; 2 to 20 can be asked about"),
        ({"puzzles": []}, "data.train.0.puzzles"),
        ({"puzzles": ["jigsaw", "jigsaw"]}, "has one twice"),
        ({"puzzles": ["rotaton"]}, "Did you mean 'rotation'?"),
        ({"pieces": 4}, "unknown key 'pieces'"),
        ({"side": 27}, "data.train.0.side"),
    ],
)
def test_what_makes_no_puzzle_is_refused_when_the_recipe_is_read(settings, said):
    with pytest.raises(ConfigError) as error:
        validate(DataConfig, {"train": [{"type": "jigsaw", "path": "x", **settings}]}, place="data")
    assert said in str(error.value)


def test_what_is_not_there_or_too_small_is_said(folder, tmp_path):
    with pytest.raises(UserError, match="no folder at"):
        opened(tmp_path / "nowhere")
    with pytest.raises(UserError, match="puzzle 'frame_order' is made of clips"):
        opened(tmp_path, puzzles=["frame_order"])
    with pytest.raises(BadSample, match="a picture of 120 x 90 pixels has no 4 x 2 cells of 28 pixels"):
        opened(folder / "photos", grid=[4, 2])[0]
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(BadSample, match="cannot be read"):
        opened(tmp_path)[0]


def test_each_puzzle_asks_about_every_file(folder):
    """Rows take turns, so the puzzle with more files says how many there are."""
    rows = [sample.columns for sample in opened(folder, puzzles=["rotation", "frame_order"])]
    asked = [row["file"] for row in rows if row["puzzle"] == "rotation"]
    assert len(rows) == 2 * len(asked)
    assert len(set(asked)) == len(asked) == 17


@pytest.mark.parametrize("kind", ["jigsaw", "frame_order"])
def test_links_lead_nowhere_outside_of_the_folder(folder, tmp_path, kind):
    (tmp_path / "linked.png").symlink_to(folder / "photos" / "picture_0.png")
    (tmp_path / "clip").symlink_to(folder / "clip")
    with pytest.raises(BadSample, match="leaves the media folder"):
        opened(tmp_path, puzzles=[kind])[0]


def test_rows_are_written_as_plain_values(folder):
    sample = opened(folder, puzzles=KINDS)[2]
    assert json.loads(json.dumps(sample.target)) == sample.target
