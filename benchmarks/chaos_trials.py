"""The kinds of trials of `benchmarks.chaos`: each does one thing to mmrl and yields what went wrong."""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

import psutil
import torch
import yaml

from benchmarks.chaos_files import damaged_bytes, hostile_model, hostile_picture, hostile_recipe, hostile_rows, row
from benchmarks.chaos_ground import Child, Ground, Skipped, finish, leftovers
from mmrl.cli import main as mmrl
from mmrl.engines.hf import HFEngine
from robotics.workers import WorkerEnv
from tests.support.clips import encode, scene
from tests.support.faulty import one_tabletop
from vision_rewards import get_reward, pool

Failures = Iterator[str]
# With what comes of them: killed; stopped with a checkpoint; or ended before the command listens to them.
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


def killed_training(ground: Ground, source: Random, folder: Path) -> Failures:
    """Training that is killed at any moment, up to three times, and resumed."""
    recipe = ground.written(folder)
    for _ in range(source.randrange(1, 4)):
        number = source.choice(SIGNALS)
        child = ground.start(folder, "train", str(recipe), "resume=auto")
        child.send(number, source.uniform(0.0, 1.1) * ground.seconds)
        yield from child.end(ground.bound).wrong(0, 130, 128 + number, -number)
        yield from child.orphans()
    yield from finish(ground, folder, recipe)


def killed_engine(ground: Ground, source: Random, folder: Path) -> Failures:
    """A process that dies while its engine samples, and is resumed."""
    recipe, fatal = ground.written(folder), source.randrange(1, 7)

    def work() -> int:
        sample, calls = HFEngine.generate, []

        def dying(self: HFEngine, *args: object, **options: object) -> object:
            calls.append(1)
            if len(calls) == fatal:
                os.kill(os.getpid(), signal.SIGKILL)
            return sample(self, *args, **options)  # type: ignore[arg-type]

        HFEngine.generate = dying  # type: ignore[method-assign, assignment]
        return mmrl(["train", str(recipe), "resume=auto"])

    yield from Child(work, folder, f"train, killed at call {fatal} of its engine").end(ground.bound).wrong(0, -9)
    yield from finish(ground, folder, recipe)


def killed_evaluation(ground: Ground, source: Random, folder: Path) -> Failures:
    """Benchmarks of a checkpoint that are killed, and gone on with: the answers are those of an evaluation alone."""
    argv = ("eval", "--model", str(ground.model), "--tasks", "digits", "--limit", "12", "--batch-size", "4")
    argv += ("--max-new-tokens", "4", "--output")
    alone = ground.command(folder, *argv, "whole")
    yield from alone.wrong(0)
    for _ in range(source.randrange(1, 3)):
        child = ground.start(folder, *argv, "cut")
        child.send(signal.SIGKILL, source.uniform(0.0, 1.1) * alone.seconds)
        yield from child.end(ground.bound).wrong(0, -9)
    for path in (folder / "cut").rglob(".*.tmp"):
        # As if the next start were later: another shard may just be writing what is younger.
        os.utime(path, (0, 0))
    yield from ground.command(folder, *argv, "cut").wrong(0)
    for path in sorted((folder / "whole").rglob("*.jsonl")):
        other = folder / "cut" / path.relative_to(folder / "whole")
        if not other.is_file() or answers(path) != answers(other):
            yield f"answers of a killed evaluation differ: {path.name}"
    yield from leftovers(folder / "cut")


def answers(path: Path) -> list[object]:
    """The answers of a file, without what the clock decides."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    kept = [{key: value for key, value in line.items() if "seconds" not in key} for line in lines]
    return sorted(json.dumps(line, sort_keys=True) for line in kept)


def killed_cache(ground: Ground, source: Random, folder: Path) -> Failures:
    """A cache that is killed while it is filled: filled again, it is whole, and nothing is left over."""
    rows = [row(f"clip_{i}.mp4") for i in range(4)]
    for index in range(4):
        encode(folder / f"clip_{index}.mp4", scene(12 + index))
    (folder / "rows.jsonl").write_text("\n".join(rows) + "\n")
    argv = ("cache", "build", "rows.jsonl", "--policy", str(ground.model), "--workers", "2", "--folder")
    alone = ground.command(folder, *argv, "whole")
    yield from alone.wrong(0)
    for _ in range(source.randrange(1, 4)):
        child = ground.start(folder, *argv, "cut")
        child.send(signal.SIGKILL, source.uniform(0.0, 1.0) * alone.seconds)
        yield from child.end(ground.bound).wrong(0, -9)
    yield from ground.command(folder, *argv, "cut").wrong(0)
    yield from ground.command(folder, "cache", "verify", "cut", "--remove").wrong(0)
    contents = [
        sorted(path.relative_to(folder / name) for path in (folder / name).rglob("*") if path.is_file())
        for name in ("whole", "cut")
    ]
    if contents[0] != contents[1]:
        yield f"the cache holds {contents[1]}, not {contents[0]}"


def killed_simulators(ground: Ground, source: Random, folder: Path) -> Failures:
    """Worker processes of a simulator that are killed between chunks: those episodes are dropped, others go on."""
    seed, kills = source.randrange(1000), sorted(source.sample(range(1, 7), source.randrange(1, 3)))
    victim = source.randrange(2)

    def work() -> int:
        options = {"tasks": ("push",), "max_steps": 24, "image_size": 24}
        env = WorkerEnv("tabletop", functools.partial(one_tabletop, **options), 2, timeout=60.0)
        alone = one_tabletop(**options)
        env.reset([seed, seed + 1])
        alone.reset([seed + 1 - victim])
        still, gone = torch.zeros(2, 3, 3), False
        for chunk in range(7):
            if chunk in kills:
                os.kill(env._workers[victim]._process.pid, signal.SIGKILL)
                gone = True
            step, expected = env.chunk_step(still), alone.chunk_step(still[:1])
            other = 1 - victim
            if not torch.equal(step.reward[other], expected.reward[0]):
                print(f"chunk {chunk}: the other world's rewards are {step.reward[other]}, not {expected.reward[0]}")
                return 1
            if gone and not bool(step.info["dropped"][victim]):
                env.reset([seed], worlds=[victim])
                gone = False
        env.close()
        return 0

    child = Child(work, folder, "simulators whose workers are killed")
    yield from child.end(ground.bound).wrong(0)
    yield from child.orphans()


def killed_reward_workers(ground: Ground, source: Random, folder: Path) -> Failures:
    """A reward's worker processes that are killed again and again: no right answer is ever wrong."""
    moments = [source.uniform(0.0, 0.3) for _ in range(12)]

    def work() -> int:
        pool.set_workers(2)
        reward = get_reward("math")
        for index in range(40):
            score = reward(f"x^2 + {index} + 2x", {"answer": f"x^2 + 2x + {index}"}).score
            if score not in (1.0, None):
                print(f"a right answer scores {score}")
                return 1
        pool.set_workers(None)
        return 0

    child = Child(work, folder, "a reward whose workers are killed")
    for moment in moments:
        time.sleep(moment)
        if family := child.family():
            with suppress(psutil.NoSuchProcess):
                source.choice(family).kill()
    yield from child.end(ground.bound).wrong(0)
    yield from child.orphans()


def full_disk(ground: Ground, source: Random, folder: Path) -> Failures:
    """A disk that fills up at any point of a run: one line; with more room the run goes on to the same end."""
    disk, recipe = folder / "runs", ground.written(folder)
    disk.mkdir()
    size = source.choice((source.randrange(8, 200), source.randrange(200, 4000), source.randrange(4000, 14000)))
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(disk)]
    try:
        if (done := subprocess.run(mount, capture_output=True, text=True)).returncode:
            raise Skipped(f"mounting is not permitted: {done.stderr.strip()}")
    except FileNotFoundError:
        raise Skipped("no mount command") from None
    try:
        trained = ground.command(folder, "train", str(recipe), "resume=auto")
        yield from trained.wrong(0, 2)
        if trained.code == 2 and "No space left on device" not in trained.text:
            yield f"a full disk is not named: {trained.text[-300:]!r}"
        yield from leftovers(disk)
        subprocess.run(["mount", "-o", "remount,size=100m", str(disk)], check=True)
        yield from finish(ground, folder, recipe)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def damaged_checkpoint(ground: Ground, source: Random, folder: Path) -> Failures:
    """A newest checkpoint with any damage: refused in one line, or, by choice, passed over."""
    recipe, run = ground.written(folder), folder / "runs" / "run"
    shutil.copytree(ground.whole, run)
    newest = max((run / "checkpoints").glob("step_*"))
    # The run has not ended, for its last step is to come.
    (run / "summary.json").unlink(missing_ok=True)
    path = source.choice(sorted(p for p in newest.rglob("*") if p.is_file()))
    name = str(path.relative_to(newest))
    before = path.read_bytes()
    way = damaged_bytes(source, path)
    if path.is_file() and path.read_bytes() == before:
        return
    # Evaluation checks what it reads, and the trainer's tensors are not that.
    unread = {0} if name == "trainer.safetensors" else set()
    for argv, more in ((("train", str(recipe), "resume=auto"), set()), (("eval", str(run)), unread)):
        done = ground.command(folder, *argv)
        yield from (f"{name} {way}: {line}" for line in done.wrong(2, *more))
        if done.text.count("mmrl: error:") > 1:
            yield f"{name} {way}: {done.text[-300:]!r} is more than a line"
    yield from (f"{name} {way}: {x}" for x in finish(ground, folder, recipe, "checkpoint.on_damaged=older"))


def same_name_twice(ground: Ground, source: Random, folder: Path) -> Failures:
    """Two or three processes of one name: one at a time runs, and the run is as if there were no others."""
    recipe = ground.written(folder)
    children = []
    for _ in range(source.randrange(2, 4)):
        children.append(ground.start(folder, "train", str(recipe), f"resume={source.choice(('auto', 'never'))}"))
        time.sleep(source.choice((0.0, 0.02, 0.3, source.uniform(0.0, ground.seconds))))
    if source.random() < 0.4:
        source.choice(children).send(signal.SIGKILL, 0.0)
    for child in children:
        yield from child.end(ground.bound).wrong(0, 2, -9)
    yield from finish(ground, folder, recipe)


def hostile_checkpoint(ground: Ground, source: Random, folder: Path) -> Failures:
    """A stranger's checkpoint: it loads, or it is one line; none of its code runs."""
    shutil.copytree(ground.model, folder / "model")
    what = hostile_model(source, folder / "model", folder / "canary")
    recipe = ground.written(folder, steps=1, policy={"path": str(folder / "model"), "device": "cpu"})
    argv = source.choice((("train", str(recipe)), ("eval", str(recipe)), ("train", str(recipe), "--dry-run")))
    yield from (f"{what}: {line}" for line in ground.command(folder, *argv).wrong(0, 2))
    if (folder / "canary").exists():
        yield f"{what}: code of the checkpoint ran"


def hostile_pictures(ground: Ground, source: Random, folder: Path) -> Failures:
    """Pictures that are damaged, huge, or programs."""
    names = []
    for index in range(8):
        names.append(f"picture_{index}.png")
        hostile_picture(source, folder / names[-1], folder / "canary")
    (folder / "rows.jsonl").write_text("".join(row(name, "images") + "\n" for name in names))
    yield from trained_on_rows(ground, source, folder)


def hostile_videos(ground: Ground, source: Random, folder: Path) -> Failures:
    """Videos that are damaged, cut, or something else."""
    names = []
    for index in range(4):
        names.append(f"clip_{index}.{source.choice(('mp4', 'mkv', 'avi'))}")
        encode(folder / names[-1], scene(10))
        for _ in range(source.randrange(0, 4)):
            damaged_bytes(source, folder / names[-1], removes=False)
    if source.random() < 0.3:
        (folder / names[0]).write_text(f"#EXTM3U\n#EXTINF:1,\nfile://{folder}/recipe.yaml\n")
    (folder / "rows.jsonl").write_text("".join(row(name) + "\n" for name in names))
    argv = ("cache", "build", "rows.jsonl", "--policy", str(ground.model), "--folder", "cache", "--workers", "1")
    yield from ground.command(folder, *argv).wrong(0, 2)
    yield from trained_on_rows(ground, source, folder)


def odd_rows(ground: Ground, source: Random, folder: Path) -> Failures:
    """Rows of any form."""
    (folder / "rows.jsonl").write_bytes(hostile_rows(source, folder))
    yield from ground.command(folder, "rewards", "check", "rows.jsonl").wrong(0, 1, 2)
    yield from trained_on_rows(ground, source, folder)


def trained_on_rows(ground: Ground, source: Random, folder: Path) -> Failures:
    """A step on `rows.jsonl` of the folder, or a rehearsal of it."""
    data = {"train": [{"type": "file", "path": "rows.jsonl"}]}
    recipe = ground.written(folder, steps=1, data=data, evaluation={"every": None}, checkpoint={"every": None})
    argv = ("train", str(recipe), *source.choice(((), ("--dry-run",))))
    yield from ground.command(folder, *argv).wrong(0, 2)
    if (folder / "canary").exists():
        yield "a program was started"


def odd_recipe(ground: Ground, source: Random, folder: Path) -> Failures:
    """A recipe with anything in it."""
    path = ground.written(folder, steps=1)
    values = yaml.safe_load(path.read_text())
    text, overrides = hostile_recipe(source, values)
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    done = ground.command(folder, "train", str(path), "--dry-run", *overrides)
    yield from (f"{text[-200:]!r} {overrides}: {line}" for line in done.wrong(0, 2))


TRIALS: dict[str, Callable[[Ground, Random, Path], Failures]] = {
    "killed_training": killed_training,
    "hostile_checkpoint": hostile_checkpoint,
    "killed_engine": killed_engine,
    "odd_recipe": odd_recipe,
    "same_name_twice": same_name_twice,
    "hostile_pictures": hostile_pictures,
    "killed_reward_workers": killed_reward_workers,
    "full_disk": full_disk,
    "hostile_videos": hostile_videos,
    "damaged_checkpoint": damaged_checkpoint,
    "killed_evaluation": killed_evaluation,
    "odd_rows": odd_rows,
    "killed_simulators": killed_simulators,
    "killed_cache": killed_cache,
}
