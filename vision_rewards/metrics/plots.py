"""Similarity of plotting code, by what it says, and of plots, by what they show."""

from __future__ import annotations

import ast
import builtins
import math
import warnings
from collections import Counter

import numpy as np

from vision_rewards.metrics.overlap import f1
from vision_rewards.pool import bounded

# Calls that leave the picture as it is.
_NEUTRAL = frozenset(("show", "savefig", "close", "print", "use", "pause"))
_GIVEN = frozenset((*dir(builtins), "__name__", "__file__", "__doc__", "plt", "np", "pd", "sns", "mpl"))
_KINDS = ("calls", "keywords", "texts", "numbers")
_SCALES = (1, 2, 4, 8, 16)


def plot_features(code: str) -> dict[str, Counter] | None:
    """What a piece of plotting code says, by its syntax alone; None if it is no Python.

    Nothing is executed. Deeply nested text can exhaust the stack of Python's parser: call it by `pool.bounded`.

    Returns:
        Counters of `calls` (names of called functions and methods), `keywords` (call, keyword), `texts` (string
        literals, white space collapsed) and `numbers` (numeric literals with their sign), without functions that
        nothing names; and of `undefined`, the names that are used and nowhere bound, but for the usual short names of
        plotting libraries.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError):
        return None
    features = {kind: Counter() for kind in _KINDS} | {"undefined": Counter(_undefined(tree))}
    loaded = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    stack: list[ast.AST] = [tree]
    while stack:
        node = stack.pop()
        if _is_dead(node, loaded):
            continue
        if _is_negative_number(node):
            features["numbers"][-_number(node.operand.value)] += 1
            continue
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            # A docstring, or a value that nobody uses.
            continue
        _count(node, features)
        stack.extend(ast.iter_child_nodes(node))
    return features


def _is_dead(node: ast.AST, used: set[str]) -> bool:
    """Whether a node is a function that nothing names."""
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return False
    return node.name not in used and not node.decorator_list


def _undefined(tree: ast.AST) -> set[str]:
    """Names that a program uses and binds nowhere: running it ends there. Empty where it imports `*`."""
    used, bound = set(), set(_GIVEN)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else bound).add(node.id)
        elif isinstance(node, ast.alias):
            if node.name == "*":
                return set()
            bound.add(node.asname or node.name.split(".")[0])
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.ExceptHandler, ast.MatchAs)):
            bound.add(node.name or "")
        elif isinstance(node, (ast.MatchStar, ast.MatchMapping)):
            bound.add(getattr(node, "name", None) or getattr(node, "rest", None) or "")
    return used - bound


def _is_negative_number(node: ast.AST) -> bool:
    if not isinstance(node, ast.UnaryOp) or not isinstance(node.op, ast.USub):
        return False
    return isinstance(node.operand, ast.Constant) and type(node.operand.value) in (int, float)


def _number(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _count(node: ast.AST, features: dict[str, Counter]) -> None:
    if isinstance(node, ast.Constant):
        if isinstance(node.value, str):
            features["texts"][" ".join(node.value.split())] += 1
        elif type(node.value) in (int, float):
            features["numbers"][_number(node.value)] += 1
    elif isinstance(node, ast.Call):
        name = getattr(node.func, "attr", None) or getattr(node.func, "id", None)
        if name is not None and name not in _NEUTRAL:
            features["calls"][name] += 1
            features["keywords"].update((name, keyword.arg) for keyword in node.keywords if keyword.arg)


def feature_similarity(first: dict[str, Counter], second: dict[str, Counter]) -> float:
    """Mean over the kinds that either has of the F1 of their multisets, in [0, 1]; 0 where neither has any."""
    scores = []
    for kind in _KINDS:
        total = first[kind].total(), second[kind].total()
        if any(total):
            scores.append(f1((first[kind] & second[kind]).total(), *total))
    return sum(scores) / len(scores) if scores else 0.0


def plot_code_similarity(prediction: str, target: str) -> float:
    """How alike two pieces of plotting code are by their calls, keywords, texts and numbers, in [0, 1].

    Each kind's F1 counts a feature as often as both have it; code that is no Python scores 0. Names of variables, order
    and comments do not count. ChartMimic runs both programs with hooks to collect the same kinds; this reads them.

    Raises:
        vision_rewards.pool.Exceeded: parsing took more than a second or 200 MB.
    """
    first, second = bounded(plot_features, prediction), bounded(plot_features, target)
    return 0.0 if first is None or second is None else feature_similarity(first, second)


def picture_similarity(prediction_HWC: np.ndarray, target_HWC: np.ndarray) -> float:
    """How alike two plots look, in [0, 1]: their concordance correlation (Lin 1989) at several resolutions, averaged.

    Σ 2 cov(p, t) / Σ (var p + var t + (mean p − mean t)²), sums over the colour channels, negative values as 0; for the
    picture and four halvings of it, so that a near miss counts. 1 for equal pictures only. Paper of one colour, white
    or other, earns 0; mean squared error, PSNR and SSIM pay for the empty area of a plot.

    Args:
        prediction_HWC: uint8 [H, W, 3]; scaled to the size of the target.
        target_HWC: uint8 [H', W', 3]; one of a single colour is like nothing (0).
    """
    if prediction_HWC.shape != target_HWC.shape:
        from PIL import Image

        height, width = target_HWC.shape[:2]
        prediction_HWC = np.asarray(Image.fromarray(prediction_HWC).resize((width, height), Image.Resampling.BILINEAR))
    if (prediction_HWC == target_HWC).all():
        return float((target_HWC != target_HWC[:1, :1]).any())
    scores = [_concordance(_shrink(prediction_HWC, scale), _shrink(target_HWC, scale)) for scale in _SCALES]
    return sum(scores) / len(scores)


def _concordance(first_HWC: np.ndarray, second_HWC: np.ndarray) -> float:
    first_C, second_C = first_HWC.mean(axis=(0, 1)), second_HWC.mean(axis=(0, 1))
    apart_HWC, other_HWC = first_HWC - first_C, second_HWC - second_C
    spread = ((apart_HWC**2) + (other_HWC**2)).mean(axis=(0, 1)) + (first_C - second_C) ** 2
    shared = 2.0 * (apart_HWC * other_HWC).mean(axis=(0, 1))
    return float(min(1.0, max(0.0, shared.sum() / spread.sum()))) if spread.sum() > 0 else 0.0


def _shrink(image_HWC: np.ndarray, scale: int) -> np.ndarray:
    """Means of blocks of scale × scale pixels; a border that fills no block is left out if there is any other block."""
    height, width = (max(1, side // scale) for side in image_HWC.shape[:2])
    tall, wide = (min(scale, side) for side in image_HWC.shape[:2])
    blocks = image_HWC[: height * tall, : width * wide].reshape(height, tall, width, wide, 3)
    return blocks.mean(axis=(1, 3), dtype=np.float64)
