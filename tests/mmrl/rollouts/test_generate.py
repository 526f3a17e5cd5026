"""Data that a policy makes: rows in mmrl's columns, to the same bytes however often it was stopped."""

from dataclasses import replace

import pytest
import torch

from mmrl.contracts.errors import BadSample, ConfigError, UserError
from mmrl.contracts.generated import Answer, answered
from mmrl.contracts.types import Decision, Group, Sample, Trajectory
from mmrl.data.mixture import open_dataset
from mmrl.data.rollout_files import RIGHT_ROLLOUTS
from mmrl.policies.own_places import in_own_places
from mmrl.recipe.data import FileData
from mmrl.recipe.generating import GenerateConfig
from mmrl.recipe.rollout import RolloutConfig
from mmrl.recipe.schema import load_recipe
from mmrl.rollouts import generate as module
from mmrl.rollouts.generate import Generation, described, generate
from mmrl.rollouts.written_rows import link_video, row_of, written_rows
from mmrl.tracking.rollouts import write_groups


class Asking:
    """Prepares samples as they are."""

    def make(self, sample):
        if sample.id == "bad":
            raise BadSample(sample.where, "cannot be read")
        return type("Ready", (), {"sample": sample, "prompts": ("prompt",)})()


def question(i, **more):
    messages = ({"role": "user", "content": [{"type": "text", "text": f"How many in {i}?"}]},)
    return Sample(f"q{i}", messages, "counting", {"count": i % 3}, dataset="own", row=i, **more)


@pytest.fixture
def answering(monkeypatch):
    """Answers drawn from the seed alone; the rewards are 0 and 1."""
    calls = []

    def sample_each(means, ready, terms):
        calls.append(len(ready))
        draws = torch.Generator().manual_seed(terms.seed)
        groups = []
        for item in ready:
            numbers = torch.randint(0, 3, (terms.n,), generator=draws).tolist()
            trajectories = [
                Trajectory(
                    (Decision("prompt", torch.tensor([number, 9]), torch.tensor([-0.5, -0.25])),),
                    text=str(number),
                    reward=float(number == item.sample.target["count"]),
                    accuracy=float(number == item.sample.target["count"]),
                    parsed=number,
                )
                for number in numbers
            ]
            groups.append(Group(item.sample, tuple(trajectories)))
        return groups

    monkeypatch.setattr(module, "sample_each", sample_each)
    return calls


def task(folder, rules=(), **more):
    config = GenerateConfig(shard=4, select=list(rules), **more.pop("config", {}))
    terms = module.Terms(RolloutConfig(n=3), 3)
    told = {"settings": {"weights": "w"}, "origin": "run/make", "seed_of": lambda shard: 7 + shard, **more}
    return Generation(config, folder, None, Asking(), terms, **told)


ROWS = [question(i) for i in range(10)]


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_answers_are_data_with_their_profile(tmp_path, answering):
    index = generate(task(tmp_path, ["right", "distinct"]), [ROWS[:6], ROWS[6:]])
    assert answering == [4, 4, 2]
    rows = open_dataset(FileData(type="file", path=str(tmp_path / "data")))
    assert len(rows) == index["rows"] == sum(count["rows"][1] for count in index["rules"][-1:])
    for sample in rows:
        assert sample.demonstration == str(sample.target["count"])
        assert sample.messages == ROWS[int(sample.id[1:])].messages
        columns = sample.columns
        assert columns["origin"] == "run/make"
        assert 0 < columns["pass_rate"] <= 1
        assert columns["entropy"] == 0.375
    lines = described(index)
    assert lines[0].startswith("30 answers to 10 prompts: pass rate 0.")
    assert lines[-1] == f"{index['rows']} rows of answers written"


def test_a_data_set_that_was_stopped_anywhere_goes_on_to_the_same_bytes(tmp_path, answering, monkeypatch):
    generate(task(tmp_path / "whole", ["best"]), [ROWS])
    write, written = module.write_atomic, []

    def dying(path, content):
        written.append(path)
        if len(written) in (1, 3, 5, 7, 9, 11):
            raise KeyboardInterrupt
        return write(path, content)

    monkeypatch.setattr(module, "write_atomic", dying)
    for _ in range(20):
        try:
            generate(task(tmp_path / "cut", ["best"]), [ROWS])
            break
        except KeyboardInterrupt:
            continue
    assert files(tmp_path / "whole") == files(tmp_path / "cut")
    before = len(answering)
    generate(task(tmp_path / "cut", ["best"]), [ROWS])
    assert len(answering) == before, "what is whole is not answered again"


def test_a_signal_stops_between_shards(tmp_path, answering):
    assert generate(task(tmp_path, stopped=lambda: len(answering) == 2), [ROWS]) is None
    assert not (tmp_path / "index.json").exists()
    assert generate(task(tmp_path), [ROWS])["rows"] == 30
    assert answering == [4, 4, 2]


def test_answers_of_other_settings_are_refused_or_made_again(tmp_path, answering):
    generate(task(tmp_path), [ROWS])
    other = task(tmp_path, settings={"weights": "other"}, seed_of=lambda shard: shard)
    with pytest.raises(UserError, match=r"holds answers of other settings \(weights\)"):
        generate(other, [ROWS])
    before = files(tmp_path)
    generate(other, [ROWS], again=True)
    assert files(tmp_path)["answers/shard_000000.jsonl"] != before["answers/shard_000000.jsonl"]


def test_another_selection_answers_nothing_again(tmp_path, answering):
    generate(task(tmp_path), [ROWS])
    index = generate(task(tmp_path, [{"name": "hard", "k": 2}]), [ROWS])
    assert answering == [4, 4, 2]
    assert index["rows"] == 6
    prompts = generate(task(tmp_path, [{"name": "hard", "k": 2}], config={"write": "prompts"}), [ROWS])
    rows = open_dataset(FileData(type="file", path=str(tmp_path / "data")))
    assert (prompts["rows"], [sample.demonstration for sample in rows]) == (2, [None, None])


def test_bad_rows_stop_or_are_told(tmp_path, answering):
    rows, told = [replace(ROWS[0], id="bad"), *ROWS[1:4]], []
    with pytest.raises(BadSample, match="cannot be read"):
        generate(task(tmp_path), [rows])
    assert generate(task(tmp_path, skip=True, note=told.append), [rows])["prompts"] == 3
    assert [str(error) for error in told] == ["own row 0 (id bad): cannot be read"]
    with pytest.raises(UserError, match=r"no row of data\.train could be answered"):
        generate(task(tmp_path / "none", skip=True), [rows[:1]])


def test_pairs_carry_both_answers():
    answers = [Answer(0, "2", 1.0, 1.0, 2, log_probs=(-0.1,)), Answer(1, "3", 0.0, 0.0, 2, log_probs=(-0.2,))]
    row = replace(answered({"id": "a", "dataset": "own"}, answers), pairs=((0, 1),))
    (line,) = written_rows([row], "pairs", "run/make", log_probs=True)
    assert (line["demonstration"], line["chosen"], line["rejected"]) == ("2", "2", "3")
    assert (line["reward"], line["rejected_reward"], line["rejected_log_probs"]) == (1.0, 0.0, (-0.2,))


def test_boxes_are_written_where_a_row_can_name_them():
    sample = question(0, coordinates="pixel")
    sample = replace(sample, target={"box": [10, 20, 30, 40]}, images=("a.png",))
    seen = replace(sample, target={"box": [20, 40, 60, 80]}, coordinates="200x400")
    moved, text = in_own_places(sample, seen, "[20, 40, 100, 200]")
    assert (moved.coordinates, moved.target["box"], text) == ("norm1000", [100, 100, 300, 200], "[100, 100, 500, 500]")
    same = replace(sample, coordinates="100x200")
    assert in_own_places(sample, same, "[1, 2, 3, 4]") == (sample, "[1, 2, 3, 4]")
    thousandths = replace(seen, coordinates="norm1000")
    assert in_own_places(sample, thousandths, "[1, 2, 3, 4]")[0].target == seen.target


def test_episodes_are_no_rows():
    with pytest.raises(BadSample, match="generate answers questions alone"):
        row_of(replace(question(0), kind="episodes"), question(0), None, None)


def test_rollouts_of_a_run_are_data(tmp_path):
    right = Trajectory((), text="0", reward=1.0, accuracy=1.0)
    wrong = Trajectory((), text="2", reward=0.0, accuracy=0.0)
    path = tmp_path / "rollouts" / "step_000001.jsonl"
    write_groups(path, tmp_path, 1, "rl", [Group(question(0), (right, wrong))])
    rows = open_dataset(FileData(type="file", path=str(tmp_path / "rollouts"), format="rollouts"))
    assert [sample.demonstration for sample in rows] == ["0", "2"]
    assert [sample.messages for sample in rows] == [question(0).messages] * 2
    chosen = open_dataset(FileData(type="file", path=str(path), format="right_rollouts"))
    assert [sample.demonstration for sample in chosen] == ["0", None]
    assert RIGHT_ROLLOUTS.required


MAKE = {"name": "make", "generate": {"select": ["right"]}}
READ = {"name": "sft", "method": "sft", "steps": 2, "data": {"train": [{"type": "generated", "stage": "make"}]}}


def program(*stages, **more):
    data = {"train": [{"type": "digits", "size": 16}]}
    return {"name": "program", "policy": {"path": "quickstart"}, "data": data, "stages": list(stages), **more}


def test_stages_read_what_earlier_ones_generate():
    recipe = load_recipe(program({"rounds": 2, "stages": [MAKE, READ]}))
    assert [stage.name for stage in recipe.stages] == ["make_1", "sft_1", "make_2", "sft_2"]
    assert [stage.steps for stage in recipe.stages] == [0, 2, 0, 2]
    folders = [stage.data.train[0].folder for stage in recipe.stages if stage.data is not None]
    assert folders == ["runs/program/generated/make_1", "runs/program/generated/make_2"]
    assert "folder" not in recipe.stages[1].model_dump()["data"]["train"][0]
    assert load_recipe(recipe.model_dump(mode="json"), ["name=other"]).stages[1].data.train[0].folder == (
        "runs/other/generated/make_1"
    )


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        ([READ], "stages.sft: data.train.0.stage: unknown stage that generates 'make'"),
        ([READ, MAKE], "stages.sft: data.train.0.stage: stage 'make' generates it later than it is read here"),
        ([{**MAKE, "steps": 3}], "stages.0: generate: stands in place of method and steps"),
        ([{**MAKE, "prompts": 3}], "stages.0: prompts: a stage that generates trains nothing"),
        ([{**MAKE, "generate": {"selct": []}}], "stages.0.generate.selct: unknown key 'selct'. Did you mean 'select'?"),
        ([{**READ, "steps": 0}], "stages.0: steps: 0 trains nothing"),
    ],
)
def test_programs_that_cannot_run_are_refused(stages, said):
    with pytest.raises(ConfigError) as error:
        load_recipe(program(*stages))
    assert str(error.value).startswith(said)


def test_a_video_is_linked_once(tmp_path):
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.mp4").write_bytes(b"frames")
    sample, folder = replace(question(0), root=str(tmp_path / "videos")), tmp_path / "data"
    name = link_video(folder, "a.mp4", sample)
    assert (folder / name).samefile(tmp_path / "videos" / "a.mp4")
    (tmp_path / "videos" / "a.mp4").unlink()
    assert link_video(folder, "a.mp4", sample) == name
    assert (folder / name).read_bytes() == b"frames"


def test_a_row_s_files_are_saved_for_their_row():
    sample = replace(question(0), images=("a.png", "b.png"), videos=({"path": ["c.png"], "start": 1.0}, "https://d"))
    row = row_of(sample, sample, lambda source, of: f"image {source} {of.id}", lambda path, of: f"video {path} {of.id}")
    assert row["images"] == ["image a.png q0", "image b.png q0"]
    assert row["videos"] == [{"path": ["video c.png q0"], "start": 1.0}, "https://d"]


@pytest.mark.parametrize(("reward", "written"), [(0.7, 0.7), (None, 0.0)])
def test_an_answer_is_written_with_what_it_earned_and_how_sure_it_was(reward, written):
    """Log-probs of -1 and -3: minus their mean is 2 nats per unit; they stand there where they are asked for."""
    decision = Decision("prompt", torch.tensor([4, 5]), torch.tensor([-1.0, -3.0]))
    trajectory = Trajectory((decision,), text="2", reward=reward, accuracy=0.5)
    plain, told = (
        module._answer_of(3, trajectory, question(2), question(2), GenerateConfig(log_probs=asked))
        for asked in (False, True)
    )
    assert (plain.number, plain.text, plain.reward, plain.accuracy, plain.length) == (3, "2", written, 0.5, 2)
    assert (plain.log_probs, told.log_probs) == ((), (-1.0, -3.0))
    assert plain.entropy == told.entropy == 2.0
