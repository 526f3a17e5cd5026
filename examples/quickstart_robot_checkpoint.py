"""Makes the OpenVLA checkpoint that ships with mmrl: `python examples/quickstart_robot_checkpoint.py [OUT]`.

A random OpenVLA of 0.93 million parameters learns to reach blocks of two colours
(configs/quickstart_robot_checkpoint.yaml); its weights are stored in bfloat16. About 15 minutes on one core. An
interrupted run goes on where it stopped.
"""

import json
import shutil
import sys
from pathlib import Path

import mmrl
from mmrl.policies.tiny import write_tiny

ROOT = Path(__file__).resolve().parents[1]
# Small pictures, and few bins: both make imitation from random weights a matter of minutes.
SIZE = {"image": 28, "patch": 7, "bins": 32}


def main(out: Path) -> None:
    recipe = mmrl.load_recipe(ROOT / "configs" / "quickstart_robot_checkpoint.yaml")
    if not Path(recipe.policy.path).exists():
        write_tiny("openvla", recipe.policy.path, seed=recipe.seed, size=SIZE)
    outcome = mmrl.train(recipe)
    if outcome.signum is None:
        pack(outcome.folder, out)


def pack(run: Path, out: Path) -> None:
    """Copies the newest checkpoint of `run` to `out` with bfloat16 weights."""
    from safetensors.torch import load_file, save_file

    from mmrl.run import newest_model

    source = newest_model(run)
    shutil.copytree(source, out, dirs_exist_ok=True)
    weights = {name: tensor.bfloat16() for name, tensor in load_file(source / "model.safetensors").items()}
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((source / "config.json").read_text())
    (out / "config.json").write_text(json.dumps({**config, "dtype": "bfloat16"}, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "mmrl" / "assets" / "quickstart_robot")
