"""Makes the checkpoint that ships with mmrl, from random weights: `python examples/quickstart_checkpoint.py [OUT]`.

A random Qwen2.5-VL of 1.8 million parameters learns captions (configs/quickstart_checkpoint.yaml), then what the tasks
build on (configs/quickstart_skills.yaml); its weights are stored in bfloat16 after each. About 45 minutes on two cores.
An interrupted run goes on where it stopped.
"""

import sys
from pathlib import Path

import mmrl
from mmrl.policies.tiny import write_tiny

ROOT = Path(__file__).resolve().parents[1]
SIZE = {
    "hidden": 128, "layers": 4, "heads": 4, "kv_heads": 2, "head_dim": 32, "mlp": 384,
    "vision_hidden": 128, "vision_layers": 3, "vision_heads": 4, "vision_mlp": 256,
}  # fmt: skip


def main(out: Path) -> None:
    captions = mmrl.load_recipe(ROOT / "configs" / "quickstart_checkpoint.yaml")
    skills = mmrl.load_recipe(ROOT / "configs" / "quickstart_skills.yaml")
    if not Path(captions.policy.path).exists():
        write_tiny("qwen2_5_vl", captions.policy.path, seed=captions.seed, size=SIZE)
    for recipe, target in ((captions, Path(skills.policy.path)), (skills, out)):
        outcome = mmrl.train(recipe)
        if outcome.signum is not None:
            return
        pack(outcome.folder, target)


def pack(run: Path, out: Path) -> None:
    """Writes the newest checkpoint of `run` to `out` with bfloat16 weights."""
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    from mmrl.run import newest_model

    source = newest_model(run)
    AutoModelForImageTextToText.from_pretrained(source, dtype=torch.bfloat16).save_pretrained(out)
    AutoProcessor.from_pretrained(source).save_pretrained(out)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "mmrl" / "assets" / "quickstart")
