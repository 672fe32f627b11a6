"""The editor as people use it: real sounds, a real server, a real browser.

``SAM_AUDIO_PICTURES=1 pytest -m browser`` also renews the pictures in docs/editor.
"""

from __future__ import annotations

import re

import numpy as np
import pytest
import soundfile
from driving import (
    EXAMPLES,
    FIND,
    NARROW,
    WIDE,
    accessible,
    ask,
    download,
    export,
    heard,
    load,
    picture,
    settle,
    sounds,
    state,
    told,
    track,
    until,
    upload,
    video,
    visit,
)

import sam_audio
from sam_audio.app.presets import presets
from sam_audio.host.files import find_rack, load_rack
from sam_audio.io import read_audio

BAND, SCENE = EXAMPLES / "band.wav", EXAMPLES / "scene.ogg"
FADER = f"{FIND}.tracks.get('%s').fader"


def button(page, name: str):
    return page.get_by_role("button", name=name, exact=True)


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
    for name in ("guitar", "drums"):
        ask(page, name)
        track(page, name)
    picture(page, "mixer")
    accessible(page)

    # all sources start at one time of one clock, and sound
    button(page, "Play").click()
    heard(page, "level > 0.01")
    starts = state(page, "mixer.starts")
    assert len(starts) == 4 and len(set(starts)) == 1
    button(page, "Solo guitar").click()
    button(page, "Mute guitar").click()
    heard(page, "level < 1e-3")  # soloed and muted: nothing
    button(page, "Hear the original").click()
    heard(page, "level > 0.01")
    button(page, "Hear the mix").click()
    button(page, "Pause").click()
    for name in ("Mute", "Solo"):
        button(page, f"{name} guitar").click()
    told(page)
    page.get_by_label("Gain of guitar", exact=True).fill("-6")
    told(page)
    page.get_by_label("Pan of drums", exact=True).fill("0.5")
    told(page)
    assert state(page, "mixer.tracks.get('drums').fader.pan") == 0.5

    # undo and redo move the faders of the page
    button(page, "Undo").click()
    until(page, f"() => {FADER % 'drums'}.pan === 0")
    button(page, "Undo").click()
    until(page, f"() => {FADER % 'guitar'}.gain_db === 0")
    button(page, "Redo").click()
    until(page, f"() => {FADER % 'guitar'}.gain_db === -6")
    settle(page)

    result = sam_audio.separate(BAND, ["guitar", "drums"], judge=False)
    same(sounds(export(page, "Stems")), result)
    mixed = sounds(export(page, "The mix as it is heard"))[""]
    guitar, drums = (result.stems[name].samples for name in ("guitar", "drums"))
    expected = guitar * np.float32(10 ** (-6 / 20)) + drums + result.residual.samples
    np.testing.assert_allclose(mixed, expected, atol=2e-7)

    picture(page, "export", "[data-testid=stExpander]")
    button(page, "Save").click()
    page.get_by_label("Name of the session").fill("My band")
    page.get_by_label("Name of the session").press("Enter")
    settle(page)
    button(page, "Save session").click()
    settle(page)
    assert (server.sessions / "my-band" / "session.json").is_file()
    button(page, "Pack it for download").click()
    page.get_by_role("link", name=re.compile("my-band.zip")).wait_for()
    settle(page)
    with page.expect_download() as waiting:
        page.get_by_role("link", name=re.compile("my-band.zip")).click()
    packed = waiting.value.path()

    # another visitor opens it: from the folder, and as a zip file
    other = visit(chromium.new_context(), server.url)
    other.locator("[class*=st-key-open-] button").click()
    track(other, "drums")
    assert state(other, "mixer.tracks.get('guitar').fader.gain_db") == -6
    same(sounds(export(other, "Stems")), result)
    other.context.close()
    third = visit(chromium.new_context(), server.url)
    with open(packed, "rb") as file:
        upload(third, {"name": "my-band.zip", "mimeType": "application/zip", "buffer": file.read()})
    track(third, "drums")
    assert state(third, "mixer.tracks.get('guitar').fader.gain_db") == -6
    third.context.close()


# ---- asking ----------------------------------------------------------------------------------------------


def test_what_is_heard_is_one_click_away(page):
    load(page, EXAMPLES / "speech.ogg")
    first = page.locator(".chip").first
    first.wait_for()
    settle(page)
    picture(page, "heard")
    accessible(page)
    name = first.get_attribute("aria-label").removeprefix("Separate ")
    first.click()
    track(page, name)
    page.locator(".chip[disabled]").first.wait_for()  # it is taken


def test_there_is_one_place_to_ask(page):
    """The field never doubles; it suggests the known labels, and tells of words that nobody knows."""
    load(page, BAND)
    page.evaluate(
        """() => {
            window.most = 0;
            const look = () => {
                const all = [...document.querySelectorAll("*")];
                const hosts = all.filter((one) => one.shadowRoot?.querySelector(".ask input"));
                window.most = Math.max(window.most, hosts.length);
                window.watching = requestAnimationFrame(look);
            };
            look();
        }"""
    )
    assert page.locator("datalist option[value=guitar]").count() == 1
    ask(page, "gitar")
    track(page, "gitar")
    page.get_by_role("button", name=re.compile("Ask for .*guitar.* instead")).click()
    track(page, "guitar")
    assert state(page, "mixer.stems.length") == 1 and page.evaluate("window.most") == 1
    assert page.get_by_label("What do you want to hear?").input_value() == ""
    ask(page, "guitar")  # again: refused in one sentence, and the words are kept
    page.get_by_role("alert").wait_for()
    assert "is a track already" in page.get_by_role("alert").inner_text()
    assert page.get_by_label("What do you want to hear?").input_value() == "guitar"


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
    told(page)
    low, high = state(page, "mixer.selection")
    assert abs(low - 1.4) < 0.05 and abs(high - 2.6) < 0.05
    accessible(page)
    ask(page, "bird singing")
    track(page, "bird singing")
    span = f"{round(low, 3):g}-{round(high, 3):g}"
    result = sam_audio.separate(SCENE, sam_audio.Prompt("bird singing", spans=[span]), judge=False)
    same({k.replace("-", " "): v for k, v in sounds(export(page, "Stems")).items()}, result)


@pytest.mark.parametrize(("preset", "muted"), [("Karaoke", "singing voice"), ("Podcast without noise", None)])
def test_three_clicks_from_a_recording_to_what_is_wanted(page, preset, muted):
    """A preset, the recording, the download."""
    page.get_by_text(preset, exact=True).click()
    page.get_by_text("Effects: ").wait_for()
    settle(page)
    source = BAND if muted else EXAMPLES / "speech.ogg"
    upload(page, source)
    mix = sounds(download(page))[""]
    name = next(one.name for one in presets().values() if one.title == preset)
    expected = load_rack(find_rack(name))(*read_audio(source))
    np.testing.assert_allclose(mix, expected.clip(-1, 1), atol=1e-3)  # 16 bit
    faders = state(page, "[...mixer.tracks.values()].map((track) => [track.name, track.fader])")
    assert [name for name, fader in faders if fader["mute"]] == ([muted] if muted else [])
    assert dict(faders)["residual"]["gain_db"] == (0 if muted else -18)
    accessible(page)
    first = page.get_by_role("link", name=re.compile("^Download .*MB")).get_attribute("href")
    page.get_by_text(f"Effects of {preset}").click()
    link = "[...document.querySelectorAll('a.download')].map((one) => one.getAttribute('href'))"
    until(page, f"(first) => {link}.some((other) => other !== first)", first)
    assert np.abs(sounds(download(page))[""] - mix).max() > 1e-3


# ---- the mixer -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ten_minutes(tmp_path_factory):
    """Noise on the right side only, louder from minute to minute."""
    path = tmp_path_factory.mktemp("long") / "long.wav"
    rng = np.random.default_rng(0)
    with soundfile.SoundFile(path, "w", 8000, 2, "PCM_16") as file:
        for minute in range(8):
            right = rng.normal(0, 0.02 * (minute + 1), 60 * 8000)
            file.write(np.stack([np.zeros_like(right), right], axis=1))
    return path


def test_the_whole_recording_plays_and_scrolls(page, ten_minutes):
    load(page, ten_minutes)
    assert state(page, "mixer.view") == [0, 480] and state(page, "mixer.duration") == 480
    minutes = "[...mixer.tracks.get('mixture').pieces.peaks(0, 480, 8)]"
    until(page, f"() => {{ const mixer = {FIND}; return {minutes}[7] > 0.1; }}")
    loud = state(page, minutes)
    assert loud == sorted(loud) and loud[0] > 0.02

    # the wheel on the ruler zooms around the pointer
    ruler = page.locator(".ruler")
    box = ruler.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + 10)
    for _ in range(8):
        page.mouse.wheel(0, -200)
    until(page, f"() => {FIND}.view[1] - {FIND}.view[0] < 10")
    low, high = state(page, "mixer.view")
    assert low < 360 < high
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 10)
    button(page, "Play").click()
    heard(page, "level > 0.05")
    assert low < state(page, "mixer.position()") < high + 2
    # close up and while it plays, a recording whose left side is silent is not flat
    until(
        page,
        f"() => {{ const m = {FIND}, peaks = m.tracks.get('mixture').pieces.peaks(...m.view, 40); "
        "return Math.min(...peaks) > 0.02; }",
    )
    until(page, f"() => {FIND}.view[0] > {high - 0.5}")  # the page is turned
    held = state(page, "mixer.tracks.get('mixture').pieces.blocks.size")
    assert held <= 4  # blocks of 5 s

    # the map leads anywhere; who has scrolled away is not carried back
    overview = page.locator(".map").bounding_box()
    page.mouse.click(overview["x"] + 5, overview["y"] + 10)
    until(page, f"() => {FIND}.view[0] < 60 && !{FIND}.follow")
    button(page, "Pause").click()
    page.keyboard.press("-")
    page.keyboard.press("Shift+?")
    page.get_by_text("wherever no text is typed").wait_for()
    accessible(page)


def test_tracks_show_when_they_sound_and_of_what(page):
    load(page, SCENE)
    ask(page, "bird singing")
    track(page, "bird singing")
    span = page.get_by_role("button", name=re.compile("^Loop bird singing from")).first
    span.click()
    until(page, f"() => {FIND}.playing && {FIND}.loop")
    low, high = state(page, "mixer.selection")
    lane = "mixer.tracks.get('bird singing').pieces"
    assert state(page, f"{lane}.by") == "model" and [low, high] == state(page, f"{lane}.spans")[0]
    assert state(page, "mixer.tracks.get('residual').pieces.by") == "level"
    until(page, f"() => {FIND}.position() > {low} && {FIND}.position() < {high}")
    button(page, "Pause").click()
    button(page, "Solo bird singing").click()
    until(page, f"() => {FIND}.tracks.get('residual').row.matches('.dim')")
    assert not state(page, "mixer.tracks.get('bird singing').row.matches('.dim')")
    button(page, "Spectrogram of bird singing").click()
    until(page, f"() => {FIND}.tracks.get('bird singing').spectrum?.image.width > 100")
    settle(page)
    accessible(page)
    page.locator(".track.stem summary").click()  # plain words, and the figures behind them
    assert re.search("In the mix|Not in the mix", page.locator(".track.stem summary").inner_text())
    assert "Judge: overall" in page.locator(".track.stem .figures").inner_text()


def test_space_plays_wherever_no_text_is_typed(page):
    load(page, BAND)
    field = page.get_by_label("What do you want to hear?")
    field.press("Space")
    assert field.input_value() == " " and not state(page, "mixer.playing")
    page.get_by_text("Strength").first.click()
    page.keyboard.press("Space")
    until(page, f"() => {FIND}.playing")
    button(page, "Spectrogram of Original").click()  # a button that was clicked is not pressed again
    page.keyboard.press("Space")
    until(page, f"() => !{FIND}.playing")
    assert state(page, "mixer.tracks.get('mixture').isSpectrogram")
    page.keyboard.press("Tab")  # one that was reached by the keyboard is
    page.get_by_role("button", name="Loop").focus()
    page.keyboard.press("Space")
    until(page, f"() => {FIND}.loop && !{FIND}.playing")


def test_two_takes_are_compared(page):
    load(page, BAND)
    ask(page, "drums")
    track(page, "drums")
    page.get_by_role("slider", name="Strength").press("ArrowRight")
    page.get_by_role("slider", name="Strength").press("ArrowRight")
    until(page, f"() => {FIND}.stems.length === 1 && {FIND}.stems[0].pieces.share === 1")
    settle(page)
    button(page, "Takes").click()
    page.get_by_label("Name of this separation").fill("bold")
    page.get_by_label("Name of this separation").press("Enter")
    settle(page)
    page.get_by_role("button", name="Compare as B").last.click()
    track(page, "drums|B")
    accessible(page)
    page.keyboard.press("Escape")
    button(page, "Hear the other take").click()
    button(page, "Play").click()
    until(page, f"() => {FIND}.tracks.get('drums|B').level?.gain.value > 0.9")
    assert state(page, "mixer.tracks.get('drums').level.gain.value") < 0.1
    button(page, "Hear the mix").click()
    until(page, f"() => {FIND}.tracks.get('drums').level.gain.value > 0.9")


# ---- videos ----------------------------------------------------------------------------------------------


def test_a_region_of_a_video(page, tmp_path):
    clip = video(tmp_path / "clip.mp4")  # in a codec that browsers do not play: the server shows its pictures
    load(page, clip)
    until(page, f"() => {FIND}.picture.stills && {FIND}.picture.still.naturalWidth === 320")
    screen = page.locator(".over").bounding_box()
    scale = 320 / screen["width"]
    page.mouse.click(screen["x"] + 60 / scale, screen["y"] + 90 / scale)
    page.get_by_text("The mark in the picture goes with").wait_for()
    settle(page)
    point = state(page, "mixer.data.film.mark.numbers")
    assert abs(point[0] - 60) <= 2 and abs(point[1] - 90) <= 2
    page.mouse.move(screen["x"] + 40 / scale, screen["y"] + 60 / scale)
    page.mouse.down()
    page.mouse.move(screen["x"] + 110 / scale, screen["y"] + 130 / scale, steps=5)
    page.mouse.up()
    until(page, f"() => {FIND}.data.film.mark?.numbers.length === 4")
    settle(page)
    clue = state(page, "mixer.data.film.mark.value")
    picture(page, "region")
    accessible(page)
    assert state(page, "mixer.data.film.mark.value") == clue  # it is the same box after all that
    ask(page, "humming")
    track(page, "humming")
    result = sam_audio.separate(clip, sam_audio.Prompt("humming", region=clue), judge=False)
    same(sounds(export(page, "Stems")), result)


def test_a_video_plays_in_step_and_is_exported_with_the_mix(page, tmp_path):
    clip = video(tmp_path / "film.mp4", seconds=4, fps=10, codec="libx264")
    load(page, clip)
    until(page, f"() => {FIND}.picture.film.videoWidth === 320")
    tracks, film = page.locator(".lanes").bounding_box(), page.locator(".screen").bounding_box()
    assert film["x"] >= tracks["x"] + tracks["width"] and film["y"] < tracks["y"] + tracks["height"]
    ask(page, "humming")
    track(page, "humming")
    button(page, "Play").click()
    until(
        page,
        f"() => {{ const m = {FIND}, at = m.position(); "
        "return at > 0.5 && Math.abs(m.picture.film.currentTime - at) < 0.1; }",
        within_s=20,
    )
    page.keyboard.press("Space")
    until(page, f"() => {FIND}.picture.film.paused")
    button(page, "Mute humming").click()
    told(page)
    page.get_by_text("The video with this mix", exact=True).click()
    settle(page)
    button(page, "Prepare the download").click()
    made = tmp_path / "made.mp4"
    made.write_bytes(download(page))
    av = pytest.importorskip("av")
    with av.open(str(made)) as film:
        assert film.streams.video[0].frames == 40 and film.streams.video[0].codec_context.name == "h264"
    expected = sam_audio.separate(clip, "humming", judge=False).residual.samples
    sound, rate = read_audio(made)
    assert rate == 48_000
    frames = min(sound.shape[1], expected.shape[1])
    wrong = sound[:, :frames] - expected[:, :frames]
    assert np.square(wrong).mean() < 0.05 * np.square(expected).mean()  # AAC


# ---- the page around it ----------------------------------------------------------------------------------


def test_it_follows_the_system_into_the_dark(chromium, server):
    context = chromium.new_context(viewport=WIDE, color_scheme="dark")
    page = visit(context, server.url)
    settle(page)
    accessible(page)
    button(page, "Try an example").click()
    page.get_by_role("heading", name="example.ogg").wait_for()
    page.locator(".chip").first.wait_for()
    ask(page, "drums")
    track(page, "drums")
    shades = page.evaluate(
        f"""() => [document.querySelector("[data-testid=stApp]"), {FIND}.tracks.get("mixture").canvas]
            .map((one) => getComputedStyle(one).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number))"""
    )
    assert all(max(shade) < 60 for shade in shades)
    accessible(page)
    page.emulate_media(color_scheme="light")
    until(page, f"() => {FIND}.colours.text === '#3d4653'")
    context.close()


def test_on_a_telephone(chromium, server):
    context = chromium.new_context(viewport=NARROW, has_touch=True, is_mobile=True)
    page = visit(context, server.url)
    load(page, BAND)
    ask(page, "drums")
    track(page, "drums")
    tops = [
        page.locator(".st-key-header").get_by_role("button", name=name, exact=True).bounding_box()
        for name in ("Undo", "Redo", "Takes", "Save", "Open")
    ]
    assert max(box["y"] for box in tops) - min(box["y"] for box in tops) < 10  # one row
    title = page.get_by_role("heading", name="band.wav").bounding_box()
    assert abs(title["y"] + title["height"] / 2 - tops[0]["y"] - tops[0]["height"] / 2) < 20
    assert not page.get_by_role("button", name="Shortcuts").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
    accessible(page)
    context.close()


def test_who_leaves_frees_the_queue(page, chromium, server, ten_minutes):
    first = visit(chromium.new_context(), server.url)
    load(first, ten_minutes)
    ask(first, "rain")
    first.get_by_text("Separating").wait_for()
    load(page, BAND)
    ask(page, "drums")
    page.get_by_text("1 before you in the queue").wait_for()
    first.context.close()
    until(page, f"() => {FIND}.stems.length === 1", within_s=20)


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
    load(page, BAND)  # and life goes on


def test_two_gigabytes_are_refused_before_they_are_sent(page, tmp_path):
    big = tmp_path / "big.wav"
    with big.open("wb") as file:
        file.truncate(2_000_000_000)
    upload(page, big)
    page.get_by_text("File must be 20").wait_for()
