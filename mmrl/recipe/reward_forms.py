"""The forms of a reward of one's own, told by the signature: mmrl's, TRL's, EasyR1's and verl's."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from mmrl.contracts.errors import ConfigError, nearest


class Form(StrEnum):
    """What a function is called with, and how often."""

    ANSWER = "answer"  # (completion, sample), per answer
    GROUP = "group"  # (completions, sample), per group
    BATCH = "batch"  # (completions, samples), per step
    TRL = "trl"  # (prompts, completions, **columns), per step
    EASYR1 = "easyr1"  # (reward_input), per answer
    EASYR1_BATCH = "easyr1_batch"  # (reward_inputs), per step
    EASYR1_TEXT = "easyr1_text"  # (predict, ground_truth), per answer
    EASYR1_TEXTS = "easyr1_texts"  # (predicts, ground_truths), per step
    VERL = "verl"  # (data_source, solution_str, ground_truth, extra_info), per answer
    VERL_BATCH = "verl_batch"  # (data_sources, solution_strs, ground_truths, extra_infos), per step

    @property
    def per_step(self) -> bool:
        """Whether one call scores all that is there, and returns a list."""
        return self in (Form.BATCH, Form.TRL, Form.EASYR1_BATCH, Form.EASYR1_TEXTS, Form.VERL_BATCH)


# A parameter that only one form has.
_TELLS = {
    "solution_str": Form.VERL,
    "solution_strs": Form.VERL_BATCH,
    "reward_inputs": Form.EASYR1_BATCH,
    "reward_input": Form.EASYR1,
    "predicts": Form.EASYR1_TEXTS,
    "predict": Form.EASYR1_TEXT,
    "predict_str": Form.EASYR1_TEXT,
}
# Given by position; what follows are settings, but where the form gives more by name.
_POSITIONAL = {
    Form.ANSWER: 2,
    Form.GROUP: 2,
    Form.BATCH: 2,
    Form.EASYR1: 1,
    Form.EASYR1_BATCH: 1,
    Form.EASYR1_TEXT: 2,
    Form.EASYR1_TEXTS: 2,
}
# Given by name, to a function that has such a parameter.
BY_NAME = {
    Form.ANSWER: ("images", "options", "group", "trajectory"),
    Form.GROUP: ("images", "options", "trajectories"),
    Form.BATCH: ("images", "options", "trajectories"),
    Form.VERL: ("data_source", "solution_str", "ground_truth", "extra_info"),
    Form.VERL_BATCH: ("data_sources", "solution_strs", "ground_truths", "extra_infos"),
    Form.TRL: ("prompts", "completions", "completion_ids"),
}


@dataclass(frozen=True, slots=True)
class Signature:
    """How a function is called.

    Attributes:
        form: what with.
        given: names of what it asks for by name, of `BY_NAME`.
        columns: names of TRL's columns that it asks for; those that it can do without are in `optional`.
        whole: it takes all of a row's columns.
        settings: parameters that a recipe's `params` may set, with their defaults.
    """

    form: Form
    given: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    optional: frozenset[str] = frozenset()
    whole: bool = False
    settings: Mapping[str, Any] | None = None


def form_of(names: Collection[str]) -> Form:
    """The form of a function with parameters of these names."""
    for name, form in _TELLS.items():
        if name in names:
            return form
    if "completions" not in names:
        return Form.ANSWER
    return Form.BATCH if "samples" in names else Form.GROUP if "sample" in names else Form.TRL


def signature_of(function: Callable[..., Any], params: Mapping[str, Any], place: str, name: str) -> Signature:
    """How a function is called, with `params` besides.

    Args:
        place, name: of the reward, for errors.

    Raises:
        ConfigError: its signature does not take what it would be called with.
    """
    try:
        signature = inspect.signature(function)
    except ValueError:
        # Some functions written in C do not say what they take.
        return Signature(Form.ANSWER)
    parameters = {key: p for key, p in signature.parameters.items() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
    anything = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    form = form_of(parameters)
    given = tuple(key for key in BY_NAME.get(form, ()) if key in parameters and key not in params)
    rest = [key for key in list(parameters)[_POSITIONAL.get(form, 0) :] if key not in given]
    columns = [key for key in rest if key not in params] if form is Form.TRL else []
    try:
        signature.bind(*["x"] * _POSITIONAL.get(form, 0), **dict.fromkeys([*given, *columns]), **params)
    except TypeError as error:
        raise ConfigError(_refusal(form, given, params, place, name, rest, error)) from None
    defaults = {key: parameters[key].default for key in rest}
    return Signature(
        form,
        given,
        tuple(columns),
        frozenset(key for key in columns if defaults[key] is not inspect.Parameter.empty),
        form is Form.TRL and anything,
        {
            key: value
            for key, value in defaults.items()
            if value is not inspect.Parameter.empty and form is not Form.TRL
        },
    )


def _refusal(
    form: Form,
    given: Collection[str],
    params: Mapping[str, Any],
    place: str,
    name: str,
    settings: Collection[str],
    error: TypeError,
) -> str:
    called = {Form.ANSWER: "completion, sample", Form.GROUP: "completions, sample", Form.BATCH: "completions, samples"}
    shown = ", ".join([called.get(form, f"{form}'s arguments"), *given])
    hint = next((nearest(key, settings) for key in params if key not in settings and nearest(key, settings)), "")
    return (
        f"{place}: '{name}' is called with ({shown}) and params {sorted(params)}, and its signature does not take "
        f"them: {error}.{hint}"
    )
