"""Images and media paths of rows: opened safely, or refused with the path and the reason."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageOps

from mmrl.contracts.errors import BadSample, nearest, shortened
from mmrl.data.references import local_path
from video.pictures import decoding, excess, open_picture

NAMES_COMPARED = 500


def resolve_media(
    path: str | os.PathLike[str], root: str | os.PathLike[str] | None, where: str, folders: bool = False
) -> Path:
    """The existing file that a row's media path names; with `folders` it may be a folder (of a video's frames).

    Args:
        path: relative to `root`, or absolute and inside it.
        root: folder that the path must stay under after symlinks are followed, those of a hub cache into its own
            blobs excepted; None: any file, relative to the working folder.
        where: the row, for the error message.

    Raises:
        BadSample: the path is a URL, leaves the root, or names no file.
    """
    name = local_path(os.fspath(path))
    short = shortened(name)
    if "://" in name[:16]:
        raise BadSample(where, f"'{short}' is a URL; download the file and give its path", path=short)
    try:
        base = Path(root or ".").resolve()
        full = (base / name).resolve()
        if root is not None and not (full.is_relative_to(base) or _in_hub_cache(full, base)):
            raise BadSample(where, _outside(name, root, full), path=short)
        if not full.is_file() and not (folders and full.is_dir()):
            kind = "is a folder" if full.is_dir() else "does not exist"
            siblings = islice(full.parent.iterdir(), NAMES_COMPARED) if full.parent.is_dir() else ()
            hint = nearest(full.name, [path.name for path in siblings])
            cure = f".{hint}" if hint else "; paths start from `root` of their dataset"
            raise BadSample(where, f"file '{short}' {kind} under '{root or '.'}'{cure}", path=short)
    except (OSError, ValueError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise BadSample(where, f"path '{short}' cannot be opened: {reason}", path=short) from error
    return full


def _in_hub_cache(full: Path, base: Path) -> bool:
    """Whether `base` is a snapshot of a Hugging Face hub cache, and `full` one of the repository's own blobs.

    There `snapshots/<revision>/…` are links to `blobs/<digest>` of the same repository.
    """
    repository = next((p.parent.parent for p in (base, *base.parents) if p.parent.name == "snapshots"), None)
    return repository is not None and full.parent == repository / "blobs"


def _outside(name: str, root: str | os.PathLike[str], full: Path) -> str:
    if not Path(name).is_absolute():
        return f"path '{shortened(name)}' leaves the media folder '{root}'; set `root` of its dataset to a folder above"
    return (
        f"path '{shortened(name)}' is absolute and leaves the media folder '{root}'; set `root` of its dataset to a "
        f"folder that holds it, such as {full.parent}"
    )


def load_image(source: Any, root: str | os.PathLike[str] | None = None, where: str = "image") -> Image.Image:
    """Opens an image as RGB, turned as its EXIF orientation says; transparency is laid over white.

    Args:
        source: encoded `bytes`, a path, or a `PIL.Image.Image`, which is given back where it is as asked for already.
        root: folder that paths must stay under, see `resolve_media`.
        where: the row, for the error message.

    Raises:
        BadSample: missing, corrupt, truncated, of a format that is not read, or too large (`video.pictures`), or a path
            outside the root.
    """
    with opened_image(source, root, where) as image:
        return _decoded(image)


@contextmanager
def opened_image(source: Any, root: str | os.PathLike[str] | None, where: str) -> Iterator[Image.Image]:
    """An image of which only the header is read yet; what goes wrong inside is a BadSample; see `load_image`."""
    path = os.fspath(source) if isinstance(source, (str, os.PathLike)) else None
    if isinstance(source, Image.Image):
        name, opened = "image", source
    elif isinstance(source, (bytes, bytearray, memoryview)):
        name, opened = f"image of {len(source)} bytes", io.BytesIO(source)
    elif path is not None:
        name, opened = f"image '{shortened(path)}'", resolve_media(source, root, where)
    else:
        raise BadSample(where, f"an image is bytes, a path or a PIL image, not {type(source).__name__}")
    try:
        with nullcontext(opened) if isinstance(opened, Image.Image) else open_picture(opened) as image:
            yield image
    except BadSample:
        raise
    except (Image.DecompressionBombError, _TooLarge) as error:
        raise BadSample(where, f"{name} is too large: {error}", path=path) from error
    # Decoders raise whatever their format makes them raise (struct.error, SyntaxError, zlib.error, ...).
    except Exception as error:
        raise BadSample(where, f"{name} cannot be read: {error or type(error).__name__}", path=path) from error


class _TooLarge(ValueError):
    """More pixels than are decoded."""


def _decoded(image: Image.Image) -> Image.Image:
    if problem := excess(image.width, image.height):
        raise _TooLarge(problem)
    # An image of this very class is of no file: its pixels are there.
    if type(image) is Image.Image and image.mode == "RGB" and ExifTags.Base.Orientation not in image.getexif():
        return image
    with decoding(image.width, image.height):
        image.load()
        return _to_rgb(ImageOps.exif_transpose(image))


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode == "F":
        raise ValueError("float pixels have no defined range; store 8-bit or 16-bit images")
    # Pillow clips 16-bit pixels at 255 when it converts them.
    if image.mode.startswith("I"):
        levels = np.asarray(image).astype(np.float32)
        if image.mode != "I" or levels.max() > 255:
            levels = levels / 257.0
        return Image.fromarray(levels.round().clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        layer = image.convert("RGBA")
        paper = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(paper, layer).convert("RGB")
    return image.convert("RGB")
