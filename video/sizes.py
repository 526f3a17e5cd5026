"""How large frames and images become: Qwen's rules for a policy's patch and merge size.

The rules are those of qwen-vl-utils (`smart_resize`, `fetch_image`, `fetch_video`), which count in units of
factor^2 pixels, the area of one visual token.
"""

import math

from video.types import Budget, VideoError

MAX_RATIO = 200
IMAGE_MIN_TOKENS = 4
IMAGE_MAX_TOKENS = 16384
FRAME_MIN_TOKENS = 128
FRAME_MAX_TOKENS = 768
# Nine tenths of a 128,000-token context: what one video may fill where no total is set.
VIDEO_TOTAL_TOKENS = 128_000 * 0.9
# Per frame, the total never pushes the maximum below this multiple of the minimum.
MIN_HEADROOM = 1.05


def smart_resize(
    height: int, width: int, factor: int, min_pixels: float, max_pixels: float, name: str = "picture"
) -> tuple[int, int]:
    """(height, width) as multiples of `factor`, between the bounds in area, near the given aspect ratio.

    A side shorter than `factor` becomes `factor`, so extreme ratios may miss the bounds, as in qwen-vl-utils. `name` is
    what errors call the picture.

    Raises:
        VideoError: `bad_ratio` where one side is over 200 times the other; `bad_spec` where min_pixels > max_pixels.
    """
    if min_pixels > max_pixels:
        raise VideoError(
            "bad_spec",
            name,
            f"min_pixels={min_pixels:g} > max_pixels={max_pixels:g} (unset bounds take Qwen's defaults for the factor)",
            "raise max_pixels or set min_pixels lower",
        )
    ratio = max(height, width) / min(height, width)
    if ratio > MAX_RATIO:
        problem = f"{width}x{height} pixels, an aspect ratio over {MAX_RATIO}"
        raise VideoError("bad_ratio", name, problem, "crop or drop it")
    high = max(factor, round(height / factor) * factor)
    wide = max(factor, round(width / factor) * factor)
    if high * wide > max_pixels:
        shrink = math.sqrt(height * width / max_pixels)
        high = max(factor, math.floor(height / shrink / factor) * factor)
        wide = max(factor, math.floor(width / shrink / factor) * factor)
    elif high * wide < min_pixels:
        return _grown(height, width, factor, min_pixels)
    return high, wide


def _grown(height: int, width: int, factor: int, min_pixels: float) -> tuple[int, int]:
    grow = math.sqrt(min_pixels / (height * width))
    return math.ceil(height * grow / factor) * factor, math.ceil(width * grow / factor) * factor


def image_bounds(budget: Budget) -> tuple[int, int]:
    """(min_pixels, max_pixels) of one image."""
    token = budget.factor**2
    upper = IMAGE_MAX_TOKENS * token if budget.max_pixels is None else budget.max_pixels
    return _lower(budget, IMAGE_MIN_TOKENS), upper


def frame_bounds(frames: int, budget: Budget, frame_factor: int = 2) -> tuple[float, float]:
    """(min_pixels, max_pixels) of one frame of a video of `frames` frames.

    The total is spread over temporal patches of `frame_factor` frames; it lowers the maximum per frame, though never
    below 1.05 times the minimum.
    """
    token = budget.factor**2
    lower = _lower(budget, FRAME_MIN_TOKENS)
    total = VIDEO_TOTAL_TOKENS * token if budget.total_pixels is None else budget.total_pixels
    upper = max(min(FRAME_MAX_TOKENS * token, total / frames * frame_factor), int(lower * MIN_HEADROOM))
    return lower, upper if budget.max_pixels is None else min(budget.max_pixels, upper)


def _lower(budget: Budget, tokens: int) -> int:
    """The least area: as given, else Qwen's, or the greatest where that is less (which qwen-vl-utils refuses)."""
    if budget.min_pixels is not None:
        return budget.min_pixels
    least = tokens * budget.factor**2
    return least if budget.max_pixels is None else min(least, budget.max_pixels)


def image_size(height: int, width: int, budget: Budget | None, name: str = "picture") -> tuple[int, int]:
    """(height, width) of one image under the budget; its own size without one.

    That of transformers' image processors, which are what sizes pictures that are not read here: a side under half a
    visual token is no token, so that the least area decides (13 x 2500 becomes 28 x 784). qwen-vl-utils makes the side
    one token first and leaves the other as it is, above the bounds.
    """
    if budget is None:
        return height, width
    size = smart_resize(height, width, budget.factor, *image_bounds(budget), name)
    if round(min(height, width) / budget.factor) == 0:
        return _grown(height, width, budget.factor, image_bounds(budget)[0])
    return size


def video_size(
    frames: int, height: int, width: int, budget: Budget | None, frame_factor: int = 2, name: str = "picture"
) -> tuple[int, int]:
    """(height, width) of every frame of a video under the budget; its own size without one."""
    if budget is None:
        return height, width
    return smart_resize(height, width, budget.factor, *frame_bounds(frames, budget, frame_factor), name)
