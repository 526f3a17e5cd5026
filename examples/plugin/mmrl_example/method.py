"""A method: settings of the objective under a name, this package's own parts among them."""

from mmrl.recipe.methods import Method

RANKED = Method(
    source="GRPO with ranks for advantages; an example",
    objective={
        "streams": {
            "rl": {
                "from": "rollouts",
                "terms": ["kl", "entropy", "mismatch"],
                "coefficient": {"kind": "example_squash"},
                "normalise": "sequence",
            }
        },
        "advantage": {"kind": "example_rank"},
    },
)
