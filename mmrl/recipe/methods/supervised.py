"""Maximum likelihood: on demonstrations, on an expert's labels, on the policy's own successes."""

from __future__ import annotations

from mmrl.recipe.methods.entry import Method
from mmrl.recipe.methods.streams import RL, SFT

SUPERVISED: dict[str, Method] = {
    "sft": Method(
        source="maximum likelihood on demonstrations, mean over the tokens of the whole optimizer step",
        objective={"rollouts": False, "demonstrations": True, "streams": {"demo": SFT}},
    ),
    "dft": Method(
        source="DFT, arXiv 2508.05629",
        objective={
            "rollouts": False,
            "demonstrations": True,
            "streams": {"demo": {**SFT, "coefficient": {"kind": "dft"}}},
        },
        notes="each token weighs by its own probability, not differentiated; its authors warn of it outside of "
        "mathematics and code",
    ),
    "f_alpha": Method(
        source="the family (1 - p^alpha) / alpha of arXiv 2510.00526, from a digest of the paper",
        objective={
            "rollouts": False,
            "demonstrations": True,
            "streams": {"demo": {**SFT, "coefficient": {"kind": "f_alpha", "alpha": 0.5}}},
        },
        notes="alpha near 0 is sft, 1 is dft; strong prior: near 1, new domain: near 0. The default lies between",
    ),
    "filtered_bc": Method(
        source="filtered behaviour cloning: maximum likelihood on the policy's own successes",
        objective={
            "streams": {"rl": {**RL, "coefficient": {"kind": "one"}, "normalise": "token"}},
            "advantage": {"baseline": "none", "scale": "none", "of": "accuracy"},
        },
        notes="an answer or episode weighs by its accuracy: 1 for a success, 0 for a failure. The mean is over the "
        "units of all that was sampled, failures too: the gradient is that of cloning the successes alone, times their "
        "share of the units, so that it is small where few succeed (AdamW evens out most of that, optim.clip_norm does "
        "not)",
    ),
    "dagger": Method(
        source="DAgger, arXiv 1011.0686, by the simulator's expert; with takeover as HG-DAgger, arXiv 1810.02890",
        objective={
            "rollouts": False,
            "demonstrations": True,
            "relabel": {},
            "streams": {"demo": SFT},
        },
        notes="for episodes of one action per decision",
    ),
}
