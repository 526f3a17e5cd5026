"""Runs every escape of `plot_escapes` without list of names, kernel filter or separate process: each must succeed.

Run with `-m` and the canaries' places as JSON; prints the names of the escapes that succeeded as JSON.
"""

import json
import os
import sys

from tests.support.plot_escapes import ESCAPES, SECRET, filled
from vision_rewards import plot_sandbox_helper as helper


def attempt(code: str, output: int) -> None:
    reply = SECRET * 6144
    for _ in range(20):
        del [SECRET * 2500 for _ in range(8)][:]
    import matplotlib.pyplot as plt

    helper.resource.setrlimit(helper.resource.RLIMIT_CPU, (20, 20))
    try:
        exec(code, {"__name__": "__main__"})
    except Exception as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
    height, width, pixels = helper.rasterize(plt.gcf())
    os.write(output, b"\1" if pixels == b"\xff\0\0" * (height * width) and reply else b"\0")


def main(canaries: dict[str, object]) -> None:
    helper.forget_files = lambda: None
    helper.prepare()
    os.environ["CANARY"] = SECRET.decode()
    won = []
    for name in ESCAPES:
        source, output = os.pipe()
        letter, writer = os.pipe()
        os.write(writer, SECRET)
        child = os.fork()
        if child == 0:
            try:
                attempt(filled(name, canaries), output)
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        os.close(output)
        won += [name] if os.read(source, 1) == b"\1" else []
        for end in (source, letter, writer):
            os.close(end)
    print(json.dumps(won))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
