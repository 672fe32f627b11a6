"""Detection of held-out recordings in made scenes, by locators that are simple."""

from __future__ import annotations

import math

import numpy as np
import pytest
import soundfile

from sam_audio.evaluation.encoders import detect


class Always:
    """Hears everything all the time."""

    name, frame_rate = "always", 25.0

    def activity(self, path, prompts):
        frames = math.ceil(soundfile.info(path).duration * self.frame_rate)
        return np.ones((len(prompts), frames), np.float32)


class Never(Always):
    name = "never"

    def activity(self, path, prompts):
        return 0 * super().activity(path, prompts)


def test_asked_for_more_is_harder(bank_dir):
    pytest.importorskip("sed_eval")
    rows = detect([Always(), Never()], bank_dir, 3)
    micro = {
        (row["by"], row["what"].split(":")[0]): row["segment F1"] for row in rows if "micro" in row["what"]
    }
    assert micro["never", "what is there"] == 0
    assert 0 < micro["always", "what is there and what is not"] < micro["always", "what is there"] < 1
    assert len(rows) == 2 * 2 * 2
