"""rounds.json says what is behind the run, and nothing of what it went back from."""

import json

from mmrl.tracking.run_files import ROUNDS
from mmrl.tracking.tracker import Tracker


def test_a_run_that_went_back_has_no_rounds_that_are_to_come(tmp_path):
    tracker = object.__new__(Tracker)
    tracker.folder = tmp_path
    tracker.rounds({"stages.0": {"values": [0.5], "measured": []}})
    assert json.loads((tmp_path / ROUNDS).read_text()) == {"stages.0": [0.5]}
    tracker.rounds({})
    assert not (tmp_path / ROUNDS).exists()
    tracker.rounds({})
