"""The data engine: three captions a clip, each clip once whatever happens, and shards of what is worth it."""

from __future__ import annotations

import http.server
import json
import threading

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from PIL import Image

from sam_audio.captioning.captioners import PictureTagger, Pipeline, Tagger, captioner
from sam_audio.errors import UserError
from sam_audio.extending.hookspecs import Caption
from sam_audio.training.captions import engine
from sam_audio.training.captions.clips import Clip, read_clips
from sam_audio.training.captions.engine import Filters, Line, chosen, read_lines
from sam_audio.training.captions.writers import Rule, Server, writer
from sam_audio.training.data.samples import About, Said, pictures_of, sound_of
from sam_audio.training.data.shards import read_shard

RATE = 16_000


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Nine sounds of three kinds, some with a picture, and one file that is none."""
    folder = tmp_path_factory.mktemp("clips")
    rng = np.random.default_rng(0)
    Image.new("RGB", (40, 30), (200, 30, 30)).save(folder / "red.png")
    rows = ["path\tlabel\tcategory\tpicture"]
    for i in range(9):
        t = np.arange(RATE // 2) / RATE
        sound = 0.2 * np.sin(2 * np.pi * (200 + 130 * i) * t) + 0.05 * rng.standard_normal(len(t))
        soundfile.write(folder / f"{i}.wav", sound, RATE)
        kind = ("dog barking", "rain falling", "")[i % 3]
        rows.append(f"{i}.wav\t{kind}\t{('animal', 'nature', '')[i % 3]}\t{'red.png' if i % 2 else ''}")
    (folder / "junk.wav").write_bytes(b"no sound")
    (folder / "clips.tsv").write_text("\n".join([*rows, "junk.wav\tdog barking\tanimal\t"]) + "\n")
    return folder / "clips.tsv"


class Says:
    """A captioner that has a fixed opinion."""

    def __init__(self, name: str, *captions: Caption, pictures: bool = False) -> None:
        self.name, self.captions, self.pictures, self.calls = name, list(captions), pictures, 0

    def caption(self, samples, sample_rate):
        self.calls += 1
        assert samples.ndim == (4 if self.pictures else 2)
        return self.captions


def ears() -> list:
    return [
        Says("ear", Caption("a loud noise", 0.6)),
        Says("eye", Caption("a red square", 0.8), pictures=True),
    ]


# ---- captions ------------------------------------------------------------------------------------------


def test_every_clip_is_captioned_once_however_often_it_is_killed(clips, tmp_path):
    wanted = read_clips(clips)
    captioners = ears()
    for stop_after in (2, 3):
        lines = engine.caption(wanted, captioners, Rule(), tmp_path)
        for _ in range(stop_after):
            next(lines)
        lines.close()
        with (tmp_path / engine.CAPTIONS).open("ab") as file:
            file.write(b'{"key": "half a li')  # killed while it wrote
    assert len(list(engine.caption(wanted, captioners, Rule(), tmp_path))) == 5
    found = read_lines(tmp_path)
    assert [line.key for line in found] == [clip.key for clip in wanted]
    assert captioners[0].calls == 9
    assert [line.path for line in found if line.problem] == ["junk.wav"]
    before = (tmp_path / engine.CAPTIONS).read_bytes()
    assert list(engine.caption(wanted, captioners, Rule(), tmp_path)) == []
    assert (tmp_path / engine.CAPTIONS).read_bytes() == before


def test_a_caption_says_where_it_is_from(clips, tmp_path):
    (line, *_) = [x for x in engine.caption(read_clips(clips)[1:2], ears(), Rule(), tmp_path)]
    about = line.about
    assert about.captions == {
        "audio": Said("rain falling", "rule", 1.0),
        "visual": Said("a picture of a red square", "rule", 0.8),
        "audio_visual": Said("rain falling, with a picture of a red square", "rule", 0.8),
    }
    assert about.weak == {
        "audio": [Said("a loud noise", "ear", 0.6)],
        "visual": [Said("a red square", "eye", 0.8)],
    }
    assert -1 <= about.agreement <= 1
    assert np.linalg.norm(line.direction) == pytest.approx(1, abs=1e-2)


def test_a_damaged_list_is_refused(tmp_path):
    (tmp_path / engine.CAPTIONS).write_bytes(b"nonsense\n")
    with pytest.raises(UserError, match="is damaged"):
        read_lines(tmp_path)


def test_the_rule():
    write = Rule().write
    assert write("", {}) == {}
    assert write(
        "", {"audio": [Said("rain", "a", 0.3), Said("a dog", "b", 0.9), Said("wind", "b", 0.5)]}
    ) == {"audio": Said("a dog and wind", "rule", 0.9)}
    assert write("dog barking", {"audio": [Said("a dog", "b", 0.9)]})["audio"].text == "dog barking"
    # who has heard the dog is believed the wind too
    two = [Said("a dog", "b", 0.9), Said("wind", "b", 0.8), Said("rain", "b", 0.7)]
    assert write("dog barking", {"audio": two})["audio"].text == "dog barking and wind"
    assert write("dog barking", {"audio": two[1:]})["audio"].text == "dog barking"
    both = write("dog barking", {"visual": [Said("dog", "b", 0.5)]})
    assert both["audio_visual"] == Said("dog barking, heard and seen", "rule", 0.5)
    assert set(write("", {"visual": [Said("dog", "b", 0.5)]})) == {"visual"}


# ---- captioners ----------------------------------------------------------------------------------------


def test_nano_hears_and_sees():
    t = np.arange(48_000) / 48_000
    heard = Tagger().caption(0.2 * np.sin(2 * np.pi * 1000 * t)[None].astype(np.float32).repeat(2, 0), 48_000)
    assert heard and all(0 <= one.confidence <= 1 and one.text for one in heard)
    assert Tagger().caption(np.zeros((1, 100), np.float32), 8000) == []
    seen = PictureTagger().caption(np.full((1, 3, 30, 40), 90, np.uint8), 1)
    assert len(seen) <= 3 and sum(one.confidence for one in seen) <= 1.001
    assert captioner("tagger").name == "tagger"
    with pytest.raises(UserError, match="no captioner 'nobody'"):
        captioner("nobody")


def test_a_pipeline_of_transformers(tmp_path):
    """A classifier of sounds with random weights."""
    from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification

    torch.manual_seed(0)
    config = ASTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_length=64,
        num_mel_bins=32,
        id2label={0: "dog", 1: "rain", 2: "wind", 3: "bell"},
    )
    ASTForAudioClassification(config).save_pretrained(tmp_path)
    ASTFeatureExtractor(num_mel_bins=32, max_length=64).save_pretrained(tmp_path)
    told = Pipeline(f"transformers:audio-classification:{tmp_path}").caption(
        np.zeros((2, RATE), np.float32) + 0.1, RATE
    )
    assert len(told) == 3 and {one.text for one in told} < {"dog", "rain", "wind", "bell"}
    assert told[0].confidence >= told[1].confidence > 0
    with pytest.raises(UserError, match="TASK:MODEL"):
        captioner("transformers:audio-classification")
    with pytest.raises(UserError, match="cannot be loaded"):
        captioner(f"transformers:audio-classification:{tmp_path / 'gone'}").caption(np.zeros((1, 9)), RATE)


# ---- a language model ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def language_model():
    """A server of OpenAI's kind with a tiny language model behind it: GPT-2 with random weights, which babbles. Asked
    by the name "scribe", it puts its babble where it belongs."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=128, n_embd=16, n_layer=1, n_head=2, n_positions=2048)
    ).eval()
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append((self.path, body))
            if body["model"] == "broken":
                self.send_error(500)
                return
            ids = torch.tensor([[min(ord(c), 127) for c in body["messages"][0]["content"]][-500:]])
            told = model.generate(ids, max_new_tokens=12, do_sample=False, pad_token_id=0)[0, ids.shape[1] :]
            text = "".join(chr(65 + int(t) % 26) for t in told)
            if body["model"] == "scribe":
                text = f'Here you are: {{"audio": "{text}", "visual": "", "audio_visual": 3}}'
            answer = json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]}).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1", asked
        server.shutdown()


def test_a_language_model_writes_and_babble_is_passed_over(language_model):
    url, asked = language_model
    weak = {"audio": [Said("rain", "ear", 0.7)], "visual": [Said("a cloud", "eye", 0.6)]}
    simple = Rule().write("rain falling", weak)
    assert Server(f"{url}#babbler").write("rain falling", weak) == simple
    written = writer(f"{url}#scribe").write("rain falling", weak)
    assert written["audio"].by == "llm:scribe" and len(written["audio"].text) == 12
    assert written["visual"] == simple["visual"] and written["audio_visual"] == simple["audio_visual"]
    path, body = asked[0]
    assert path == "/v1/chat/completions"
    prompt = body["messages"][0]["content"]
    assert (
        "filed as: rain falling" in prompt and "heard, 0.70 sure: rain" in prompt and "seen, 0.60" in prompt
    )
    with pytest.raises(UserError, match="gives no answer"):
        Server(f"{url}#broken").write("rain", weak)
    with pytest.raises(UserError, match="URL#MODEL"):
        writer("http://nowhere")


# ---- what stays, and shards ----------------------------------------------------------------------------


def line(n: int, vector, **about) -> Line:
    import base64

    caption = {"audio": Said("a", "rule")}
    values = {"captions": caption, "agreement": 0.5, "label": "dog"} | about
    held = base64.b64encode(np.asarray(vector, np.float16).tobytes()).decode()
    return Line(key=f"{n:04d}", path=f"{n}.wav", about=About(**values), vector=held)


def test_what_is_left_out_and_why():
    one, two = np.eye(2)
    lines = [
        line(0, one),
        line(1, one),  # the same sound again
        line(2, one, label="cat"),  # the same sound, but something else
        line(3, two, agreement=0.1),
        line(4, two, captions={}),
        Line(key="0005", path="5.wav", problem="it is silent"),
    ]
    kept, left = chosen(lines, Filters(most=0))
    assert [x.key for x in kept] == ["0000", "0002"]
    assert left == {
        "near-duplicate": 1,
        "caption disagrees with sound": 1,
        "nothing to say": 1,
        "unreadable": 1,
    }
    many = [line(n, np.eye(30)[n], category="speech" if n < 20 else str(n)) for n in range(24)]
    kept, left = chosen(many, Filters(most=1.0))
    assert left["too many of a category"] == 15 and len(kept) == 9


def test_shards_are_made_once(clips, tmp_path):
    wanted = read_clips(clips)
    list(engine.caption(wanted, ears(), Rule(), tmp_path / "captions"))
    filters = Filters(duplicate=1.1, agreement=-1.0, most=0)
    figures = engine.shard(tmp_path / "captions", wanted, tmp_path / "out", filters, per_shard=3)
    assert (figures["clips"], figures["kept"], figures["left_out"]) == (10, 9, {"unreadable": 1})
    tars = sorted((tmp_path / "out").rglob("*.tar"))
    samples = [found for tar in tars for found in read_shard(str(tar))]
    assert {found["__key__"] for found in samples} == {c.key for c in wanted if c.path != "junk.wav"}
    sound, about = sound_of(samples[0], RATE, RATE // 2, None)
    assert np.abs(sound).max() > 0.1 and about.text("audio")
    assert sorted(len(pictures_of(found)) for found in samples) == [0] * 5 + [1] * 4
    table = pq.read_table(tmp_path / "out" / engine.TABLE).to_pylist()
    assert len(table) == 9 and {row["split"] for row in table} <= {"train", "valid"}
    assert all(row["audio"] and json.loads(row["weak"])["audio"][0]["by"] == "ear" for row in table)

    written = {tar: tar.stat().st_mtime_ns for tar in tars}
    tars[0].unlink()
    (tmp_path / "out" / "train" / "000009-old.tar").write_bytes(b"of other captions")
    engine.shard(tmp_path / "captions", wanted, tmp_path / "out", filters, per_shard=3)
    assert sorted((tmp_path / "out").rglob("*.tar")) == tars
    assert [tar for tar in tars if tar.stat().st_mtime_ns != written[tar]] == tars[:1]
    with pytest.raises(UserError, match="worth keeping"):
        engine.shard(tmp_path / "captions", wanted, tmp_path / "none", Filters(agreement=2.0), per_shard=3)


def test_a_source_is_held_out(clips, tmp_path):
    table = clips.with_name("sources.tsv")
    names = [f"{i}.wav\t{'here' if i % 3 else 'there'}" for i in range(9)]
    table.write_text("\n".join(["path\tsource", *names]) + "\n")
    wanted, out = read_clips(table), tmp_path / "out"
    list(engine.caption(wanted, ears(), Rule(), tmp_path / "captions"))
    filters = Filters(duplicate=1.1, agreement=-1.0, most=0)
    engine.shard(tmp_path / "captions", wanted, out, filters, 9, hold_out=["there"])
    splits = {row["path"]: row["split"] for row in pq.read_table(out / engine.TABLE).to_pylist()}
    assert splits == {f"{i}.wav": "train" if i % 3 else "valid" for i in range(9)}
    held = {sample["__key__"] for tar in (out / "valid").glob("*.tar") for sample in read_shard(str(tar))}
    assert held == {clip.key for clip in wanted if clip.source == "there"}
    with pytest.raises(UserError, match="no clip is from nowhere"):
        engine.shard(tmp_path / "captions", wanted, out, filters, 9, hold_out=["nowhere"])


def test_clips_of_a_folder_and_tables_that_are_none(clips, tmp_path):
    assert [clip.path for clip in read_clips(clips.parent)] == [*(f"{i}.wav" for i in range(9)), "junk.wav"]
    assert Clip(tmp_path, "a").key != Clip(tmp_path, "a", picture="b").key
    (tmp_path / "wrong.tsv").write_text("file\tlabel\n")
    with pytest.raises(UserError, match="no column path"):
        read_clips(tmp_path / "wrong.tsv")
    with pytest.raises(UserError, match="cannot be read"):
        read_clips(tmp_path / "gone.tsv")


def test_from_the_command_line(cli, clips, tmp_path):
    out = tmp_path / "captions"
    done = cli("data", "caption", clips, "--captions", out)
    assert done.code == 0 and "10 clips captioned" in done.out and "1 could not be read" in done.out, done.err
    assert "0 clips captioned" in cli("data", "caption", clips, "--captions", out).out
    figures = json.loads(cli("data", "stats", "--captions", out, "--agreement", "-1").out)
    assert figures["clips"] == 10 and figures["retrieval_of_all"]["clips"] == 9
    sharded = cli("data", "shard", clips, "--captions", out, "--out", tmp_path / "s", "--agreement", "-1")
    assert sharded.code == 0 and "in 1 shards" in sharded.out or "in 2 shards" in sharded.out
    assert cli("data", "stats", "--captions", tmp_path / "none").code == 2
