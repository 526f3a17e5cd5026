"""Errors that end a command with one line and exit code 2."""

from __future__ import annotations

# Nobody mistypes into more letters than this; comparing takes the product of two lengths.
LONGEST_NAME = 200


class UserError(Exception):
    """Something the user can cure: the message names the place, the value and the cure on one line.

    Attributes:
        told: another of the processes that train together prints it.
    """

    told = False


class ConfigError(UserError):
    """A recipe that cannot run."""


class BadSample(UserError):
    """A dataset row that cannot be used; `data.on_bad_sample` decides between stopping and skipping it.

    Args:
        where: dataset and row, e.g. `train.jsonl row 17`.
        reason: what is wrong, naming the path or column.
        path: the file that is at fault, where one is.
        task: the row's task, where it is known of a row that cannot be read.
        alike: further rows that are known to be bad in the same way.
    """

    def __init__(self, where: str, reason: str, *, path: str | None = None, task: str | None = None, alike: int = 0):
        more = f" (and {alike} {'row' if alike == 1 else 'rows'} alike)" if alike else ""
        super().__init__(f"{where}: {reason}{more}")
        self.where, self.reason, self.path, self.task, self.alike = where, reason, path, task, alike

    def with_alike(self, alike: int) -> BadSample:
        """The error, which says how many further rows are alike."""
        return BadSample(self.where, self.reason, path=self.path, task=self.task, alike=alike)


class CheckpointError(UserError):
    """A checkpoint that is missing, broken, or of another model."""


class EngineError(UserError):
    """An engine that does not start, fails, or samples other weights or prompts than the trainer has."""


class DeadPolicy(UserError):
    """A policy that computes nothing usable any more, or a run that shows no sign of learning: no figure is made of it.

    Args:
        problem: what is not as it should be.
        sign: the key of `health` that says so; empty where something is not finite.
    """

    def __init__(self, problem: str, sign: str = ""):
        super().__init__(problem)
        self.sign = sign


def first_line(error: Exception) -> str:
    """The first line of an error's text that says something, or else the error's type."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def shortened(text: str, limit: int = 120) -> str:
    """Text for one line of an error: where it is long, its beginning, its end and its number of characters."""
    if len(text) <= limit:
        return text
    return f"{text[: limit // 2]}…{text[-limit // 4 :]} ({len(text)} characters)"


def nearest(word: str, known) -> str:
    """` Did you mean 'x'?` for the closest of `known`, or an empty string."""
    import difflib

    if len(str(word)) > LONGEST_NAME:
        return ""
    close = difflib.get_close_matches(str(word), [str(k) for k in known], n=1, cutoff=0.5)
    return f" Did you mean '{close[0]}'?" if close else ""


def unknown(kind: str, word: str, known) -> str:
    """One line for a name outside a registry: the name, the nearest spelling and everything allowed."""
    allowed = ", ".join(sorted(map(str, known)))
    return f"unknown {kind} '{shortened(str(word))}'.{nearest(word, known)} Allowed: {allowed}"
