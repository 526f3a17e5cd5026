"""Reading answers out of model text, in time linear in the text and without guessing.

Every quantifier of every pattern here is bounded or unambiguous, so that no text makes matching slow.
"""

from vision_rewards.parsers.actions import (
    ACTION_SPACES,
    ARGUMENTS,
    DIRECTIONS,
    Action,
    direction_of,
    parse_action,
    write_action,
)
from vision_rewards.parsers.boxes import (
    MAX_BOXES,
    ORDERS,
    LabelledBox,
    in_order,
    is_box,
    parse_boxes,
    parse_labelled_boxes,
    read_box,
)
from vision_rewards.parsers.canonical import canonical_answer, is_bare_number
from vision_rewards.parsers.choices import parse_choice, parse_choices
from vision_rewards.parsers.conclusions import extract_thinking, stated_conclusions
from vision_rewards.parsers.extract import (
    EXTRACT_MODES,
    MAX_ANSWER,
    MAX_COMPLETION,
    all_boxed,
    extract_answer,
    wrap_answer,
)
from vision_rewards.parsers.geometry import MAX_COORDINATE, is_coordinate
from vision_rewards.parsers.intervals import (
    MAX_INTERVALS,
    MAX_TIME,
    format_time,
    is_time_span,
    parse_intervals,
    parse_timestamp,
    round_time,
)
from vision_rewards.parsers.json_values import parse_json
from vision_rewards.parsers.labels import collapse_spaces, normalize_label
from vision_rewards.parsers.latex import latex_tokens
from vision_rewards.parsers.lenient import parse_box_lmms_eval, parse_boxes_lenient, parse_point_vlmevalkit
from vision_rewards.parsers.lenient_answers import (
    parse_choice_lmms_eval,
    parse_choice_videomme,
    parse_choice_vlmevalkit,
    parse_interval_lmms_eval,
    parse_word_vsibench,
    parse_yes_no_lmms_eval,
    parse_yes_no_vlmevalkit,
)
from vision_rewards.parsers.masks import Mask, parse_mask, read_mask
from vision_rewards.parsers.math_forms import unevaluated, unreduced_root
from vision_rewards.parsers.math_statements import as_set, solutions
from vision_rewards.parsers.math_text import (
    bracket_kind,
    closes_at_end,
    parse_math_number,
    same_number,
    strip_math,
    words_of,
)
from vision_rewards.parsers.number_words import NUMBER_WORDS, says_none
from vision_rewards.parsers.numbers import parse_number
from vision_rewards.parsers.places import MODES, TAG_NAME, Place, write_together
from vision_rewards.parsers.points import parse_points
from vision_rewards.parsers.sequences import parse_distinct, parse_items
from vision_rewards.parsers.short_answers import bare, label_forms, peel, readings, skip_article, statements
from vision_rewards.parsers.spaces import rescale
from vision_rewards.parsers.tables import MAX_TABLE_NODES, TableTree, parse_table
from vision_rewards.parsers.tracks import MAX_FRAMES, Track, frame_number, is_interval, parse_track
from vision_rewards.parsers.truth import TRUTH_WORDS, parse_yes_no, same_label
from vision_rewards.parsers.words import split_pieces, split_words

__all__ = [
    "ACTION_SPACES",
    "ARGUMENTS",
    "DIRECTIONS",
    "EXTRACT_MODES",
    "MAX_ANSWER",
    "MAX_BOXES",
    "MAX_COMPLETION",
    "MAX_COORDINATE",
    "MAX_FRAMES",
    "MAX_INTERVALS",
    "MAX_TABLE_NODES",
    "MAX_TIME",
    "MODES",
    "NUMBER_WORDS",
    "ORDERS",
    "TAG_NAME",
    "TRUTH_WORDS",
    "Action",
    "LabelledBox",
    "Mask",
    "Place",
    "TableTree",
    "Track",
    "all_boxed",
    "as_set",
    "bare",
    "bracket_kind",
    "canonical_answer",
    "closes_at_end",
    "collapse_spaces",
    "direction_of",
    "extract_answer",
    "extract_thinking",
    "format_time",
    "frame_number",
    "in_order",
    "is_bare_number",
    "is_box",
    "is_coordinate",
    "is_interval",
    "is_time_span",
    "label_forms",
    "latex_tokens",
    "normalize_label",
    "parse_action",
    "parse_box_lmms_eval",
    "parse_boxes",
    "parse_boxes_lenient",
    "parse_choice",
    "parse_choice_lmms_eval",
    "parse_choice_videomme",
    "parse_choice_vlmevalkit",
    "parse_choices",
    "parse_distinct",
    "parse_interval_lmms_eval",
    "parse_intervals",
    "parse_items",
    "parse_json",
    "parse_labelled_boxes",
    "parse_mask",
    "parse_math_number",
    "parse_number",
    "parse_point_vlmevalkit",
    "parse_points",
    "parse_table",
    "parse_timestamp",
    "parse_track",
    "parse_word_vsibench",
    "parse_yes_no",
    "parse_yes_no_lmms_eval",
    "parse_yes_no_vlmevalkit",
    "peel",
    "read_box",
    "read_mask",
    "readings",
    "rescale",
    "round_time",
    "same_label",
    "same_number",
    "says_none",
    "skip_article",
    "solutions",
    "split_pieces",
    "split_words",
    "stated_conclusions",
    "statements",
    "strip_math",
    "unevaluated",
    "unreduced_root",
    "words_of",
    "wrap_answer",
    "write_action",
    "write_together",
]
