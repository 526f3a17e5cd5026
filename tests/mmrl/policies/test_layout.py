"""Which layout a pass takes: rows side by side where no two answers share a prompt and little is padded."""

import pytest
import torch

from mmrl.policies import layout


def laid_out(prompts, index, lengths, packing):
    ids = [torch.arange(1, size + 1) for size in prompts]
    positions = [torch.arange(size).expand(3, -1) for size in prompts]
    tokens_RU = torch.arange(100, 100 + max(lengths)).expand(len(lengths), -1)
    return layout.build(ids, positions, index, tokens_RU, lengths, packing)


@pytest.mark.parametrize(
    ("prompts", "index", "lengths", "side_by_side"),
    [
        ([20, 20, 20], [0, 1, 2], [3, 3, 3], True),
        ([20, 19, 20], [0, 1, 2], [3, 3, 2], True),
        ([20, 5, 20], [0, 1, 2], [3, 3, 3], False),
        ([20, 20], [0, 0, 1], [3, 3, 3], False),
        ([20], [0], [3], True),
    ],
    ids=["alike", "nearly", "padded", "shared", "one"],
)
def test_answers_to_prompts_of_their_own_lie_side_by_side(prompts, index, lengths, side_by_side):
    grouped, rows = (laid_out(prompts, index, lengths, packing) for packing in ("group", "row"))
    units = [[lengths[row] for row, prompt in enumerate(index) if prompt == p] for p in range(len(prompts))]
    assert grouped.input_ids_BT.numel() == layout.size(prompts, units, "group")
    assert rows.input_ids_BT.numel() == layout.size(prompts, units, "row")
    assert (grouped.plan is None) == side_by_side
    if side_by_side:
        assert torch.equal(grouped.input_ids_BT, rows.input_ids_BT)
        assert torch.equal(grouped.position_ids_3BT, rows.position_ids_3BT)
        assert torch.equal(grouped.gather_N, rows.gather_N)
    else:
        assert len(grouped.input_ids_BT) == 1
        assert len(grouped.input_ids_BT[0]) == sum(grouped.lengths), "nothing is padded"


def test_each_row_is_a_sequence_of_its_own_or_each_prompt():
    assert layout.sequences([0, 0, 1], "row") == [(0, [0]), (0, [1]), (1, [2])]
    assert layout.sequences([0, 0, 1], "group") == [(0, [0, 1]), (1, [2])]


def test_rows_of_one_prompt_do_not_see_each_other():
    """Two answers to one prompt and one to another, each behind its own copy: what flash attention is causal over.

    The last unit of each answer is predicted and no input.
    """
    prompts = [torch.tensor([11, 12, 13]), torch.tensor([21, 22])]
    positions = [torch.arange(3).expand(3, -1), torch.arange(2).expand(3, -1)]
    answers = torch.tensor([[1, 2, 3], [4, 5, 0], [6, 0, 0]])
    rows = layout.build(prompts, positions, [0, 0, 1], answers, [3, 2, 1], "row")
    assert rows.input_ids_BT.tolist() == [[11, 12, 13, 1, 2], [11, 12, 13, 4, 0], [21, 22, 0, 0, 0]]
    assert rows.position_ids_3BT.tolist() == [[[0, 1, 2, 3, 4]] * 3] * 3
    assert (rows.prompts, rows.lengths, rows.plan) == ((0, 0, 1), (5, 4, 2), None)
    # Behind 13, 1 and 2 in the first row, 13 and 4 in the second, 22 in the third.
    assert rows.gather_N.tolist() == [2, 3, 4, 7, 8, 11]
