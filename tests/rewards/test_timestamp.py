"""One moment in time."""

import pytest

from vision_rewards import TargetError, get_reward

# (answer, seconds off 72.5, reason)
CASES = [
    ("72.5", 0, "ok"),
    ("72.5 s", 0, "ok"),
    ("72.50 seconds.", 0, "ok"),
    ("1 min 12.5 s", 0, "ok"),
    ("1m12.5s", 0, "ok"),
    ("01:12.5", 0, "ok"),
    ("00:01:12.5", 0, "ok"),
    ("At 1:12.5, as he jumps", 0, "ok"),
    ("<think>70 or 75</think>72.5", 0, "ok"),
    ("73", 0.5, "ok"),
    ("01:13", 0.5, "ok"),
    ("73.5", 1, "ok"),
    ("74.5", 2, "ok"),
    ("1:12:30", 4277.5, "ok"),
    ("0", 72.5, "ok"),
    ("70 or 75", None, "many_times"),
    ("72.5 72.5", None, "many_times"),
    ("70-75", None, "unparsable"),
    ("72.5%", None, "unparsable"),
    ("frame 72", None, "unparsable"),
    ("72 frames", None, "unparsable"),
    ("-72.5", None, "unparsable"),
    ("12:75", None, "unparsable"),
    ("7.25e1", None, "unparsable"),
    ("72.5.1", None, "unparsable"),
    ("later", None, "unparsable"),
    ("99999999", None, "unparsable"),
    ("", None, "no_answer"),
]


@pytest.mark.parametrize(("answer", "error", "reason"), CASES)
def test_timestamp(answer, error, reason):
    for target in ({"timestamp": 72.5}, {"timestamp": "01:12.5"}):
        reward = get_reward("timestamp")
        result = reward(answer, target)
        assert (result.score, result.reason) == (float(error is not None and error <= 1), reason)
        assert result.parts["error"] == (None if error is None else pytest.approx(error))
        linear = get_reward("timestamp", grade="linear", tolerance=2)(answer, target).score
        assert linear == pytest.approx(0 if error is None else max(0, 1 - error / 2))


@pytest.mark.parametrize("value", [-1, float("inf"), True, "soon", 1e9, [3]])
def test_targets_that_are_refused(value):
    with pytest.raises(TargetError, match="'timestamp'"):
        get_reward("timestamp").check({"timestamp": value})
