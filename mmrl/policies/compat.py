"""Lets transformers import torchvision on CPU-only torch."""

from __future__ import annotations

import sys

# The fragment must outlive the process's use of torchvision: dropping it would undefine the operators again.
_fragment = None


def ensure_torchvision() -> None:
    """Makes `import torchvision` work; call it before importing transformers.

    The published torchvision wheels are built against CUDA torch, so on CPU torch their C++ library does not load and
    the import dies on the missing operators `nms` and `qnms`. Only torchvision's pure-Python transforms are used here,
    so declaring the two schemas is enough. Nothing is declared where the real library loads.
    """
    global _fragment
    if "torchvision" in sys.modules:
        return
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        for name in [n for n in sys.modules if n == "torchvision" or n.startswith("torchvision.")]:
            del sys.modules[name]
        import torch

        _fragment = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            _fragment.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision  # noqa: F401
