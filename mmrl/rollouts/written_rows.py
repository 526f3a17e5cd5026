"""Samples and their answers as rows of mmrl's own columns, so that every stage and `datasets` read them again."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mmrl.contracts.errors import BadSample, UserError
from mmrl.contracts.generated import Answer, Answered
from mmrl.contracts.types import Sample
from mmrl.policies.own_places import in_own_places
from mmrl.rollouts.written_episodes import step_rows

Save = Callable[[Any, Sample], str]
# What would stand for a picture or video in a question.
MARK = re.compile(r"<(image|video)>")


def row_of(sample: Sample, local: Sample, image: Save, video: Save) -> dict[str, Any]:
    """The columns of a sample.

    Args:
        sample: as its dataset has it.
        local: with its boxes where the policy writes them, see `Policy.localise`.
        image, video: store a picture, or a video by its path, and give its path in the dataset's folder.

    Raises:
        BadSample: it has something that no row can hold.
    """
    if sample.kind != "answers" or sample.actions is not None or sample.steps:
        raise BadSample(sample.where, "is an episode or holds actions; generate answers questions alone")
    placed, demonstration = in_own_places(sample, local, local.demonstration or "")
    row = {
        "id": sample.id,
        "dataset": sample.dataset,
        "messages": [dict(message) for message in sample.messages],
        "images": [image(source, sample) for source in sample.images],
        "videos": [_video(source, sample, video) for source in sample.videos],
        "task": sample.task,
        "target": dict(placed.target),
        "coordinates": placed.coordinates,
        "demonstration": demonstration,
    }
    return {key: value for key, value in row.items() if value not in ([], {}, "")}


def _video(video: Any, sample: Sample, save: Save) -> Any:
    """A path or clip whose files are saved."""
    if isinstance(video, Mapping) and isinstance(video.get("path"), str | list):
        return {**video, "path": _video(video["path"], sample, save)}
    if isinstance(video, list | tuple):
        return [_video(frame, sample, save) for frame in video]
    if not isinstance(video, str):
        raise BadSample(sample.where, f"its video is {type(video).__name__}, and a row names files")
    return video if "://" in video else save(video, sample)


def link_video(folder: Path, video: str, sample: Sample) -> str:
    """Makes a video, or a folder of its frames, a file of a dataset's folder too, and gives its path there.

    Raises:
        UserError: it is not there, or cannot be written.
    """
    source = (Path(sample.root or ".") / video).resolve()
    name = f"media/{hashlib.sha256(str(source).encode()).hexdigest()[:20]}{source.suffix}"
    if (folder / name).exists():
        return name
    aside = folder / "media" / f".{Path(name).name}.tmp"
    try:
        aside.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(aside, ignore_errors=True)
        aside.unlink(missing_ok=True)
        if source.is_dir():
            shutil.copytree(source, aside, copy_function=_link)
        else:
            _link(source, aside)
        os.rename(aside, folder / name)
    except OSError as error:
        raise UserError(f"{sample.where}: video '{source}' cannot be put into '{folder}': {error.strerror}") from error
    return name


def _link(source: str | Path, goal: str | Path) -> None:
    try:
        os.link(source, goal)
    except OSError:
        # Another file system, or one without links.
        shutil.copy2(source, goal)


def written_rows(rows: list[Answered], write: str, origin: str, log_probs: bool) -> Iterator[dict[str, Any]]:
    """The rows of a data set.

    Args:
        write: see `GenerateConfig`.
        origin: what sampled the answers, in words.
        log_probs: write those of each answer.
    """
    for each in rows:
        columns = {key: value for key, value in each.row.items() if key != "dataset"}
        profile = {
            "origin": origin,
            "pass_rate": each.pass_rate,
            "majority": each.majority,
            "agreement": each.agreement,
            "sampled": each.sampled,
        }
        by_number = {answer.number: answer for answer in each.answers}
        if write == "prompts":
            yield {**columns, **profile}
        elif write == "questions":
            yield from _questions(each, profile)
        elif write == "pairs":
            for better, worse in each.pairs:
                chosen, rejected = by_number[better], by_number[worse]
                texts = {"demonstration": chosen.text, "chosen": chosen.text, "rejected": rejected.text}
                rewards = {"reward": chosen.reward, "rejected_reward": rejected.reward}
                extra = {"log_probs": chosen.log_probs, "rejected_log_probs": rejected.log_probs} if log_probs else {}
                yield {**columns, **texts, **profile, **rewards, **extra}
        else:
            for answer in each.answers:
                if answer.steps:
                    said = {key: value for key, value in profile.items() if key not in ("majority", "agreement")}
                    yield from step_rows(each, answer, said)
                    continue
                yield {**columns, **_columns_of(answer, log_probs), **profile}


def _questions(each: Answered, profile: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Rows that ask what the answers say, of the same pictures and with the same target; empty ones ask nothing."""
    columns = {key: value for key, value in each.row.items() if key not in ("dataset", "demonstration", "id")}
    messages = each.row["messages"]
    last = max(i for i, message in enumerate(messages) if message["role"] == "user")
    media = [part for part in messages[last]["content"] if part["type"] != "text"]
    for answer in each.answers:
        text = MARK.sub("", answer.text).strip()
        if text:
            question = {**messages[last], "content": [*media, {"type": "text", "text": text}]}
            asked = [*messages[:last], question, *messages[last + 1 :]]
            own = {"id": f"{each.row['id']}/{answer.number}", "number": answer.number, "reward": answer.reward}
            yield {**columns, "messages": asked, **own, **profile}


def _columns_of(answer: Answer, log_probs: bool) -> dict[str, Any]:
    measured = {
        "demonstration": answer.text,
        "number": answer.number,
        "reward": answer.reward,
        "accuracy": answer.accuracy,
        "length": answer.length,
        "entropy": answer.entropy,
        "truncated": answer.truncated,
    }
    return {**measured, **({"log_probs": answer.log_probs} if log_probs else {})}
