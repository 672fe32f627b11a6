"""The text tower: what it promises about its vectors, its files, and the files it refuses."""

import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import peav
from peav import CheckpointError, TextTower, checkpoints

WEIGHTS = Path(peav.__file__).parent / "weights"
FILES = ("nano-text.safetensors", "nano-text.json", "nano-text-tokenizer.json")
TEXTS = [
    "dog",
    "a dog barking in the distance",
    "Lead vocals",
    "the quick brown fox jumps over the lazy dog again",
]


@pytest.fixture(scope="module")
def tower() -> TextTower:
    return TextTower.from_pretrained("nano")


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of the checkpoint, to be damaged."""
    for name in FILES:
        shutil.copy(WEIGHTS / name, tmp_path / name)
    return tmp_path / FILES[0]


def test_vectors_have_unit_length(tower):
    vectors = tower.embed(TEXTS)
    assert vectors.shape == (len(TEXTS), 384)
    assert vectors.dtype == torch.float32
    assert not vectors.requires_grad
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(len(TEXTS)))


def test_a_vector_does_not_depend_on_its_batch(tower):
    alone = torch.cat([tower.embed([text]) for text in TEXTS])
    torch.testing.assert_close(tower.embed(TEXTS), alone, atol=1e-5, rtol=0)
    torch.testing.assert_close(tower.embed(TEXTS * 200)[-len(TEXTS) :], alone, atol=1e-5, rtol=0)


def test_two_loads_give_the_same_vectors(tower):
    assert torch.equal(tower.embed(TEXTS), TextTower.from_pretrained("nano").embed(TEXTS))


def test_no_texts_give_no_vectors(tower):
    assert tower.embed([]).shape == (0, 384)


def test_case_spaces_and_accents_do_not_matter(tower):
    plain, *variants = tower.embed(["cafe dog", "  CAFE   Dog ", "café dog"])
    for variant in variants:
        torch.testing.assert_close(plain, variant, atol=1e-5, rtol=0)


def test_long_text_is_cut_at_the_documented_length(tower):
    tokens, valid_mask = tower.tokenize(["dog " * 500])
    assert tokens.shape == valid_mask.shape == (1, tower.config.longest)
    torch.testing.assert_close(tower.embed(["dog " * 500]), tower.embed(["dog " * 32]))


@pytest.mark.parametrize("text", ["", " ", "\n\t", "\u200b"])
def test_empty_text_is_refused(tower, text):
    with pytest.raises(ValueError, match="is empty: describe a sound"):
        tower.embed(["dog", text])


@pytest.mark.parametrize("text", ["ギター", "🎸", "гитара"])
def test_it_says_what_it_cannot_read(tower, text):
    assert not tower.reads(text)
    assert tower.reads(f"guitar {text}")


def test_a_bare_string_is_refused(tower):
    with pytest.raises(TypeError, match="list"):
        tower.embed("dog")


def test_unknown_scripts_still_embed(tower):
    assert tower.embed(["狗 🎸"]).isfinite().all()


@pytest.mark.parametrize(
    ("one", "near", "far"),
    [
        ("a dog barking", "barking dogs", "piano"),
        ("woman talking", "female speech", "engine idling"),
        ("kick drum", "bass drum", "bird song"),
        ("electric guitar solo", "lead guitar", "rain on a roof"),
        ("car", "automobile", "violin"),
        ("people clapping", "applause", "vacuum cleaner"),
        ("thunder", "a thunderstorm", "telephone ringing"),
        ("lead vocals", "singing voice", "hammer"),
        ("acoustic guitar", "acoustic guitr", "dishes"),
    ],
)
def test_near_synonyms_are_closer_than_strangers(tower, one, near, far):
    a, b, c = tower.embed([one, near, far])
    assert a @ b > a @ c + 0.2


def test_size_on_disk():
    assert sum((WEIGHTS / name).stat().st_size for name in FILES) <= 8_000_000


def _run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


@pytest.mark.speed
def test_loads_in_under_a_second():
    seconds = _run(
        "import time, torch; began = time.perf_counter(); from peav import TextTower; "
        "TextTower.from_pretrained().embed(['dog']); print(time.perf_counter() - began)"
    )
    assert float(seconds) < 1.0


def test_import_is_light():
    code = "import sys, peav; peav.CheckpointError; print('torch' in sys.modules, 'numpy' in sys.modules)"
    assert _run(code).split() == ["False", "False"]


def test_public_names_exist():
    assert all(hasattr(peav, name) for name in peav.__all__)
    assert set(peav.__all__) <= set(dir(peav))
    with pytest.raises(AttributeError):
        peav.nothing  # noqa: B018


# ---- checkpoints ---------------------------------------------------------------------------------------


def _refused(path: Path, match: str) -> None:
    with pytest.raises(CheckpointError, match=match) as caught:
        TextTower.from_pretrained(path)
    message = str(caught.value)
    assert message.endswith(".")
    assert "\n" not in message


def test_a_path_loads_like_the_name(tower, copied):
    assert torch.equal(TextTower.from_pretrained(copied).embed(TEXTS), tower.embed(TEXTS))


def test_save_and_load_round_trip(tmp_path):
    tensors = {"a": torch.randn(7, 5), "b": torch.randn(3), "zeros": torch.zeros(2, 4)}
    path = tmp_path / "x.safetensors"
    checkpoints.save(path, "audio", {"model": {"width": 5}}, tensors, int8=["a", "zeros"])
    loaded = checkpoints.load(path, "audio")
    assert loaded.config["model"] == {"width": 5}
    assert all(tensor.dtype == torch.float32 for tensor in loaded.tensors.values())
    torch.testing.assert_close(loaded.tensors["b"], tensors["b"], atol=2e-3, rtol=1e-3)
    step = tensors["a"].abs().amax(1, keepdim=True) / 127
    assert ((loaded.tensors["a"] - tensors["a"]).abs() <= 0.6 * step).all()
    assert torch.equal(loaded.tensors["zeros"], tensors["zeros"])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.json", "x.safetensors"]


def test_unknown_name_lists_the_known_ones():
    _refused("huge", "nano")


def test_folder_is_refused(tmp_path):
    _refused(tmp_path, "folder")


def test_truncated_file_is_refused(copied):
    copied.write_bytes(copied.read_bytes()[:-1000])
    _refused(copied, "not a whole safetensors file")


def test_garbage_is_refused(copied):
    copied.write_bytes(b"not a checkpoint at all")
    _refused(copied, "not a whole safetensors file")


class _Bomb:
    def __reduce__(self):
        return (exec, ("raise SystemExit('code from a file ran')",))


@pytest.mark.parametrize(
    "write", [lambda p: p.write_bytes(pickle.dumps(_Bomb())), lambda p: torch.save(_Bomb(), p)]
)
def test_pickle_is_refused(copied, write):
    write(copied)
    _refused(copied, "pickle")


def _rewrite(path: Path, change) -> None:
    stored = checkpoints.load(path, "text")
    change(stored.tensors)
    config = {"model": stored.config["model"]}
    checkpoints.save(path, "text", config, stored.tensors)


def test_missing_tensor_is_refused(copied):
    _rewrite(copied, lambda tensors: tensors.pop("head.bias"))
    _refused(copied, "head.bias is missing")


def test_additional_tensor_is_refused(copied):
    _rewrite(copied, lambda tensors: tensors.update(extra=torch.zeros(3)))
    _refused(copied, "extra is one tensor too many")


def test_wrong_shape_is_refused(copied):
    _rewrite(copied, lambda tensors: tensors.update({"head.bias": torch.zeros(3)}))
    _refused(copied, r"head.bias has shape \(3,\) instead of \(384,\)")


def test_missing_scales_are_refused(copied):
    from safetensors.torch import load_file, save_file

    stored = load_file(copied)
    del stored["embedding.weight.scale"]
    save_file(stored, copied)
    _refused(copied, "lacks the row scales of embedding.weight")


SIZES = {
    "vocabulary": 24000, "embedding": 192, "width": 256, "layers": 3, "heads": 4, "inner": 768, "longest": 32,
    "output": 384,
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"format": 99}, "format 1"),
        ({"tower": "audio"}, "for the audio tower, not the text tower"),
        ({"model": {"width": 256}}, "does not describe a model"),
        ({"model": SIZES | {"width": 1 << 40}}, "does not describe a model"),
        ({"model": SIZES | {"layers": 10**6}}, "does not describe a model"),
        ({"model": SIZES | {"heads": 7}}, "does not describe a model"),
        ({"model": SIZES | {"width": 1 << 20}}, "does not fit its config"),  # of which none is allocated
    ],
)
def test_wrong_config_is_refused(copied, change, match):
    path = copied.with_suffix(".json")
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    _refused(copied, match)


def test_config_that_is_not_json_is_refused(copied):
    copied.with_suffix(".json").write_text("{")
    _refused(copied, "not a readable JSON")


@pytest.mark.parametrize("name", FILES[1:])
def test_missing_companion_is_refused(copied, name):
    copied.with_name(name).unlink()
    _refused(copied, "is missing")


def test_damaged_tokenizer_is_refused(copied):
    copied.with_name(FILES[2]).write_text("{}")
    _refused(copied, "not a readable tokenizer")
