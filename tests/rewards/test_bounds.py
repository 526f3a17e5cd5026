"""Nothing that a policy can write takes a reward long or makes it grow: each call runs in a child with hard limits."""

import pytest

from tests.support.rewards import NAMES, examples, hostile_answers, hostile_completions, score_hostile, warm, wrapped
from vision_rewards import pool

# Processor seconds and growth of the address space, which a loaded machine does not change.
SECONDS, MEGABYTES = 1.0, 200


@pytest.fixture(scope="module", autouse=True)
def one_worker():
    pool.set_workers(1)
    yield
    pool.set_workers(None)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_hostile_text_is_bounded(name):
    count = pool.bounded(warm, name, seconds=60, megabytes=4000)
    seen = set()
    for index, (reward, example) in enumerate(examples(name)[:count]):
        gold = reward.gold(example.target)
        texts = [text for answer in hostile_answers(gold) for text in wrapped(answer)] + hostile_completions(gold)
        # The same text takes another path only for another kind of target or setting.
        kind = (tuple(sorted(example.target)), repr(sorted(example.params.items())))
        for text in texts if kind not in seen else []:
            try:
                score = pool.bounded(score_hostile, name, index, text, seconds=SECONDS, megabytes=MEGABYTES)
            except pool.Exceeded as error:
                pytest.fail(f"{name}, example {index}, {text[:40]!r} of {len(text)} characters: {error}")
            assert score is None or 0 <= score <= 1
        seen.add(kind)
