"""Regions of a video: what is marked, followed, embedded and written."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from tiny_video import FPS, SIZE, picture, video

from sam_audio.conditioning.source import Recording
from sam_audio.errors import AudioReadError, PromptError
from sam_audio.prompts import Prompt, resolve
from sam_audio.prompts.region import Region
from sam_audio.types import Condition

pytest.importorskip("av")
cv2 = pytest.importorskip("cv2")
Image = pytest.importorskip("PIL.Image")
from sam_audio.prompts.tracking import box_around, box_of, crop, shrunk, track  # noqa: E402


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Two seconds in which the square goes 45 pixels to the right."""
    return video(tmp_path_factory.mktemp("clip") / "clip.mp4", [picture(20 + 3 * i) for i in range(2 * FPS)])


def encode(path, **clues):
    """The crops that the video tower would see."""
    seen = []

    def embed(frames):
        seen.append(frames)
        return np.eye(384, dtype=np.float32)[0]

    recording = Recording(path, SimpleNamespace(takes=frozenset({"vector"})))
    recording.embedder = lambda: SimpleNamespace(embed_frames=embed)
    ((kind, value),) = resolve(Prompt(**clues), registry=SimpleNamespace(all=lambda hook: [Region()]))[
        0
    ].clues
    condition = kind.encode(value, Condition("region", None), recording)
    np.testing.assert_array_equal(condition.vector, np.eye(384)[0])
    return seen[0]


def test_models_that_watch_get_the_video_without_the_thing(clip, tmp_path):
    class Watcher:
        takes = frozenset({"anchors", "video"})

    white = np.zeros((SIZE[1], SIZE[0]), np.uint8)
    white[30:62, 20:52] = 255
    cv2.imwrite(str(tmp_path / "mask.png"), white)
    for clues in ({"region": "20,30,32,32"}, {"mask": tmp_path / "mask.png"}):
        kinds = SimpleNamespace(all=lambda hook: [Region()])
        ((kind, value),) = resolve(Prompt(**clues), registry=kinds)[0].clues
        condition = kind.encode(value, Condition("region", None), Recording(clip, Watcher(), start_s=1.0))
        video = condition.video
        assert condition.vector is None
        assert video.frames.shape == (len(video.times_s), 3, SIZE[1], SIZE[0])
        assert video.times_s[0] == pytest.approx(1.0, abs=0.13)
        assert (video.frames[0].sum(axis=0) == 0).mean() == pytest.approx(
            32 * 32 / SIZE[0] / SIZE[1], rel=0.2
        )


def redness(crops) -> np.ndarray:
    return (crops[:, 0].astype(float) - crops[:, 2]).mean(axis=(1, 2))


def test_a_thing_is_followed_both_ways(clip):
    crops = encode(clip, region="44,30,32,32@1")
    assert crops.shape[1:] == (3, 224, 224)
    assert len(crops) >= 12
    assert redness(crops).min() > 60


@pytest.mark.parametrize("mark", [{"point": "35,45"}, {"point": (35, 45)}, {"region": [20, 30, 32, 32]}])
def test_points_and_python_values(clip, mark):
    assert redness(encode(clip, **mark)).mean() > 60


def test_masks_are_white_on_what_is_wanted(clip, tmp_path):
    white = np.zeros((SIZE[1], SIZE[0]), np.uint8)
    white[30:62, 20:52] = 255
    cv2.imwrite(str(tmp_path / "mask.png"), white)
    assert redness(encode(clip, mask=tmp_path / "mask.png")).min() > 60
    still = encode(clip, mask=tmp_path / "mask.png")
    Image.fromarray(white).save(tmp_path / "mask.gif")  # a picture as well: the thing is followed
    np.testing.assert_array_equal(encode(clip, mask=tmp_path / "mask.gif"), still)
    masks = [
        np.where(picture(20 + 3 * i)[..., :1] > 120, 255, 0).astype(np.uint8).repeat(3, 2) for i in range(16)
    ]
    moving = encode(clip, mask=video(tmp_path / "mask.mp4", masks, sound=False))
    assert redness(moving).min() > 90


def test_the_preview_is_white_where_it_is_wanted(clip, tmp_path):
    encode(clip, region="44,30,32,32@1", preview=tmp_path / "new" / "out.png")
    shown = cv2.imread(str(tmp_path / "new" / "out.png"))
    assert shown.shape == (SIZE[1], 2 * SIZE[0], 3)
    mask = shown[:, SIZE[0] :, 0]
    assert (mask[30:62, 44:76] == 255).all()
    assert mask.mean() == pytest.approx(255 * 32 * 32 / (SIZE[0] * SIZE[1]))


@pytest.mark.parametrize(
    ("clues", "says"),
    [
        ({"region": "1,2,3"}, "no region"),
        ({"region": "1,2,3,x"}, "no region"),
        ({"region": "1,2,3,nan"}, "no region"),
        ({"region": "1,2,0,4"}, "no area"),
        ({"region": "1,2,3,4@soon"}, "not a time"),
        ({"point": "1"}, "no point"),
        ({"region": "1,2,3,4", "point": "1,2"}, "exclude each other"),
        ({"preview": "a.png"}, "add a region"),
        ({"region": "1,2,3,4", "preview": "a.jpg"}, "no png"),
        ({"mask": "gone.png"}, "not a file"),
    ],
)
def test_malformed_regions_are_one_sentence(clues, says):
    with pytest.raises(PromptError, match=says) as caught:
        Region().parse(clues)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("clues", "says"),
    [
        ({"region": "150,2,20,4"}, "reaches outside the picture, which is 160 x 96"),
        ({"point": "160,5"}, "outside the picture"),
        ({"point": "-1,5"}, "outside the picture"),
        ({"point": "5,5@9"}, "no picture at 9 s"),
    ],
)
def test_regions_that_do_not_fit_the_video(clip, clues, says):
    with pytest.raises(PromptError, match=says):
        encode(clip, **clues)


def test_masks_that_do_not_fit(clip, tmp_path):
    cv2.imwrite(str(tmp_path / "small.png"), np.full((10, 20), 255, np.uint8))
    cv2.imwrite(str(tmp_path / "black.png"), np.zeros((SIZE[1], SIZE[0]), np.uint8))
    (tmp_path / "text.png").write_text("no picture")
    for name, says in (
        ("small", "20 x 10 pixels, but the video is 160 x 96"),
        ("black", "black"),
        ("text", "mask"),
    ):
        with pytest.raises(PromptError, match=says):
            encode(clip, mask=tmp_path / f"{name}.png")


def test_sound_alone_has_no_regions(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(48_000), 48_000)
    with pytest.raises(AudioReadError, match="holds no picture"):
        encode(tmp_path / "a.wav", point="1,2")


def test_boxes_and_crops():
    frame = picture(20).transpose(2, 0, 1)
    assert box_of(frame[0] > 120) == (20, 30, 32, 32)
    assert redness(crop(frame, (20, 30, 32, 32))[None])[0] > 150
    wide = crop(frame, (0, 30, 100, 20))
    assert (wide[:, :80] == 118).all()
    assert box_around(frame, 150, 90)[2:] != (0, 0)
    assert shrunk(frame, 80).shape == (3, 48, 80)
    assert shrunk(frame) is frame
    whole = (0.0, 0.0, *map(float, SIZE))
    assert track([frame] * 3, whole, 1) == [whole] * 3


@pytest.mark.parametrize("box", [(0, 0, 80, 96), (80, 0, 80, 96), (0, 0, 160, 50), (150, 86, 10, 10)])
def test_boxes_on_the_border_can_be_followed(box):
    frames = [picture(20 + i).transpose(2, 0, 1) for i in range(3)]
    followed = track(frames, box, 1)
    assert len(followed) == 3
    np.testing.assert_allclose(followed, [box] * 3, atol=30)
