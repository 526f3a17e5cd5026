"""Trains with a reward of your own. Runs on a CPU in under a minute: `python examples/custom_reward.py [FOLDER]`."""

import sys
from pathlib import Path

from mmrl import Sample, load_recipe, train
from mmrl.policies.tiny import write_tiny


def right_or_at_least_digits(completion: str, sample: Sample) -> dict[str, float]:
    """The right digit earns most; what consists of digits earns something, so that a random model finds the way.

    A reward takes the sampled text and the sample it answers. It returns a number, or a mapping: `reward` is what is
    maximised, `accuracy` what evaluation reports, and every other entry is logged as a part of the reward.
    """
    text = completion.strip()
    right = float(text == str(sample.target["answer"]))
    digits = sum(character.isdigit() for character in text) / max(1, len(text))
    return {"reward": 0.7 * right + 0.3 * digits, "accuracy": right, "digits": digits}


def main(folder: Path) -> None:
    """Writes a tiny random checkpoint into `folder` and trains it there."""
    checkpoint = folder / "tiny"
    if not checkpoint.exists():
        write_tiny("qwen2_5_vl", checkpoint)
    recipe = load_recipe(
        {
            "name": "custom_reward",
            "output": str(folder),
            "resume": "auto",
            "policy": {"path": str(checkpoint)},
            "data": {
                "train": [{"type": "digits", "tasks": ["classification"]}],
                "eval": [{"type": "digits", "tasks": ["classification"], "split": "test", "size": 32}],
            },
            "method": "grpo",
            "steps": 40,
            "prompts": 4,
            "rollout": {"n": 8, "max_new_tokens": 4},
            "optim": {"lr": 1e-3},
            "evaluation": {"sampling": {"temperature": 0.0, "max_new_tokens": 4}},
            "tracking": {"console": "plain"},
        }
    )
    outcome = train(recipe, reward=right_or_at_least_digits)
    print(f"reward and digits over the steps: {outcome.folder / 'report.html'}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs"))
