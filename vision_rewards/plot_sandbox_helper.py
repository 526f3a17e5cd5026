"""The helper process of `plot_sandbox`: run as a script, with nothing of the parent but a line.

It only forks: each child gets two pipes of its own, to read its code from and to answer on, so that neither code nor
pictures ever pass through the process that later children are copies of.

Two walls stand around a child. The kernel's is the one to rely on: of the system, a child reaches two open files. The
list of names in front of it turns away code that looks for a way into the interpreter, as far as that can be read off.
"""

from __future__ import annotations

import ast
import ctypes
import errno
import importlib
import io
import os
import pkgutil
import platform
import re
import resource
import shutil
import signal
import socket
import struct
import sys
import time
import types
from pathlib import Path

HEADER = struct.Struct("<BHHI")
REQUEST = struct.Struct("<III")
STATUS = struct.Struct("i?")  # of waitpid, and whether the child ended by itself
OK, TIME, MEMORY, CRASH, FORBIDDEN, FAILED, NO_FIGURE = range(7)
READY, NO_SANDBOX, DRAW, END, GONE = b"ready", b"no sandbox", b"draw", b"end", b"gone"
LONG_SIDE = 256  # pixels

_ALLOWED_MODULES = (
    "__future__ calendar collections datetime functools itertools math matplotlib mpl_toolkits numpy operator random "
    "statistics string textwrap"
)
_REFUSED_NAMES = (
    "breakpoint compile delattr eval exec exit getattr globals help input locals memoryview open quit setattr vars"
)
# By attribute or import: modules that lead into the interpreter, and what fetches an attribute by a computed name.
_REFUSED_ATTRIBUTES = (
    "_getframe _current_frames _current_exceptions exc_info with_traceback settrace setprofile "
    "builtins ctypes ctypeslib gc importlib inspect marshal os pickle posix subprocess sys threading traceback "
    "attrgetter methodcaller Formatter get_field update_wrapper wraps WRAPPER_ASSIGNMENTS"
)
_KINDS = (
    object, type, types.FunctionType, types.MethodType, types.BuiltinFunctionType, types.ModuleType, types.FrameType,
    types.TracebackType, types.CodeType, types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType,
    BaseException,
)  # fmt: skip
# What those modules import when they are first used.
_ALSO_NEEDED = (
    "_strptime decimal fractions locale numpy.char numpy.fft numpy.linalg numpy.ma numpy.polynomial numpy.random "
    "numpy.rec matplotlib.backends.backend_agg mpl_toolkits.axes_grid1.inset_locator mpl_toolkits.mplot3d"
)
_NOT_FOR_DRAWING = ("matplotlib.backends", "matplotlib.sphinxext", "matplotlib.testing", "matplotlib.tests")
MODULES, NAMES = frozenset(_ALLOWED_MODULES.split()), frozenset(_REFUSED_NAMES.split())
# Attributes of frames, tracebacks, code and generators: f_back, tb_frame, co_consts, gi_frame, …
INNER = {name for kind in _KINDS for name in dir(kind) if re.match(r"(f|tb|co|gi|cr|ag)_", name)}
ATTRIBUTES = NAMES | INNER | frozenset(_REFUSED_ATTRIBUTES.split())
_SPECIAL = {name for kind in _KINDS for name in dir(kind) if name.startswith("__")} - {"__name__", "__doc__"}
_TEXT = re.compile(
    rf"(?<!\w)({'|'.join(sorted(INNER | _SPECIAL | {'_getframe', '__builtins__', '__import__', '__mro__'}))})(?!\w)"
)

# System calls that computing and answering need, by machine; all others, opening a file included, fail with EPERM.
# Those of the last text ask about a path: whatever is there, they answer that nothing is.
_CALLS = {
    "x86_64": (
        0xC000003E,
        "read 0 write 1 close 3 fstat 5 lseek 8 mmap 9 mprotect 10 munmap 11 brk 12 rt_sigaction 13 rt_sigprocmask 14 "
        "rt_sigreturn 15 pread64 17 readv 19 writev 20 sched_yield 24 mremap 25 madvise 28 dup 32 getpid 39 exit 60 "
        "uname 63 fcntl 72 gettimeofday 96 getrlimit 97 getrusage 98 sysinfo 99 times 100 getuid 102 getgid 104 "
        "geteuid 107 getegid 108 getppid 110 sigaltstack 131 fstatfs 138 gettid 186 futex 202 sched_getaffinity 204 "
        "restart_syscall 219 clock_gettime 228 clock_getres 229 exit_group 231 set_robust_list 273 getrandom 318 "
        "rseq 334",
        "stat 4 lstat 6 access 21 getcwd 79 readlink 89 statfs 137 newfstatat 262 readlinkat 267 faccessat 269 "
        "statx 332 faccessat2 439",
    ),
    "aarch64": (
        0xC00000B7,
        "dup 23 fcntl 25 fstatfs 44 close 57 lseek 62 read 63 write 64 readv 65 writev 66 pread64 67 fstat 80 exit 93 "
        "exit_group 94 futex 98 set_robust_list 99 clock_gettime 113 clock_getres 114 sched_getaffinity 123 "
        "sched_yield 124 restart_syscall 128 sigaltstack 132 rt_sigaction 134 rt_sigprocmask 135 rt_sigreturn 139 "
        "times 153 uname 160 getrlimit 163 getrusage 165 gettimeofday 169 getpid 172 getppid 173 getuid 174 "
        "geteuid 175 getgid 176 getegid 177 gettid 178 sysinfo 179 brk 214 munmap 215 mremap 216 mmap 222 "
        "mprotect 226 madvise 233 getrandom 278 rseq 293",
        "getcwd 17 statfs 43 faccessat 48 readlinkat 78 newfstatat 79 statx 291 faccessat2 439",
    ),
}


class _Instruction(ctypes.Structure):
    _fields_ = [("code", ctypes.c_uint16), ("jt", ctypes.c_uint8), ("jf", ctypes.c_uint8), ("k", ctypes.c_uint32)]


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_uint16), ("instructions", ctypes.POINTER(_Instruction))]


def filter_instructions(machine: str) -> list[tuple[int, int, int, int]]:
    """A classic BPF program (code, jump if true, jump if false, k) over `struct seccomp_data`."""
    load, equal, answer = 0x20, 0x15, 0x06
    kill, allow, fail = 0x80000000, 0x7FFF0000, 0x00050000
    refuse, absent = fail | errno.EPERM, fail | errno.ENOENT
    arch, *calls = _CALLS[machine]
    program = [(load, 0, 0, 4), (equal, 1, 0, arch), (answer, 0, 0, kill), (load, 0, 0, 0)]
    for group, action in zip(calls, (allow, absent), strict=True):
        for number in map(int, group.split()[1::2]):
            program += [(equal, 0, 1, number), (answer, 0, 0, action)]
    return [*program, (answer, 0, 0, refuse)]


def confine(cpu_seconds: int, megabytes: int) -> None:
    """Give up, for good, what drawing does not need.

    Raises:
        OSError, KeyError: the kernel or the machine does not allow it.
    """
    with open("/proc/self/statm", "rb") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    limits = {
        resource.RLIMIT_AS: used + megabytes * 2**20,
        resource.RLIMIT_CPU: cpu_seconds,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: 64,
    }
    for kind, value in limits.items():
        # At the hard limit of processor time the kernel kills; at the soft one it says why.
        resource.setrlimit(kind, (value, value + (kind == resource.RLIMIT_CPU)))
    instructions = filter_instructions(platform.machine())
    array = (_Instruction * len(instructions))(*instructions)
    program = _Program(len(instructions), array)
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    no_new_privileges, set_seccomp, filter_mode = 38, 22, 2
    if prctl(no_new_privileges, 1, 0, 0, 0) or prctl(set_seccomp, filter_mode, ctypes.byref(program), 0, 0):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def is_allowed(tree: ast.AST) -> bool:
    """Whether code keeps to plotting: known modules, no private names, nothing that reaches the interpreter."""
    nodes = list(ast.walk(tree))
    # They may bring any name of ATTRIBUTES.
    starred = any(isinstance(node, ast.alias) and node.name == "*" for node in nodes)
    return all(_is_allowed(node, ATTRIBUTES if starred else NAMES) for node in nodes)


def _is_allowed(node: ast.AST, names: frozenset[str]) -> bool:
    match node:
        case ast.Import():
            return all(_may_import(alias.name) for alias in node.names)
        case ast.ImportFrom():
            return not node.level and all(_may_import(f"{node.module}.{alias.name}") for alias in node.names)
        case ast.Attribute(attr=name):
            return name not in ATTRIBUTES and not name.startswith("__")
        case ast.Name(id=name):
            return name not in names and (name == "__name__" or not name.startswith("__"))
        case ast.Constant(value=str(text)):
            return _TEXT.search(text) is None
        case ast.Constant(value=bytes(text)):
            return _TEXT.search(text.decode("latin-1")) is None
        case ast.MatchClass():
            # It fetches attributes by the names of a class's `__match_args__`.
            return False
    return True


def _may_import(path: str) -> bool:
    first, *rest = path.split(".")
    return first in MODULES and not any(name in ATTRIBUTES or name.startswith("__") for name in rest)


def draw(code: str) -> tuple[int, int, int, bytes]:
    """(state, height, width, RGB bytes) of the last figure of the code."""
    import matplotlib.pyplot as plt

    try:
        tree = ast.parse(code)
        if not is_allowed(tree):
            return FORBIDDEN, 0, 0, b""
        exec(compile(tree, "<plot>", "exec"), {"__name__": "__main__"})
        if not plt.get_fignums():
            return NO_FIGURE, 0, 0, b""
        return OK, *rasterize(plt.gcf())
    except MemoryError:
        return MEMORY, 0, 0, b""
    except BaseException:
        # SystemExit too: whatever the code raised, it has drawn nothing that counts.
        return FAILED, 0, 0, b""


def rasterize(figure) -> tuple[int, int, bytes]:
    """(height, width, RGB bytes) of a figure on white paper, its longer side LONG_SIDE pixels."""
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.set_dpi(LONG_SIDE / max(figure.get_size_inches()))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    rgba = np.asarray(canvas.buffer_rgba())[:LONG_SIDE, :LONG_SIDE].astype(np.uint16)
    alpha = rgba[..., 3:]
    rgb = ((rgba[..., :3] * alpha + 255 * (255 - alpha)) // 255).astype(np.uint8)
    return rgb.shape[0], rgb.shape[1], rgb.tobytes()


def load_everything() -> None:
    """Read what a drawing could need, since a child opens no file: modules, and matplotlib's own fonts."""
    import matplotlib
    from matplotlib import font_manager

    for name in sorted(MODULES) + _ALSO_NEEDED.split():
        importlib.import_module(name)
    for module in pkgutil.walk_packages(matplotlib.__path__, "matplotlib.", onerror=lambda name: None):
        if not module.name.startswith(_NOT_FOR_DRAWING):
            importlib.import_module(module.name)
    manager, data_folder = font_manager.fontManager, matplotlib.get_data_path()
    # Other families then fall back to these, the same everywhere.
    manager.ttflist = [font for font in manager.ttflist if font.fname.startswith(data_folder)]
    fonts = {font.fname: Path(font.fname).read_bytes() for font in manager.ttflist}
    exists, is_file, open_file = os.path.exists, os.path.isfile, io.open

    def open_known(file, *args, **kwargs):
        data = fonts.get(str(file)) if isinstance(file, str) else None
        return open_file(file, *args, **kwargs) if data is None else io.BytesIO(data)

    # The names by which matplotlib looks for a font, and its font reader opens it.
    os.path.exists = lambda path: str(path) in fonts or exists(path)
    os.path.isfile = lambda path: str(path) in fonts or is_file(path)
    io.open = open_known


def forget_files() -> None:
    """Drop what was noted about this machine's files: names in folders of modules, fonts that nothing is drawn with."""
    from matplotlib import font_manager

    sys.path_importer_cache.clear()
    font_manager.fontManager.afmlist = []
    for value in vars(font_manager).values():
        if hasattr(value, "cache_clear"):
            value.cache_clear()


def prepare() -> None:
    """Load everything, draw once so that caches are warm, and take the effect out of shows and saves."""
    import matplotlib
    import matplotlib.pyplot as plt
    import numpy as np
    from matplotlib.figure import Figure

    load_everything()
    figure = plt.figure()
    plain, polar, solid = (figure.add_subplot(projection=name) for name in (None, "polar", "3d"))
    plain.set_title("0 $x^2$")
    # Contours and dates import more when they are first drawn.
    plain.contourf([[0, 1], [2, 3]])
    plain.xaxis_date()
    polar.plot([0, 1])
    solid.plot([0, 1], [0, 1], [0, 1])
    rasterize(figure)
    plt.close(figure)

    def nothing(*args, **kwargs):
        return None

    for place, names in ((plt, "show savefig close pause switch_backend"), (Figure, "savefig show")):
        for name in names.split():
            setattr(place, name, nothing)
    matplotlib.use = nothing
    default_rng = np.random.default_rng
    np.random.default_rng = lambda seed=None: default_rng(0 if seed is None else seed)
    forget_files()


def answer_one(request: int, output: int) -> None:
    """In a child: read one request, give up all rights, draw, answer, end."""
    import random

    import numpy

    with open(request, "rb") as file:
        cpu_seconds, megabytes, length = REQUEST.unpack(file.read(REQUEST.size))
        code = file.read(length).decode("utf-8", "replace")
    # Python reseeds `random` in a child.
    random.seed(0)
    numpy.random.seed(0)
    confine(cpu_seconds, megabytes)
    state, height, width, data = draw(code)
    reply = HEADER.pack(state, height, width, len(data)) + data
    while reply:
        reply = reply[os.write(output, reply) :]
    os._exit(0)


def can_confine() -> bool:
    """Whether a child can give up its rights, tried on one."""
    pid = os.fork()
    if pid == 0:
        try:
            confine(1, 200)
        except (OSError, KeyError):
            os._exit(1)
        os._exit(0)
    return os.waitpid(pid, 0)[1] == 0


def _own_end(child: int) -> int | None:
    """The status with which a child ends by itself within a second."""
    for _ in range(1000):
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        time.sleep(0.001)
    return None


def serve(line: socket.socket) -> None:
    """Fork a child for each pair of pipes that comes in; kill it when told to, or when the parent is gone."""
    while True:
        message, pipes, _, _ = socket.recv_fds(line, len(DRAW), 2)
        if message != DRAW:
            return
        child = os.fork()
        if child == 0:
            try:
                line.close()
                os.close(1)
                answer_one(*pipes)
            finally:
                os._exit(1)
        for end in pipes:
            os.close(end)
        # A child that is gone has an end of its own, which tells why; it may take a moment to come.
        status = _own_end(child) if line.recv(len(DRAW)) == GONE else None
        by_itself = status is not None
        if status is None:
            os.kill(child, signal.SIGKILL)
            status = os.waitpid(child, 0)[1]
        try:
            line.send(STATUS.pack(status, by_itself))
        except ConnectionError:
            return


def main() -> None:
    """Say whether children can be confined, then fork them until the parent closes the line."""
    prepare()
    line, confined = socket.socket(fileno=0), can_confine()
    line.send(READY if confined else NO_SANDBOX)
    if confined:
        serve(line)
    shutil.rmtree(os.getcwd(), ignore_errors=True)


if __name__ == "__main__":
    main()
