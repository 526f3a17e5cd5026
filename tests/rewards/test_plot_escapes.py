"""Ways out of the plot sandbox, each with a canary: open where no wall is, shut by the kernel, shut by names."""

import ast
import json
import os
import platform
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.plot_escapes import BY_NAME, ESCAPES, PAST_NAMES, filled, is_red, secret_code
from vision_rewards import get_reward, plot_sandbox
from vision_rewards.plot_sandbox import draw, draw_target
from vision_rewards.plot_sandbox_helper import is_allowed

pytest.importorskip("matplotlib", reason="matplotlib draws")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="drawings are confined by Linux's seccomp")
INSIDE = (
    "gi_frame", "gi_code", "gi_yieldfrom", "cr_frame", "cr_origin", "ag_frame", "f_back", "f_locals", "f_globals",
    "f_builtins", "f_code", "tb_frame", "tb_next", "co_consts", "co_names", "_getframe",
)  # fmt: skip


@pytest.fixture(scope="module")
def canaries(tmp_path_factory):
    folder = tmp_path_factory.mktemp("canaries")
    (folder / "file").write_text("here")
    (folder / "link").symlink_to("file")
    statx = {"x86_64": 332, "aarch64": 291}[platform.machine()]
    with socket.create_server(("127.0.0.1", 0)) as server:
        places = {"FILE": "file", "MISSING": "missing", "LINK": "link"}
        places = {word: str(folder / name) for word, name in places.items()}
        yield {**places, "FOLDER": str(folder), "PORT": server.getsockname()[1], "NUMBER": statx}


@pytest.mark.slow
def test_every_escape_succeeds_where_there_is_no_wall(canaries):
    copy = canaries | {"FOLDER": canaries["FOLDER"] + "/free"}
    os.mkdir(copy["FOLDER"])
    Path(copy["FOLDER"], "file").touch()
    command = [sys.executable, "-m", "tests.support.plot_without_walls", json.dumps(copy)]
    run = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert run.returncode == 0, run.stderr
    assert set(json.loads(run.stdout)) == set(ESCAPES)
    assert len(ESCAPES) > 50


@pytest.mark.parametrize("name", ESCAPES)
@pytest.mark.usefixtures("without_names")
def test_the_kernel_lets_none_through(name, canaries):
    before = sorted(os.listdir(canaries["FOLDER"]))
    image, reason = draw(filled(name, canaries))
    assert not is_red(image)
    assert reason in ("ok", "failed")
    assert sorted(os.listdir(canaries["FOLDER"])) == before


def test_the_list_of_names_lets_none_through(canaries):
    assert {name: draw(filled(name, canaries))[1] for name in BY_NAME} == dict.fromkeys(BY_NAME, "forbidden")
    for name in PAST_NAMES:
        image, reason = draw(filled(name, canaries))
        assert not is_red(image), name
        assert reason in ("ok", "failed", "forbidden"), name


def test_a_thief_of_pictures_gains_nothing():
    """The target is drawn last before the answer, and a thief's own picture before the next answer of its group."""
    thief = (
        "import matplotlib.pyplot as plt, numpy as np\ndef walk():\n    f = G.gi_frame\n    while f:\n"
        "        for r in list(f.f_locals.values()):\n"
        "            if isinstance(r, bytes) and len(r) > 9:\n"
        "                h, w = r[1] + 256 * r[2], r[3] + 256 * r[4]\n"
        "                pixels = np.frombuffer(r[9:], np.uint8).reshape(h, w, 3)\n"
        "                plt.figure(figsize=(w / 100, h / 100)).figimage(pixels)\n"
        "        f = f.f_back\n    yield\nG = walk()\nfor _ in G:\n    pass\n"
    )
    target = {
        "code": "import matplotlib.pyplot as plt\nplt.bar(range(3), [1, 5, 2], color='C1')\nplt.title('secret')\n"
    }
    reward = get_reward("chart_to_code", metric="image")
    assert [reward(thief, target).score for _ in range(2)] == [0, 0]
    assert reward(target["code"], target).score == 1


def test_targets_are_drawn_by_a_process_of_their_own():
    draw_target.cache_clear()
    draw(secret_code())
    draw_target(secret_code())
    answers, targets = (plot_sandbox._helpers[room].process.pid for room in ("answers", "targets"))
    assert answers != targets


@pytest.mark.parametrize(
    "code",
    [
        *(f"x.{name}" for name in INSIDE),
        *(f"'{name}'" for name in (*INSIDE, "__globals__", "__class__", "__import__")),
        "f'{x.gi_frame}'", "'{0.f_back}'.format(x)", "f'a {{0.f_locals}} {x}'", "b'gi_frame'",
        "from operator import attrgetter", "from functools import update_wrapper as u", "from numpy import ctypeslib",
        "import numpy.ctypeslib", "from numpy import __builtins__", "from matplotlib import os",
        "from matplotlib.pyplot import *\nsys", "x.ctypes", "plt.sys", "np.os", "plt.inspect", "string.Formatter",
        "match x:\n    case int(): pass", "match x:\n    case C(a=1): pass", "__builtins__", "__import__", "__loader__",
    ],
)  # fmt: skip
def test_words_of_the_interpreter_are_refused(code):
    assert not is_allowed(ast.parse(code))


@pytest.mark.slow
@pytest.mark.parametrize(
    "code",
    [
        "co_emissions, tb_cases, f_score, cr_rate = 1, 2, 3, 4", "types = sys_load = os_share = 1", "sys = 1",
        "ax.plot(data.co2, label='_nolegend_')", "plt.title('frame back, code and traceback of gi')",
        "if __name__ == '__main__':\n    pass", "class A:\n    def __init__(self):\n        self._x = 1",
        "ax._get_lines.get_next_color()", "'{:.1f}'.format(1)", "from math import *\nsin(pi)",
        "from matplotlib.pyplot import *\nplot([1])", "match x:\n    case 1 | [2, *_] | {'a': 3}: pass",
        "import matplotlib.ticker as t, numpy.random", "from datetime import datetime as d",
    ],
)  # fmt: skip
def test_words_of_plots_are_not(code):
    assert is_allowed(ast.parse(code))
