"""Budgets of datasets over the policy's: contradictions are refused when the recipe is read, totals are shared."""

import json

import pytest
import yaml
from PIL import Image

from mmrl.cli import main
from mmrl.contracts.errors import BadSample, ConfigError
from mmrl.data.media_reader import MediaReader, image_budget, open_cache
from mmrl.recipe.budgets import PixelBudget, VideoBudget
from mmrl.recipe.data import CacheConfig
from mmrl.recipe.schema import load_recipe
from tests.support.policy import load
from tests.support.videos import video_sample, write_video

POLICY = {"video": {"max_pixels": 50176, "max_frames": 8}, "image": {"max_pixels": 3136}}


def raw(own, key="train", policy=POLICY):
    data = {"train": [{"type": "digits"}], "eval": []}
    data[key] = [{"type": "video_digits", "size": 2}, {"type": "file", "path": "rows.jsonl", **own}]
    return {"name": "x", "policy": {"path": "quickstart", **policy}, "data": data, "method": "sft", "steps": 1}


@pytest.mark.parametrize("key", ["train", "eval"])
@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({"video": {"min_pixels": 100352}}, "video.min_pixels 100352 is above policy.video.max_pixels 50176; allowed: "
         "at most 50176, or set data.{}.1.video.max_pixels too"),
        ({"video": {"min_frames": 10}}, "video.min_frames 10 is above policy.video.max_frames 8; allowed: at most 8"),
        ({"image": {"min_pixels": 5000}}, "image.min_pixels 5000 is above policy.image.max_pixels 3136"),
        ({"video": {"min_frames": 5, "frames": 4}}, "video: frames fixes the number of frames; leave fps"),
        ({"video": {"frames": 4, "all_frames": True}}, "video: frames and all_frames each say which frames are read"),
        ({"video": {"min_pixels": 9, "max_pixels": 4}}, "video: min_pixels 9 is above max_pixels 4"),
        ({"image": {"min_pixels": 9, "total_pixels": 4}}, "image: min_pixels 9 is above total_pixels 4"),
    ],
)  # fmt: skip
def test_a_dataset_that_contradicts_the_policy_is_refused_when_the_recipe_is_read(own, said, key):
    with pytest.raises(ConfigError) as caught:
        load_recipe(raw(own, key))
    assert str(caught.value).startswith(f"data.{key}.1.{said.format(key)}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("own", "policy"),
    [
        ({"video": {"max_pixels": 784}}, {"video": {"min_pixels": 3136}}),
        ({"video": {"max_frames": 2}}, {"video": {"min_frames": 4}}),
        ({"image": {"total_pixels": 784}}, {"image": {"min_pixels": 3136}}),
    ],
)
def test_upper_bounds_below_the_policys_lower_ones_are_refused(own, policy):
    with pytest.raises(
        ConfigError, match=r"data\.train\.1\.\w+\.\w+ \d+ is below policy\.\w+\.min_\w+ \d+; allowed: at"
    ):
        load_recipe(raw(own, policy=policy))


def test_what_replaces_a_bound_does_not_contradict_it():
    for own in ({"min_frames": 10, "max_frames": 12}, {"frames": 20}, {"timestamps": [1.0]}, {"all_frames": True}):
        load_recipe(raw({"video": own}))
    load_recipe(raw({"video": {"max_frames": 2}}, policy={"video": {"frames": 4}}))


@pytest.mark.parametrize("extra", [[], ["--dry-run"]])
def test_the_command_leaves_with_two_and_one_line(workplace, capsys, extra):
    (workplace / "recipe.yaml").write_text(yaml.safe_dump(raw({"video": {"min_pixels": 100352}})))
    assert main(["train", "recipe.yaml", *extra]) == 2
    assert capsys.readouterr().err.startswith("mmrl: error: data.train.1.video.min_pixels 100352 is above")


@pytest.mark.parametrize(
    ("own", "reason"),
    [
        ({"min_pixels": 100352}, "settings of its video: min_pixels 100352 is above max_pixels 50176"),
        ({"min_pixel": 1}, "settings of its video: min_pixel: Extra inputs"),
    ],
)
def test_a_users_own_sample_that_contradicts_the_policy_is_a_bad_sample(tmp_path, own, reason):
    path = write_video(tmp_path / "a.mp4", 1, 8)
    sample = video_sample(path, budgets={"video": own}, dataset="mine", row=3)
    reader = MediaReader(VideoBudget(max_pixels=50176), 28, 2)
    with pytest.raises(BadSample, match=rf"mine row 3 .*{reason}"):
        reader.read(sample)
    assert reader.jobs(sample) == {}


# --- pixels of all images of a sample


@pytest.mark.parametrize(
    ("count", "policy", "own", "most"),
    [
        (1, 100_000, {}, 90_000),
        (4, 100_000, {}, 25_000),
        (4, 100_000, {"total_pixels": 40_000}, 10_000),
        (4, 100_000, {"max_pixels": 20_000}, 20_000),
        (40, 100_000, {}, int(3136 * 1.05)),
        (4, None, {}, 90_000),
    ],
)
def test_a_total_is_shared_by_the_images_of_a_sample(count, policy, own, most):
    sample = video_sample(images=["a.png"] * count, budgets={"image": own})
    size = {"shortest_edge": 3136, "longest_edge": 90_000, "total_pixels": policy}
    assert image_budget(size, sample) == {"shortest_edge": 3136, "longest_edge": most}


def test_totals_reach_the_model_from_policy_and_dataset(tiny_qwen):
    picture, total = Image.new("RGB", (280, 280)), 8 * 28 * 28
    policy = load(tiny_qwen(), image=PixelBudget(min_pixels=784, total_pixels=total))
    for count, own in ((2, {}), (4, {}), (2, {"total_pixels": total // 2})):
        (prompt,) = policy.prepare([video_sample(images=[picture] * count, budgets={"image": own})])
        pixels = sum(width * height for width, height in prompt.resized)
        assert total // 4 <= pixels <= own.get("total_pixels", total)
        assert len(prompt.resized) == count


def test_the_cache_keeps_pictures_from_the_size_that_the_recipe_says(tiny_qwen, tmp_path):
    Image.linear_gradient("L").resize((100, 100)).save(tmp_path / "a.png")
    sample = video_sample(images=[str(tmp_path / "a.png")])
    for pixels, kept in ((10_001, 0), (10_000, 1)):
        policy = load(tiny_qwen())
        config = CacheConfig(folder=str(tmp_path / f"cache{kept}"), image_pixels=pixels)
        policy.videos.cache = open_cache(config)
        policy.prepare([sample])
        assert policy.videos.cache.counts["decoded"] == kept
        assert len(list((tmp_path / f"cache{kept}").glob("*/*.safetensors"))) == kept


def test_a_build_shares_the_total_as_training_does(workplace, capsys):
    """What `mmrl cache build` keeps of several large pictures, training finds."""
    for name, kind in (("a", Image.linear_gradient), ("b", Image.radial_gradient)):
        kind("L").resize((400, 400)).save(workplace / f"{name}.png")
    row = {"prompt": "<image><image>?", "images": ["a.png", "b.png"], "task": "counting", "target": {"count": 1}}
    (workplace / "rows.jsonl").write_text(json.dumps(row))
    made = raw({}) | {"data": {"train": [{"type": "file", "path": "rows.jsonl"}]}}
    made["policy"]["image"] = {"total_pixels": 20_000}
    made["data"]["cache"] = {"folder": "cache", "image_pixels": 1000}
    (workplace / "recipe.yaml").write_text(yaml.safe_dump(made))
    assert main(["cache", "build", "recipe.yaml"]) == 0
    assert "2 large pictures: 2 decoded" in capsys.readouterr().out
    recipe = load_recipe("recipe.yaml")
    from mmrl.data.mixture import open_dataset
    from mmrl.policies.opening import load_policy

    policy = load_policy(recipe.policy)
    policy.videos.cache = open_cache(recipe.data.cache)
    policy.prepare([open_dataset(recipe.data.train[0])[0]])
    assert policy.videos.cache.counts["hits"] == 2
