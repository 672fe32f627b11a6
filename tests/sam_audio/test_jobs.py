"""Job files: what a line may say."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from sam_audio.errors import UserError
from sam_audio.jobs import read_jobs
from sam_audio.options import RenderOptions, options_of
from sam_audio.plan import Job


@pytest.fixture
def read(tmp_path):
    def run(*lines, prompts=(), **defaults):
        path = tmp_path / "jobs.jsonl"
        path.write_text(
            "\n".join(x if isinstance(x, str) else json.dumps(x) for x in lines), encoding="utf-8"
        )
        return list(read_jobs(str(path), RenderOptions(**defaults), prompts))

    return run


def test_a_job_is_a_mixture_and_prompts(read):
    assert read({"mixture": "a.wav", "prompts": ["dog", "cat"]}) == [
        Job("a.wav", ("dog", "cat"), RenderOptions())
    ]


def test_one_prompt_may_be_a_text_and_none_is_the_default(read):
    one, default = read({"mixture": "a", "prompts": "dog"}, {"mixture": "a"}, prompts=("cat",))
    assert (one.prompts, default.prompts) == (("dog",), ("cat",))


def test_every_option_can_be_set_and_the_others_stay(read):
    values = {
        "out": "x",
        "filename": "{stem}",
        "mode": "remove",
        "residual": "rest",
        "format": "flac",
        "bitrate": "192k",
        "depth": "int24",
        "clip_mode": "clamp",
        "overwrite": True,
        "skip_existing": True,
        "start": 1,
        "duration": 2.5,
        "sound_track": 2,
        "strength": 0.5,
        "judge": False,
        "candidates": 3,
        "tags": False,
    }
    fields = {one.key: one.name for one in options_of(RenderOptions)}
    assert values.keys() == fields.keys()
    (job,) = read({"mixture": "a", "track": "t", **values})
    assert job.track == "t"
    for key, value in values.items():
        assert getattr(job.options, fields[key]) == (192 if key == "bitrate" else value)
        (alone,) = read({"mixture": "a", key: value}, strength=1.5)
        assert alone.options.strength == (0.5 if key == "strength" else 1.5)


@pytest.mark.parametrize("residual", [None, "none", "None"])
def test_no_residual_is_said_as_on_the_command_line(read, residual):
    (job,) = read({"mixture": "a", "residual": residual})
    assert job.options.residual is None


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "not JSON"),
        ("3", "not a JSON object"),
        ("[]", "not a JSON object"),
        ({"prompts": ["dog"]}, "mixture"),
        ({"mixture": 3}, "mixture"),
        ({"mixture": ""}, "mixture"),
        ({"mixture": "a", "prompts": 3}, "prompts"),
        ({"mixture": "a", "prompts": [3]}, "prompts"),
        ({"mixture": "a", "track": 3}, "track"),
        ({"mixture": "a", "track": "../b"}, "leads out of its folder"),
        ({"mixture": "a", "track": "b\\..\\..\\c"}, "leads out of its folder"),
        ({"mixture": "a", "track": "/tmp/b"}, "leads out of its folder"),
        ({"mixture": "a", "prompts": [{"self": 1, "text": "dog"}]}, "a prompt has no 'self'"),
        ({"mixture": "a", "prompt": "dog"}, "the unknown key 'prompt': did you mean prompts?"),
        ({"mixture": "a", "strength": "1"}, "strength"),
        ({"mixture": "a", "start": True}, "start"),
        ({"mixture": "a", "overwrite": 1}, "overwrite"),
        ({"mixture": "a", "out": None}, "out"),
        ("[" * 100_000, "too deeply"),
        ('{"mixture": "a", "mixture": "b"}', "twice"),
        ('{"mixture": "a", "strength": 1e999}', "beyond"),
        ('{"mixture": "a", "strength": ' + "9" * 5000 + "}", "thousands of digits"),
        ({"mixture": "a\0b"}, "a character that is none"),
        ({"mixture": "a", "track": "C:/x"}, "leads out of its folder"),
        ({"mixture": "a", "spans": {"a": 1}}, "the spans of the job is"),
        ({"mixture": "a", "region": "1,1,2,2", "preview": "/tmp/x.png"}, "leads out of its folder"),
        (
            {"mixture": "a", "prompts": [{"region": "1,1,2,2", "preview": "../x.png"}]},
            "leads out of its folder",
        ),
        ({"mixture": "a", "prompts": [{"region": "1,1,2,2", "preview": 3}]}, "a file in the folder"),
        ({"mixture": "a", "out": "-", "region": "1,1,2,2", "preview": "x.png"}, "a file in the folder"),
    ],
)
def test_a_bad_line_is_named_and_the_others_are_kept(read, line, says):
    first, error, last = read({"mixture": "a"}, line, {"mixture": "b"})
    assert (first.mixture, last.mixture) == ("a", "b")
    assert isinstance(error, UserError)
    assert str(error).startswith("line 2 of ")
    assert says in str(error)
    assert "\n" not in str(error)


def test_empty_lines_are_skipped_but_counted(read):
    (error,) = read("", "  ", "x")
    assert str(error).startswith("line 3 of ")


def test_unusual_characters_and_line_ends(tmp_path):
    path = tmp_path / "jobs"
    lines = [json.dumps({"mixture": name}, ensure_ascii=False) for name in ("é\u2028\x85", "b")]
    path.write_bytes(("\ufeff" + "\r\n".join(lines)).encode())
    assert [job.mixture for job in read_jobs(str(path), RenderOptions())] == ["é\u2028\x85", "b"]


def test_standard_input_is_a_job_file(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'{"mixture": "a"}\n')))
    assert [job.mixture for job in read_jobs("-", RenderOptions())] == ["a"]


def test_a_job_file_that_cannot_be_read(tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "gone", tmp_path, tmp_path / "binary"):
        with pytest.raises(UserError, match="cannot be read"):
            list(read_jobs(str(path), RenderOptions()))


def test_a_preview_lies_in_the_folder_of_the_stems(read):
    (job,) = read({"mixture": "a", "out": "o", "region": "1,1,2,2", "preview": "p/x.png"})
    assert job.clues == {"region": "1,1,2,2", "preview": str(Path("o/p/x.png"))}
