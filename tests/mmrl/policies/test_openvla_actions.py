"""Actions as tokens, and the statistics that they are normalised with."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mmrl.contracts.errors import CheckpointError, ConfigError
from mmrl.policies.openvla.action_tokens import ActionTokens
from mmrl.policies.statistics import Bounds, bounds, choose, read_statistics
from tests.support.openvla import load

VOCABULARY, BINS = 32000, 256


def tokens(low=(-1.0,), high=(1.0,), mask=None, **kwargs) -> ActionTokens:
    low, high = (torch.tensor(x, dtype=torch.float64) for x in (low, high))
    mask = torch.ones(len(low), dtype=torch.bool) if mask is None else torch.tensor(mask)
    return ActionTokens(VOCABULARY, BINS, Bounds(low, high, mask), **kwargs)


def published_ids(normalised: np.ndarray) -> np.ndarray:
    """OpenVLA's action tokenizer in numpy."""
    return VOCABULARY - np.digitize(np.clip(normalised, -1.0, 1.0), np.linspace(-1, 1, BINS))


def published_values(ids: np.ndarray) -> np.ndarray:
    """OpenVLA's decoding in numpy."""
    edges = np.linspace(-1, 1, BINS)
    centres = (edges[:-1] + edges[1:]) / 2.0
    return centres[np.clip(VOCABULARY - ids - 1, 0, len(centres) - 1)]


@given(arrays(np.float64, (5, 2, 3), elements=st.floats(-1.5, 1.5)))
def test_tokens_equal_numpy_s_digitize_and_read_back_within_a_bin(values):
    mapping = tokens((-1.0,) * 3, (1.0,) * 3)
    ids = mapping.encode(torch.from_numpy(values))
    # 1e-8 in the normalisation's denominator may move a value that lies on an edge by one bin.
    assert np.abs(ids.numpy() - published_ids(values).reshape(5, 6)).max() <= 1
    actions = mapping.decode(ids)
    assert actions.shape == (5, 2, 3)
    assert actions.dtype == torch.float32
    np.testing.assert_allclose(actions.numpy(), published_values(ids.numpy()).reshape(5, 2, 3), atol=1e-7)
    assert np.abs(actions.numpy() - np.clip(values, -1, 1)).max() <= 1 / 255 + 1e-6


def test_the_ends_of_the_range_have_ids_of_their_own():
    """digitize counts -1 into the first bin; counted below it, it would get the id of the padding token."""
    edges = tokens(mask=(False,)).encode(torch.tensor([[[-1.0], [1.0], [-7.0], [7.0]]]))
    assert edges.tolist() == [[31999, 31744, 31999, 31744]]
    assert tokens().encode(torch.tensor([[[-1.0]]])).item() == 31999


def test_every_id_reads_back_as_itself_but_the_two_that_share_a_centre():
    mapping = tokens()
    ids = torch.arange(VOCABULARY - BINS, VOCABULARY)[:, None]
    again = mapping.encode(mapping.decode(ids))
    assert ids[0] == 31744
    assert again[0] == 31745
    assert torch.equal(again[1:], ids[1:])
    assert float(mapping.decode(ids[:1])) == float(mapping.decode(ids[1:2]))
    assert mapping.decode(ids).squeeze().diff().le(0).all(), "higher ids are lower values"


def test_quantiles_and_mask_restore_the_robot_s_units():
    low, high, mask = np.array([-0.2, 0.0, 0.0]), np.array([0.6, 3.0, 1.0]), np.array([True, True, False])
    mapping = tokens(low, high, mask)
    ids = torch.tensor([[31750, 31900, 31999], [31999, 31745, 31744]])
    values = published_values(ids.numpy())
    expected = np.where(mask, 0.5 * (values + 1) * (high - low) + low, values)
    np.testing.assert_allclose(mapping.decode(ids)[:, 0].numpy(), expected, atol=1e-7)
    inside = torch.tensor([[[0.1, 1.0, 1.0]], [[-0.2, 3.0, 0.0]]])
    near = mapping.decode(mapping.encode(inside))
    assert ((near - inside).abs() <= torch.tensor([0.8, 3.0, 2.0]) / 255 + 1e-6).all()
    beyond = mapping.decode(mapping.encode(torch.tensor([[[-9.0, 9.0, 9.0]]])))
    assert torch.allclose(beyond, torch.tensor([[[-0.2, 3.0, 1.0]]]), atol=0.01)


def test_libero_s_gripper_is_turned_round():
    """Demonstrations: 0 closed, 1 open; the simulator: 1 close, -1 open (published: -sign(2 g - 1))."""
    mapping = tokens((-1.0, 0.0), (1.0, 1.0), (True, False), gripper="zero_one_open")
    ids = torch.arange(VOCABULARY - BINS, VOCABULARY)
    pairs = torch.stack([ids, ids], 1)
    opened = published_values(ids.numpy()) > 0.5
    np.testing.assert_array_equal(mapping.decode(pairs)[:, 0, 1].numpy(), np.where(opened, -1.0, 1.0))
    commands = torch.tensor([[[0.3, -1.0]], [[0.3, 1.0]]])
    assert torch.equal(mapping.decode(mapping.encode(commands))[..., 1], commands[..., 1])


def test_a_dimension_that_never_moved_stays_finite():
    mapping = tokens((0.5,), (0.5,))
    assert torch.allclose(mapping.decode(mapping.encode(torch.tensor([[[0.5]]]))), torch.tensor(0.5))


def test_another_number_of_dimensions_is_refused_with_a_cure(tiny_qwen):
    policy = load(tiny_qwen("openvla"), awake=False)
    for call in (
        lambda: policy.units_per_action(7),
        lambda: policy.actions(torch.full((1, 7), 800), 7),
        lambda: policy.action_units(torch.zeros(1, 2, 7)),
    ):
        with pytest.raises(ConfigError, match=r"7 dimensions and the policy's .* 3; set policy\.params\.statistics"):
            call()
    assert policy.units_per_action(3) == 3


def test_statistics_are_chosen_or_asked_for():
    two = {"bridge": {}, "libero_goal_no_noops": {}}
    assert choose({"bridge": {}}, None) == "bridge"
    assert choose(two, "libero_goal") == "libero_goal_no_noops"
    for statistics, key, text in (
        ({}, None, r"no normalisation statistics .* recorded demonstrations do so"),
        (two, None, r"policy\.params\.statistics is unset.*bridge, libero_goal_no_noops"),
        (two, "bridg", r"policy\.params\.statistics: unknown dataset 'bridg'\. Did you mean 'bridge'\?"),
    ):
        with pytest.raises(ConfigError, match=text) as error:
            choose(statistics, key)
        assert "\n" not in str(error.value)


def test_incomplete_statistics_are_refused():
    for entry, text in (
        ({}, "q01 and q99 are missing"),
        ({"action": {"q01": [0.0]}}, "q01 and q99 are missing"),
        ({"action": {"q01": [0.0], "q99": [1.0, 2.0]}}, "have 1, 2 and 1 values"),
        ({"action": {"q01": [0.0], "q99": [1.0], "mask": [True, False]}}, "have 1, 1 and 2 values"),
    ):
        with pytest.raises(ConfigError, match=text):
            bounds({"d": entry}, "d", "action")


def test_the_file_beside_the_checkpoint_wins(tmp_path):
    (tmp_path / "dataset_statistics.json").write_text(json.dumps({"a": 2, "c": 3}))
    assert read_statistics({"a": 1, "b": 1}, tmp_path) == {"a": 2, "b": 1, "c": 3}
    (tmp_path / "dataset_statistics.json").write_text("{")
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_statistics({}, tmp_path)
    assert read_statistics(None, tmp_path / "none") == {}


@pytest.mark.slow
def test_statistics_from_demonstrations_change_actions_and_are_saved(tiny_qwen, tmp_path):
    policy = load(tiny_qwen("openvla"), awake=False, params={"statistics": "mine"})
    with pytest.raises(ConfigError, match="unknown dataset 'mine'"):
        policy.units_per_action(3)
    entry = {"action": {"q01": [0.0, -2.0, 0.0], "q99": [1.0, 2.0, 4.0], "mask": [True, True, True]}}
    policy.set_statistics("mine", entry)
    ids = torch.tensor([[700, 800, 895]])
    expected = policy.actions(ids, 3)
    assert float(expected[0, 0, 2]) < 0.02
    policy.save_pretrained(tmp_path / "model")
    again = load(tmp_path / "model", awake=False)
    assert again.statistics["mine"] == entry
    assert torch.equal(again.actions(ids, 3), expected), "the choice is saved with the statistics"
    with pytest.raises(ConfigError, match="q01 and q99"):
        policy.set_statistics("worse", {"action": {}})
