"""Task files of lmms-eval that need no code: columns or Jinja templates, and exact matches."""

from __future__ import annotations

import ast
import re
import string
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from mmrl.contracts.benchmark import Facts
from mmrl.contracts.errors import BadSample, ConfigError, UserError, unknown
from mmrl.contracts.types import Sample
from mmrl.data.columns import Columns
from mmrl.data.readers import Table, open_file
from mmrl.data.references import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from mmrl.evaluation.benchmarks.files import Asked, FileBenchmark, pictures, video
from mmrl.evaluation.benchmarks.hub import hub_table
from mmrl.recipe.prompt_templates import compiled

READ = (
    *("task", "include", "dataset_path", "dataset_name", "dataset_kwargs", "test_split", "validation_split"),
    *("output_type", "doc_to_text", "doc_to_visual", "doc_to_target", "generation_kwargs", "metric_list"),
    *("lmms_eval_specific_kwargs", "num_fewshot", "repeats"),
)
# What changes nothing of what is asked or scored.
NOTES = ("tag", "group", "metadata", "task_alias", "training_split", "fewshot_split")
METRIC = ("metric", "aggregation", "higher_is_better", "ignore_case", "ignore_punctuation", "ignore_numbers")
METRICS = ("exact_match",)
FILES = ("json", "parquet")
# Keys of settings -> the values that change nothing of what is asked or scored; None: any. Others are refused.
GENERATION: Mapping[str, Sequence[Any] | None] = {
    **dict.fromkeys(("max_new_tokens", "until", "do_sample", "temperature")),
    **{"num_beams": (None, 1), "top_p": (None, 0, 1), "top_k": (None, 1)},
}
DATASET: Mapping[str, Sequence[Any] | None] = {
    # `video`, `cache_dir`, `create_link` and `force_unzip` say where media are put; ours lie under the data root.
    **dict.fromkeys(("data_files", "token", "trust_remote_code", "max_retries", "num_proc", "local_files_only")),
    **dict.fromkeys(("force_download", "force_unzip", "video", "cache_dir", "create_link")),
    **{"revision": (None, "main"), "load_from_disk": (None, False), "From_YouTube": (None, False)},
}
WORDS: Mapping[str, Sequence[Any] | None] = dict.fromkeys(("pre_prompt", "post_prompt"))


def is_lmms_task(path: Path) -> bool:
    """Whether a YAML file is a task of lmms-eval: it, or what it includes, names a `dataset_path`."""
    return (
        path.is_file() and re.search(r"^(dataset_path|include)\s*:", path.read_text("utf-8"), re.MULTILINE) is not None
    )


def read_task(path: Path, including: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The file's keys over those that it includes.

    Raises:
        ConfigError: it cannot be read, includes itself, or calls a function.
    """
    if path in including:
        raise ConfigError(f"{path}: it includes itself")

    class Loader(yaml.SafeLoader):
        """Plain values, and no code."""

    def refuse(loader: yaml.SafeLoader, node: yaml.Node) -> None:
        key = path.read_text("utf-8").splitlines()[node.start_mark.line].partition(":")[0].strip(" -")
        raise ConfigError(f"{path}: {key}: `!function {node.value}` is code of lmms-eval, which is not run")

    Loader.add_constructor("!function", refuse)
    try:
        raw = yaml.load(path.read_text("utf-8"), Loader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: a task is a mapping of keys, got {type(raw).__name__}")
    below = raw.pop("include", [])
    # Of several that set a key the first one wins, as in lmms-eval.
    for name in [below] if isinstance(below, str) else below:
        raw = {**read_task(path.parent / name, (*including, path)), **raw}
    return raw


class LmmsTask(FileBenchmark):
    """The benchmark of a task file. Raises ConfigError where it says what is not understood, in one line."""

    def __init__(self, path: Path):
        self.task = task = read_task(path)
        self.path, self.name = path, path.stem  # type: ignore[misc]
        for key in task:
            if key not in READ + NOTES:
                raise ConfigError(f"{path}: {unknown('key', str(key), READ)}; it is not understood")
        for key in ("dataset_path", "doc_to_text", "doc_to_target", "metric_list"):
            if not task.get(key):
                raise ConfigError(f"{path}: key '{key}' is missing")
        if task.get("output_type", "generate_until") != "generate_until":
            raise ConfigError(f"{path}: output_type '{task['output_type']}' is not understood; generate_until is")
        for key, only in (("num_fewshot", 0), ("repeats", 1)):
            if task.get(key, only) != only:
                raise ConfigError(f"{path}: {key}: {task[key]} is not understood; {only} is")
        self.metric = self._metric(task["metric_list"])
        generation = self._settings("generation_kwargs", task.get("generation_kwargs"), GENERATION)
        if generation.get("do_sample") or generation.get("temperature"):
            raise ConfigError(f"{path}: generation_kwargs: answers are greedy here; set sampling.temperature instead")
        limit, until = generation.get("max_new_tokens", 128), generation.get("until") or ()
        if type(limit) is not int or limit < 1:
            raise ConfigError(f"{path}: generation_kwargs: max_new_tokens: {limit} is not a number of tokens")
        self.limit = limit  # type: ignore[misc]
        self.until = (until,) if isinstance(until, str) else tuple(map(str, until))
        dataset = self._settings("dataset_kwargs", task.get("dataset_kwargs"), DATASET)
        if dataset.get("data_files") and task["dataset_path"] not in FILES:
            raise ConfigError(
                f"{path}: dataset_kwargs: data_files is read for dataset_path {' and '.join(FILES)} alone"
            )
        if not isinstance(task.get("doc_to_visual") or "", str):
            raise ConfigError(f"{path}: doc_to_visual: {task['doc_to_visual']} is not the name of a column")
        words = self._words(task.get("lmms_eval_specific_kwargs"))
        # lmms-eval hands these to functions alone; a template reads them as variables.
        self.words = {name: words.get(name) or "" for name in WORDS}
        self.split = task.get("test_split") or task.get("validation_split") or "test"
        source = str(task["dataset_path"])
        self.facts = Facts(source, self.split, None, "exact_match", "the set's own", "named by its rows", str(path))  # type: ignore[misc]
        self.about = f"lmms-eval's task {task.get('task', path.stem)}"  # type: ignore[misc]
        super().__init__()

    def _settings(self, key: str, given: Any, known: Mapping[str, Sequence[Any] | None]) -> Mapping[str, Any]:
        """The settings under a key, none of which changes what is not understood."""
        if not isinstance(given or {}, Mapping):
            raise ConfigError(f"{self.path}: {key}: it is a mapping, got {type(given).__name__}")
        for name, value in (given or {}).items():
            if name not in known:
                raise ConfigError(f"{self.path}: {key}: {unknown('key', str(name), known)}; it is not understood")
            neutral = known[name]
            if neutral is not None and value not in neutral:
                raise ConfigError(f"{self.path}: {key}: {name}: {value} is not understood; {neutral[-1]} is")
        return given or {}

    def _words(self, given: Any) -> Mapping[str, Any]:
        """Those of `default`; of a model's own only what says the same."""
        key = "lmms_eval_specific_kwargs"
        words = self._settings(key, given, dict.fromkeys(given) if isinstance(given, Mapping) else {})
        default = self._settings(f"{key}.default", words.get("default"), WORDS)
        if other := next((name for name, own in words.items() if name != "default" and own != default), None):
            raise ConfigError(f"{self.path}: {key}: {other} is not understood; `default` is")
        return default

    def _metric(self, metrics: list[Mapping[str, Any]]) -> Mapping[str, Any]:
        if len(metrics) != 1:
            raise ConfigError(f"{self.path}: metric_list: one metric is understood, not {len(metrics)}")
        (metric,) = metrics
        if metric.get("metric") not in METRICS or metric.get("aggregation", "mean") != "mean":
            asked = f"{metric.get('metric')} with aggregation {metric.get('aggregation', 'mean')}"
            raise ConfigError(f"{self.path}: metric_list: {asked} is not understood; exact_match with mean is")
        for key in metric:
            if key not in METRIC:
                raise ConfigError(f"{self.path}: metric_list: {unknown('key', str(key), METRIC)}")
        return metric

    def _find(self, root: str | None) -> tuple[list[Table], Path]:
        source, base = str(self.task["dataset_path"]), Path(root).expanduser() if root else self.path.parent
        if source in FILES:
            named = (self.task.get("dataset_kwargs") or {}).get("data_files") or {}
            names = named.get(self.split) if isinstance(named, Mapping) else named
            files = [base / name for name in ([names] if isinstance(names, str) else names or [])]
            missing = next((file for file in files if not file.is_file()), None)
            if missing is not None or not files:
                raise UserError(f"benchmark '{self.name}': no rows of split '{self.split}' at '{missing or base}'")
            return [open_file(file) for file in files], base
        config = self.task.get("dataset_name")
        return [hub_table(self.name, source, config, self.split, self.download)], base

    def asked(self, row: Columns) -> Asked:
        """Columns, or templates over them."""
        target = self._filled(row, "doc_to_target")
        if target == []:
            raise row.bad("doc_to_target: it is an empty list, so that nothing is right")
        written = target if isinstance(target, list) else str(target)
        shown = self.task.get("doc_to_visual")
        if shown and shown not in row.values:
            raise row.bad(_no_column("doc_to_visual", shown, row))
        named = row.values.get(shown) if shown else None
        ending = named.rpartition(".")[2].lower() if isinstance(named, str) else ""
        if ending in VIDEO_SUFFIXES and ending not in IMAGE_SUFFIXES:
            media: dict[str, Any] = {"videos": video(row, str(named))}
        else:
            media = {"images": pictures(row, shown)} if shown else {}
        return Asked(str(self._filled(row, "doc_to_text")), "ocr", target={"answer": written}, **media)

    template = "{{ question }}"

    def _filled(self, row: Columns, key: str) -> Any:
        from jinja2 import TemplateError

        written = self.task[key]
        if not isinstance(written, str):
            return written
        if written in row.values:
            return row.any(written)
        if re.fullmatch(r"[\w-]+", written):
            raise row.bad(_no_column(key, written, row))
        try:
            text = compiled(written).render({**self.words, **row.values})
        except TemplateError as error:
            raise BadSample(row.where, f"{key}: {error}") from None
        if key == "doc_to_target" and len(text) > 1 and (text[0], text[-1]) == ("[", "]"):
            try:
                return ast.literal_eval(text)
            # The last two are what Python raises where the text is nested too deep for it.
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                return text
        return text

    def gold(self, sample: Sample) -> str | None:
        """The target itself, or the first of several."""
        answer = sample.target["answer"]
        return str(answer[0] if isinstance(answer, list) else answer)

    def score(self, completion: str, sample: Sample) -> float:
        """lmms-eval's exact_match with its settings; of several targets any."""
        for stop in self.until:
            completion = completion.partition(stop)[0]
        right = sample.target["answer"]
        accepted = right if isinstance(right, list) else [right]
        return float(any(self._plain(completion.strip()) == self._plain(str(text)) for text in accepted))

    def _plain(self, text: str) -> str:
        text = text.lower() if self.metric.get("ignore_case") else text
        ignored = string.punctuation if self.metric.get("ignore_punctuation") else ""
        ignored += string.digits if self.metric.get("ignore_numbers") else ""
        return text.translate(str.maketrans("", "", ignored))

    @property
    def protocol(self) -> Mapping[str, Any]:
        """See `Described.protocol`; the task file is all of it."""
        metric = {**self.metric, "until": list(self.until)}
        return {"template": self.task["doc_to_text"], "extractor": "the whole answer", "metric": metric}


def _no_column(key: str, written: str, row: Columns) -> str:
    return f"{key}: {unknown('column', written, [str(name) for name in row.values])}"
