"""Plotting code that tries to get out of the sandbox: each paints the page red if it reaches its canary.

Canaries: `plot-secret-` and twelve digits, in the picture and the code of a drawing made before (without walls: in the
variables of a caller, in freed memory, in the environment and in a pipe); the file FILE and the link LINK beside
MISSING, which is not there; the folder FOLDER; a server on PORT. NUMBER is that of the system call statx.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

SUPPORT = Path(__file__).parent
SECRET = b"plot-secret-718281828459"

PRELUDE = """
import matplotlib.pyplot as plt, numpy as np
def win():
    plt.figure(facecolor='red')
def hit(value):
    data = value.encode('latin-1', 'replace') if isinstance(value, str) else value
    if not isinstance(data, (bytes, bytearray)):
        return False
    place = data.find(b'plot-' + b'secret-')
    return place >= 0 and data[place + 12:place + 24].isdigit()
def walk(frame):
    while frame:
        if any(hit(value) for place in (frame.f_locals, frame.f_globals) for value in list(place.values())):
            win()
        frame = frame.f_back
def differs(attempt):
    kinds = []
    for path in (FILE, MISSING):
        try:
            kinds.append(attempt(path))
        except Exception as error:
            kinds.append(type(error).__name__)
    if kinds[0] != kinds[1]:
        win()
"""

# What the list of names refuses by itself; without it, nothing is to be found.
BY_NAME = {
    "a generator's frame": "def g():\n    walk(G.gi_frame)\n    yield\nG = g()\nnext(G)",
    "a coroutine's frame": (
        "async def c():\n    walk(C.cr_frame)\nC = c()\ntry:\n    C.send(None)\nexcept StopIteration:\n    pass"
    ),
    "an asynchronous generator's frame": (
        "async def a():\n    walk(A.ag_frame)\n    yield\nA = a()\n"
        "try:\n    A.asend(None).send(None)\nexcept StopIteration:\n    pass"
    ),
    "the traceback that a context gets": (
        "class C:\n    def __enter__(self):\n        pass\n"
        "    def __exit__(self, kind, error, trace):\n        walk(trace.tb_frame)\n        return True\n"
        "with C():\n    1 / 0"
    ),
    "an exception's traceback": "try:\n    1 / 0\nexcept Exception as e:\n    walk(e.__traceback__.tb_frame)",
    "the frame of sys": "walk(plt.sys._getframe())",
    "the frames of all threads": "for f in plt.sys._current_frames().values():\n    walk(f)",
    "the exception of sys": "try:\n    1 / 0\nexcept Exception:\n    walk(plt.sys.exc_info()[2].tb_frame)",
    "the frame of inspect": "walk(plt.inspect.currentframe())",
    "the stack of inspect": "for f in plt.inspect.stack(0):\n    walk(f.frame)",
    "a trace function": "plt.sys.settrace(lambda frame, *_: walk(frame))\n(lambda: 0)()\nplt.sys.settrace(None)",
    "a profile function": (
        "plt.sys.setprofile(lambda frame, *_: walk(frame))\n(lambda: 0)()\nplt.sys.setprofile(None)"
    ),
    "attrgetter": (
        "import operator\ndef g():\n    walk(operator.attrgetter('gi_' + 'frame')(G))\n    yield\nG = g()\nnext(G)"
    ),
    "attrgetter under another name": (
        "from operator import attrgetter as a\ndef g():\n    walk(a('gi_' + 'frame')(G))\n    yield\nG = g()\nnext(G)"
    ),
    "methodcaller": (
        "import operator\ndef g():\n    walk(operator.methodcaller('__getattribute' + '__', 'gi_' + 'frame')(G))\n"
        "    yield\nG = g()\nnext(G)"
    ),
    "the fields of a formatter": (
        "import string\ndef g():\n    walk(string.Formatter().get_field('0.gi_' + 'frame', [G], {})[0])\n    yield\n"
        "G = g()\nnext(G)"
    ),
    "a wrapper that is told what to copy": (
        "import functools\nclass W:\n    def __setattr__(self, name, value):\n        walk(value)\n"
        "def g():\n    functools.update_wrapper(W(), G, ['gi_' + 'frame'], [])\n    yield\nG = g()\nnext(G)"
    ),
    "a pattern with keywords": (
        "def g():\n    match G:\n        case object(gi_frame=f):\n            walk(f)\n    yield\nG = g()\nnext(G)"
    ),
    "a pattern with arguments of its own": (
        "class M(type):\n    def __instancecheck__(self, other):\n        return True\n"
        "C = M('C', (), {'__match_' + 'args__': ('gi_' + 'frame',)})\n"
        "def g():\n    match G:\n        case C(f):\n            walk(f)\n    yield\nG = g()\nnext(G)"
    ),
    "a format that says too much": (
        "def g():\n    f = '{0.gi_frame.f_back.f_back.f_locals}'.format(G)\n    win() if hit(f) else None\n    yield\n"
        "G = g()\nnext(G)"
    ),
    "the globals of a function": "walk(plt.plot.__globals__['sys']._getframe())",
    "the subclasses of object": (
        "for kind in ().__class__.__base__.__subclasses__():\n"
        "    if kind.__name__ == '_wrap_close':\n        walk(kind.__init__.__globals__['sys']._getframe())"
    ),
    "builtins": "walk(__builtins__['__import__']('sys')._getframe())",
    "an import function": "walk(__import__('sys')._getframe())",
    "a module in a module": "from matplotlib import sys as s\nwalk(s._getframe())",
    "all names of a module": "from matplotlib.cbook import *\nwalk(sys._getframe())",
    "the frame as C sees it": (
        "import numpy.ctypeslib as c\napi = c.ctypes.pythonapi.PyEval_GetFrame\napi.restype = c.ctypes.py_object\n"
        "walk(api())"
    ),
    "all objects": (
        "gc = plt.sys.modules['gc']\n"
        "lists = [list(o.values()) for o in gc.get_objects() if type(o) is dict]\n"
        "win() if any(hit(v) for values in lists for v in values) else None"
    ),
    "open files": (
        "os = plt.sys.modules['os']\nfor fd in range(64):\n    try:\n        os.set_blocking(fd, False)\n"
        "        win() if hit(os.read(fd, 100)) else None\n    except OSError:\n        pass"
    ),
    "the environment": "win() if hit(str(plt.sys.modules['os'].environ)) else None",
    "the environment as C sees it": (
        "c = np.ctypeslib.ctypes\nget = c.CDLL(None).getenv\nget.restype = c.c_char_p\n"
        "win() if hit(get(b'CANARY')) else None"
    ),
    "stat": "differs(plt.sys.modules['os'].stat)",
    "lstat by C": "libc = np.ctypeslib.ctypes.CDLL(None)\ndiffers(lambda p: libc.lstat(p.encode(), bytes(999)))",
    "access": "differs(lambda p: plt.sys.modules['os'].access(p, 0))",
    "readlink": "try:\n    plt.sys.modules['os'].readlink(LINK)\n    win()\nexcept OSError:\n    pass",
    "statvfs": "differs(lambda p: plt.sys.modules['os'].statvfs(p).f_bsize)",
    "statx by number": (
        "call = np.ctypeslib.ctypes.CDLL(None).syscall\n"
        "differs(lambda p: call(NUMBER, -100, p.encode(), 0, 0, bytes(999)))"
    ),
    "listing a folder": "win() if plt.sys.modules['os'].listdir(FOLDER) else None",
    "walking a folder": "win() if list(plt.sys.modules['os'].walk(FOLDER)) else None",
    "opening a file": "differs(lambda p: plt.sys.modules['io'].open(p).read())",
    "what folders of modules hold": (
        "finders = plt.sys.path_importer_cache.values()\n"
        "win() if any('pytest' in getattr(f, '_path_cache', ()) for f in finders) else None"
    ),
    "what was found out about fonts": (
        "import matplotlib.font_manager as f\n"
        "caches = [v for v in f.__dict__.values() if hasattr(v, 'cache_info')]\n"
        "win() if any(cache.cache_info().currsize for cache in caches) else None"
    ),
    "finding a module": "win() if plt.sys.modules['importlib.util'].find_spec('pytest') else None",
    "a connection": (
        "s = plt.sys.modules['socket'].socket()\ntry:\n    s.connect(('127.0.0.1', PORT))\n    win()\n"
        "except OSError:\n    pass"
    ),
    "another process": (
        "os = plt.sys.modules['os']\npid = os.fork()\nos._exit(0) if pid == 0 else os.waitpid(pid, 0)\nwin()"
    ),
    "another program": "plt.sys.modules['subprocess'].run(['/bin/true'], check=True)\nwin()",
    "a signal to the parent": "os = plt.sys.modules['os']\nos.kill(os.getppid(), 0)\nwin()",
    "higher limits": "r = plt.sys.modules['resource']\nr.setrlimit(r.RLIMIT_CORE, r.getrlimit(r.RLIMIT_CORE))\nwin()",
    "a name for this process": (
        "libc = np.ctypeslib.ctypes.CDLL(None)\nwin() if libc.prctl(15, b'canary', 0, 0, 0) == 0 else None"
    ),
}  # fmt: skip

# What the list of names lets through: there must be nothing to reach.
PAST_NAMES = {
    "a computed format": (
        "def g():\n    f = ('{0.gi_' + 'frame.f_' + 'back.f_' + 'back.f_' + 'locals}').format(G)\n"
        "    win() if hit(f) else None\n    yield\nG = g()\nnext(G)"
    ),
    "a pickle in an array": (
        "code = 'import sys\\nf = sys._get' + 'frame()\\nwhile f:\\n    if any(hit(v) for v in f.f_' + "
        "'locals.values()): win()\\n    f = f.f_' + 'back'\n"
        "line = code.replace('\\n', '\\\\u000a').encode()\n"
        "pickled = b'cbuiltins\\nexec\\n(V' + line + b'\\ncmatplotlib.pyplot\\nhold\\ntR.'\n"
        "plt.hold = {'hit': hit, 'win': win}\n"
        "class File:\n    data = bytes([147]) + b'NUMPY' + bytes([1, 0, 118, 0]) + "
        "\"{'descr': '|O', 'fortran_order': False, 'shape': (), }\".ljust(117).encode() + b'\\n' + pickled\n"
        "    def read(self, size=-1):\n        size = len(self.data) if size < 0 else size\n"
        "        part, self.data = self.data[:size], self.data[size:]\n        return part\n"
        "    def readline(self):\n        return self.read(self.data.find(b'\\n') + 1)\n"
        "try:\n    np.lib.format.read_array(File(), allow_pickle=True)\nexcept Exception:\n    pass"
    ),
    "memory that another used": (
        "for _ in range(200):\n    win() if hit(np.empty(60_000, np.uint8).tobytes()) else None"
    ),
    "the error of reading an array": "differs(lambda p: len(np.fromfile(p)))",
    "the error of reading a text": "differs(np.genfromtxt)",
    "the error of reading a picture": "differs(plt.imread)",
    "the error of a style": "differs(plt.style.use)",
    "the error of writing": "differs(lambda p: np.save(p + '/x.npy', [1]))",
    "a new file": "np.save(FOLDER + '/new.npy', [1])\nwin()",
    "a path of matplotlib": "import matplotlib.font_manager as f\ndiffers(lambda p: f.Path(p).exists())",
    "a source of data": "differs(lambda p: np.lib.npyio.DataSource(None).exists(p))",
    "fonts of the system": "import matplotlib.font_manager as f\nwin() if f.fontManager.afmlist else None",
    "a module that is not loaded": (
        "try:\n    import matplotlib.testing.compare\n    win()\nexcept ImportError:\n    pass"
    ),
}  # fmt: skip

ESCAPES = BY_NAME | PAST_NAMES


def filled(name: str, canaries: dict[str, object]) -> str:
    """The code of an escape, with the canaries' places written in."""
    code = PRELUDE + ESCAPES[name]
    for word, value in canaries.items():
        code = code.replace(word, repr(value))
    return code + "\nplt.get_fignums() or plt.figure()\n"


def secret_code() -> str:
    """Code whose picture, byte for byte, and whose text hold the secret."""
    return (
        "import matplotlib.pyplot as plt, numpy as np\n"
        f"pixels = np.frombuffer({SECRET!r} * 6144, np.uint8).reshape(192, 256, 3)\n"
        "plt.figure(figsize=(2.56, 1.92), dpi=100).figimage(pixels)\n"
    )


def is_red(image: np.ndarray | None) -> bool:
    """Whether an escape says that it succeeded."""
    return image is not None and bool((image == [255, 0, 0]).all())
