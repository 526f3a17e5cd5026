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


def hard_texts(gold, kinds, is_answer):
    """What one kind of target meets: every hostile answer, and whole completions.

    The first kind meets each answer in each wrapping; what follows is read alike by the kinds after it, so that those
    share the wrappings out. Whole completions are looked through before the target matters, but where the reward reads
    no answer.
    """
    forms = [wrapped(answer) for answer in hostile_answers(gold)]
    if kinds == 0:
        texts = [text for form in forms for text in form]
    else:
        texts = [form[(place + kinds) % len(form)] for place, form in enumerate(forms)]
    return texts + (hostile_completions(gold) if kinds == 0 or not is_answer else [])


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_hostile_text_is_bounded(name):
    count = pool.bounded(warm, name, seconds=60, megabytes=4000)
    kinds = set()
    for index, (reward, example) in enumerate(examples(name)[:count]):
        # The same text takes another path only for another kind of target or setting.
        kind = (tuple(sorted(example.target)), repr(sorted(example.params.items())))
        if kind in kinds:
            continue
        for text in hard_texts(reward.gold(example.target), len(kinds), reward.is_answer):
            try:
                score = pool.bounded(score_hostile, name, index, text, seconds=SECONDS, megabytes=MEGABYTES)
            except pool.Exceeded as error:
                pytest.fail(f"{name}, example {index}, {text[:40]!r} of {len(text)} characters: {error}")
            assert score is None or 0 <= score <= 1
        kinds.add(kind)
