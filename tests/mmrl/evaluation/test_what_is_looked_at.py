"""Which rows a look at a policy's sight takes, and what it shows it instead."""

from dataclasses import replace
from types import SimpleNamespace

from PIL import Image

from mmrl.contracts.types import Sample
from mmrl.evaluation.sees import _others, _shown

SEEN = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What?"}]}
PICTURE = Sample("a", (SEEN,), "ocr", {"text": "1"}, images=(Image.new("RGB", (8, 8), "red"),))


def test_only_questions_with_pictures_or_videos_are_looked_at():
    """No question without any, no episode, and no recorded one, whose steps have their own."""
    clip = replace(PICTURE, images=(), videos=("clip.mp4",))
    rows = [
        *(replace(PICTURE, images=()), PICTURE, replace(PICTURE, kind="episodes")),
        *(replace(PICTURE, steps=(PICTURE,)), clip),
    ]
    assert _shown(SimpleNamespace(prepare=lambda samples: samples), rows) == [PICTURE, clip]


def test_a_picture_that_has_no_other_beside_it_is_greyed():
    alone = _others([PICTURE], 0)
    assert alone.images[0].getcolors() == [(64, (127, 127, 127))]
    other = replace(PICTURE, id="b", images=(Image.new("RGB", (8, 8), "blue"),))
    assert _others([PICTURE, other], 0).images == other.images
