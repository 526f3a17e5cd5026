"""Boxes in every family's convention, and the size of the image that the model sees."""

from dataclasses import replace

import pytest
from PIL import Image

from mmrl.contracts.errors import BadSample
from mmrl.contracts.types import Sample
from mmrl.policies.qwen_vl.policy import COORDINATES
from tests.support.policy import ALL_FAMILIES, load

# One box over a 200 x 100 image, in each way that a dataset may write it.
BOXES = {"pixel": [20, 10, 100, 50], "norm1000": [100, 100, 500, 500], "norm1": [0.1, 0.1, 0.5, 0.5]}


def sample_of(coordinates, size=(200, 100), target=None, demonstration=None):
    content = [{"type": "image"}, {"type": "text", "text": "Where is it?"}]
    box = BOXES[coordinates]
    return Sample(
        "s",
        ({"role": "user", "content": content},),
        "grounding",
        target if target is not None else {"box": box, "label": "7"},
        images=(Image.new("RGB", size, (200, 30, 30)),),
        demonstration=f"It is at {box}." if demonstration is None else demonstration,
        coordinates=coordinates,
    )


def local(policy, sample):
    prompt = policy.prepare([sample])[0]
    return policy.localise(sample, prompt), prompt


@pytest.mark.slow
@pytest.mark.parametrize("family", ALL_FAMILIES)
@pytest.mark.parametrize("coordinates", BOXES)
def test_boxes_arrive_in_the_familys_convention(tiny_qwen, family, coordinates):
    policy = load(tiny_qwen(family))
    result, prompt = local(policy, sample_of(coordinates))
    (width, height) = prompt.resized[0]
    side = 28 if family in ("qwen2_vl", "qwen2_5_vl") else 32
    assert (width, height) == (round(200 / side) * side, round(100 / side) * side)
    if family == "qwen2_5_vl":
        expected = [round(v * s) for v, s in zip(BOXES["norm1"], (width, height) * 2)]
        assert result.coordinates == f"{width}x{height}"
    else:
        expected = [100, 100, 500, 500]
        assert result.coordinates == "norm1000"
    assert result.target == {"box": expected, "label": "7"}
    assert result.demonstration == f"It is at {expected}."


def test_every_family_declares_its_convention():
    """Qwen2-VL and Qwen3-VL were trained on 0..1000, Qwen2.5-VL on pixels of the resized image."""
    assert COORDINATES == {
        "qwen2_vl": "norm1000",
        "qwen2_5_vl": "resized_pixel",
        "qwen3_vl": "norm1000",
        "qwen3_vl_moe": "norm1000",
    }


def test_nothing_changes_where_the_sizes_agree(tiny_qwen):
    policy = load(tiny_qwen("qwen2_5_vl"))
    sample = sample_of("pixel", size=(112, 56), demonstration="[1.5, 2, 3, 4] and 5")
    result, prompt = local(policy, sample)
    assert prompt.resized == ((112, 56),) == prompt.image_sizes
    assert result == replace(sample, coordinates="112x56")
    same = sample_of("norm1000")
    assert local(load(tiny_qwen("qwen3_vl")), same)[0] == replace(same, coordinates="norm1000")


def test_lists_of_boxes_keep_their_labels_and_order(tiny_qwen):
    policy = load(tiny_qwen("qwen3_vl"))
    target = {"boxes": [{"box": [0, 0, 200, 100], "label": "a"}, {"box": [20, 10, 40, 20], "label": "b"}], "other": 3}
    text = '[{"bbox": [0, 0, 200, 100]}, {"bbox": [20.0,10, 40 , 20]}] 12 [1, 2, 3] [1, 2, 3, 4, 5]'
    result, _ = local(policy, sample_of("pixel", target=target, demonstration=text))
    boxes = [{"box": [0, 0, 1000, 1000], "label": "a"}, {"box": [100, 100, 200, 200], "label": "b"}]
    assert result.target == {"boxes": boxes, "other": 3}
    assert result.demonstration == (
        '[{"bbox": [0, 0, 1000, 1000]}, {"bbox": [100, 100, 200, 200]}] 12 [1, 2, 3] [1, 2, 3, 4, 5]'
    )
    plain, _ = local(policy, sample_of("pixel", target={"boxes": [[20, 10, 40, 20]]}))
    assert plain.target == {"boxes": [[100, 100, 200, 200]]}


def test_a_target_without_boxes_and_its_demonstration_stay_as_they_are(tiny_qwen):
    policy = load(tiny_qwen("qwen3_vl"))
    sample = sample_of("pixel", target={"text": "[1, 2, 3, 4]"}, demonstration="[1, 2, 3, 4]")
    assert local(policy, sample)[0] == sample


def test_the_target_says_which_image_its_boxes_are_on(tiny_qwen):
    policy = load(tiny_qwen("qwen2_vl"))
    base = sample_of("pixel", target={"box": [28, 28, 56, 56], "image": 1})
    content = [{"type": "image"}, {"type": "image"}, {"type": "text", "text": "Where?"}]
    images = (Image.new("RGB", (112, 112)), Image.new("RGB", (280, 56)))
    sample = replace(base, messages=({"role": "user", "content": content},), images=images)
    assert local(policy, sample)[0].target["box"] == [100, 500, 200, 1000]


@pytest.mark.parametrize(
    ("budget", "resized"),
    [({}, (560, 280)), ({"max_pixels": 40_000}, (280, 140)), ({"min_pixels": 400_000}, (896, 448))],
)
def test_the_pixel_budget_sets_what_the_model_sees(tiny_qwen, budget, resized):
    policy = load(tiny_qwen("qwen2_5_vl"), image=budget)
    sample = sample_of("pixel", size=(560, 280), target={"box": [56, 28, 280, 140]})
    result, prompt = local(policy, sample)
    assert prompt.resized == (resized,)
    assert prompt.image_sizes == ((560, 280),)
    merged = resized[0] // 28 * (resized[1] // 28)
    assert int((prompt.input_ids == policy.module.config.image_token_id).sum()) == merged
    assert len(prompt.pixel_values) == 4 * merged
    scale = resized[0] / 560
    assert result.target["box"] == [round(v * scale) for v in (56, 28, 280, 140)]
    assert local(load(tiny_qwen("qwen2_vl"), image=budget), sample)[0].target["box"] == [100, 100, 500, 500]


def test_boxes_that_cannot_be_placed_are_bad_samples(tiny_qwen):
    policy = load(tiny_qwen("qwen2_5_vl"))
    with pytest.raises(BadSample, match="boxes are on image 1 of 1"):
        local(policy, sample_of("pixel", target={"box": [1, 2, 3, 4], "image": 1}))
    with pytest.raises(BadSample, match=r"unknown coordinates 'norm100'.*Did you mean 'norm1000'"):
        local(policy, replace(sample_of("norm1000"), coordinates="norm100"))


def test_a_box_that_is_none_is_a_bad_sample(tiny_qwen):
    policy = load(tiny_qwen("qwen3_vl"))
    with pytest.raises(BadSample, match=r"the target's 'box' is \[1, 2, 3, 4\], not \[x1, y1, x2, y2\]"):
        local(policy, sample_of("pixel", target={"box": "[1, 2, 3, 4]"}))
