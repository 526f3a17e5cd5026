"""Pixels and prompts against torchvision's transforms and the published text."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from mmrl.contracts.errors import BadSample, CheckpointError, ConfigError
from mmrl.policies.compat import ensure_torchvision
from mmrl.policies.openvla.processor import ImageTransform, centre_crop
from mmrl.policies.tiny import write_tiny
from tests.support.openvla import load, observation

MEANS, STDS = ([0.485, 0.456, 0.406], [0.5] * 3), ([0.229, 0.224, 0.225], [0.5] * 3)
SIZES = [(56, 56), (97, 61), (31, 200), (224, 224)]


def picture(size, seed=0):
    g = np.random.default_rng(seed)
    return Image.fromarray(g.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def transform(folder, strategy="resize-naive", **extra) -> ImageTransform:
    raw = {
        "image_resize_strategy": strategy,
        "input_sizes": [[3, 56, 56]] * 2,
        "interpolations": ["bicubic", "bicubic"],
        "means": MEANS,
        "stds": STDS,
        **extra,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(raw))
    return ImageTransform.read(folder)


def published(image, strategy, means, stds):
    """The published processor's steps, on torchvision."""
    ensure_torchvision()
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms import functional as tvf

    if strategy == "letterbox":
        longest = max(image.size)
        x, y = (int((longest - edge) / 2) for edge in image.size)
        image = tvf.pad(image, (x, y, x, y), fill=tuple(int(255 * m) for m in MEANS[-1]), padding_mode="constant")
    size = [56, 56] if strategy == "resize-naive" else 56
    channels = []
    for mean, std in zip(means, stds):
        one = tvf.resize(image, size, interpolation=InterpolationMode.BICUBIC, antialias=True)
        one = tvf.to_tensor(tvf.center_crop(one, [56, 56]))
        channels.append(tvf.normalize(one, mean, std))
    return torch.cat(channels)


@pytest.mark.parametrize("strategy", ["resize-naive", "resize-crop", "letterbox"])
def test_pixels_equal_torchvision_s(tmp_path, strategy):
    ours = transform(tmp_path, strategy)
    images = [picture(size, i) for i, size in enumerate(SIZES)]
    pixels = ours.resize(images)
    assert pixels.dtype == torch.uint8
    assert pixels.shape == (len(images), 3, 56, 56)
    found = ours.normalise(pixels)
    for one, image in zip(found, images):
        torch.testing.assert_close(one, published(image, strategy, MEANS, STDS), atol=1e-6, rtol=0)


def test_rounded_values_of_published_files_are_the_ones_applied(tmp_path):
    norms = [
        {"mean": [0.484375, 0.455, 0.40625], "std": [0.2285, 0.2236, 0.2246]},
        {"mean": [0.5] * 3, "std": [0.4] * 3},
    ]
    ours = transform(tmp_path, tvf_normalize_params=norms)
    image = picture((56, 56))
    expected = published(image, "resize-naive", [n["mean"] for n in norms], [n["std"] for n in norms])
    torch.testing.assert_close(ours.normalise(ours.resize([image]))[0], expected, atol=1e-6, rtol=0)


def test_the_centre_crop_samples_as_tensorflow_does():
    """crop_and_resize: row i of n reads y1 (H - 1) + i (y2 - y1) (H - 1) / (n - 1), bilinearly."""
    height = width = 9
    side = 0.9**0.5
    image = np.random.default_rng(1).integers(0, 256, (3, height, width)).astype(np.uint8)
    at = (1 - side) / 2 * (height - 1) + np.arange(height) * side * (height - 1) / (height - 1)
    low = np.floor(at).astype(int).clip(0, height - 2)
    share = at - low
    rows = image[:, low] * (1 - share)[:, None] + image[:, low + 1] * share[:, None]
    both = rows[:, :, low] * (1 - share) + rows[:, :, low + 1] * share
    expected = np.floor(both / 255 * 255.5).clip(0, 255)
    found = centre_crop(torch.from_numpy(image)[None], 0.9)[0].numpy().astype(int)
    assert np.abs(found - expected).max() <= 1, "float32 against float64 at an integer"
    assert (found != expected).mean() < 0.01
    whole = centre_crop(torch.from_numpy(image)[None], 1.0)[0].numpy()
    assert np.abs(whole.astype(int) - np.floor(image / 255 * 255.5)).max() <= 1


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"image_resize_strategy": "stretch"}, "unknown image_resize_strategy 'stretch'"),
        ({"input_sizes": [[3, 56, 56], [3, 84, 84]]}, "backbones with images of other sizes"),
        ({"interpolations": ["bicubic", "bilinear"]}, "resampling"),
        ({"means": 3}, "no OpenVLA preprocessor"),
    ],
)
def test_a_preprocessor_that_cannot_be_followed_is_refused(tmp_path, change, text):
    with pytest.raises(CheckpointError, match=text) as error:
        transform(tmp_path, **change)
    assert "\n" not in str(error.value)


def test_a_folder_without_preprocessor_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"no preprocessor_config\.json"):
        ImageTransform.read(tmp_path)


# --- prompts


def test_the_prompt_is_openvla_s_and_ends_with_the_lone_space(tiny_qwen):
    policy = load(tiny_qwen("openvla"), awake=False)
    (prompt,) = policy.prepare([observation(1)])
    patches = 16
    assert prompt.input_ids[1 : 1 + patches].tolist() == [-1] * patches
    text = torch.cat([prompt.input_ids[:1], prompt.input_ids[1 + patches :]])
    assert (text >= 0).all()
    assert text[0] == policy.tokenizer.bos_token_id
    assert policy.tokenizer.convert_ids_to_tokens(int(text[-1])) == "▁"
    instruction = "push the green block to the blue target zone, then place the other one right of it"
    said = f"In: What action should the robot take to {instruction}?\nOut:"
    assert text[1:-1].tolist() == policy.tokenizer(said, add_special_tokens=False)["input_ids"]
    assert policy.tokenizer.decode(text[1:-1].tolist()) == said
    assert prompt.length == len(text) + patches


def test_the_lone_space_is_appended_once(tiny_qwen):
    from mmrl.policies.openvla.processor import prompt_ids

    class Spaced:
        """A tokenizer whose encoding already ends with the lone space, as of a prompt with a trailing blank."""

        bos_token_id = 1

        def __call__(self, text, add_special_tokens):
            return {"input_ids": [5, 29871]}

        def convert_tokens_to_ids(self, token):
            return {"▁": 29871}[token]

    assert prompt_ids("anything", Spaced()) == [1, 5, 29871]


def test_no_prompt_holds_an_action_token(tiny_qwen):
    policy = load(tiny_qwen("openvla"), awake=False)
    actions = set(policy.allowed_tokens("action").nonzero().squeeze(-1).tolist())
    assert len(actions) == 256
    assert max(actions) == policy.module.config.token_count - 1
    odd = "ärgerlich 北 \x00 ~{}|!"
    for text in ("reach the red block", odd):
        sample = replace(observation(), messages=({"role": "user", "content": text},))
        assert not actions & set(policy.prepare([sample])[0].input_ids.tolist())


def test_samples_that_are_no_observation_are_refused(tiny_qwen):
    policy = load(tiny_qwen("openvla"), awake=False)
    whole = observation()
    with pytest.raises(BadSample, match="no instruction"):
        policy.prepare([replace(whole, messages=({"role": "user", "content": [{"type": "image"}]},))])
    with pytest.raises(ConfigError, match=r"simulators\.table shows no pictures.*set its cameras"):
        policy.prepare([replace(whole, images=(), cameras=())])
    with pytest.raises(BadSample, match="no image"):
        policy.prepare([replace(whole, images=(), cameras=(), simulator=None)])
    with pytest.raises(BadSample, match="only acts"):
        policy.demonstration(replace(whole, demonstration="left"), 8)
    with pytest.raises(ConfigError, match=r"answers no text; use data of type episodes"):
        policy.allowed_tokens(None)
    short = load(tiny_qwen("openvla"), awake=False, max_prompt_tokens=20)
    with pytest.raises(BadSample, match=r"above policy\.max_prompt_tokens 20"):
        short.prepare([whole])


def test_cameras_are_named_where_there_are_several(tiny_qwen):
    two = observation(3, cameras=("top", "wrist"))
    policy = load(tiny_qwen("openvla"), awake=False)
    with pytest.raises(ConfigError, match=r"sees 1 images and the observation has 2 \(top, wrist\)"):
        policy.prepare([two])
    for index, name in enumerate(two.cameras):
        chosen = load(tiny_qwen("openvla"), awake=False, params={"cameras": [name]}).prepare([two])[0]
        assert torch.equal(chosen.pixels, policy.images.resize([two.images[index]]))
    lacking = load(tiny_qwen("openvla"), awake=False, params={"cameras": ["wirst"]})
    with pytest.raises(ConfigError, match=r"unknown camera 'wirst'\. Did you mean 'wrist'\? Allowed: top, wrist"):
        lacking.prepare([two])


def test_larger_images_and_crops_reach_the_policy(tmp_path):
    folder = write_tiny("openvla", tmp_path / "big", size={"image": 84})
    policy = load(folder, awake=False, params={"center_crop": 0.9})
    sample = observation(size=(120, 90))
    (prompt,) = policy.prepare([sample])
    assert prompt.pixels.shape == (1, 3, 84, 84)
    assert int((prompt.input_ids == -1).sum()) == 36
    plain = load(folder, awake=False).prepare([sample])[0]
    assert torch.equal(prompt.pixels, centre_crop(plain.pixels, 0.9))
