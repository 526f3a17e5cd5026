"""Short training runs of a tiny policy, and what two runs that should be one and the same are compared by."""

import json

from mmrl.tracking.metrics import is_wall_clock


def recipe(model, output, name="run", **settings):
    """A recipe of 6 quick steps; `settings` are merged into its top level."""
    return {
        "name": name,
        "output": str(output),
        "threads": 1,
        "seed": 3,
        "method": "grpo",
        "steps": 6,
        "prompts": 2,
        "demonstrations": 2,
        "micro_tokens": 300,
        "policy": {"path": str(model), "device": "cpu"},
        "data": {
            "train": [{"type": "digits", "tasks": ["classification", "ocr", "counting"], "size": 24}],
            "eval": [{"type": "digits", "split": "test", "tasks": ["classification"], "size": 4}],
        },
        "rewards": [{"name": "tests.support.runs:reward"}],
        "rollout": {"n": 4, "max_new_tokens": 6},
        "optim": {"lr": 3e-3, "schedule": "cosine", "warmup": 2},
        "evaluation": {"every": 3, "sampling": {"temperature": 0.0, "max_new_tokens": 4}},
        "tracking": {"console": "none", "tensorboard": False},
        **settings,
    }


def reward(text, sample):
    """Graded, so that groups of random answers have advantages."""
    return (sum(map(ord, text)) % 7) / 7


def metrics(folder):
    """metrics.jsonl without what the wall clock decides."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if not is_wall_clock(key)} for line in lines]


def last_checkpoint(folder):
    """The newest checkpoint of a run."""
    return max((folder / "checkpoints").glob("step_*"))


def assert_same_run(one, other):
    """Figures equal, value for value; every file of the last checkpoint equal, byte for byte."""
    assert metrics(one) == metrics(other)
    a, b = last_checkpoint(one), last_checkpoint(other)
    assert a.name == b.name
    files = [sorted(path.relative_to(top) for path in top.rglob("*") if path.is_file()) for top in (a, b)]
    assert files[0] == files[1]
    for part in files[0]:
        assert (a / part).read_bytes() == (b / part).read_bytes(), part


def abstains(text, sample):
    """A reward that never applies."""
    return


def half(text, sample):
    """The same for every answer."""
    return 0.5


CALLS: dict = {"n": 0, "fails_at": None}


def fragile(text, sample):
    """As `reward`, until its n-th call."""
    CALLS["n"] += 1
    if CALLS["n"] == CALLS["fails_at"]:
        raise KeyError("the server is gone")
    return reward(text, sample)
