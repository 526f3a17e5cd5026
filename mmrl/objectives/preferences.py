"""Coefficients that compare the answers to one prompt: each row's factor depends on other rows of the optimizer step.

`prepare` makes them of log-probs scored before the first micro-batch; they hold the advantage, or the sign, already.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mmrl.objectives.coefficients import Units
from mmrl.objectives.seen import Seen
from mmrl.recipe import coefficients as settings
from mmrl.recipe.companions import REFERENCE


def given(units: Units, own: settings.CoefficientSettings) -> Tensor:
    """The factor that `prepare` gave each row, at each of its units."""
    return units.prepared(own)[:, :1].expand_as(units.log_probs_RU)


def compare(rows: Sequence[Seen], own: settings.Preference) -> list[Tensor]:
    """-dL/dh of each group's best answer and dL/dh of its worst, over units where `mean`; 0 of every other.

    A group whose advantages are all equal prefers nothing.
    """
    pull: dict[int, float] = {}
    for members in _by_group(rows).values():
        score = {t: float(_advantage(seen[0])) for t, seen in members.items()}
        best, worst = max(score, key=score.__getitem__), min(score, key=score.__getitem__)
        if score[best] == score[worst]:
            continue
        margin = _gain(members[best], own.to, own.mean) - _gain(members[worst], own.to, own.mean)
        slope = _slope(margin, own)
        for trajectory, sign in ((best, 1.0), (worst, -1.0)):
            units = max(1, sum(row.units for row in members[trajectory]))
            pull[trajectory] = sign * float(slope) / (units if own.mean else 1)
    return [row.log_probs_U.new_tensor([pull.get(row.trajectory, 0.0)]) for row in rows]


def judge(rows: Sequence[Seen], own: settings.BCO) -> list[Tensor]:
    """beta sigmoid(d - beta g) of answers with A > 0 and -beta sigmoid(beta g - d) of others, d the mean of beta g."""
    answers = {t: seen for members in _by_group(rows).values() for t, seen in members.items()}
    earned = {t: own.beta * _gain(seen, own.to) for t, seen in answers.items()}
    middle = torch.stack(list(earned.values())).mean()
    pull = {
        t: float(own.beta * torch.sigmoid(sign * (middle - earned[t])) * sign)
        for t, seen in answers.items()
        for sign in (1.0 if float(_advantage(seen[0])) > 0 else -1.0,)
    }
    return [row.log_probs_U.new_tensor([pull[row.trajectory]]) for row in rows]


def contrast(rows: Sequence[Seen], own: settings.CoPG) -> list[Tensor]:
    """2 / (n - 1) x (R_i - mean R) over each group of n, R = A - beta g; 0 in a group of one."""
    pull: dict[int, float] = {}
    for members in _by_group(rows).values():
        regularised = torch.stack([_advantage(seen[0]) - own.beta * _gain(seen, own.to) for seen in members.values()])
        centred = 2 * (regularised - regularised.mean()) / max(1, len(members) - 1)
        pull |= dict(zip(members, centred.tolist(), strict=True))
    return [row.log_probs_U.new_tensor([pull[row.trajectory]]) for row in rows]


def anchor(rows: Sequence[Seen], own: settings.ADPO) -> list[Tensor]:
    """(q - p) / tau with p = softmax((s - s_old) / tau), q = softmax(A / beta) over each group."""
    pull: dict[int, float] = {}
    for members in _by_group(rows).values():
        moved = torch.stack([_moved(seen) for seen in members.values()])
        wanted = torch.stack([_advantage(seen[0]) for seen in members.values()])
        p, q = (moved / own.tau).softmax(0), (wanted / own.beta).softmax(0)
        pull |= dict(zip(members, ((q - p) / own.tau).tolist(), strict=True))
    return [row.log_probs_U.new_tensor([pull[row.trajectory]]) for row in rows]


def _by_group(rows: Sequence[Seen]) -> Mapping[int, dict[int, list[Seen]]]:
    """Group -> trajectory -> its rows; the first of several best answers is then the same in any order of the rows."""
    groups: dict[int, dict[int, list[Seen]]] = {}
    for row in sorted(rows, key=lambda row: row.trajectory):
        groups.setdefault(row.group, {}).setdefault(row.trajectory, []).append(row)
    return groups


def _advantage(row: Seen) -> Tensor:
    return torch.as_tensor(row.advantage, dtype=torch.float64).mean()


def _gain(rows: Sequence[Seen], to: str, mean: bool = False) -> Tensor:
    """log pi - log ref of an answer, a sum or a mean over its units, float64; ref the policy of the name `to`."""
    gains = [row.log_probs_U.double() - _held_to(row, to).double() for row in rows]
    total = torch.cat(gains).sum()
    return total / max(1, sum(row.units for row in rows)) if mean else total


def _held_to(row: Seen, to: str) -> Tensor:
    log_probs = row.reference_U if to == REFERENCE else row.companions.get(to)
    if log_probs is None:
        raise ValueError(f"a preference was not scored by '{to}'")
    return log_probs


def _moved(rows: Sequence[Seen]) -> Tensor:
    """log pi - log pi_old of an answer, float64."""
    return torch.cat([row.log_probs_U.double() - row.old_U.double() for row in rows]).sum()


def _slope(margin: Tensor, own: settings.Preference) -> Tensor:
    """-dL/dh."""
    if own.loss == "square":
        return -2 * (margin - 1 / (2 * own.beta))
    if own.loss == "hinge":
        return own.beta * (own.beta * margin < 1).double()
    right = own.beta * torch.sigmoid(-own.beta * margin)
    wrong = own.beta * torch.sigmoid(own.beta * margin)
    return (1 - own.smoothing) * right - own.smoothing * wrong
