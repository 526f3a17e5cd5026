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
    "asft": Method(
        source="ASFT, arXiv 2509.23753, with the weight 0.05 of its README",
        objective={
            "rollouts": False,
            "demonstrations": True,
            "streams": {"demo": {**SFT, "coefficient": {"kind": "dft"}}},
            "auxiliary_terms": {"divergence": {"to": "reference", "form": "forward", "weight": 0.05}},
        },
        notes="dft plus 0.05 x KL(pi_ref || pi) over the whole vocabulary, mean over tokens; the reference is the "
        "policy at the start of the stage. The default of its code is 0.1. It costs a forward pass of the reference",
    ),
    "pear": Method(
        source="PEAR, arXiv 2602.01058, from a port of its code",
        objective={
            "rollouts": False,
            "demonstrations": True,
            "streams": {"demo": {**SFT, "coefficient": {"kind": "pear", "to": "behaviour"}}},
        },
        notes="each token weighs by the product of pi / pi_b over the tokens behind it. Needs companions: {behaviour: "
        "{path: …}}, the model that wrote the demonstrations; streams.demo.coefficient.to: reference where that is the "
        "policy itself. The port counts T over padded answers, here it is the answer's own length",
    ),
    "superhf": Method(
        source="SuperHF, arXiv 2310.16763, as its code has it, with the weight 0.35 of its LLaMA runs",
        objective={
            "streams": {"rl": {**RL, "coefficient": {"kind": "one"}, "normalise": "sequence", "per_prompt": True}},
            "advantage": {"kind": "best"},
            "auxiliary_terms": {"divergence": {"to": "reference", "form": "forward", "weight": 0.35}},
        },
        notes="likelihood of the best of each group of answers, plus 0.35 x KL(pi_ref || pi) over the whole "
        "vocabulary. The KL is a mean over the units of all answers here, there over those of the best; the likelihood "
        "a mean over answers, there over the tokens of a micro-batch",
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
