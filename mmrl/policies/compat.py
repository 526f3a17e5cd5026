"""Lets transformers import torchvision on CPU-only torch, and keeps it quiet."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

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


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Inside, transformers shows no progress and no table of weights that do not fit: those are errors here."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)
