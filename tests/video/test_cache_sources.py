"""What the cache takes for the same source: pictures in memory, changes in the midst, decoders of a machine."""

import io
import json
import os

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

import video
from tests.support.clips import encode, scene
from tests.support.frames import SPEC, assert_same, fake_decode, write_source
from video import Sampling, TensorCache, VideoError, VideoSpec, backends
from video import cache as caching
from video.fingerprint import BLOCK, BLOCKS, fingerprint
from video.inventory import scan
from video.reading import read

WHOLE = VideoSpec(Sampling(all_frames=True), None)


def palette(*colour):
    image = Image.new("P", (64, 48))
    image.putpalette([*colour, *[0] * 765])
    return image


def turned(orientation):
    image = Image.fromarray(scene(1, 48, 64)[0])
    image.getexif()[0x0112] = orientation
    return image


def clear(transparent):
    image = palette(9, 9, 9)
    if transparent:
        image.info["transparency"] = 0
    return image


@pytest.mark.parametrize(("one", "other"), [
    (palette(255, 0, 0), palette(0, 0, 255)),
    (turned(1), turned(6)),
    (turned(1), turned(3)),
    (clear(False), clear(True)),
])  # fmt: skip
def test_pictures_of_equal_bytes_and_other_pixels_are_other_sources(tmp_path, one, other):
    assert one.tobytes() == other.tobytes()
    cache = TensorCache(tmp_path)
    for picture in (one, other) * 2:
        assert_same(cache.get([picture] * 2, WHOLE), read([picture] * 2, WHOLE))
    assert cache.counts == {"decoded": 2, "hits": 2}


def test_a_picture_that_cannot_be_read_is_refused_in_words(tmp_path):
    whole = io.BytesIO()
    turned(1).save(whole, "PNG")
    cut = Image.open(io.BytesIO(whole.getvalue()[: len(whole.getvalue()) // 2]))
    with pytest.raises(VideoError, match=r"image 1: cannot be read .*\[not_an_image\]"):
        fingerprint([turned(1), cut])


def test_lists_of_encoded_pictures_are_read_and_cached(tmp_path):
    pixels, encoded = scene(4, 48, 64), []
    for picture in pixels:
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "PNG")
        encoded.append(file.getvalue())
    cache = TensorCache(tmp_path)
    for _ in range(2):
        found = cache.get(encoded, WHOLE)
        assert np.array_equal(found.pixels.permute(0, 2, 3, 1).numpy(), pixels)
    assert cache.counts == {"decoded": 1, "hits": 1}
    with pytest.raises(VideoError, match=r"frame 1 of list of 2 images: cannot be read .*\[not_an_image\]"):
        read([encoded[0], b"text"], WHOLE)
    with pytest.raises(VideoError, match=r"image of 4 bytes: .*\[not_a_video\]; give a path, or images as a list"):
        read(b"text", WHOLE)
    with pytest.raises(VideoError, match=r"\[not_a_video\]; give a path, or images as a list"):
        cache.get(encoded[0], WHOLE)


def test_errors_of_lists_name_the_file(tmp_path):
    paths = [tmp_path / f"{side}.png" for side in (32, 32, 48)]
    for path in paths:
        Image.new("RGB", (int(path.stem),) * 2).save(path)
    words = rf"frame 2 \('{paths[2]}'\) is 48x48, frame 0 \('{paths[0]}'\) is 32x32 \[mixed_sizes\]"
    with pytest.raises(VideoError, match=words):
        video.read_frames([str(path) for path in paths], timestamps=[0.0, 1.0])
    with pytest.raises(VideoError, match=rf"list of 1 images, the first '{paths[0]}': .*\[bad_timestamp\]"):
        video.read_frames(paths[:1], timestamps=[9.0])


@pytest.mark.parametrize("names", [["a²1.png", "a²2.png"], ["²1.png", "²2.png"]])
def test_names_with_digits_that_are_no_numbers(tmp_path, names):
    for shade, name in enumerate(names):
        Image.new("RGB", (32, 32), (shade, 0, 0)).save(tmp_path / name)
    assert video.read_frames(tmp_path, all_frames=True).pixels[:, 0, 0, 0].tolist() == [0, 1]


def test_a_change_between_decoding_and_the_full_digest_is_noticed(tmp_path, monkeypatch):
    content = bytearray(os.urandom(2**16) * (2 * BLOCKS + 5))
    source, provenance, changes = write_source(tmp_path, "long.mp4", bytes(content)), caching.provenance, [1]

    def racing(*args):
        if changes:
            changes.pop()
            # Outside the hashed blocks: the fast digest stays as it is.
            content[BLOCK + 7] ^= 1
            source.write_bytes(content)
        return provenance(*args)

    monkeypatch.setattr(caching, "provenance", racing)
    for _ in range(2):
        found = TensorCache(tmp_path / "cache", decode=fake_decode).get(source, SPEC)
        assert_same(found, fake_decode(source, SPEC))


def identity(cache):
    (path,) = (item.path for item in scan(cache.root))
    with safe_open(path, "np") as file:
        return json.loads(file.metadata()["identity"])


def test_a_machine_with_other_decoders_has_entries_of_its_own(tmp_path, monkeypatch):
    """10-bit colours differ between decord and PyAV: one machine's frames are not taken for another's."""
    pytest.importorskip("decord")
    path = encode(tmp_path / "a.mp4", scene(8), fmt="yuv420p10le")
    cache = TensorCache(tmp_path / "cache")
    here = cache.get(str(path), WHOLE)
    assert identity(cache)["decoders"] == ["decord", "pyav"]
    assert here.metadata.backend == "decord"
    monkeypatch.setattr(backends.load("decord"), "available", lambda: "not installed")
    other = cache.get(str(path), WHOLE)
    assert other.metadata.backend == "pyav"
    assert_same(other, read(str(path), WHOLE))
    assert cache.counts == {"decoded": 2}


def test_decoders_stand_in_the_key_where_they_are_chosen(tmp_path):
    picture = tmp_path / "a.png"
    Image.new("RGB", (64, 64)).save(picture)
    cache = TensorCache(tmp_path / "cache")
    cache.get([str(picture)] * 2, WHOLE)
    assert identity(cache)["decoders"] is None
