"""Presence is measured on what is there and what is not, and calibration is what it says."""

from __future__ import annotations

import doctest
import json
import math

import numpy as np
import pytest
from typer.testing import CliRunner

from judge.types import Judgement
from sam_audio.cli import app
from sam_audio.errors import UserError
from sam_audio.evaluation import presence
from sam_audio.evaluation.presence import MUSIC, Told, calibration_error, evaluate, told


class Knowing:
    """Says that what is louder than nothing is there; ``sure`` is how sure it is."""

    name, sample_rate = "knowing", 48_000

    def __init__(self, sure: float = 0.9):
        self.sure, self.asked = sure, []

    def judge(self, mixture, stems, prompts):
        self.asked += list(prompts)
        return [Judgement(3, 3, 3, 3, self.sure if np.any(stem) else None) for stem in stems]


def test_the_examples_hold():
    assert doctest.testmod(presence).failed == 0


def test_all_that_is_asked_is_judged(bank_dir, model):
    judge = Knowing()
    answers = list(told(model, judge, bank_dir, 2, seed=1))
    assert len(answers) <= len(judge.asked)
    assert {t.present for t in answers} == {True, False}
    assert {t.scene for t in answers} <= set(presence.SCENES)
    again = list(told(model, Knowing(), bank_dir, 2, seed=1))
    assert answers == again


def test_rows_say_how_often_it_is_wrong():
    answers = [
        Told(MUSIC[0], "piano", True, 0.9),
        Told(MUSIC[0], "violin", True, 0.2),
        Told(MUSIC[0], "vocals", False, 0.8),
        Told(MUSIC[0], "flute", False, 0.1),
        Told(MUSIC[0], "cello", True, 0.5),
        Told("events in pairs", "dog barking", True, 0.95),
        Told("events in pairs", "bell", False, 0.05),
    ]
    rows = {row["scene"]: row for row in evaluate(answers).rows}
    assert set(rows) == {MUSIC[0], "events in pairs", "music", "all"}
    music = rows["music"]
    assert (music["n"], music["AUROC"]) == (5, pytest.approx(4 / 6))
    assert (music["absent said to be there"], music["there said to be absent"]) == (0.5, pytest.approx(1 / 3))
    assert music["in doubt"] == pytest.approx(0.2)
    assert rows["events in pairs"]["AUROC"] == 1.0
    assert rows["events in pairs"]["calibration error"] == pytest.approx(0.05)


def test_nothing_to_measure_is_told():
    with pytest.raises(UserError):
        evaluate([])


@pytest.mark.parametrize(
    ("probabilities", "share", "error"),
    [([0.7] * 10, 0.7, 0.0), ([0.7] * 10, 0.2, 0.5), ([1.0] * 4, 1.0, 0.0), ([0.0] * 4, 0.0, 0.0)],
)
def test_calibration_error(probabilities, share, error):
    truths = np.arange(len(probabilities)) < share * len(probabilities)
    assert calibration_error(np.array(probabilities), truths) == pytest.approx(error, abs=1e-6)
    assert math.isnan(calibration_error(np.zeros(0), np.zeros(0, bool)))


def test_the_command_prints_a_table(bank_dir, tiny_weights):
    command = [
        "eval",
        "presence",
        "-n",
        "1",
        "--separator",
        str(tiny_weights),
        "--bank",
        str(bank_dir),
        "--json",
    ]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)
    assert rows[-1]["scene"] == "all" and rows[-1]["n"] > 0


def test_a_scene_that_does_not_exist_is_refused(bank_dir):
    result = CliRunner().invoke(app, ["eval", "separation", "--scene", "opera", "--bank", str(bank_dir)])
    assert isinstance(result.exception, UserError) or "opera" in result.output
