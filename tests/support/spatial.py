"""Targets of the rewards of boxes, points, masks and tracks, and texts that try to make them slow."""

import json

from hypothesis import strategies as st

COORDINATE = st.one_of(st.integers(-1000, 1000), st.floats(-1000, 1000))
LABEL = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)


@st.composite
def boxes(draw):
    x, y = draw(COORDINATE), draw(COORDINATE)
    return [x, y, x + draw(st.integers(1, 500)), y + draw(st.integers(1, 500))]


def frames():
    keys = st.one_of(st.integers(0, 10**6), st.floats(0, 1000), st.integers(0, 99).map(str))
    return st.dictionaries(keys, st.one_of(boxes(), st.none()), min_size=1, max_size=6)


@st.composite
def masks(draw):
    height, width = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    if draw(st.booleans()):
        bits = draw(st.lists(st.integers(0, 1), min_size=height * width, max_size=height * width))
        runs, current = [0], 0
        for bit in bits:
            runs, current = ([*runs, 1], bit) if bit != current else ([*runs[:-1], runs[-1] + 1], bit)
        return {"size": [height, width], "counts": runs}
    corners = [[draw(st.floats(0, width)), draw(st.floats(0, height))] for _ in range(draw(st.integers(3, 6)))]
    return {"size": [height, width], "polygons": [[value for corner in corners for value in corner]]}


@st.composite
def interval(draw):
    start = draw(st.floats(0, 1000))
    return [start, start + draw(st.floats(0.5, 100))]


TARGETS = {
    "detection": st.one_of(
        st.fixed_dictionaries({"boxes": st.lists(boxes(), max_size=5)}),
        st.fixed_dictionaries({"boxes": st.lists(st.fixed_dictionaries({"box": boxes(), "label": LABEL}), max_size=5)}),
    ),
    "gui_action": st.one_of(
        st.fixed_dictionaries({"action": st.sampled_from(["click", "long_press"]), "box": boxes()}),
        st.fixed_dictionaries({"action": st.sampled_from(["type", "key"]), "text": LABEL}),
        st.fixed_dictionaries({"action": st.just("scroll"), "text": st.sampled_from(["up", "down"])}),
        st.fixed_dictionaries({"action": st.sampled_from(["wait", "finish", "press_back"])}),
    ),
    "mask_iou": st.fixed_dictionaries({"mask": masks()}),
    "point_in_box": st.fixed_dictionaries({"box": boxes()}),
    "spatiotemporal_iou": st.fixed_dictionaries({"track": frames(), "time": interval()}),
    "tracking": st.fixed_dictionaries({"track": frames()}),
}
SETTINGS = {
    "detection": [{}, {"threshold": 0.5}, {"labels": "ignore"}],
    "gui_action": [{}, *({"space": space} for space in ("qwen_computer_use", "qwen_mobile_use", "ui_tars"))],
    "iou": [{"kind": kind} for kind in ("diou", "steps", "center")],
    "mask_iou": [{}, {"threshold": 0.5}],
    "point_in_box": [{}, {"kind": "gaussian"}, {"answer": "box"}],
    "spatiotemporal_iou": [{}, {"metric": "mean"}],
    "tracking": [{}, {"threshold": 0.5}],
}

# One target that has every key of these rewards, as large as they take.
LARGE = {
    "box": [0, 0, 1, 1],
    "boxes": [{"box": [0, 0, 1 + index, 1], "label": "x"} for index in range(400)],
    "track": {str(frame): [0, 0, 1, 1] for frame in range(800)},
    "time": [0, 1],
    "mask": {"size": [2048, 2048], "polygons": [[0, 0, 2000, 0, 2000, 2000, 0, 2000]]},
    "action": "click",
}

HOSTILE = [
    *('"' * 20_000, "'" * 20_000, '"\\' * 10_000, "'\\" * 10_000, "'" + "\\'" * 9_999, "{'a':" * 4_000, "```" * 6_000),
    *("[[0,0,1,1]," * 1_800, "[" + "[0,0,9,9]," * 1_900 + "[0,0,9,9]]", json.dumps([[0, 0, 9, 9]] * 500)),
    *("<|box_start|>" * 1_500, "<|object_ref_start|>a<|object_ref_end|>" * 500, "<point>1 " * 2_000, "<point " * 2_500),
    *("<tool_call>" * 1_800, "Action:" * 2_800, "click(" * 3_000, "click(a='" + "\\'" * 9_000, "a='" * 6_000),
    *(
        "[" * 9_000 + "]" * 9_000,
        '{"a":' * 3_000 + "1" + "}" * 3_000,
        "[" + "9" * 19_000 + "]",
        "[1e" + "9" * 5_000 + "]",
    ),
    '{"boxes": {' + ",".join(f'"{frame}": [1,0,2,1]' for frame in range(900)) + "}}",
    '{"counts": [' + "0," * 9_000 + f"{2048 * 2048}]}}",
    '{"counts": "' + "o" * 19_000 + '"}',
    '{"polygons": [[' + "0,0,2048,2048," * 1_400 + "0,0]]}",
    '{"polygons": [' + "[0,0,9,0,9,9]," * 600 + "[0,0,9,0,9,9]]}",
    str([{"action": "type", "input_text": "a b " * 4_000}]),
]
