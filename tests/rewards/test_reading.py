"""Right answers as models write them are read, and what is no answer stays none, in every dressing."""

from __future__ import annotations

import json

import pytest

from benchmarks.cases import is_right, score
from tests.support.honest import RIGHT, WRAPPINGS, fits
from tests.support.hostile import DRESSINGS, HOSTILE
from tests.support.paths import ROOT
from vision_rewards import get_reward

DATA = ROOT / "tests" / "rewards" / "data"
READ = json.loads((DATA / "read.json").read_text(encoding="utf-8"))
NAMES = sorted({row["name"] for row in READ})
KINDS = [pytest.param(*row, id=f"{row[0]}-{str(row[2])[:30]}") for row in RIGHT]
WRONG = [pytest.param(*row, id=f"{row[0]}-{str(row[2])[:30]}") for row in HOSTILE]


@pytest.mark.parametrize(("name", "params", "target", "answers"), KINDS)
def test_a_right_answer_is_read_in_every_dressing(name, params, target, answers):
    reward = get_reward(name, **params)
    texts = [wrapping.format(answer) for answer in answers for wrapping in WRAPPINGS if fits(wrapping, answer)]
    missed = [text for text in texts if reward(text, target).score != 1.0]
    assert not missed


@pytest.mark.parametrize(("name", "params", "target", "answers"), WRONG)
def test_no_dressing_makes_an_answer_of_what_is_none(name, params, target, answers):
    reward = get_reward(name, **params)
    # Symbolic comparisons wait for a worker: fewer dressings.
    dressings = DRESSINGS[:6] if reward.waits else DRESSINGS
    paid = [
        text for answer in answers for text in (d.format(answer) for d in dressings) if reward(text, target).score != 0
    ]
    assert not paid


@pytest.mark.parametrize("name", NAMES)
def test_recorded_answers_score_what_is_right(name):
    wrong = [
        (row["completion"], row["target"]) for row in READ if row["name"] == name and not is_right(row, score(row))
    ]
    assert not wrong


@pytest.mark.slow
def test_what_scored_nothing_still_scores_nothing():
    rows = json.loads((DATA / "hostile.json").read_text(encoding="utf-8"))
    assert len(rows) > 500
    paid = [(row["name"], row["completion"], row["target"]) for row in rows if score(row) != 0]
    assert not paid
