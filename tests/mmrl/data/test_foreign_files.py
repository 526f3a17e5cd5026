"""Files of other tools, their columns and prompts, read as they are on disk."""

import json

import pytest
from PIL import Image

from mmrl.contracts.errors import BadSample, ConfigError, UserError
from mmrl.data.columns import Columns
from mmrl.data.readers import FileDataset
from mmrl.recipe.data import FileData
from mmrl.recipe.formats import FORMATS
from mmrl.recipe.schema import load_recipe
from tests.support.pictures import encoded


@pytest.fixture
def folder(tmp_path):
    Image.new("RGB", (28, 28), "red").save(tmp_path / "a.png")
    return tmp_path


def opened(folder, rows, name="rows.json", **options) -> FileDataset:
    path = folder / name
    path.write_text(json.dumps(rows))
    return FileDataset(FileData(type="file", path=str(path), **options))


def asked(sample):
    return [
        (message["role"], "".join(part.get("text", f"<{part['type']}>") for part in message["content"]))
        for message in sample.messages
    ]


OWN = {"question": "How many?", "solution": "3", "img": "a.png", "meta": {"truth": "4", "views": ["a.png", "a.png"]}}


def test_columns_give_any_file_the_names_that_are_read(folder):
    columns = {"prompt": "question", "answer": "solution", "images": "img"}
    sample = opened(folder, [OWN], columns=columns, task="counting")[0]
    assert (asked(sample), sample.target, sample.images) == ([("user", "<image>How many?")], {"count": 3}, ("a.png",))
    inside = {**columns, "answer": "meta.truth", "images": ["img", "meta.views"]}
    sample = opened(folder, [OWN], columns=inside, task="counting")[0]
    assert (sample.target, sample.images) == ({"count": 4}, ("a.png",) * 3)


def test_columns_keep_the_format_that_the_rest_fits(folder):
    row = {"problem": "How many?", "answer": "3", "shot": "a.png"}
    rows = opened(folder, [row], columns={"images": "shot"}, task="counting")
    assert (rows.format, rows[0].images) == ("easyr1", ("a.png",))


def test_errors_name_the_columns_of_the_file(folder):
    columns = {"prompt": "question", "answer": "solution", "images": "img"}
    with pytest.raises(BadSample, match=r"column 'img': file 'b.png' does not exist"):
        opened(folder, [{**OWN, "img": "b.png"}], columns=columns, task="counting")[0]
    with pytest.raises(BadSample, match=r"column 'solution': 'many' is not a number"):
        opened(folder, [{**OWN, "solution": "many"}], columns=columns, task="counting")[0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"columns": {"prompt": "quesion"}},
            "no column 'quesion'. Did you mean 'question'? Columns seen: img, meta, que",
        ),
        ({"columns": {"answer": "solution"}}, "format 'mmrl' needs the column 'messages' or 'prompt'"),
        ({"ignore": ["imgs"]}, "ignore: columns: there is no column 'imgs'. Did you mean 'img'"),
        ({"format": "easyr1", "columns": {"prompt": "question"}}, "format 'easyr1' needs the column 'problem'"),
        ({"subset": "x"}, "subset 'x' is not read: only names on the hub have one"),
        ({"split": "test"}, "split 'test' is not read: it is one file"),
    ],
)
def test_what_does_not_fit_the_file_is_said_when_it_is_opened(folder, options, said):
    with pytest.raises(UserError) as caught:
        opened(folder, [OWN], task="counting", **options)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"columns": {"promt": "question"}}, "unknown column in columns: 'promt'. Did you mean 'prompt'?"),
        ({"columns": {"prompt": ["a", "b"]}}, "'prompt' takes one column"),
        ({"prompt_template": "Answer briefly."}, "names no column of the row, so that every row asks the same"),
        ({"prompt_template": "{{ content "}, "prompt_template is no Jinja"),
        ({"prompt_template": "none.jinja"}, "prompt_template 'none.jinja' cannot be read: No such file"),
    ],
)
def test_what_cannot_be_is_said_when_the_recipe_is_read(options, said):
    raw = {"name": "x", "policy": {"path": "p"}, "method": "sft", "steps": 1}
    with pytest.raises(ConfigError) as caught:
        load_recipe({**raw, "data": {"train": [{"type": "file", "path": "rows.json", **options}]}})
    assert said in str(caught.value)
    assert "data.train.0" in str(caught.value)


def test_a_template_sees_the_row_and_the_question_with_its_tags(folder):
    row = {"problem": "<image>How many <image>?", "answer": "3", "images": ["a.png", "a.png"], "unit": "cats"}
    template = "{{ content | trim }} Count {{ unit }}, {{ problem | length }}."
    sample = opened(folder, [row], task="counting", prompt_template=template, system="Be brief.")[0]
    assert asked(sample) == [("system", "Be brief."), ("user", "<image>How many <image>? Count cats, 24.")]
    first = opened(folder, [row], task="counting", prompt_template="Count {{ unit }}.")[0]
    assert asked(first) == [("user", "<image><image>Count cats.")]


def test_a_template_asks_the_last_question_and_a_row_keeps_its_own_system_prompt(folder):
    talk = [("system", "Mine."), ("human", "Hi"), ("gpt", "Ho"), ("human", "Sure?"), ("gpt", "Yes.")]
    row = {"conversations": [{"from": who, "value": text} for who, text in talk]}
    sample = opened(folder, [row], prompt_template="{{ content }}!", system="Yours.")[0]
    assert asked(sample) == [("system", "Mine."), ("user", "Hi"), ("assistant", "Ho"), ("user", "Sure?!")]
    assert sample.demonstration == "Yes."


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ nothing }}", "prompt_template: 'nothing' is undefined"),
        ("{{ content + answer.x }}", "has no attribute 'x'"),
        ("{{ content }}<image>", "after prompt_template the prompt has 2 <image> marks and the row has 1 images"),
        ("{{ ''.__class__.__mro__ }}{{ content }}", "is unsafe"),
        (
            "{% if images.append('x') %}{% endif %}{{ content }}",
            "access to attribute 'append' of 'list' object is unsafe",
        ),
        ("{{ content / 2 }}", "prompt_template fails on this row"),
    ],
)
def test_templates_run_in_a_sandbox_and_fail_on_the_row(folder, template, said):
    row = {"problem": "<image>How many?", "answer": "3", "images": ["a.png"]}
    with pytest.raises(BadSample) as caught:
        opened(folder, [row], task="counting", prompt_template=template)[0]
    assert said in str(caught.value)


def test_a_template_of_a_file_is_recorded_as_text(folder):
    (folder / "think.jinja").write_text("{{ content }} Think.")
    config = FileData(type="file", path="x.json", prompt_template=str(folder / "think.jinja"))
    assert config.prompt_template == "{{ content }} Think."
    assert FileData.model_validate(config.model_dump()) == config


INFO = {
    "talk": {
        "file_name": "rows.json",
        "formatting": "sharegpt",
        "columns": {"messages": "turns", "images": "pictures", "system": "rules"},
        "tags": {"role_tag": "who", "content_tag": "text", "user_tag": "u", "assistant_tag": "a"},
    },
    "plain": {"file_name": "rows.json", "columns": {"prompt": "q", "query": "more", "response": "r", "images": "img"}},
    "pairs": {"file_name": "rows.json", "ranking": True},
    "elsewhere": {"ms_hub_url": "x/y"},
    "typo": {"file_name": "rows.json", "column": {}},
    "wrong": {"file_name": "rows.json", "columns": {"promt": "q"}},
    "part": {"file_name": "rows.json", "subset": "en"},
    "test": {"file_name": "rows.json", "split": "test"},
    "inside": {"hf_hub_url": "x/y", "folder": "data"},
}


def entry(folder, name, rows):
    (folder / "dataset_info.json").write_text(json.dumps(INFO))
    (folder / "rows.json").write_text(json.dumps(rows))
    return FileDataset(FileData(type="file", path=str(folder), subset=name))[0]


def test_entries_of_llamafactory(folder):
    turns = [{"who": "u", "text": "<image>Hi"}, {"who": "a", "text": "Ho"}]
    sample = entry(folder, "talk", [{"turns": turns, "pictures": ["a.png"], "rules": "Be kind."}])
    assert asked(sample) == [("system", "Be kind."), ("user", "<image>Hi")]
    assert (sample.demonstration, sample.images, sample.root) == ("Ho", ("a.png",), str(folder))
    sample = entry(folder, "plain", [{"q": "<image>Hi", "more": "there", "r": "Ho", "img": "a.png"}])
    assert (asked(sample), sample.demonstration) == ([("user", "<image>Hi\nthere")], "Ho")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (None, "holds 9 data sets; set `subset` to one of talk, plain"),
        ("tlak", "unknown subset 'tlak'. Did you mean 'talk'"),
        ("pairs", "ranking: pairs of answers are not read"),
        ("elsewhere", "ms_hub_url: only file_name and hf_hub_url are read"),
        ("typo", "unknown key 'column'. Did you mean 'columns'"),
        ("wrong", "unknown column 'promt'. Did you mean 'prompt'"),
        ("part", "subset is not read beside file_name"),
        ("test", "split is not read beside file_name"),
        ("inside", "folder is not read"),
    ],
)
def test_entries_that_are_not_read_are_refused(folder, name, said):
    with pytest.raises(UserError) as caught:
        entry(folder, name, [{"q": "x", "r": "y"}])
    assert said in str(caught.value)


def test_turns_that_call_tools_are_refused(folder):
    turns = [{"who": "u", "text": "Hi"}, {"who": "function_call", "text": "{}"}, {"who": "a", "text": "Ho"}]
    with pytest.raises(BadSample, match=r"needs a role: system, user .* not 'function_call'"):
        entry(folder, "talk", [{"turns": turns}])


ROWS = {
    "trl, prompt and completion": ({"prompt": "Hi", "completion": "Ho"}, "Hi", "Ho"),
    "trl, conversational": (
        {"prompt": [{"role": "user", "content": "Hi"}], "completion": [{"role": "assistant", "content": "Ho"}]},
        "Hi",
        "Ho",
    ),
    "alpaca with history": (
        {"instruction": "Hi", "input": "", "output": "Ho", "history": [["a", "b"]], "system": ""},
        "Hi",
        "Ho",
    ),
}


@pytest.mark.parametrize("row", ROWS)
def test_demonstrations_of_other_tools(folder, row):
    values, question, answer = ROWS[row]
    sample = opened(folder, [values])[0]
    assert asked(sample)[-1] == ("user", question)
    assert (sample.demonstration, sample.task) == (answer, "sft")


def test_visual_rft_and_video_r1(folder):
    box = "<answer>[{'Position': [1, 2, 3, 4], 'Confidence': 1}]</answer>"
    row = {"image": "a.png", "problem": "Where?", "solution": box}
    assert opened(folder, [row], task="grounding")[0].target == {"box": [1, 2, 3, 4]}
    (folder / "v.mp4").touch()
    video_r1 = {
        **{"problem_id": 1, "problem": "Who?", "data_type": "video", "problem_type": "multiple choice"},
        **{"options": ["A. a man", "B. a cat"], "solution": "<answer>B</answer>", "path": "./v.mp4"},
        **{"process": "<think>m</think>", "data_source": "x"},
    }
    sample = opened(folder, [video_r1])[0]
    assert (sample.target["answer"], sample.videos) == ("B", ("./v.mp4",))


def test_a_hub_configuration_is_asked_for_by_name(monkeypatch):
    from datasets import Dataset

    asked_for = []

    def load(*args, **options):
        asked_for.append((args, options))
        return Dataset.from_list([{"problem": "x", "answer": "1"}])

    monkeypatch.setattr("datasets.load_dataset", load)
    FileDataset(FileData(type="file", path="owner/name", subset="Math", split="dev", task="math"))
    assert asked_for == [(("owner/name", "Math"), {"split": "dev"})]


def test_saved_pictures_of_datasets_are_read_under_either_name(folder):
    from datasets import Dataset
    from datasets import Image as Feature

    data = Dataset.from_dict(
        {"image": [{"bytes": encoded(Image.new("RGB", (28, 28))), "path": None}], "problem": ["x"], "answer": ["1"]}
    )
    data.cast_column("image", Feature()).save_to_disk(folder / "saved")
    assert isinstance(FileDataset(FileData(type="file", path=str(folder / "saved"), task="math"))[0].images[0], bytes)


class Watched(dict):
    """A row that notes which columns are asked for."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.asked = set()

    def get(self, key, default=None):
        self.asked.add(key)
        return super().get(key, default)

    def __contains__(self, key):
        self.asked.add(key)
        return super().__contains__(key)

    def __getitem__(self, key):
        self.asked.add(key)
        return super().__getitem__(key)


TALK = [{"from": "human", "value": "1 + 2?"}, {"from": "gpt", "value": "3"}]
VIDEO_ROW = {"problem": "1 + 2?", "problem_type": "numeric", "solution": "<answer>3</answer>", "data_type": "text"}
ASKED = {
    "mmrl": [{"prompt": "1 + 2?", "answer": "3"}, {"messages": [], "prompt": "1 + 2?", "completion": "3"}],
    "verl": [{"prompt": [{"role": "user", "content": "1 + 2?"}], "reward_model": {"ground_truth": "3"}}],
    "easyr1": [{"problem": "1 + 2?", "answer": "3"}, {"problem": "1 + 2?", "solution": "3"}],
    "easyvideor1": [VIDEO_ROW, {**VIDEO_ROW, "offline_output": "3"}],
    "vlm_r1": [{"conversations": TALK}, {"conversations": TALK, "system": "Add."}],
    "alpaca": [{"instruction": "Add.", "input": "1 + 2", "output": "3"}],
}


@pytest.mark.parametrize("name", sorted(ASKED))
def test_every_column_that_a_format_reads_may_be_mapped(name):
    form = FORMATS.get(name)
    for row in ASKED[name]:
        row = Watched(row)
        form.read(Columns(row, 0, "rows.jsonl row 0", "rows", None, "numeric", "pixel"))
        # Every format looks there for a row's id, which only some call so.
        assert row.asked - {"problem_id"} <= set(form.columns), name


def test_verls_extra_info_holds_whatever_a_dataset_names(folder):
    row = {
        "prompt": [{"role": "user", "content": "Which?"}],
        "reward_model": {"ground_truth": "A"},
        "extra_info": {"answer": "B", "choices": ["A. cat", "B. dog"], "index": 7},
        "answer": "a note, and not the answer",
    }
    columns = {"options": "extra_info.choices", "id": "extra_info.index"}
    plain = opened(folder, [row], columns=columns, task="multiple_choice")[0]
    assert (plain.target["answer"], plain.target["options"], plain.id) == ("A", {"A": "cat", "B": "dog"}, "7/0")
    other = opened(folder, [row], columns={**columns, "answer": "extra_info.answer"}, task="multiple_choice")[0]
    assert other.target["answer"] == "B"
    with pytest.raises(UserError, match=r"unknown column of format easyvideor1 'proces'. Did you mean 'process'\?"):
        opened(folder, [{**VIDEO_ROW, "why": "x"}], format="easyvideor1", columns={"proces": "why"})
