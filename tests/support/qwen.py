"""qwen-vl-utils as the reference: importable on CPU torch, on a named reader, without its silent second choice."""

import pytest


@pytest.fixture
def qwen(monkeypatch):
    """`qwen_vl_utils.vision_process` with decord forced."""
    from mmrl.policies.compat import ensure_torchvision

    ensure_torchvision()
    from qwen_vl_utils import vision_process

    def no_second_choice(element):
        raise AssertionError(f"the reader failed on {element['video']}")

    readers = {**vision_process.VIDEO_READER_BACKENDS, "torchvision": no_second_choice}
    monkeypatch.setattr(vision_process, "VIDEO_READER_BACKENDS", readers)
    monkeypatch.setattr(vision_process, "get_video_reader_backend", lambda: "decord")
    return vision_process
