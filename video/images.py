"""Single images, lists of images and folders of frames."""

import io
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from video.paths import resolve
from video.pictures import decoding, excess, open_picture
from video.types import VideoError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".ppm", ".tif", ".tiff", ".gif")


def folder_frames(folder: Path) -> list[Path]:
    """The image files of a folder in natural order: frame_2 comes before frame_10.

    Raises:
        VideoError: `no_frames`.
    """
    files = [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")]
    if not files:
        raise VideoError("no_frames", folder, "no image in the folder", f"frames are files of {', '.join(SUFFIXES)}")
    return sorted(files, key=lambda path: [int(p) if p.isdecimal() else p for p in re.split(r"(\d+)", path.name)])


def load_images(
    sources: Sequence[Any], numbers: Sequence[int], root: str | os.PathLike[str] | None, name: str
) -> Iterator[np.ndarray]:
    """The sources of some numbers as uint8 [H, W, 3], all of one size.

    Raises:
        VideoError: `mixed_sizes`, and what `load_image` raises.
    """
    size = None
    for number in numbers:
        image = load_image(sources[number], root, f"frame {number} of {name}")
        size = size or image.shape
        if image.shape != size:
            raise VideoError(
                "mixed_sizes",
                name,
                f"frame {number}{_name_in_brackets(sources[number])} is {image.shape[1]}x{image.shape[0]}, "
                f"frame {numbers[0]}{_name_in_brackets(sources[numbers[0]])} is {size[1]}x{size[0]}",
                "give frames of one size",
            )
        yield image


def _name_in_brackets(source: Any) -> str:
    return f" ('{os.fspath(source)}')" if isinstance(source, str | os.PathLike) else ""


def load_image(source: Any, root: str | os.PathLike[str] | None = None, name: str = "image") -> np.ndarray:
    """uint8 [H, W, 3] in RGB, turned as its EXIF orientation says, transparency laid over white.

    Args:
        source: a path, encoded bytes, a `PIL.Image.Image` or an array uint8 [H, W, 3].
        root: folder that paths must stay under, see `video.paths.resolve`.
        name: what to call a source that is no path.

    Raises:
        VideoError: `missing`, `outside_root`, `not_an_image`.
    """
    from PIL import Image

    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or source.ndim != 3 or source.shape[2] != 3:
            problem = f"an array of {source.dtype} {list(source.shape)}"
            raise VideoError("not_an_image", name, problem, "give uint8 [height, width, 3]")
        return source
    if isinstance(source, Image.Image):
        return _decode(source, name)
    if isinstance(source, bytes | bytearray | memoryview):
        opened: Any = io.BytesIO(source)
    elif isinstance(source, str | os.PathLike):
        opened = resolve(source, root)
        name = str(opened)
    else:
        cure = "give a path, encoded bytes, a PIL image or an array"
        raise VideoError("not_an_image", name, f"a {type(source).__name__}", cure)
    try:
        with open_picture(opened) as image:
            return _decode(image, name)
    except (OSError, Image.DecompressionBombError) as error:
        raise VideoError("not_an_image", name, f"cannot be read ({error})", "replace the file") from error


def _decode(image: Any, name: str) -> np.ndarray:
    from PIL import ImageOps

    if problem := excess(image.width, image.height):
        raise VideoError("not_an_image", name, problem, "scale it down")
    try:
        with decoding(image.width, image.height):
            image.load()
            return np.asarray(_to_rgb(ImageOps.exif_transpose(image)))
    # Decoders raise whatever their format makes them raise (struct.error, SyntaxError, zlib.error, ...).
    except Exception as error:
        problem = f"cannot be read ({error or type(error).__name__})"
        raise VideoError("not_an_image", name, problem, "replace the file") from error


def _to_rgb(image: Any) -> Any:
    from PIL import Image

    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layer = image.convert("RGBA")
        paper = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(paper, layer).convert("RGB")
    if image.mode == "F" or image.mode.startswith("I"):
        raise ValueError(f"pixels of mode {image.mode} have no defined 8-bit range")
    return image.convert("RGB")
