"""Imports what a run imports late: the server that test processes are forked from loads this module once."""

import gc

gc.disable()

from mmrl.policies.compat import ensure_torchvision  # noqa: E402

ensure_torchvision()

import peft  # noqa: E402, F401
import transformers.models.auto.processing_auto  # noqa: E402
import transformers.models.qwen2_5_vl.modeling_qwen2_5_vl  # noqa: E402
import transformers.models.qwen2_5_vl.processing_qwen2_5_vl  # noqa: E402
import transformers.models.qwen2_vl.image_processing_qwen2_vl  # noqa: E402
import transformers.models.qwen2_vl.video_processing_qwen2_vl  # noqa: E402, F401

gc.freeze()
gc.enable()
