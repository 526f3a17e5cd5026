"""Models and engines that do not see what they are shown are caught before the first step; those that see pass."""

import json
from dataclasses import replace

import pytest
import torch

from mmrl import train
from mmrl.cli import main
from mmrl.contracts.errors import UserError
from mmrl.evaluation.sees import NOTHING, answers_pictures, check_sight, look
from mmrl.policies.saving import INDEX
from tests.support.engines import flow, hf
from tests.support.flow import load as load_flow
from tests.support.policy import digits, load, text_sample
from tests.support.videos import video_sample, write_video


class Blank:
    """An engine that is handed grey pictures."""

    def __init__(self, engine):
        self.engine = engine

    def generate(self, requests, sampling, seed):
        grey = [
            replace(r, prompt=replace(r.prompt, pixel_values=torch.zeros_like(r.prompt.pixel_values))) for r in requests
        ]
        return self.engine.generate(grey, sampling, seed)


def test_a_policy_that_sees_passes(tiny_qwen):
    policy = load(tiny_qwen("qwen2_5_vl"))
    sight = look(policy, hf(policy), digits(6, "ocr", "counting"))
    check_sight(sight, "float32", "data")
    assert sight.rows == 4
    assert sight.gap < 1e-4
    assert sight.change > 0.01
    assert abs(sight.right - sight.engine) < 1e-4
    assert sight.none != sight.right != sight.others
    assert sight.shuffled is None


def test_a_cut_projector_is_caught_with_the_figures(tiny_qwen):
    policy = load(tiny_qwen("qwen2_5_vl"))
    with torch.no_grad():
        for name, parameter in policy.module.named_parameters():
            if "merger" in name:
                parameter.zero_()
    sight = look(policy, hf(policy), digits(4, "ocr"))
    assert sight.change == 0.0
    with pytest.raises(
        UserError, match=r"^data: the model does not see .* right -\d.* other -\d.* none -\d.* engine: r"
    ):
        check_sight(sight, "float32", "data")


def test_an_engine_that_is_fed_blank_pictures_is_caught(tiny_qwen):
    policy = load(tiny_qwen("qwen2_5_vl"))
    sight = look(policy, Blank(hf(policy)), digits(4, "ocr"))
    with pytest.raises(
        UserError, match=r"^data: engine and trainer do not see the same: a token's log-prob differs by"
    ):
        check_sight(sight, "float32", "data")


def test_videos_are_looked_at_in_order_and_shuffled(tiny_qwen, tmp_path):
    policy = load(tiny_qwen("qwen2_5_vl"))
    rows = [video_sample(write_video(tmp_path / f"{seed}.mp4", seed=seed)) for seed in (1, 2)]
    sight = look(policy, hf(policy), rows)
    check_sight(sight, "float32", "data")
    assert sight.shuffled != sight.right
    assert "shuffled -" in sight.figures()


def test_rows_without_pictures_and_policies_that_act_are_not_looked_at(tiny_qwen):
    policy = load(tiny_qwen("qwen2_5_vl"))
    assert look(policy, hf(policy), [text_sample("a"), text_sample("b")]) is None
    acting = load_flow(tiny_qwen("pi0"))
    assert not answers_pictures(acting)
    assert flow(acting) is not None


def test_rows_that_lost_their_pictures_stop_a_dry_run(recipe_file, workplace, capsys):
    (workplace / "rows.jsonl").write_text(
        '{"prompt": "<image> Which digit is this?", "answer": "7", "task": "classification"}\n' * 3
    )
    data = "[{type: file, path: rows.jsonl, use: rollouts}]"
    assert main(["train", str(recipe_file), "--dry-run", f"data.train={data}", "data.eval=[]"]) == 2
    assert "the prompt has 1 <image> marks and the row has 0 images" in capsys.readouterr().err


def test_a_dry_run_says_what_is_seen_and_refuses_a_blind_model(recipe_file, tiny_qwen, tmp_path, capsys):
    assert main(["train", str(recipe_file), "--dry-run"]) == 0
    assert "seen in train.0: trainer: right -" in capsys.readouterr().out
    policy = load(tiny_qwen("qwen2_5_vl"), awake=False)
    with torch.no_grad():
        for name, parameter in policy.module.named_parameters():
            if "merger" in name:
                parameter.zero_()
    policy.save_pretrained(tmp_path / "blind")
    assert not (tmp_path / "blind" / INDEX).exists()
    assert main(["train", str(recipe_file), "--dry-run", f"policy.path={tmp_path / 'blind'}"]) == 2
    assert "train.0 digits: the model does not see what it is shown" in capsys.readouterr().err
    assert main(["doctor", "--model", str(tmp_path / "blind")]) == 2
    assert "the model does not see what it is shown" in capsys.readouterr().err


def test_doctor_and_gap_of_a_checkpoint(tiny_qwen, capsys):
    assert main(["doctor", "--model", str(tiny_qwen("qwen2_5_vl"))]) == 0
    assert "it sees its pictures: trainer: right -" in capsys.readouterr().out
    assert main(["gap", str(tiny_qwen("qwen3_vl")), "--dtype", "float32", "--shows", "text", "--shows", "video"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].split()[:2] == ["hf", "float32"]
    assert all(0 < float(gap) < 1e-4 for gap in lines[-1].split()[2:])
    assert main(["gap", str(tiny_qwen("qwen3_vl")), "--shows", "vdeo"]) == 2
    assert "unknown modality 'vdeo'. Did you mean 'video'?" in capsys.readouterr().err


def test_a_run_looks_before_its_first_step_and_every_n(workplace, tiny_recipe, tiny_qwen):
    outcome = train({**tiny_recipe, "health": {"sees": 2}})
    lines = [json.loads(line) for line in (outcome.folder / "metrics.jsonl").read_text().splitlines()]
    assert {line["step"]: line.get("sees/change", 0.0) > NOTHING for line in lines} == {0: True, 1: False, 2: True}
    assert {key for key in lines[0] if key.startswith("sees/")} == {
        "sees/right", "sees/other", "sees/none", "sees/engine", "sees/change",
    }  # fmt: skip
    policy = load(tiny_qwen("qwen2_5_vl"), awake=False)
    with torch.no_grad():
        for parameter in policy.module.get_submodule("model.visual.merger").parameters():
            parameter.zero_()
    policy.save_pretrained(workplace / "blind")
    blind = {**tiny_recipe, "name": "blind", "policy": {"path": str(workplace / "blind")}, "health": {"sees": 5}}
    with pytest.raises(UserError, match=r"^after step 0, training data: the model does not see what it is shown"):
        train(blind)
    assert not list((workplace / "runs/blind").glob("checkpoints/*"))
