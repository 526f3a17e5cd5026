"""What a checkpoint under LoRA takes: adapters alone, and the whole merged model beside them.

    python -m benchmarks.checkpoints [--small] [--output FILE]

A random Qwen2.5-VL of 0.3 B parameters in bfloat16, LoRA of rank 16, AdamW's moments; written to a temporary folder and
synced, one thread, each form in a process of its own. Seconds are of the wall clock; the peak is how far the process's
memory rises above what it held before (Linux).

`value` is the bytes of both over those of adapters alone; `details` has seconds, bytes and peaks.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.result import give

SIZES: dict[str, dict[str, int]] = {
    "full": {
        "hidden": 1024, "layers": 16, "heads": 16, "kv_heads": 4, "head_dim": 64, "mlp": 4096, "vocab": 4000,
        "vision_hidden": 256, "vision_layers": 4, "vision_heads": 4, "vision_mlp": 512,
    },
    "small": {},
}  # fmt: skip
FORMS = {"adapters": "never", "adapters and model": "always"}


def main(argv: list[str] | None = None) -> None:
    """Measures both forms and prints the result."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--small", action="store_true", help="a smoke run: its figures mean nothing")
    parser.add_argument("--output", help="also write the result to this file, with date and machine")
    parser.add_argument("--form", choices=FORMS, help=argparse.SUPPRESS)
    parser.add_argument("--model", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.form:
        print(json.dumps(measure(Path(args.model), args.form)))
        return
    from mmrl.policies.tiny import write_tiny

    with tempfile.TemporaryDirectory() as folder:
        model = write_tiny("qwen2_5_vl", Path(folder) / "model", size=SIZES["small" if args.small else "full"])
        cells = {form: _in_a_process(form, model) for form in FORMS}
    give(summary(cells), args.output)


def _in_a_process(form: str, model: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.checkpoints", "--form", form, "--model", str(model)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def measure(model: Path, form: str) -> dict[str, float]:
    """Seconds, bytes and peak (GB above what was held) of one checkpoint."""
    from mmrl.policies.opening import load_policy
    from mmrl.recipe.policies.registry import policy_settings
    from mmrl.trainer import checkpoint

    torch.set_num_threads(1)
    policy = load_policy(policy_settings(path=str(model), device="cpu", dtype="bfloat16", lora={"rank": 16}))
    moments = {f"{name}/{i}": torch.zeros_like(p) for name, p, _ in policy.trainable() for i in range(2)}
    folder = model.parent / form
    # What loading peaked at would hide what saving takes.
    Path("/proc/self/clear_refs").write_text("5")
    held, began = _peak(), time.perf_counter()
    final = checkpoint.save(folder, 1, policy, moments, {}, FORMS[form] == "always")
    seconds = time.perf_counter() - began
    size = sum(path.stat().st_size for path in final.rglob("*") if path.is_file())
    parameters = sum(parameter.numel() for parameter in policy.module.parameters())
    return {"seconds": seconds, "bytes": size, "peak_gb": (_peak() - held) / 1e9, "parameters": parameters}


def _peak() -> int:
    """Bytes, of this process since they were last cleared."""
    status = Path("/proc/self/status").read_text()
    line = next((line for line in status.splitlines() if line.startswith("VmHWM")), None)
    if line is None:
        return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return 1024 * int(line.split()[1])


def summary(cells: dict[str, dict[str, float]]) -> dict[str, Any]:
    """The result, from what `measure` gave for each form."""
    return {
        "name": "checkpoints",
        "value": round(cells["adapters and model"]["bytes"] / cells["adapters"]["bytes"], 2),
        "unit": "bytes of a checkpoint with the merged model / with adapters alone",
        "higher_is_better": True,
        "details": {
            "parameters": cells["adapters"]["parameters"],
            "forms": {
                form: {
                    "seconds": round(cell["seconds"], 2),
                    "gb": round(cell["bytes"] / 1e9, 4),
                    "peak_gb": round(cell["peak_gb"], 3),
                }
                for form, cell in cells.items()
            },
            "torch": torch.__version__,
            "load_average": [round(x, 1) for x in os.getloadavg()],
        },
    }


if __name__ == "__main__":
    main()
