"""Ordered choices without replacement: the Plackett-Luce distribution over scores.

Each choice is a softmax over what is left, so an ordered sample's log-prob is the sum of its choices':

    log p(i_1 ... i_k) = sum_u ( s_{i_u} - log sum_{j not in i_1 .. i_{u-1}} exp s_j )

The k largest of scores with Gumbel noise, largest first, are such a sample (Kool et al., arXiv 1903.06059).
"""

from __future__ import annotations

import torch
from torch import Tensor


def gumbel_top_k(scores_N: Tensor, k: int, n: int, generator: torch.Generator) -> Tensor:
    """int64 [n, k]: n ordered samples of k different indices."""
    uniform_nN = torch.rand(n, len(scores_N), generator=generator, device=scores_N.device, dtype=torch.float64)
    # rand may give 0, whose noise would be -inf.
    noise_nN = -(-uniform_nN.clamp(min=torch.finfo(torch.float64).tiny).log()).log()
    return (scores_N.double() + noise_nN).topk(k, dim=-1).indices


def choices(scores_RN: Tensor, order_RU: Tensor) -> Tensor:
    """[R, U, N]: log-probs of every index at each choice; -inf on those that were chosen before.

    Args:
        scores_RN: -inf where a row has fewer than N.
        order_RU: int64, the indices chosen.
    """
    chosen_RUN = torch.nn.functional.one_hot(order_RU, scores_RN.shape[-1])
    before_RUN = (chosen_RUN.cumsum(1) - chosen_RUN).bool()
    return scores_RN[:, None, :].masked_fill(before_RUN, -torch.inf).log_softmax(-1)


def order_log_probs(choices_RUN: Tensor, order_RU: Tensor) -> Tensor:
    """[R, U]: the log-prob of each choice made."""
    return choices_RUN.gather(-1, order_RU[..., None]).squeeze(-1)


def entropies(choices_RUN: Tensor) -> Tensor:
    """[R, U]: the entropy of each choice in nats."""
    finite = choices_RUN.masked_fill(choices_RUN.isneginf(), 0.0)
    return -(choices_RUN.exp() * finite).sum(-1)
