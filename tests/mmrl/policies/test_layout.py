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
