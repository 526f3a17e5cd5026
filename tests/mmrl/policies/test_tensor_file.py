"""Files of tensors: safetensors' own bytes, one tensor in memory at a time."""

import weakref

import pytest
import torch
from safetensors.torch import save_file

from mmrl.policies.tensor_file import DTYPES, Weight, plain, write_tensors


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_the_bytes_are_those_of_safetensors(tmp_path, metadata):
    g = torch.Generator().manual_seed(0)
    tensors = {f"{place}.{dtype}": torch.randn(3, 5, generator=g).to(dtype) for place in "ba" for dtype in DTYPES}
    tensors |= {"scalar": torch.tensor(2.5), "none": torch.zeros(0, 4), "gewöhnlich": torch.ones(1)}
    save_file(tensors, tmp_path / "theirs", metadata)
    write_tensors(tmp_path / "ours", plain(tensors), metadata)
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


def test_a_tensor_is_gone_before_the_next_is_computed(tmp_path):
    earlier = []

    def read():
        assert not any(reference() is not None for reference in earlier)
        value = torch.ones(4, dtype=torch.float64)
        earlier.append(weakref.ref(value))
        return value

    source = torch.empty(4, device="meta")
    write_tensors(tmp_path / "file", {name: Weight(source, torch.bfloat16, read) for name in "abc"})
    assert len(earlier) == 3
    save_file({name: torch.ones(4, dtype=torch.bfloat16) for name in "abc"}, tmp_path / "theirs")
    assert (tmp_path / "file").read_bytes() == (tmp_path / "theirs").read_bytes()


def test_what_a_file_cannot_hold_is_refused(tmp_path):
    with pytest.raises(ValueError, match="complex64 is not written"):
        write_tensors(tmp_path / "file", plain({"a": torch.zeros(1, dtype=torch.complex64)}))
    wrong = Weight(torch.empty(2, device="meta"), torch.float32, lambda: torch.zeros(3))
    with pytest.raises(ValueError, match=r"'a' has shape \(3,\)"):
        write_tensors(tmp_path / "file", {"a": wrong})
