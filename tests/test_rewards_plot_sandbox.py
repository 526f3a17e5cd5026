"""Code that draws plots can draw, and nothing else."""

import os
import platform
import struct
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from vision_rewards import plot_sandbox
from vision_rewards.plot_sandbox import draw
from vision_rewards.plot_sandbox_helper import filter_instructions

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


@pytest.mark.parametrize(
    ("code", "reason"),
    [
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
        (LIBC + "np.ctypeslib.ctypes.string_at(0)", "crash"),
        (LIBC + "libc._exit(0)", "crash"),
        (LIBC + "for fd in range(64): libc.write(fd, b'x' * 100, 100)\nlibc._exit(0)", "crash"),
        (LIBC + "for fd in range(64): libc.close(fd)", "crash"),
    ],
)
def test_what_is_refused(code, reason):
    image, why = draw(code)
    assert image is None
    assert why == reason
    assert draw(LINE)[1] == "ok"


def test_the_kernel_refuses_the_rest(tmp_path):
    """Each call must answer −1 and leave no trace; a sleep must not sleep."""
    victim = tmp_path / "victim"
    victim.write_text("here")
    calls = [
        "socket(2, 1, 0)", "socketpair(1, 1, 0, b' ' * 16)", "fork()", "vfork()", "unshare(0)",
        f"kill({os.getpid()}, 9)", "kill(libc.getppid(), 9)", "kill(-1, 9)", f"ptrace(16, {os.getpid()}, 0, 0)",
        f"creat({os.fsencode(victim)!r}, 511)", f"open64({os.fsencode(victim)!r}, 513, 511)",
        f"unlink({os.fsencode(victim)!r})", f"rename({os.fsencode(victim)!r}, b'/tmp/x')", "mkdir(b'made', 511)",
        f"chmod({os.fsencode(victim)!r}, 0)", f"symlink(b'/', {os.fsencode(tmp_path / 'link')!r})",
        "execv(b'/bin/true', None)", "setrlimit(0, b' ' * 16)", "prctl(22, 0, 0, 0, 0)", "ioctl(0, 0x5412, b'x')",
        "usleep(2000000)", "pause()", "poll(None, 0, 3000)", "memfd_create(b'x', 0)", "setuid(0)", "mount(b'a', b'/', b'b', 0, 0)",
    ]  # fmt: skip
    names = "[" + ", ".join(f"libc.{call}" for call in calls) + "]"
    start = time.monotonic()
    code = LIBC + f"answers = {names}\nassert answers == [-1] * {len(calls)}, answers\n" + LINE
    image, reason = draw(code)
    assert (reason, image is not None) == ("ok", True)
    assert time.monotonic() - start < 3
    assert victim.read_text() == "here"
    assert [path.name for path in tmp_path.iterdir()] == ["victim"]


def test_nothing_of_the_parent_is_there(monkeypatch):
    monkeypatch.setenv("SECRET_OF_THE_PARENT", "x")
    environ = LIBC + "c = np.ctypeslib.ctypes\nlibc.getenv.restype = c.c_char_p\n"
    assert draw(environ + "assert libc.getenv(b'SECRET_OF_THE_PARENT') is None\n" + LINE)[1] == "ok"
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


def test_a_killed_helper_is_named_and_replaced():
    draw(LINE)
    helper = plot_sandbox._shared
    helper.process.kill()
    helper.process.wait()
    assert draw(LINE)[1] == "ok"
    assert plot_sandbox._shared is not helper


def test_the_helper_ends_with_its_parent():
    code = f"from vision_rewards import plot_sandbox as s; s.draw({LINE!r}); print(s._shared.process.pid, flush=True); "
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
            place += if_true if (value == k if code == 0x15 else value & k) else if_false


@pytest.mark.parametrize(
    ("machine", "arch", "opening", "read", "socket"),
    [("x86_64", 0xC000003E, 257, 0, 41), ("aarch64", 0xC00000B7, 56, 63, 198)],
)
def test_the_filter_decides_as_meant(machine, arch, opening, read, socket):
    program = filter_instructions(machine)
    kill, allow, refuse = 0x80000000, 0x7FFF0000, 0x00050001
    assert run_filter(program, arch, read, [0]) == allow
    assert run_filter(program, arch, socket, [2]) == refuse
    assert run_filter(program, arch, opening, [0, 0, os.O_RDONLY | os.O_CLOEXEC]) == allow
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_CREAT, os.O_RDONLY | os.O_TRUNC, os.O_TMPFILE | os.O_RDWR):
        assert run_filter(program, arch, opening, [0, 0, flags]) == refuse
    assert run_filter(program, 0x40000003, read, [0]) == kill
    # The x32 numbers of x86-64.
    assert run_filter(program, arch, 0x40000000 + read, [0]) == refuse
    assert platform.machine() in ("x86_64", "aarch64")
