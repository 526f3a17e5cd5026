"""Where scores under another suite's protocol differ from ours, a sentence for each set whose rules are followed."""

from __future__ import annotations

from collections.abc import Mapping

# Ours reads the whole answer strictly: one option, number, box or moment, and nothing that contradicts it.
DIFFERENCES: Mapping[str, Mapping[str, str]] = {
    "lmms-eval": {
        "ai2d": "a letter alone, of either case, or one with a full stop at the start; `(C) a leaf` is wrong",
        "charades_sta": "`[24.3, 30.4]` and JSON are no moment; ends that are swapped are put right",
        "chartqa": "`42%` is 0.42, so `42%` for 42 is wrong; a target of 0 needs the same text",
        "docvqa": "a distance of exactly one half still counts, and blanks dilute it",
        "infovqa": "as `docvqa`",
        "longvideobench": "the first capital A to E, so `Answer: B` is A; without one it draws at random, here 0",
        "mathvista": "an option's text or a whole number alone; floats are always wrong (rounding fails); else a judge",
        "mmbench_en": "each rotation alone: a lone letter, an option's text, else any letter that stands out",
        "mmmu": "MMMU's own readers: the last letter named, an open answer within a sentence; a random draw is 0 here",
        "mmmu_pro": "as `mmmu`",
        "mmmu_pro_vision": "the letter alone: `C.` is wrong",
        "mmstar": "any letter, where nothing better is found: `Either C or A` is A",
        "mvbench": "the first single letter of either case, so `C and D` is C; an option's text is wrong",
        "ocrbench": "letters of full width are those of ASCII; a part of a word counts, as in ours: `15` holds `5`",
        "pope": "nothing but the word: `Yes.` is wrong",
        "refcoco": "`[x, y, x, y]` in shares of the picture only: pixels and thousandths are wrong",
        "screenspot": "the centre of a box, in shares or thousandths of the picture; a point is wrong",
        "tempcompass": "a letter with `.` or `)`, or the whole option; anything else asks its judge, here 0",
        "textvqa": "`10.` and `$3.99.` are right",
        "videomme": "as `mmstar`",
        "vsibench": "the first word of a choice: `(A)` is wrong; the first number, in digits or words",
    },
    "vlmevalkit": {
        "ai2d": "a letter among the last words, or an option's text anywhere; `the answer is a dog` is A",
        "chartqa": "as lmms-eval; thinking is not cut off, so that such an answer is wrong",
        "docvqa": "as lmms-eval; thinking counts as a part of the answer",
        "infovqa": "as `docvqa`",
        "longvideobench": "the first capital A to E, also of the thinking; without one an option's text",
        "mathvista": "a choice by `ai2d`'s rules, a number alone, floats exactly, lists never; else a judge, here 0",
        "mmbench_en": "as `ai2d`, each rotation alone; thinking is not cut off, so that its letters count",
        "mmmu": "as `ai2d`; an open question is a choice between its answer and `Other Answers`",
        "mmmu_pro": "as `ai2d`",
        "mmmu_pro_vision": "as `ai2d`",
        "mvbench": "the first word is a part of `(x)`, so that an empty answer is right; else an option's text",
        "ocrbench": "as lmms-eval, without cutting off thinking",
        "pope": "the one of the words that occurs: `No doubt there is one` is no",
        "refcoco": "up to 1.5 shares, up to 1000 thousandths, above pixels: pixels of small pictures are misread",
        "screenspot": "`x=…, y=…` in shares of the picture; without them the corner (0, 0)",
        "tempcompass": "as lmms-eval, without cutting off thinking",
        "videomme": "the first capital A to D anywhere",
    },
}


def difference(suite: str, name: str) -> str:
    """The sentence of a benchmark. Raises KeyError where its suite's rules are not followed."""
    sentences = DIFFERENCES[suite]
    return sentences["refcoco"] if name.startswith("refcoco") else sentences[name]
