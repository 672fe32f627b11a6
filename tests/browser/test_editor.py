"""The editor as people use it: real sounds, a real server, a real browser.

``SAM_AUDIO_PICTURES=1 pytest -m browser`` also renews the pictures in docs/editor.
"""

from __future__ import annotations

import numpy as np
import pytest
from driving import (
    EXAMPLES,
    ask,
    download,
    export,
    level,
    load,
    picture,
    settle,
    sounds,
    state,
    track,
    until,
    upload,
    video,
    visit,
)

import sam_audio

BAND, SCENE = EXAMPLES / "band.wav", EXAMPLES / "scene.ogg"


def accessible(page) -> None:
    """axe finds nothing serious: labels, contrast, roles."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    found = axe.run(page).response["violations"]
    serious = [
        (one["id"], [(node["html"][:160], node["failureSummary"][:200]) for node in one["nodes"]])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
    assert not serious


def same(exported, result) -> None:
    """Every stem and the residual, sample by sample."""
    expected = {
        **{name: stem.samples for name, stem in result.stems.items()},
        "residual": result.residual.samples,
    }
    assert set(exported) == set(expected)
    for name, samples in expected.items():
        np.testing.assert_array_equal(exported[name], samples)


def test_from_upload_to_a_reopened_session(page, server, chromium):
    settle(page)
    picture(page, "start")
    accessible(page)
    load(page, BAND)
    picture(page, "loaded")
    ask(page, "guitar")
    track(page, "guitar")
    ask(page, "drums")
    track(page, "drums")
    picture(page, "mixer", ".mixer")
    accessible(page)

    # all sources start at one time of one clock, and sound
    page.get_by_role("button", name="Play", exact=True).click()
    both = level(page)
    assert both > 0.01
    starts = state(page, "mixer.starts")
    assert len(starts) == 4 and len(set(starts)) == 1
    page.get_by_role("button", name="Solo guitar").click()
    assert 0.001 < level(page) < both
    page.get_by_role("button", name="Mute guitar").click()
    page.wait_for_timeout(200)
    assert level(page) < 1e-3  # soloed and muted: nothing
    page.get_by_role("button", name="Hear the original").click()
    assert level(page) > 0.01
    page.get_by_role("button", name="Hear the mix").click()
    page.get_by_role("button", name="Loop", exact=True).click()
    page.wait_for_timeout(300)
    assert state(page, "mixer.playing")
    page.get_by_role("button", name="Pause", exact=True).click()
    for name in ("Mute", "Solo"):
        page.get_by_role("button", name=f"{name} guitar").click()
    page.get_by_label("Gain of guitar", exact=True).fill("-6")
    settle(page)
    page.get_by_label("Pan of drums", exact=True).fill("0.5")
    settle(page)
    assert state(page, "mixer.tracks.get('drums').fader.pan") == 0.5

    # undo and redo move the faders of the page
    page.get_by_role("button", name="Undo").click()
    until(page, f"() => {FADER % 'drums'}.pan === 0")
    page.get_by_role("button", name="Undo").click()
    until(page, f"() => {FADER % 'guitar'}.gain_db === 0")
    page.get_by_role("button", name="Redo").click()
    until(page, f"() => {FADER % 'guitar'}.gain_db === -6")
    settle(page)

    result = sam_audio.separate(BAND, ["guitar", "drums"], judge=False)
    same(sounds(export(page, "Stems")), result)
    mixed = sounds(export(page, "The mix as it is heard"))[""]
    guitar, drums = (result.stems[name].samples for name in ("guitar", "drums"))
    expected = guitar * np.float32(10 ** (-6 / 20)) + drums + result.residual.samples
    np.testing.assert_allclose(mixed, expected, atol=2e-7)

    picture(page, "export", "[data-testid=stSelectbox]")
    page.get_by_role("button", name="Save").click()
    page.get_by_label("Name of the session").fill("My band")
    page.get_by_label("Name of the session").press("Enter")
    settle(page)
    packed = download(page, page.get_by_role("button", name="Download session"))
    page.get_by_role("button", name="Save session").click()
    settle(page)
    assert (server.sessions / "my-band" / "session.json").is_file()

    # another visitor opens it: from the folder, and as a zip file
    other = visit(chromium.new_context(), server.url)
    other.locator("[class*=st-key-open-] button").click()
    track(other, "drums")
    assert state(other, "mixer.tracks.get('guitar').fader.gain_db") == -6
    same(sounds(export(other, "Stems")), result)
    other.context.close()
    third = visit(chromium.new_context(), server.url)
    third.locator("input[type=file]").first.set_input_files(
        {"name": "my-band.zip", "mimeType": "application/zip", "buffer": packed}
    )
    track(third, "drums")
    assert state(third, "mixer.tracks.get('guitar').fader.gain_db") == -6
    third.context.close()


FADER = "[...document.querySelectorAll('*')].find((one) => one.mixer).mixer.tracks.get('%s').fader"


def test_a_region_of_a_video(page, tmp_path):
    clip = video(tmp_path / "clip.mp4")
    load(page, clip)
    frame = page.frame_locator("iframe[title*=image_coordinates]").locator("#image")
    frame.wait_for()
    frame.click(position={"x": 60, "y": 90})
    page.get_by_text("Marked in the picture").wait_for()
    said = page.get_by_text("Marked in the picture").inner_text()
    clue = said.split(": ")[1]
    x, y = (float(v) for v in clue.split("@")[0].split(","))
    assert abs(x - 60) <= 2 and abs(y - 90) <= 2  # shown at the size of the video
    picture(page, "region")
    accessible(page)
    ask(page, "humming")
    track(page, "humming")
    result = sam_audio.separate(clip, sam_audio.Prompt("humming", point=clue), judge=False)
    same(sounds(export(page, "Stems")), result)


def test_a_span_selected_on_the_waveform(page):
    load(page, SCENE)
    lane = page.get_by_role("slider", name="Time line of Original")
    box = lane.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 1.4 / 5.5, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 2.0 / 5.5, box["y"] + 25, steps=4)
    page.mouse.move(box["x"] + box["width"] * 2.6 / 5.5, box["y"] + 25, steps=4)
    page.mouse.up()
    page.get_by_text("It sounds there").wait_for()
    settle(page)
    low, high = state(page, "mixer.selection")
    assert abs(low - 1.4) < 0.05 and abs(high - 2.6) < 0.05
    picture(page, "span")
    accessible(page)
    ask(page, "bird singing")
    track(page, "bird singing")
    span = f"{round(low, 3):g}-{round(high, 3):g}"
    result = sam_audio.separate(SCENE, sam_audio.Prompt("bird singing", spans=[span]), judge=False)
    same({k.replace("-", " "): v for k, v in sounds(export(page, "Stems")).items()}, result)


def test_what_is_in_here(page):
    load(page, EXAMPLES / "speech.ogg")
    page.get_by_role("button", name="What is in here?").click()
    first = page.locator("[class*=st-key-heard-] button").first
    first.wait_for()
    settle(page)
    picture(page, "heard")
    accessible(page)
    name = first.inner_text().split("\n")[-1].strip()
    first.click()
    track(page, name)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("notes.wav", b"dear diary, " * 50, "notes.wav is a text file"),
        ("nothing.wav", b"", "nothing.wav is empty"),
        ("stuff.zip", b"PK\x03\x04" + bytes(200), "stuff.zip is neither a recording nor a saved session"),
    ],
)
def test_bad_uploads(page, name, content, says):
    upload(page, {"name": name, "mimeType": "audio/wav", "buffer": content})
    page.get_by_role("alert").wait_for()
    assert page.get_by_role("alert").count() == 1
    assert says in page.get_by_role("alert").inner_text()
    if name == "notes.wav":
        picture(page, "refused")
    load(page, BAND)  # and life goes on


def test_two_gigabytes_are_refused_before_they_are_sent(page, tmp_path):
    big = tmp_path / "big.wav"
    with big.open("wb") as file:
        file.truncate(2_000_000_000)
    upload(page, big)
    page.get_by_text("File must be 20").wait_for()
