"""The average table, on small folders and with an embedder whose answers are known."""

from __future__ import annotations

import json
from pathlib import Path

import fake_embedding
import numpy as np
import pytest
from test_evaluation_datasets import audiocaps, clotho, valor, vctk, vggsound

from sam_audio.errors import UserError
from sam_audio.evaluation import average
from sam_audio.evaluation.bench.driver import published


class Alike(fake_embedding.FakeEmbedder):
    """Everything is the same to it, so that nothing is found: ties never help."""

    def embed_text(self, texts, kind="audio"):
        return np.ones((len(texts), 1))

    def embed_audio_file(self, path, start_s=0, duration_s=None):
        return np.ones(1)

    embed_video_file = embed_audio_file


class Sure(Alike):
    """Knows a file by its name, and a text by the file that it was said of."""

    def __init__(self, said: dict[str, str]) -> None:
        super().__init__()
        self.said, self.names = said, sorted(set(said.values()))

    def _vector(self, name):
        return np.array([name == other for other in self.names], float)

    def embed_text(self, texts, kind="audio"):
        return np.stack([self._vector(self.said[text]) for text in texts])

    def embed_audio_file(self, path, start_s=0, duration_s=None):
        return self._vector(Path(path).stem)

    embed_video_file = embed_audio_file


def said(folder: Path) -> dict[str, str]:
    from sam_audio.evaluation.datasets import load

    names = {name for name, _ in average.COLUMNS.values() if (folder / name).is_dir()}
    items = [item for name in names for item in load(name, folder / name).items]
    return {text: item.path.stem for item in items for text in (item.captions or (item.label,))}


def test_columns_of_the_data_sets_that_are_there(tmp_path):
    clotho(tmp_path / "clotho")
    valor(tmp_path / "valor")
    (row,) = average.evaluate(Sure(said(tmp_path)), tmp_path).rows
    assert list(row) == ["average of 8", *average.COLUMNS]
    there = {column: value for column, value in row.items() if value is not None}
    assert there == {"Clotho T-A": 1.0, "VALOR T-A": 1.0, "VALOR T-V": 1.0}
    (row,) = average.evaluate(Alike(), tmp_path).rows
    assert row["Clotho T-A"] == row["VALOR T-V"] == 0
    with pytest.raises(UserError, match="holds none of the folders audiocaps, clotho, valor, vctk, vggsound"):
        average.evaluate(Alike(), tmp_path / "clotho")


def test_the_average_is_of_all_eight(tmp_path):
    for make in (audiocaps, clotho, valor, vctk, vggsound):
        make(tmp_path / make.__name__)
    for path in list((tmp_path / "audiocaps").rglob("*.wav")):
        path.rename(path.with_suffix(".mp4"))
    sure = Sure(said(tmp_path))
    sure.said |= {"Please call Stella.": "p225_001_mic1"}
    (row,) = average.evaluate(sure, tmp_path).rows
    assert row["AudioCaps T-V"] == row["VGGSound V-A"] == 1
    values = [row[column] for column in average.COLUMNS]
    assert None not in values
    assert row["average of 8"] == pytest.approx(sum(values) / 8)


def test_published_averages_are_those_of_their_columns():
    """Theirs are of nine columns, with the internal one."""
    for row in published("average"):
        nine = [row[column] for column in (*average.COLUMNS, "internal V-A")]
        assert row["average"] == pytest.approx(sum(nine) / 9, abs=6e-4)
        assert average.average(row) == pytest.approx(sum(nine[:8]) / 8)


def test_the_command(tmp_path, cli, monkeypatch):
    monkeypatch.setattr("sam_audio.conditioning.embedding.load_embedder", lambda name: Alike(name))
    clotho(tmp_path / "clotho")
    done = cli("eval", "average", tmp_path, "--json")
    assert done.code == 0, done.err
    table = json.loads(done.out)["table"]
    assert table[0]["system"] == "nano" and table[0]["average of 8"] is None
    assert {row["system"] for row in table[1:]} >= {"PE-AV large", "PE-AV small"}
    assert table[1]["average of 8"] == pytest.approx(0.49, abs=0.05)
    done = cli("eval", "average", tmp_path)
    assert "PE-AV large" in done.out and "45.8 %" in done.out
