"""Images open as upright RGB, or are refused with the path and the reason; paths never leave the root."""

import io
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from mmrl.contracts.errors import BadSample
from mmrl.data.media import load_image, resolve_media
from tests.support.media import SHARED, needs_shared
from tests.support.pictures import encoded


@pytest.fixture
def photo():
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (8, 12, 3), np.uint8))


def test_bytes_path_and_pil_give_the_same_pixels(photo, tmp_path):
    (tmp_path / "sub").mkdir()
    photo.save(tmp_path / "sub" / "a.png")
    for source in (encoded(photo), "sub/a.png", str(tmp_path / "sub/a.png"), photo):
        image = load_image(source, tmp_path, "row 0")
        assert image.mode == "RGB"
        assert np.array_equal(np.asarray(image), np.asarray(photo))


def test_exif_orientation_is_applied(photo):
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = load_image(encoded(photo, exif=exif))
    assert turned.size == (8, 12)
    assert np.array_equal(np.asarray(turned), np.rot90(np.asarray(photo), -1))


def test_modes_become_rgb():
    assert load_image(Image.new("RGBA", (2, 2), (200, 0, 0, 0))).getpixel((0, 0)) == (255, 255, 255)
    assert load_image(Image.new("L", (2, 2), 9)).getpixel((0, 0)) == (9, 9, 9)
    deep = Image.fromarray(np.full((2, 2), 257 * 100, np.uint16))
    assert load_image(encoded(deep)).getpixel((0, 0)) == (100, 100, 100)
    palette = Image.new("P", (2, 2), 0)
    palette.putpalette([10, 20, 30])
    assert load_image(encoded(palette, transparency=0)).getpixel((0, 0)) == (255, 255, 255)
    with pytest.raises(BadSample, match="no defined range"):
        load_image(Image.new("F", (2, 2)))


def test_what_is_decoded_already_is_not_decoded_again(photo):
    assert load_image(photo) is photo
    turned = photo.copy()
    turned.getexif()[0x0112] = 6
    assert load_image(turned).size == photo.size[::-1]
    assert load_image(Image.open(io.BytesIO(encoded(photo)))).tobytes() == photo.tobytes()


@pytest.mark.parametrize("cut", [1, 20, 60, 0.5, 0.9])
def test_truncated_images_are_bad_samples(photo, cut):
    data = encoded(photo.resize((64, 64)), "JPEG")
    size = cut if cut >= 1 else int(cut * len(data))
    with pytest.raises(BadSample, match="row 3: image of"):
        load_image(data[:size], None, "row 3")


@needs_shared
def test_a_real_corrupt_jpeg_is_a_bad_sample():
    root = SHARED / "media" / "image"
    with pytest.raises(BadSample, match=r"row 1: image 'corrupt\.jpg' cannot be read"):
        load_image("corrupt.jpg", root, "row 1")
    assert load_image("truck.jpg", root).mode == "RGB"


def test_bombs_are_refused_without_decoding(photo, tmp_path):
    data = bytearray(encoded(photo, "BMP"))
    data[18:26] = (20_000).to_bytes(4, "little") * 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(BadSample, match="too large"):
            load_image(bytes(data), None, "row 0")


@pytest.mark.parametrize("source", ["https://x.org/a.png", "missing.png", "sub", "", "a\0b", "x" * 5000, 7, None])
def test_odd_sources_are_bad_samples(source, tmp_path):
    (tmp_path / "sub").mkdir()
    with pytest.raises(BadSample, match="row 5"):
        load_image(source, tmp_path, "row 5")


def test_missing_file_names_the_nearest(tmp_path):
    (tmp_path / "photo_001.png").touch()
    with pytest.raises(BadSample, match=r"photo_01\.png' does not exist .* Did you mean 'photo_001\.png'"):
        resolve_media("photo_01.png", tmp_path, "row 0")


def test_escapes_are_refused(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret.png").touch()
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    (root / "inside.png").touch()
    (root / "alias.png").symlink_to(root / "inside.png")
    assert resolve_media("alias.png", root, "row 0") == (root / "inside.png").resolve()
    assert resolve_media("./x/../inside.png", root, "row 0").name == "inside.png"
    for path in ("../secret.png", str(tmp_path / "secret.png"), "link.png", "a/../../secret.png", "/etc/passwd"):
        with pytest.raises(BadSample, match="leaves the media folder"):
            resolve_media(path, root, "row 0")


pieces = st.sampled_from(
    ["..", ".", "/", "//", "a", "root", "secret.png", "link.png", "inside.png", "~", "\0", "\ud800"]
)


@pytest.mark.slow
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=st.one_of(st.text(max_size=20), st.lists(pieces, max_size=6).map("/".join)))
def test_no_path_escapes(path, tmp_path_factory):
    base = Path(tmp_path_factory.getbasetemp()) / "escape"
    root = base / "root"
    if not root.exists():
        root.mkdir(parents=True)
        (base / "secret.png").touch()
        (root / "inside.png").touch()
        (root / "link.png").symlink_to(base / "secret.png")
    try:
        found = resolve_media(path, root, "row 0")
    except BadSample:
        return
    assert found == (root / "inside.png").resolve()
