"""Files that lie, for `benchmarks.chaos`: drawn from a source of random numbers."""

from __future__ import annotations

import copy
import io
import json
import struct
import zlib
from pathlib import Path
from random import Random
from typing import Any

import yaml
from PIL import Image

from benchmarks.edits import spliced

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 3, 10**30, -(10**30), 1e308, 0.5, "", "x", "../..", "\ud800", "a\x00b", "9" * 400),
    *([], {}, [[]], [1, 2], {"a": {}}, [None], "os:system", "mmrl.cli:main", "auto", "NaN"),
)
TEMPLATES = (
    "{% for a in range(9999) %}{% for b in range(9999) %}{{ a }}{% endfor %}{% endfor %}",
    *(
        "{{ 9 ** 9 ** 9 }}",
        "{% if %}",
        "",
        "{{ ''.__class__.__mro__ }}",
        "{{ 'x' * 10 ** 9 }}",
        "{{ 'x' * 999999999 }}",
    ),
    *("{{ messages | tojson }}", "{% include '/etc/passwd' %}", "{{ cycler.__init__.__globals__.os.system('touch') }}"),
    *("{{ 'a' | center(99999999999) }}", "{{ range(999999999) | list }}", "{{ '%999999999d' % 1 }}", "plain"),
)
EVIL = (
    "from pathlib import Path\nPath({canary!r}).touch()\nclass Config: pass\nclass Processor: pass\nclass Model: pass\n"
)
RECIPE_BITS = (
    *("? [a]\n: b", "2001-99-99", "!!float ", '"\\ud800"', "[" * 3000, "9" * 5000, "<<: *b", "&a [*a]", "null", "{}"),
    *(".nan", "1e999", "*x", "- ", '"', "\x00", "1:2:3", "!!python/name:os.system x", "? ", "{", "}", ":", "\t", "\n"),
)


def row(media: str, key: str = "videos") -> str:
    """A row that asks for what a file shows."""
    mark = "<video>" if key == "videos" else "<image>"
    return json.dumps({"prompt": f"{mark}How many?", "task": "counting", "target": {"count": 1}, key: [media]})


def damaged_bytes(source: Random, path: Path, removes: bool = True) -> str:
    """Damages a file; says how."""
    data = bytearray(path.read_bytes())
    way = source.choice(("flip", "cut", "zeros", "longer", "empty", "other", *(["gone"] if removes else [])))
    if way == "flip" and data:
        data[source.randrange(len(data))] ^= 1 << source.randrange(8)
    elif way == "cut":
        del data[source.randrange(len(data) + 1) :]
    elif way == "zeros" and data:
        start = source.randrange(len(data))
        data[start : start + 64] = bytes(len(data[start : start + 64]))
    elif way == "longer":
        data += source.randbytes(source.randrange(1, 99))
    elif way == "empty":
        data.clear()
    elif way == "other":
        data = bytearray(source.choice((b"[]", b"{}", b"null", b"3", b'{"a": 1}', b"\x00" * 40, b"[" * 9000)))
    if way == "gone":
        path.unlink()
    else:
        path.write_bytes(data)
    return way


def changed(source: Random, values: Any) -> Any:
    """A copy of nested values with one of them another, gone or doubled."""
    values = copy.deepcopy(values)
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        for key in list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ():
            places.append((node, key))
            walk(node[key])

    walk(values)
    if not places:
        return source.choice(VALUES)
    node, key = places[source.randrange(len(places))]
    way = source.randrange(4)
    if way == 0 and isinstance(node, dict):
        del node[key]
    elif way == 1 and isinstance(node, dict):
        node[source.choice(("type", "path", "x", str(key) + "s", ""))] = source.choice(VALUES)
    else:
        node[key] = source.choice(VALUES)
    return values


def hostile_model(source: Random, folder: Path, canary: Path) -> str:
    """Changes a checkpoint; says how. Code in it would make the file `canary`."""
    (folder / "evil.py").write_text(EVIL.format(canary=str(canary)))
    way = source.randrange(6)
    if way == 0:
        (folder / "chat_template.jinja").write_text(template := source.choice(TEMPLATES))
        return f"template {template[:60]!r}"
    if way == 1:
        name = source.choice(("config.json", "processor_config.json", "tokenizer_config.json"))
        path = folder / name
        values = json.loads(path.read_text()) if path.exists() else {}
        maps = {"AutoConfig": "evil.Config", "AutoProcessor": "evil.Processor", "AutoTokenizer": "evil.Processor"}
        values["auto_map"] = {**maps, "AutoModelForImageTextToText": "evil.Model"}
        values["model_type"] = source.choice(("evil", values.get("model_type", "evil")))
        path.write_text(json.dumps(values))
        return f"code of its own in {name}"
    if way == 2:
        path = source.choice(sorted(p for p in folder.iterdir() if p.suffix in (".json", ".safetensors", ".jinja")))
        return f"{path.name} {damaged_bytes(source, path)}"
    path = source.choice(sorted(folder.glob("*.json")))
    values = json.loads(path.read_text())
    for _ in range(source.randrange(1, 3)):
        values = changed(source, values)
    path.write_text(json.dumps(values))
    return f"{path.name} with other values"


def png(width: int, height: int) -> bytes:
    """A PNG of that size in its head, and of no pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def hostile_picture(source: Random, path: Path, canary: Path) -> None:
    """Writes a picture, most often a bad one."""
    file = io.BytesIO()
    size = (source.randrange(1, 90), source.randrange(1, 90))
    picture = Image.new(source.choice(("RGB", "L", "RGBA", "P", "1")), size)
    picture.save(file, source.choice(("PNG", "GIF", "TIFF", "BMP", "WEBP")))
    way = source.randrange(6)
    if way == 0:
        path.write_bytes(f"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n({canary}) (w) file\n".encode())
    elif way == 1:
        path.write_bytes(png(source.choice((1, 10**4, 10**6, 2**31 - 1)), source.choice((1, 10**4, 10**6, 0))))
    elif way == 2:
        path.write_bytes(source.randbytes(source.randrange(0, 300)))
    else:
        path.write_bytes(file.getvalue())
        for _ in range(source.randrange(0, 4)):
            damaged_bytes(source, path, removes=False)


def hostile_rows(source: Random, folder: Path) -> bytes:
    """Lines of jsonl, some of them rows."""
    Image.new("RGB", (20, 20)).save(folder / "picture.png")
    sound = json.loads(row("picture.png", "images"))
    lines = []
    for _ in range(source.randrange(1, 8)):
        values = sound
        for _ in range(source.randrange(0, 4)):
            values = changed(source, values)
        lines.append(json.dumps(values).encode())
    for _ in range(source.randrange(0, 3)):
        lines.insert(
            source.randrange(len(lines) + 1),
            source.choice((b"", b"{", b"[1]", b"null", b"\xff\xfe", b"[" * 5000, b'{"a": ' * 3000, b'{"prompt": NaN}')),
        )
    return b"\n".join(lines) + source.choice((b"", b"\n"))


def hostile_recipe(source: Random, values: dict[str, Any]) -> tuple[str, list[str]]:
    """A recipe's text and overrides."""
    for _ in range(source.randrange(0, 3)):
        values = changed(source, values)
    # Lone surrogates stay as YAML's own escapes.
    text = yaml.safe_dump(values, allow_unicode=False) if isinstance(values, dict) else str(values)
    for _ in range(source.randrange(0, 2)):
        text = spliced(source, text, RECIPE_BITS, (0, 0, 1, 3, 10, 40))
    keys = ("name", "output", "policy.path", "steps", "data.train.0.size", "rollout.n", "x", "optim.lr", "stages")
    bits = (*RECIPE_BITS[8:], "../x", "/abs/x", "a" * 300, "-1")
    overrides = [f"{source.choice(keys)}={source.choice(bits)}" for _ in range(source.randrange(0, 2))]
    return text, [item.replace("\x00", "") for item in overrides]
