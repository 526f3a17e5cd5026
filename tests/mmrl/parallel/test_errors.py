"""Errors between processes: told by one of them, raised by all."""

import pytest

from mmrl.contracts.errors import UserError
from mmrl.parallel.errors import is_shared, packed, share, unpacked


@pytest.mark.parametrize("speaks", [True, False])
def test_an_error_of_all_is_told_by_one(speaks):
    error = UserError("no data")
    assert not is_shared(error)
    assert share(error, speaks) is error
    assert is_shared(error)
    assert error.told is not speaks
    assert is_shared(share(KeyError("x"), speaks))


def test_an_error_travels_with_what_it_knows():
    error = UserError("no data")
    error.told = True
    got = unpacked(packed(error), "process 1: ")
    assert type(got) is UserError
    assert (str(got), got.told) == ("process 1: no data", True)


def test_an_error_that_cannot_travel_is_told_as_text():
    error = ValueError("odd")
    error.handle = lambda: None
    got = unpacked(packed(error), "")
    assert type(got) is RuntimeError
    assert str(got).startswith("ValueError: odd (without its type: ")
