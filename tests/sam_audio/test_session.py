"""Session folders: written whole, read back the same, and never trusted."""

from __future__ import annotations

import itertools
import json
import os
import signal
import stat
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sam_audio import Prompt
from sam_audio.errors import OutputExistsError, UserError
from sam_audio.session import (
    FILE,
    Fader,
    SavedSession,
    pack_session,
    read_session,
    recover_sessions,
    unpack_session,
    write_session,
)


@pytest.fixture
def session(tmp_path):
    for name in ("mix", "guitar", "residual", "bark"):
        soundfile.write(tmp_path / f"{name}.wav", np.full(100, 0.1), 8000, subtype="FLOAT")
    return SavedSession(
        "My band",
        tmp_path / "mix.wav",
        "take 3.wav",
        ("guitar", {"text": "dog", "spans": ["1-2"], "like": str(tmp_path / "bark.wav")}),
        "nano",
        1.5,
        {"guitar": Fader(-3, 0.5, True, False)},
        {"guitar": tmp_path / "guitar.wav", "residual": tmp_path / "residual.wav"},
        {"level_db": {"guitar": -6.0}},
    )


def test_what_is_written_is_read(session, tmp_path):
    folder = write_session(tmp_path / "saved" / "my-band", session)
    found = read_session(folder)
    assert (found.name, found.title, found.model, found.strength) == ("My band", "take 3.wav", "nano", 1.5)
    assert found.faders == session.faders and found.report == session.report
    assert list(found.stems) == ["guitar", "residual"]
    assert found.stems["guitar"].read_bytes() == session.stems["guitar"].read_bytes()
    assert found.mixture.read_bytes() == session.mixture.read_bytes()
    like = str(folder / "clues" / "1-like.wav")
    assert found.asked() == ("guitar", Prompt("dog", spans=["1-2"], like=like))
    assert [p.name for p in (tmp_path / "saved").iterdir()] == ["my-band"]


def test_a_session_is_replaced_only_if_it_is_one_and_may_be(session, tmp_path):
    folder = write_session(tmp_path / "a", session)
    with pytest.raises(OutputExistsError):
        write_session(folder, session)
    again = write_session(folder, read_session(folder), overwrite=True)  # its own files are its sources
    assert read_session(again).stems["guitar"].is_file()
    (tmp_path / "other").mkdir()
    with pytest.raises(OutputExistsError):
        write_session(tmp_path / "other", session, overwrite=True)


def test_a_session_follows_the_umask(session, tmp_path):
    old = os.umask(0o077)
    try:
        folder = write_session(tmp_path / "mine", session)
    finally:
        os.umask(old)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows kills otherwise")
@pytest.mark.parametrize("last", range(1, 4))
def test_a_session_whose_writer_was_killed_comes_back(session, tmp_path, last):
    """Killed before each change that gives names."""
    folder = write_session(tmp_path / "saved" / "a", session)
    child = os.fork()
    if not child:
        changes = itertools.count(1)

        def hook(event, arguments):
            inside = any(str(tmp_path) in str(one) for one in arguments)
            if event in ("os.rename", "shutil.rmtree") and inside and next(changes) == last:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        write_session(folder, replace(session, name="Other"), overwrite=True)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    assert len(os.listdir(folder.parent)) == 2
    assert read_session(folder).name == ("Other" if last == 3 else "My band")
    recover_sessions(folder.parent)
    assert os.listdir(folder.parent) == ["a"]


def test_a_session_that_cannot_be_replaced_stays_where_it_was(session, tmp_path, monkeypatch):
    folder = write_session(tmp_path / "saved" / "a", session)
    before = (folder / "session.json").read_bytes()
    rename = os.rename

    def full(source, target):
        if Path(target) == folder and not str(source).endswith(".replaced-session"):
            raise OSError(28, "No space left on device")
        rename(source, target)

    monkeypatch.setattr(os, "rename", full)
    with pytest.raises(UserError, match="No space left on device"):
        write_session(folder, replace(session, name="Other"), overwrite=True)
    assert [p.name for p in folder.parent.iterdir()] == ["a"]
    assert (folder / "session.json").read_bytes() == before
    assert read_session(folder).name == "My band"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"mixture": "../mix.wav"}, "leads out of its folder"),
        ({"mixture": "/etc/passwd"}, "leads out of its folder"),
        ({"stems": {"guitar": "stems/gone.wav"}}, "lacks its file"),
        ({"prompts": [{"text": "dog", "like": "../../mix.wav"}]}, "leads out of its folder"),
        ({"prompts": [{"text": "dog", "like": ["clues/1-like.wav", "/mix.wav"]}]}, "leads out of its folder"),
        ({"prompts": [{"text": "dog", "mask": "C:/x.png"}]}, "leads out of its folder"),
        ({"prompts": [{"region": "1,1,2,2", "preview": "x.png"}]}, "names a file to write"),
        ({"prompts": [{"text": "dog", "lik": "x"}]}, "did you mean like"),
        ({"prompts": [{"text": ["dog"]}]}, "the text of a prompt of the session is"),
        ({"prompts": [{"text": "dog", "spans": {"a": 1}}]}, "the spans of a prompt of the session is"),
        ({"mixture": "A" * 5000}, "no disk can hold"),
        ({"report": 5}, "has report = 5: write a table"),
        ({"report": {"scores": {"dog": {}}}}, "lacks scores.*overall"),
        ({"mixer": {"guitar": {"gain_db": 1e9}}}, "write a number <= 12"),
        ({"mixer": {"guitar": 3}}, "the fader 'guitar' in .* is 3"),
        ({"models": "nano"}, "did you mean model"),
        ({"format": "something"}, "no session"),
        ({"version": 2}, "newer"),
        ({"prompts": 3}, "has prompts = 3: write a list"),
        ({"strength": "much"}, "has strength = 'much': write a number"),
    ],
)
def test_sessions_of_other_people_are_not_trusted(session, tmp_path, change, says):
    folder = write_session(tmp_path / "a", session)
    file = folder / "session.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(UserError, match=says) as caught:
        read_session(folder)
    assert "\n" not in str(caught.value)


def test_folders_that_are_no_sessions(tmp_path):
    with pytest.raises(UserError, match="holds no session"):
        read_session(tmp_path)
    (tmp_path / "session.json").write_text("{")
    with pytest.raises(UserError, match="is not JSON"):
        read_session(tmp_path)


def test_what_a_session_names_to_read_is_copied_and_what_it_names_to_write_is_left_out(session, tmp_path):
    like = str(tmp_path / "bark.wav")
    prompt = {"text": "dog", "like": [like, like], "region": "1,1,2,2", "preview": str(tmp_path / "x.png")}
    folder = write_session(tmp_path / "a", replace(session, prompts=(prompt,)))
    (found,) = read_session(folder).prompts
    clues = folder / "clues"
    assert found == {
        "text": "dog",
        "like": [str(clues / "0-like-1.wav"), str(clues / "0-like-2.wav")],
        "region": "1,1,2,2",
    }


def test_links_do_not_lead_out_of_a_session(session, tmp_path):
    folder = write_session(tmp_path / "a", session)
    (folder / "mixture.wav").unlink()
    (folder / "mixture.wav").symlink_to(tmp_path / "mix.wav")
    with pytest.raises(UserError, match="leads out of its folder"):
        read_session(folder)


@pytest.mark.skipif(os.name == "nt", reason="has no umask")
@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_session_folders_follow_the_umask(session, tmp_path, mask):
    before = os.umask(mask)
    try:
        folder = write_session(tmp_path / "a", session)
    finally:
        os.umask(before)
    assert folder.stat().st_mode & 0o777 == 0o777 & ~mask


def _zip(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as zipped:
        for name, content in members:
            zipped.writestr(name, content)
    return path


def _link():
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    return link


@pytest.mark.parametrize(
    ("members", "compression"),
    [
        ([("C:/x", "")], zipfile.ZIP_STORED),
        ([("a\\..\\..\\x", "")], zipfile.ZIP_STORED),
        ([("a/./b", "")], zipfile.ZIP_STORED),
        ([("a" * 300, "")], zipfile.ZIP_STORED),
        ([(str(n), "") for n in range(1001)], zipfile.ZIP_STORED),
        ([(f"{n:0300}", "") for n in range(16_000)], zipfile.ZIP_STORED),  # its list alone is too long
        ([("a", ""), ("a/b", "")], zipfile.ZIP_STORED),
        ([(_link(), "/etc/passwd")], zipfile.ZIP_STORED),
        ([("a", "x" * 100)], zipfile.ZIP_LZMA),
        ([("a", "x" * 100)], zipfile.ZIP_BZIP2),
    ],
)
def test_zips_that_are_refused_leave_nothing(tmp_path, members, compression):
    archive = _zip(tmp_path / "a.zip", [(FILE, "{}"), *members], compression)
    with pytest.raises(UserError) as caught:
        unpack_session(archive, tmp_path / "out", 10**9)
    assert "a.zip" in str(caught.value) and "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_comes_twice_is_refused(tmp_path):
    archive = _zip(tmp_path / "a.zip", [(FILE, "{}"), ("a", "1"), ("a", "2")])
    with pytest.raises(UserError, match="neither"):
        unpack_session(archive, tmp_path / "out", 10**9)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"name.wav", b"\xff\xfe\xfd\xfc.wav"),  # no UTF-8
        (b"name.wav", b"\0ame.wav"),
        (b"PK\1\2", b"PK\1\3"),
    ],
)
def test_zips_with_damaged_lists_are_refused(tmp_path, old, new):
    archive = _zip(tmp_path / "a.zip", [(FILE, "{}"), ("éname.wav", "x" * 500)], zipfile.ZIP_DEFLATED)
    archive.write_bytes(archive.read_bytes().replace(old, new))
    with pytest.raises(UserError):
        unpack_session(archive, tmp_path / "out", 10**9)
    assert not (tmp_path / "out").exists()


def test_zips(session, tmp_path):
    folder = write_session(tmp_path / "a", session, with_stems=False)
    packed = pack_session(folder, tmp_path / "a.zip")
    found = read_session(unpack_session(packed, tmp_path / "b", 10**6))
    assert found.prompts[0] == "guitar" and not found.stems
    with pytest.raises(UserError, match="more than 0 MB"):
        unpack_session(packed, tmp_path / "c", 100)
    for name, content in (("evil", {"../x": "", "session.json": "{}"}), ("plain", {"a.txt": "hello"})):
        says = {"evil": "leads out of its folder", "plain": "neither a recording nor a saved session"}[name]
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as zipped:
            for path, text in content.items():
                zipped.writestr(path, text)
        with pytest.raises(UserError, match=says):
            unpack_session(tmp_path / f"{name}.zip", tmp_path / name, 10**6)
    assert not (tmp_path / "x").exists()
    (tmp_path / "broken.zip").write_bytes(packed.read_bytes()[:200])
    with pytest.raises(UserError, match="neither"):
        unpack_session(tmp_path / "broken.zip", tmp_path / "d", 10**6)


def test_the_command_line_separates_a_session(session, tmp_path, tiny_weights):
    from typer.testing import CliRunner

    from sam_audio.cli import separate_app

    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "mix.wav", rng.normal(0, 0.1, 8000), 8000)
    folder = write_session(
        tmp_path / "a", SavedSession("a", tmp_path / "mix.wav", "take 3.wav", ("guitar",), str(tiny_weights))
    )
    out = tmp_path / "out"
    done = CliRunner().invoke(
        separate_app,
        ["--session", str(folder), "-o", str(out), "--model", str(tiny_weights)],
        catch_exceptions=False,
    )
    assert done.exit_code == 0, done.output
    with pytest.raises(UserError, match="if you trust them, say --model"):
        CliRunner().invoke(separate_app, ["--session", str(folder), "-o", str(out)], catch_exceptions=False)
    assert sorted(p.name for p in (out / "take 3").iterdir()) == ["guitar.wav", "residual.wav"]


@pytest.mark.parametrize("title", ["...wav", "..", "../../x/..", "con", "é" * 300, "/"])
def test_a_title_never_leads_out_of_the_folder(tmp_path, tiny_weights, title):
    from typer.testing import CliRunner

    from sam_audio.cli import separate_app

    mix = tmp_path / "mix.wav"
    soundfile.write(mix, np.random.default_rng(0).normal(0, 0.1, 8000), 8000)
    folder = write_session(tmp_path / "a", SavedSession("a", mix, "x", ("guitar",), str(tiny_weights)))
    content = json.loads((folder / FILE).read_text())
    (folder / FILE).write_text(json.dumps({**content, "title": title}))
    before, out = set(tmp_path.rglob("*")), tmp_path / "out" / "here"
    done = CliRunner().invoke(
        separate_app,
        ["--session", str(folder), "-o", str(out), "--model", str(tiny_weights)],
        catch_exceptions=False,
    )
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in out.glob("*/*")) == ["guitar.wav", "residual.wav"]
    assert all((tmp_path / "out") in [path, *path.parents] for path in set(tmp_path.rglob("*")) - before)


def test_options_of_the_model_are_kept_by_their_keys(session, tmp_path):
    options = {"memory_bytes": 5, "predict_spans": False}
    folder = write_session(tmp_path / "one", replace(session, options=options))
    assert json.loads((folder / FILE).read_text())["options"] == {"memory": 5, "predict_spans": False}
    assert read_session(folder).options == options


@pytest.mark.parametrize("options", [{"dtype": "float16"}, {"nothing": 1}, {"predict_spans": "yes"}])
def test_options_of_a_session_that_cannot_be(session, tmp_path, options):
    folder = write_session(tmp_path / "one", session)
    content = json.loads((folder / FILE).read_text())
    (folder / FILE).write_text(json.dumps({**content, "options": options}))
    with pytest.raises(UserError, match=next(iter(options))):
        read_session(folder)
