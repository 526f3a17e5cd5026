"""A row's pictures and videos are read in whatever form they stand there, or it is an error that names the column."""

import base64
import io
import json

import pytest
from PIL import Image

from mmrl.contracts.errors import BadSample
from mmrl.contracts.types import Sample
from mmrl.data.media import load_image
from mmrl.data.readers import FileDataset
from mmrl.data.references import image_source, media_in
from mmrl.recipe.data import FileData
from tests.support.pictures import encoded

RED = Image.new("RGB", (28, 28), "red")
PNG, JPEG = encoded(RED), encoded(RED, "JPEG")
URI = "data:image/png;base64," + base64.b64encode(PNG).decode()


@pytest.fixture
def folder(tmp_path):
    RED.save(tmp_path / "a.png")
    Image.new("RGB", (56, 28), "blue").save(tmp_path / "b.png")
    (tmp_path / "v.mp4").touch()
    return tmp_path


def read(folder, row, **options) -> Sample:
    path = folder / "rows.jsonl"
    path.write_text(json.dumps(row))
    return FileDataset(FileData(type="file", path=str(path), **options))[0]


def refused(folder, row, **options) -> str:
    with pytest.raises(BadSample) as caught:
        read(folder, row, **options)
    assert len(str(caught.value)) < 600
    assert "\n" not in str(caught.value)
    return str(caught.value)


def pixels(sample):
    return [load_image(source, sample.root).getpixel((3, 3)) for source in sample.images]


def marks(sample):
    return [part["type"] for message in sample.messages for part in message["content"]]


TALK = [{"from": "human", "value": "How many?"}, {"from": "gpt", "value": "3"}]
ROWS = {
    "mmrl": {"prompt": "How many?", "target": {"count": 3}, "task": "counting"},
    "messages": {"messages": [{"role": "user", "content": "How many?"}], "solution": "3"},
    "easyr1": {"problem": "How many?", "answer": "3"},
    "visual_rft": {"problem": "How many?", "solution": "<answer>3</answer>"},
    "easyvideor1": {"problem": "How many?", "solution": "3", "data_type": "image", "problem_type": "counting"},
    "conversations": {"conversations": TALK},
    "alpaca": {"instruction": "How many?", "output": "3"},
    "verl": {"prompt": [{"role": "user", "content": "How many?"}], "reward_model": {"ground_truth": "3"}},
}


@pytest.mark.parametrize("form", ROWS)
@pytest.mark.parametrize("column", ["image", "images"])
def test_both_names_of_a_column_of_pictures_are_read_in_every_format(folder, form, column):
    for value in ("a.png", ["a.png"]):
        sample = read(folder, {**ROWS[form], column: value}, task="counting")
        assert (sample.images, marks(sample), sample.target) == (("a.png",), ["image", "text"], {"count": 3})


@pytest.mark.parametrize("form", [form for form in ROWS if form != "easyvideor1"])
@pytest.mark.parametrize("column", ["video", "videos"])
def test_both_names_of_a_column_of_videos_are_read_in_every_format(folder, form, column):
    sample = read(folder, {**ROWS[form], column: "v.mp4"}, task="counting")
    assert (sample.videos, marks(sample)) == (("v.mp4",), ["video", "text"])


FORMS = {
    "data uri": URI,
    "base64": base64.b64encode(PNG).decode(),
    "url-safe base64 of a jpeg": base64.urlsafe_b64encode(JPEG).decode(),
    "base64 in lines": base64.encodebytes(PNG).decode(),
    "an image feature with a path": {"bytes": None, "path": "a.png"},
    "qwen's mapping": {"image": "a.png"},
    "base64 under bytes": {"bytes": base64.b64encode(PNG).decode(), "path": None},
}


@pytest.mark.parametrize("form", FORMS)
def test_encoded_pictures_and_names_are_the_same_picture(folder, form):
    sample = read(folder, {**ROWS["easyr1"], "images": [FORMS[form]]}, task="counting")
    red, green, blue = pixels(sample)[0]
    assert red > 250
    assert green < 5
    assert blue < 5


def test_file_addresses_stay_under_their_root(folder):
    address = (folder / "a.png").as_uri()
    assert pixels(read(folder, {**ROWS["easyr1"], "image": address}, task="counting")) == [(255, 0, 0)]
    assert "is absolute and leaves the media folder" in refused(
        folder, {**ROWS["easyr1"], "image": "file:///etc/hostname"}, task="counting"
    )


def test_parts_of_messages_hold_their_own_media_in_their_own_order(folder):
    parts = [
        {"type": "text", "text": "First"},
        {"type": "image", "image": str(folder / "b.png")},
        {"type": "image"},
        {"type": "image_url", "image_url": {"url": URI, "detail": "high"}},
        {"type": "video", "video": "v.mp4", "video_start": 1.0, "video_end": 2.0},
        {"type": "text", "text": "then?", "image": None},
    ]
    sample = read(
        folder,
        {"messages": [{"role": "user", "content": parts}], "images": ["a.png"], "solution": "3"},
        task="counting",
    )
    assert marks(sample) == ["text", "image", "image", "image", "video", "text"]
    assert pixels(sample) == [(0, 0, 255), (255, 0, 0), (255, 0, 0)]
    assert sample.videos == ({"path": "v.mp4", "start": 1.0, "end": 2.0},)
    assert all(part.keys() <= {"type", "text"} for message in sample.messages for part in message["content"])


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"image": "https://host/a.png"}, "'https://host/a.png' is a URL; download the file and give its path"),
        ({"image": "data:image/png;base64," + "!" * 800_000}, "whose 800000 characters are not base64"),
        ({"image": "data:image/png," + "%00" * 300_000}, "a data: URI without base64, which is not read"),
        ({"image": "x" * 400_000}, "column 'image': path 'xxxxxx"),
        ({"image": 7}, "column 'image' holds int, not an image"),
        ({"video": "data:video/mp4;base64,AAAA"}, "column 'video' holds an encoded video, which is not read; write it"),
        ({"image": "a.png", "images": ["b.png"]}, "the columns 'images' and 'image' both hold images"),
        ({"picture": "a.png"}, "column 'picture' looks like images and is not read; set `columns: {images: picture}`"),
        ({"image": "a.png", "after": "b.png"}, "column 'after' looks like images and is not read"),
        ({"clip": ["v.mp4"]}, "column 'clip' looks like videos and is not read; set `columns: {videos: clip}`"),
        ({"thumb": URI}, "column 'thumb' looks like images and is not read"),
        ({"shot": {"bytes": base64.b64encode(PNG).decode(), "path": None}}, "column 'shot' looks like images"),
        ({"image": "a.png", "decoded": base64.b64encode(PNG).decode()}, "column 'decoded' looks like images"),
        ({"problem": "Is <video> a tag?"}, "1 <video> marks and the row has 0 videos; they must agree; a tag that is"),
    ],
)
def test_what_is_not_read_is_an_error_of_one_short_line(folder, row, said):
    assert said in refused(folder, {**ROWS["easyr1"], **row}, task="counting")


def test_foreign_keys_of_a_part_are_named(folder):
    part = {"type": "image", "image": "a.png", "max_pixels": 100}
    row = {"messages": [{"role": "user", "content": [part, {"type": "text", "text": "x"}]}], "solution": "3"}
    assert "the key 'max_pixels' of a part of type 'image' is not read; pixels and frames are settings" in refused(
        folder, row, task="counting"
    )


def test_notes_of_file_names_and_ignored_columns_pass(folder):
    note = {**ROWS["easyr1"], "image": "a.png", "original": "train/000001.jpg", "id": "1.png", "path_of_it": "./a.png"}
    assert read(folder, note, task="counting").images == ("a.png",)
    aside = {**ROWS["easyr1"], "image": "a.png", "after": "b.png"}
    assert read(folder, aside, task="counting", ignore=["after"]).images == ("a.png",)


def test_a_tag_in_an_answer_is_a_word_of_it(folder):
    talk = [{"role": "user", "content": "<image>Tag?"}, {"role": "assistant", "content": "Write <image> and <video>."}]
    sample = read(folder, {"messages": talk, "images": ["a.png"]})
    assert (sample.demonstration, sample.images) == ("Write <image> and <video>.", ("a.png",))
    turns = [{"from": "human", "value": "<image>Tag?"}, {"from": "gpt", "value": "![x](<image>)"}]
    assert read(folder, {"conversations": turns, "image": "a.png"}).demonstration == "![x](<image>)"


def test_literal_tags_in_a_part_are_text_and_media_beside_them_are_not_guessed(folder):
    parts = [{"type": "text", "text": "What is <image>?"}]
    row = {"messages": [{"role": "user", "content": parts}], "solution": "3"}
    assert read(folder, row, task="counting").messages[0]["content"] == parts
    assert "0 <image> marks and the row has 1 images" in refused(folder, {**row, "image": "a.png"}, task="counting")


def test_sources_in_python_forms():
    buffer = io.BytesIO(PNG)
    assert image_source(RED) is RED
    assert image_source(bytearray(PNG)) == image_source({"bytes": PNG, "path": "x.png"}) == buffer.getvalue()
    assert image_source("file:///a%20b/c.png") == "/a b/c.png"
    assert media_in([RED]) == media_in(PNG) == media_in({"path": "x.JPG"}) == "image"
    assert media_in("the file a.png shows it, see above") is None
    assert media_in("4") is media_in(3) is media_in(None) is media_in({"a": "x.png"}) is None
