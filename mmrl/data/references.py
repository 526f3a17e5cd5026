"""What a row says of a picture or video: a path, an address, or encoded bytes in one of the forms that files have."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from PIL import Image

from mmrl.contracts.errors import shortened

IMAGE_SUFFIXES = ("png", "jpg", "jpeg", "webp", "bmp", "gif", "tif", "tiff", "ppm", "avif")
VIDEO_SUFFIXES = ("mp4", "mkv", "webm", "mov", "avi", "m4v", "mpg", "mpeg", "flv", "ts", "3gp")
# Keys under which a mapping holds a picture or video, in the order in which they are tried.
IMAGE_KEYS = ("bytes", "path", "image", "image_url", "url", "base64")
VIDEO_KEYS = ("path", "video", "video_url", "url")
# How encoded pictures begin: PNG, JPEG, GIF, WebP and other RIFF, TIFF of both byte orders, BMP.
_MAGIC = re.compile(rb"\x89PNG|\xff\xd8\xff|GIF8|RIFF....WEBP|II\*\0|MM\0\*|BM....\0\0\0\0", re.DOTALL)
_BASE64 = re.compile(r"[A-Za-z0-9+/_\s-]+={0,2}\s*")
# Shorter than the smallest encoded picture there is.
_SHORTEST = 40
_DATA_URI = re.compile(r"data:([\w.+/-]*)((?:;[^;,]*)*),", re.IGNORECASE)
_NAMED = re.compile(rf"(?:[^\n]*\.)(?:({'|'.join(IMAGE_SUFFIXES)})|({'|'.join(VIDEO_SUFFIXES)}))", re.IGNORECASE)


def image_source(item: Any) -> Any:
    """Bytes, a path as text or a `PIL.Image.Image`, of whatever stands for a picture.

    Args:
        item: a path, `file://` address, `data:` URI or base64 text; bytes; a picture; a mapping such as the Image
            feature of `datasets` (`bytes`, `path`), or a part of a message (`image`, `image_url`).

    Raises:
        ValueError: none of these.
    """
    if isinstance(item, Mapping):
        return image_source(held_in(item, IMAGE_KEYS))
    if isinstance(item, bytes | bytearray | memoryview):
        return bytes(item)
    if isinstance(item, Image.Image):
        return item
    if isinstance(item, Path):
        return str(item)
    if not isinstance(item, str) or not item:
        raise ValueError(f"holds {_kind(item)}, not an image")
    if item[:5].lower() == "data:":
        return _of_data_uri(item)
    encoded = _of_base64(item)
    return encoded if encoded is not None else local_path(item)


def video_path(item: Any) -> str:
    """The path, as text, of whatever stands for a video. Raises ValueError where it is none."""
    if isinstance(item, Path):
        return str(item)
    if isinstance(item, Mapping):
        return video_path(held_in(item, VIDEO_KEYS))
    if isinstance(item, bytes | bytearray | memoryview) or (isinstance(item, str) and item[:5].lower() == "data:"):
        raise ValueError("holds an encoded video, which is not read; write it to a file and give its path")
    if not isinstance(item, str) or not item:
        raise ValueError(f"holds {_kind(item)}, not a video")
    return local_path(item)


def held_in(item: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    """What the first of `keys` that is filled holds; `url` of an `image_url` is a mapping of its own."""
    return next((item[key] for key in keys if item.get(key) is not None), None)


def local_path(name: str) -> str:
    """The path of a `file://` address; any other text as it is."""
    if name[:7].lower() != "file://":
        return name
    parts = urlsplit(name)
    if parts.netloc not in ("", "localhost"):
        return unquote(parts.netloc + parts.path)
    return unquote(parts.path)


def media_in(value: Any) -> str | None:
    """`image` or `video` where a column's value looks like one or several, by its bytes or its name; else None."""
    if isinstance(value, list | tuple):
        return next((kind for kind in map(media_in, value[:8]) if kind), None)
    if isinstance(value, Mapping):
        keyed = {key: value[key] for key in {*IMAGE_KEYS, *VIDEO_KEYS} & value.keys()}
        return next((kind for kind in map(media_in, keyed.values()) if kind), None)
    if isinstance(value, Image.Image):
        return "image"
    if isinstance(value, bytes | bytearray):
        return "image" if _MAGIC.match(value) else None
    if not isinstance(value, str):
        return None
    if data := _DATA_URI.match(value[:100]):
        kind = data[1].partition("/")[0].lower()
        return kind if kind in ("image", "video") else None
    if len(value) < 1000 and (named := _NAMED.fullmatch(value.strip())):
        return "image" if named[1] else "video"
    return "image" if _of_base64(value) is not None else None


def is_encoded(value: Any) -> bool:
    """Whether the value holds the picture itself and no name of it."""
    if isinstance(value, list | tuple):
        return any(map(is_encoded, value[:8]))
    if isinstance(value, Mapping):
        return any(is_encoded(value[key]) for key in {*IMAGE_KEYS, *VIDEO_KEYS} & value.keys())
    return media_in(value) is not None and not (isinstance(value, str) and _NAMED.fullmatch(value.strip()[:1000]))


def _kind(item: Any) -> str:
    return "nothing" if item is None else "an empty text" if item == "" else type(item).__name__


def _of_data_uri(text: str) -> bytes:
    head = _DATA_URI.match(text[:200])
    if head is None or "base64" not in head[2].lower():
        raise ValueError(f"holds '{shortened(text)}', a data: URI without base64, which is not read")
    encoded = unquote(text[head.end() :])
    data = _decoded(encoded)
    if data is None:
        raise ValueError(f"holds '{shortened(text)}', whose {len(encoded)} characters are not base64")
    return data


def _of_base64(text: str) -> bytes | None:
    """The picture that a text spells in base64; None where it spells none."""
    if len(text) < _SHORTEST:
        return None
    head = _decoded(re.sub(r"\s", "", text[:64])[:24])
    if head is None or not _MAGIC.match(head) or not _BASE64.fullmatch(text):
        return None
    return _decoded(text)


def _decoded(text: str) -> bytes | None:
    text = re.sub(r"\s", "", text).translate(str.maketrans("-_", "+/"))
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
