"""Data files that are not what they seem: programs to run, bytes of other files, endless rows, rows that change."""

import io
import json
import os
import re
import struct
import subprocess
import threading
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmrl.contracts.errors import BadSample, UserError
from mmrl.contracts.types import Sample
from mmrl.data import readers, tables, tsv
from mmrl.data.media import load_image
from mmrl.data.readers import FileDataset, open_file
from mmrl.data.robot.hdf5 import open_h5
from mmrl.data.robot.lerobot_layout import read_layout
from mmrl.data.tables import JsonlTable
from mmrl.data.unchanged import FileStates, MediaStates
from mmrl.recipe.data import FileData
from tests.support.robot_data import write_lerobot
from video import VideoError
from video.images import load_image as load_frame
from video.pictures import MAX_SIDE, _Room, formats, open_picture
from video.provenance import open_image

ROOT = Path(__file__).parents[3]
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n/x 1 def\nshowpage\n%%EOF\n"


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int) -> bytes:
    """A PNG of that size in its head, and of no pixels."""
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_no_program_is_started_for_a_picture(monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a program was started"))
    with pytest.raises(BadSample, match=r"cannot be read: .*; formats that are read: JPEG, PNG"):
        load_image(EPS)
    with pytest.raises(VideoError, match="not_an_image"):
        load_frame(EPS)
    with pytest.raises(VideoError, match="not_an_image"):
        open_image(EPS)


@pytest.mark.parametrize("name", formats())
def test_every_format_that_is_read_is_read(name, tmp_path):
    picture = Image.new("RGB", (8, 6), (200, 30, 30))
    if name == "AVIF":
        pytest.importorskip("PIL._avif")
    file = io.BytesIO()
    picture.save(file, name, **({"save_all": True} if name == "MPO" else {}))
    assert load_image(file.getvalue()).size == (8, 6)


def test_pictures_are_opened_in_one_place():
    sources = [path for room in ("mmrl", "video", "vision_rewards", "robotics") for path in (ROOT / room).rglob("*.py")]
    calls = [line for path in sources for line in path.read_text().splitlines() if re.search(r"\bImage\.open\(", line)]
    assert calls
    assert all("formats=" in line for line in calls), calls


@pytest.mark.parametrize(("width", "height"), [(1, MAX_SIDE + 1), (MAX_SIDE + 1, 1)])
def test_sizes_beyond_a_limit_are_refused_by_their_head(width, height):
    with pytest.raises(BadSample, match=rf"is too large: {width} x {height} pixels, limit"):
        load_image(png(width, height))
    with pytest.raises(VideoError, match=rf"{width} x {height} pixels, limit"):
        load_frame(png(width, height))


def test_pixels_beyond_a_limit_are_refused_whatever_pillow_allows(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with pytest.raises(BadSample, match="is too large: 13378 x 13378 pixels, limit 178956970"):
        load_image(png(13_378, 13_378))


def test_large_pictures_wait_for_each_other():
    room, inside, done = _Room(10), threading.Event(), threading.Event()
    order = []

    def second():
        inside.wait()
        with room.of(4):
            order.append("second")
        done.set()

    thread = threading.Thread(target=second)
    thread.start()
    with room.of(8):
        inside.set()
        with room.of(2):
            order.append("fits beside it")
        while not (room._changed._waiters or "second" in order):
            time.sleep(0.001)
        order.append("first")
    done.wait()
    thread.join()
    assert order == ["fits beside it", "first", "second"]
    with room.of(99):
        order.append("alone it may be larger")
    assert room.taken == 0


def test_decoding_takes_its_room(monkeypatch):
    taken = []
    monkeypatch.setattr(
        "video.pictures.ROOM", type("Room", (), {"of": lambda _, n: taken.append(n) or _Room(1).of(0)})()
    )
    file = io.BytesIO()
    Image.new("RGB", (8, 6)).save(file, "PNG")
    load_image(file.getvalue())
    load_frame(file.getvalue())
    assert taken == [8 * 6 * 12] * 2


@pytest.fixture
def small_rows(monkeypatch):
    monkeypatch.setattr(tables, "MOST_ROW_BYTES", 200)
    monkeypatch.setattr(tsv, "MOST_ROW_BYTES", 200)


def test_a_line_beyond_the_limit_is_a_bad_row_and_never_held(tmp_path, small_rows):
    path = tmp_path / "rows.jsonl"
    rows = [{"a": 1}, {"a": "x" * 1000}, {"a": 3}, {"a": "y" * 180}]
    path.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    table = JsonlTable(path)
    assert len(table) == 4
    assert [table.get(row) for row in (0, 2, 3)] == [rows[0], rows[2], rows[3]]
    with pytest.raises(BadSample, match=r"rows\.jsonl row 1: the line has 200 bytes or more"):
        table.get(1)


def test_rows_of_other_files_beyond_the_limit(tmp_path, small_rows, monkeypatch):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"a": ["x", "y" * 1000]}), tmp_path / "rows.parquet")
    table = open_file(tmp_path / "rows.parquet")
    assert table.get(0) == {"a": "x"}
    with pytest.raises(BadSample, match=r"rows.parquet row 1: the row has 1,0\d\d bytes"):
        table.get(1)
    (tmp_path / "rows.tsv").write_text("index\timage\n1\t" + "x" * 300 + "\n")
    with pytest.raises(UserError, match="field larger than field limit"):
        open_file(tmp_path / "rows.tsv")
    (tmp_path / "rows.json").write_text(json.dumps([{"a": 1}]))
    monkeypatch.setattr(readers, "MOST_FILE_BYTES", 5)
    with pytest.raises(UserError, match=r"has 10 bytes and is read as a whole, at most 5; write it as .jsonl"):
        open_file(tmp_path / "rows.json")


def test_a_file_of_rows_that_changes_is_noticed(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n{"a": 2}\n')
    table = JsonlTable(path)
    assert table.get(1) == {"a": 2}
    path.write_text('{"a": 1}\n{"a": 3}\n')
    os.utime(path, ns=(1, 1))
    with pytest.raises(
        UserError, match=r"has changed since it was opened \(written again, as long as before\)"
    ) as error:
        table.get(1)
    assert not isinstance(error.value, BadSample), "a bad sample may be skipped"
    path.write_text('{"a": 1}\n')
    with pytest.raises(UserError, match=r"\(18 bytes then, 9 now\)"):
        table.get(0)
    assert JsonlTable(path).get(0) == {"a": 1}


def test_bytes_of_other_files_are_not_read_through_hdf5(tmp_path):
    h5py = pytest.importorskip("h5py")
    secret = tmp_path / "secret.txt"
    secret.write_bytes(b"S" * 300)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = np.zeros(3)

    def external(file):
        file.create_dataset("data/obs/x", (10, 10, 3), np.uint8, external=[(str(secret), 0, 300)])

    def link(file):
        file["data/obs/x"] = h5py.ExternalLink("other.h5", "x")

    def virtual(file):
        layout = h5py.VirtualLayout((3,), float)
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "x", (3,))
        file.create_virtual_dataset("data/obs/x", layout)

    expected = {
        external: "the values of 'data/obs/x' are stored in another file",
        link: "'data/obs/x' is a link out of",
    }
    for make, words in {**expected, virtual: "'data/obs/x' is put together of other files"}.items():
        path = tmp_path / f"{make.__name__}.h5"
        with h5py.File(path, "w") as file:
            make(file)
        for _ in range(2):
            with pytest.raises(UserError, match=words), open_h5(path):
                pytest.fail("it was opened")


def test_links_within_an_hdf5_file_are_fine_and_its_change_is_noticed(tmp_path):
    h5py = pytest.importorskip("h5py")
    path, states = tmp_path / "a.h5", FileStates()
    with h5py.File(path, "w") as file:
        file["a/b"] = np.arange(3)
        file["a/soft"], file["a/hard"] = h5py.SoftLink("/a/b"), file["a/b"]
    with open_h5(path, states) as file:
        assert file["a/soft"][2] == 2
    os.utime(path, ns=(1, 1))
    with pytest.raises(UserError, match="has changed since it was opened"), open_h5(path, states):
        pytest.fail("it was opened")


@pytest.mark.parametrize(
    "template", ["{file_index:9999999999}", "{file_index.__class__}", "{chunk_index!r}", "{file_index:{chunk_index}}"]
)
def test_path_templates_hold_names_and_plain_numbers_alone(tmp_path, template):
    folder = write_lerobot(tmp_path / "set", (3,), stored=True)
    layout = read_layout(str(folder))
    (recorded,) = layout.episodes.values() if isinstance(layout.episodes, dict) else layout.episodes
    assert layout.data_name(recorded) == "data/chunk-000/file-000.parquet"
    layout.info["data_path"] = template
    with pytest.raises(UserError, match="is no template of chunk_index, file_index, video_key"):
        layout.data_name(recorded)


def test_the_head_alone_is_read_when_a_picture_is_opened():
    with open_picture(io.BytesIO(png(30_000, 5_000))) as image:
        assert image.size == (30_000, 5_000)


def test_there_is_room_for_what_fits_beside_the_others(monkeypatch):
    room, answers = _Room(10), []
    monkeypatch.setattr(room._changed, "wait_for", lambda fits: answers.append(fits()))
    with room.of(8), room.of(2), room.of(1):
        assert answers == [True, True, False]
    with room.of(99):
        assert answers[-1]


@pytest.mark.parametrize("change", ["other bytes", "as long as before", "gone and new"])
def test_a_picture_that_changes_during_a_run_is_noticed(tmp_path, change):
    Image.new("RGB", (8, 6)).save(tmp_path / "a.png")
    row = {"prompt": "<image>How many?", "task": "counting", "target": {"count": 1}, "images": ["a.png"]}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    rows = FileDataset(FileData(type="file", path=str(tmp_path / "rows.jsonl")))
    assert rows[0].id == rows[0].id
    path, facts = tmp_path / "a.png", (tmp_path / "a.png").stat()
    if change == "other bytes":
        path.write_bytes(path.read_bytes() + b" ")
        os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    else:
        os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns + 1))
    with pytest.raises(UserError, match=r"rows.jsonl row 0 .*: file '.*a.png' has changed since the run first read it"):
        rows[0]


def test_media_states_look_at_clips_and_leave_what_is_no_file_to_its_reader(tmp_path):
    states, clip = MediaStates(), tmp_path / "a.mp4"
    (tmp_path / "frames").mkdir()
    samples = [
        Sample("0", (), "x", {}, videos=({"path": "a.mp4", "start": 1.0},), root=str(tmp_path)),
        Sample(
            "1", (), "x", {}, videos=("frames", ["b.png"], "gone.mp4"), images=(b"bytes", "a\0b"), root=str(tmp_path)
        ),
    ]
    clip.write_bytes(b"1")
    for sample in samples:
        states.check(sample)
    clip.write_bytes(b"22")
    (tmp_path / "frames" / "new.png").touch()
    states.check(samples[1])
    with pytest.raises(UserError, match=r"a.mp4' has changed"):
        states.check(samples[0])
