"""Rows that an engine decodes: draws by the request's seed, and spans of what was sampled."""

import pytest
import torch

from mmrl.contracts.engine import Request
from mmrl.contracts.types import Span
from mmrl.engines.hf import HFEngine
from mmrl.engines.rows import Rows
from mmrl.recipe.engines import HFSettings


def test_draws_of_a_request_are_those_of_its_seed_whatever_stands_beside_it():
    requests = [Request(None, 2, seed=seed) for seed in (0, 1, 7)]
    rows = Rows(requests, 4, "cpu")
    drawn = rows.draws(torch.arange(6))
    for i, seed in enumerate((0, 1, 7)):
        own = torch.rand(2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        assert drawn[2 * i : 2 * i + 2].tolist() == own[:, 0].tolist()
    assert Rows([Request(None, 2)], 4, "cpu").draws(torch.arange(2)) is None


@pytest.mark.parametrize(("prefix", "units", "spans"), [(0, 3, ((0, 3),)), (2, 3, ((2, 3),)), (3, 3, ()), (0, 0, ())])
def test_nothing_sampled_has_no_version(prefix, units, spans):
    engine = HFEngine(HFSettings(), "right")
    engine.version = 5
    assert engine.spans(prefix, units) == tuple(Span(5, *span) for span in spans)
