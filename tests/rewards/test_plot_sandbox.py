"""Code that draws plots can draw, and nothing else."""

import fcntl
import os
import signal
import struct
import subprocess
import sys
import threading
import time

import numpy as np
import psutil
import pytest

from vision_rewards import plot_sandbox
from vision_rewards.plot_sandbox import draw
from vision_rewards.plot_sandbox_helper import HEADER, OK, filter_instructions
from vision_rewards.pool import WorkerKilled

pytest.importorskip("matplotlib", reason="matplotlib draws")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="drawings are confined by Linux's seccomp")

PLT = "import matplotlib.pyplot as plt\n"
LINE = PLT + "plt.plot([1, 3, 2])\n"
# Past the list of names, down to C: what is tried here, the kernel must refuse.
LIBC = "import numpy as np\nlibc = np.ctypeslib.ctypes.CDLL(None)\n"


def test_drawing_is_repeatable_and_read_only():
    first, reason = draw(LINE)
    assert (reason, first.shape, first.dtype) == ("ok", (192, 256, 3), np.uint8)
    assert (draw(LINE)[0] == first).all()
    assert first.min() < 200 < first.max()
    noise = "import random\nimport numpy as np\n" + PLT
    noise += "plt.plot(np.random.rand(9) + np.random.default_rng().random(9) + random.random())"
    assert (draw(noise)[0] == draw(noise)[0]).all()
    with pytest.raises(ValueError, match="read-only"):
        first[0, 0] = 0


@pytest.mark.parametrize(
    "code",
    [
        LINE + "plt.show()\nplt.savefig('x.png')\nplt.close()",
        "import matplotlib\nmatplotlib.use('TkAgg')\n" + LINE,
        "if __name__ == '__main__':\n    import matplotlib.pyplot as plt\n    plt.plot([1, 3, 2])",
        "from matplotlib.figure import Figure\n" + LINE + "plt.gcf().savefig('x.png')",
    ],
)
def test_shows_and_saves_do_nothing(code):
    assert (draw(code)[0] == draw(LINE)[0]).all()


def test_sizes():
    assert draw(PLT + "plt.figure(figsize=(2, 4))\nplt.plot([1])")[0].shape == (256, 128, 3)
    assert draw(PLT + "plt.figure(figsize=(1000, 1000), dpi=1000)\nplt.plot([1])")[0].shape == (256, 256, 3)
    assert draw(LINE + "plt.figure(figsize=(4, 2))\nplt.plot([1])")[0].shape == (128, 256, 3)


# What real code draws, each by means that it loads only when used.
PLOTS = [
    "plt.title(r'$\\frac{a}{b} \\sum_i x_i \\mathcal{R}$', fontweight='bold', style='italic')",
    "plt.title('x', fontfamily='monospace')\nplt.xlabel('y', fontfamily='serif', fontweight='bold')",
    "plt.rcParams['font.family'] = ['Arial', 'SimHei', 'sans-serif']\nplt.title('a \u4e2d \U0001f600')",
    "plt.rcParams['mathtext.fontset'] = 'stix'\nplt.title('$x^2$')",
    "plt.rcParams['mathtext.fontset'] = 'cm'\nplt.title('$\\int x$')",
    "plt.style.use('seaborn-v0_8')\nplt.plot([1, 2], label='a')\nplt.legend()",
    "plt.style.use('ggplot')\nplt.pie([1, 2], labels=['a', 'b'], autopct='%1.1f%%')",
    "from datetime import datetime as d\nplt.plot([d.strptime('2020-01-01', '%Y-%m-%d'), d(2021, 1, 1)], [1, 2])",
    "import numpy as np\nplt.hist(np.random.normal(size=99), bins='auto')\nplt.yscale('log')",
    "import numpy as np\nplt.contourf(np.outer(range(9), range(9)), cmap='viridis')\nplt.colorbar()",
    "import numpy as np\nplt.plot(np.fft.fft(range(8)).real, np.polyfit([1, 2, 3], [1, 2, 3], 1)[0] * np.arange(8))",
    "plt.subplot(projection='polar').plot([0, 1], [0, 1])",
    "from mpl_toolkits.mplot3d import Axes3D\nplt.axes(projection='3d').scatter([1, 2], [1, 2], [1, 2])",
    "import matplotlib.dates as d\nplt.plot([1, 99])\nplt.gca().xaxis.set_major_formatter(d.DateFormatter('%b'))",
    "import matplotlib.patches as p\nimport matplotlib.gridspec as g\nplt.gca().add_patch(p.Circle((0, 0), 1))",
    "plt.table([['a', 'b']])\nplt.annotate('x', (0, 0), (1, 1), arrowprops={'arrowstyle': '->'})\nplt.tight_layout()",
    "plt.imshow([[1, 2]])\nplt.quiver([1], [1])\nplt.barbs([1], [1])",
    "plt.subplots(2, 2, constrained_layout=True)[1][0][0].boxplot([[1, 2, 3]])\nplt.violinplot([[1, 2, 3]])",
    "plt.xkcd()\nplt.bar([1], [2], hatch='//')",
    "from mpl_toolkits.axes_grid1.inset_locator import inset_axes\ninset_axes(plt.gca(), '30%', '30%').plot([1])",
]


@pytest.mark.parametrize("plot", PLOTS)
def test_real_plots_need_no_file(plot):
    image, reason = draw(PLT + plot)
    assert reason == "ok"
    assert (image != image[0, 0]).any()


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (PLT + "plt.imread('/proc/self/exe')", "failed"),
        ("import numpy\nnumpy.fromfile('/proc/self/environ')", "failed"),
        ("", "no_figure"),
        ("x = 1", "no_figure"),
        ("1 / 0", "failed"),
        ("x = (", "failed"),
        ("raise SystemExit", "failed"),
        ("raise KeyboardInterrupt", "failed"),
        (PLT + "plt.no_such_thing()", "failed"),
        (PLT + "plt.rcParams['text.usetex'] = True\nplt.title('x')", "failed"),
        ("import os", "forbidden"),
        ("import subprocess", "forbidden"),
        ("from socket import *", "forbidden"),
        ("from . import x", "forbidden"),
        ("import numpy, sys", "forbidden"),
        ("open('/etc/passwd')", "forbidden"),
        ("eval('1')", "forbidden"),
        ("getattr(int, 'real')", "forbidden"),
        ("().__class__", "forbidden"),
        ("__import__('os')", "forbidden"),
        ("__builtins__", "forbidden"),
        ("x = [0] * 10**11", "memory"),
        ("x = []\nwhile True: x.append(' ' * 10**6)", "memory"),
        ("f'{1:>100000000000}'", "memory"),
        ("while True: pass", "time"),
        ("9**9**9", "time"),
        (LIBC, "forbidden"),
    ],
)
def test_what_is_refused(code, reason):
    image, why = draw(code)
    assert image is None
    assert why == reason
    assert draw(LINE)[1] == "ok"


@pytest.mark.slow
@pytest.mark.parametrize(
    "code",
    [
        "np.ctypeslib.ctypes.string_at(0)",
        "libc._exit(0)",
        "for fd in range(64): libc.write(fd, b'x' * 100, 100)\nlibc._exit(0)",
        "for fd in range(64): libc.write(fd, b'x' * 200_000, 200_000)\nlibc._exit(0)",
        "for fd in range(64): libc.close(fd)",
        # The head of a picture of 10 x 10 pixels, and too few or too many of them.
        "for fd in range(64): libc.write(fd, bytes([0, 10, 0, 10, 0, 44, 1, 0, 0]) + b'x' * 5, 14)\nlibc._exit(0)",
        "for fd in range(64): libc.write(fd, bytes([0, 10, 0, 10, 0, 44, 1, 0, 0]) + b'x' * 301, 310)\nlibc._exit(0)",
        "for fd in range(64): libc.write(fd, bytes([0, 10, 0, 10, 0, 3, 0, 0, 0]) + b'x' * 3, 12)\nlibc._exit(0)",
        "for fd in range(64): libc.write(fd, bytes([200, 0, 0, 0, 0, 0, 0, 0, 0]), 9)\nlibc._exit(0)",
    ],
)
@pytest.mark.usefixtures("without_names")
def test_nonsense_for_an_answer_is_a_crash(code):
    assert draw(LIBC + code) == (None, "crash")
    assert draw(LINE)[1] == "ok"


@pytest.mark.usefixtures("without_names")
def test_the_kernel_refuses_the_rest(tmp_path):
    """Each call must answer −1 and leave no trace."""
    victim = tmp_path / "victim"
    victim.write_text("here")
    calls = [
        "socket(2, 1, 0)", "socketpair(1, 1, 0, b' ' * 16)", "fork()", "vfork()", "unshare(0)",
        f"kill({os.getpid()}, 0)", "kill(libc.getppid(), 0)", "kill(-1, 0)", f"ptrace(16, {os.getpid()}, 0, 0)",
        f"open64({os.fsencode(victim)!r}, 0)", f"creat({os.fsencode(victim)!r}, 511)",
        f"open64({os.fsencode(victim)!r}, 513, 511)",
        f"unlink({os.fsencode(victim)!r})", f"rename({os.fsencode(victim)!r}, b'/tmp/x')", "mkdir(b'made', 511)",
        f"chmod({os.fsencode(victim)!r}, 0)", f"symlink(b'/', {os.fsencode(tmp_path / 'link')!r})",
        "execv(b'/bin/true', None)", "setrlimit(0, b' ' * 16)", "prctl(22, 0, 0, 0, 0)", "ioctl(0, 0x5412, b'x')",
        "usleep(2000000)", "pause()", "poll(None, 0, 3000)", "memfd_create(b'x', 0)", "setuid(0)",
    ]  # fmt: skip
    names = "[" + ", ".join(f"libc.{call}" for call in calls) + "]"
    code = LIBC + f"answers = {names}\nassert answers == [-1] * {len(calls)}, answers\n" + LINE
    image, reason = draw(code)
    assert (reason, image is not None) == ("ok", True)
    assert victim.read_text() == "here"
    assert [path.name for path in tmp_path.iterdir()] == ["victim"]


@pytest.mark.usefixtures("without_names")
def test_nothing_of_the_parent_is_there():
    environ = LIBC + "c = np.ctypeslib.ctypes\nlibc.getenv.restype = c.c_char_p\n"
    assert draw(environ + "assert libc.getenv(b'CANARY') is None\n" + LINE)[1] == "ok"
    assert draw(environ + "assert libc.getenv(b'PATH') is None\n" + LINE)[1] == "ok"
    # What can be written to: the line for the answer, and the null device for errors.
    count = LIBC + "flags = [libc.fcntl(fd, 3) for fd in range(200)]\n"
    assert draw(count + "assert sum(f >= 0 and f & 3 > 0 for f in flags) == 2, flags\n" + LINE)[1] == "ok"


def test_a_drawing_cannot_see_another():
    """What one drawing leaves in memory is gone with its process."""
    assert draw(PLT + "import numpy\nnumpy.left_behind = 1\n" + LINE)[1] == "ok"
    assert draw("import numpy\nnumpy.left_behind\n" + LINE)[1] == "failed"


def test_threads_take_turns():
    codes = [PLT + f"plt.plot([0, {n}, 1])" for n in (1, 5)] * 4
    expected = {code: draw(code)[0] for code in codes[:2]}
    found = {}

    def run(place, code):
        found[place] = draw(code)[0]

    threads = [threading.Thread(target=run, args=item) for item in enumerate(codes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all((found[place] == expected[code]).all() for place, code in enumerate(codes))


@pytest.mark.slow
def test_a_killed_helper_is_replaced(monkeypatch):
    draw(LINE)
    for wait in (True, False):
        helper = plot_sandbox._helpers["answers"]
        helper.process.kill()
        if wait:
            helper.process.wait()
        assert draw(LINE)[1] == "ok"
        assert plot_sandbox._helpers["answers"] is not helper
        assert not os.path.exists(helper.folder)
    monkeypatch.setattr(plot_sandbox.sys, "executable", "/bin/false")
    plot_sandbox._helpers["answers"].process.kill()
    with pytest.raises(RuntimeError, match="helper process that draws plots ended with code 1"):
        draw(LINE)


def test_a_drawing_whose_process_is_killed_from_outside_is_drawn_again(monkeypatch):
    expected, read, kills = draw(LINE)[0], plot_sandbox._read, []

    def killing(*args):
        helper = psutil.Process(plot_sandbox._helpers["answers"].process.pid)
        while not kills:
            for child in helper.children():
                child.kill()
                kills.append(child.pid)
        return read(*args)

    monkeypatch.setattr(plot_sandbox, "_read", killing)
    image, reason = draw(LINE)
    assert reason == "ok"
    assert (image == expected).all()


@pytest.mark.parametrize(
    ("ends", "outcome"),
    [
        ([(9, True), (9, True), (0, True)], "ok"),
        ([(15, True), (0, True)], "ok"),
        ([(9, False)], "crash"),
        ([(int(signal.SIGSYS), True)], "crash"),
        ([(int(signal.SIGSEGV), True)], "crash"),
        ([(int(signal.SIGXCPU), True)], "time"),
        ([(256, True)], "crash"),
    ],
)
def test_only_a_kill_from_outside_is_drawn_again(monkeypatch, ends, outcome):
    """A status of waitpid, and whether the child ended by itself."""
    draw(LINE)
    picture = HEADER.pack(OK, 1, 1, 3) + bytes(3)
    runs = [(picture if status == 0 else b"", False, status, by_itself) for status, by_itself in ends]
    monkeypatch.setattr(plot_sandbox, "FIRST_WAIT", 0.0)
    monkeypatch.setattr(plot_sandbox._Helper, "_run", lambda *_: runs.pop(0))
    assert draw(LINE)[1] == outcome
    assert runs == []


def test_a_drawing_that_is_always_killed_has_no_outcome(monkeypatch):
    draw(LINE)
    monkeypatch.setattr(plot_sandbox, "FIRST_WAIT", 0.0)
    monkeypatch.setattr(plot_sandbox._Helper, "_run", lambda *_: (b"", False, int(signal.SIGKILL), True))
    with pytest.raises(WorkerKilled, match="killed from outside, 7 times in a row"):
        draw(LINE)


@pytest.mark.slow
@pytest.mark.parametrize("call", ["_read", "_outcome"])
def test_an_interrupted_drawing_does_not_answer_for_the_next(monkeypatch, call):
    other = PLT + "plt.figure(figsize=(4, 2))\nplt.plot([1])"
    expected = draw(other)[0]

    def interrupted(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(plot_sandbox, call, interrupted)
        with pytest.raises(KeyboardInterrupt):
            draw(LINE)
    assert (draw(other)[0] == expected).all()


def test_a_process_that_holds_a_pipe_open_holds_no_drawing_up(monkeypatch):
    kept, pipe = [], plot_sandbox._pipe

    def shared(*stacks):
        ends = pipe(*stacks)
        kept.extend(map(os.dup, ends))
        return ends

    monkeypatch.setattr(plot_sandbox, "_pipe", shared)
    assert draw(LINE)[1] == "ok"
    for end in kept:
        os.close(end)


@pytest.mark.slow
def test_the_helper_ends_with_its_parent():
    code = f"from vision_rewards import plot_sandbox as s; s.draw({LINE!r}); "
    code += "print(s._helpers['answers'].process.pid, flush=True); "
    for end in ("", "import os; os.kill(os.getpid(), 9)"):
        run = subprocess.run([sys.executable, "-c", code + end], capture_output=True, text=True, cwd=os.getcwd())
        pid = int(run.stdout)
        deadline = time.monotonic() + 30
        while os.path.exists(f"/proc/{pid}") and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not os.path.exists(f"/proc/{pid}")


def run_filter(program, machine, number, arguments):
    """Interpret the classic BPF program on one system call: its answer."""
    data = struct.pack("<IIQ6Q", number, machine, 0, *arguments, *[0] * (6 - len(arguments)))
    place = value = 0
    while True:
        code, if_true, if_false, k = program[place]
        place += 1
        if code == 0x20:
            value = struct.unpack_from("<I", data, k)[0]
        elif code == 0x06:
            return k
        else:
            assert code == 0x15
            place += if_true if value == k else if_false


@pytest.mark.slow
@pytest.mark.parametrize(
    ("machine", "arch", "read", "refused", "absent"),
    [
        # open, pipe, socket, clone, execve, kill, prctl, getdents64, openat; stat, access, readlink, newfstatat, statx
        ("x86_64", 0xC000003E, 0, (2, 22, 41, 56, 59, 62, 157, 217, 257), (4, 21, 89, 262, 332)),
        # openat, pipe2, getdents64, kill, prctl, socket, clone, execve; faccessat, readlinkat, newfstatat, statx
        ("aarch64", 0xC00000B7, 63, (56, 59, 61, 129, 167, 198, 220, 221), (48, 78, 79, 291)),
    ],
)
def test_the_filter_decides_as_meant(machine, arch, read, refused, absent):
    program = filter_instructions(machine)
    kill, allow, refuse = 0x80000000, 0x7FFF0000, 0x00050001
    assert run_filter(program, arch, read, [0]) == allow
    assert {run_filter(program, arch, number, [0]) for number in refused} == {refuse}
    assert {run_filter(program, arch, number, [0]) for number in absent} == {0x00050002}
    assert run_filter(program, 0x40000003, read, [0]) == kill
    # The x32 numbers of x86-64.
    assert run_filter(program, arch, 0x40000000 + read, [0]) == refuse


def test_folders_of_helpers_that_were_killed_go_at_the_next_start(tmp_path):
    """One in use keeps its lock, one was made a moment ago, and others are none of ours."""
    folders = {name: tmp_path / f"plot-{name}" for name in ("left", "held", "new", "other")}
    for name, folder in folders.items():
        folder.mkdir()
        if name != "other":
            lock = folder / plot_sandbox.IN_USE
            lock.touch()
            if name != "new":
                os.utime(lock, (0, 0))
    with (folders["held"] / plot_sandbox.IN_USE).open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        plot_sandbox._remove_abandoned(tmp_path)
    assert {name for name, folder in folders.items() if folder.exists()} == {"held", "new", "other"}


def test_a_helper_holds_the_lock_of_its_folder():
    helper = plot_sandbox._Helper()
    try:
        with open(os.path.join(helper.folder, plot_sandbox.IN_USE), "rb") as lock, pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        helper.end()
    assert not os.path.exists(helper.folder)
