"""Frames left out and shuffled: drawn by sample, video and epoch, and by nothing that a resumed run would not have."""

import json
from dataclasses import replace

import pytest
import torch

import mmrl
from mmrl.contracts.types import Sample
from mmrl.data.augmentation import augmented
from mmrl.data.media_reader import MediaReader
from mmrl.data.mixture import Mixture
from mmrl.data.rows import Rows
from mmrl.recipe.budgets import VideoBudget
from tests.support.runs import assert_same_run, recipe
from tests.support.videos import video_sample, write_video

SMALL = {"fps": 4.0, "min_pixels": 784, "max_pixels": 3136}


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("clips") / "a.mp4", 8, 8)


def frames_of(sample, **budget):
    reader = MediaReader(VideoBudget(**{**SMALL, "drop": 0.5, **budget}), 28, 2)
    return [one.metadata.indices for one in reader.read(sample)]


def test_each_epoch_and_each_video_of_a_row_loses_other_frames(clip):
    sample = video_sample(clip, clip)
    seen = [frames for epoch in range(4) for frames in frames_of(replace(sample, epoch=epoch))]
    assert len(set(seen)) == 8
    assert {len(frames) for frames in seen} == {16}
    assert frames_of(replace(sample, epoch=2)) == seen[4:6], "the same sample, the same frames"


def test_what_is_held_out_keeps_the_draw_of_its_id(clip):
    """Controls measured before stay what they were: the first video of an epoch 0 is drawn by the id alone."""
    sample = video_sample(clip)
    reader = MediaReader(VideoBudget(**SMALL, shuffle=True), 28, 2)
    plain = MediaReader(VideoBudget(**SMALL), 28, 2).read(sample)[0]
    assert torch.equal(reader.read(sample)[0].pixels, augmented(plain, sample.id, True, 0.0, 2).pixels)


class Shown(Rows):
    """Rows that all carry a demonstration."""

    def __len__(self):
        return 3

    def _row(self, row):
        return Sample(str(row), (), "t", {}, demonstration="x", row=row)


@pytest.mark.parametrize("demonstrations", [False, True])
def test_samples_carry_the_epoch_that_they_are_drawn_in(demonstrations):
    mixture = Mixture([Shown(), Shown()], weights=[3, 1], seed=1)
    drawn = []
    for _ in range(12):
        # Looking ahead over the end of an epoch, where a row comes twice.
        mixture.upcoming(7, demonstrations=demonstrations)
        drawn += mixture.next(2, demonstrations=demonstrations)
    seen = {}
    for sample in drawn:
        seen.setdefault((sample.id, sample.epoch), 0)
        seen[sample.id, sample.epoch] += 1
    assert max(seen.values()) <= 2, "each of the two datasets gives a row once per epoch"
    assert max(sample.epoch for sample in drawn) >= 4
    again = Mixture([Shown(), Shown()], weights=[3, 1], seed=1)
    assert [(s.id, s.epoch) for s in again.next(24, demonstrations=demonstrations)] == [(s.id, s.epoch) for s in drawn]


@pytest.mark.slow
def test_a_resumed_run_loses_the_frames_that_the_whole_one_lost(tiny_qwen, tmp_path, monkeypatch):
    """Two rows, four samples per step: each step is an epoch or two further."""
    rows = []
    for number in range(2):
        write_video(tmp_path / f"{number}.mp4", 4, 8, seed=number)
        target = {"task": "counting", "target": {"count": number}, "demonstration": str(number)}
        rows.append({"prompt": "<video>How many?", "videos": [f"{number}.mp4"], **target})
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    lost, read = {}, MediaReader.read

    def noted(self, sample):
        frames = read(self, sample)
        lost.setdefault((sample.id, sample.epoch), set()).add(frames[0].metadata.indices)
        return frames

    monkeypatch.setattr(MediaReader, "read", noted)

    def raw(name, **settings):
        made = recipe(tiny_qwen(), tmp_path, name, method="chord_mu", steps=4, evaluation={}, **settings)
        made["policy"]["video"] = {**SMALL, "drop": 0.5}
        made["data"] = {"train": [{"type": "file", "path": str(tmp_path / "train.jsonl")}]}
        return made | {"checkpoint": {"every": 2, "keep": 4}}

    whole = mmrl.train(raw("whole")).folder
    again = mmrl.train(raw("again", resume=str(whole / "checkpoints" / "step_000002"))).folder
    assert all(len(draws) == 1 for draws in lost.values()), "engine and trainer, whole and resumed, see the same"
    by_row = {}
    for (name, _), draws in lost.items():
        by_row.setdefault(name, []).extend(draws)
    assert all(len(set(draws)) == len(draws) >= 4 for draws in by_row.values()), "another draw each epoch"
    a, b = ((run / "checkpoints/step_000004/model/model.safetensors").read_bytes() for run in (whole, again))
    assert a == b
    assert_same_run(whole, mmrl.train(raw("third")).folder)
