"""Readers of published data sets, on small folders in their very layouts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sam_audio.errors import UserError
from sam_audio.evaluation.datasets import DATASETS, Item, LabelledEvent, load
from sam_audio.evaluation.folders import MEDIA


def touch(root: Path, *names: str) -> None:
    """Media that nobody opens here."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"media")


def wav(path: Path, seconds: float = 0.5) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.1 * np.sin(np.arange(int(seconds * 16_000)) * 0.1), 16_000)
    return path


def write(root: Path, name: str, *lines: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


def audiocaps(root: Path) -> None:
    write(
        root,
        "dataset/test.csv",
        "audiocap_id,youtube_id,start_time,caption",
        '103549,7fmOlUlwoNg,0,"Constant rattling noise, and sharp vibrations"',
        "103548,6BJ455B1aAs,10,A rocket flies by",
        "103541,-GOjsTXYqJQ,30,A dog barks",
        "103550,7fmOlUlwoNg,0,Constant rattling",
        "103542,gone0000000,30,Nothing is left",
    )
    wav(root / "audio/7fmOlUlwoNg.wav")
    wav(root / "audio/6BJ455B1aAs_10.wav")
    wav(root / "audio/103541.wav")


def clotho(root: Path) -> None:
    columns = ",".join(f"caption_{n}" for n in range(1, 6))
    write(
        root,
        "clotho_captions_evaluation.csv",
        f"file_name,{columns}",
        'Santa Motor.wav,"A machine, whirring.",b,c,d,e',
        "rain.wav,f,g,h,i,",
    )
    for folder in ("development", "evaluation"):
        wav(root / folder / "Santa Motor.wav")
        wav(root / folder / "rain.wav")


def vggsound(root: Path) -> None:
    write(
        root,
        "vggsound.csv",
        "---g-f_I2yQ,1,people marching,test",
        "--0PQM4-hqg,30,waterfall burbling,train",
        '--56QUhyDQM,185,"playing tennis, and shouting",test',
        "--5OkAjCI7g,40,people belly laughing,test",
    )
    touch(root, "video/---g-f_I2yQ_000001.mp4", "video/--0PQM4-hqg_000030.mp4")
    touch(root, "audio/---g-f_I2yQ_000001.wav", "audio/--56QUhyDQM_000185.wav")


def esc50(root: Path) -> None:
    write(
        root,
        "meta/esc50.csv",
        "filename,fold,target,category,esc10,src_file,take",
        "1-100032-A-0.wav,1,0,dog,True,100032,A",
        "1-100038-A-14.wav,1,14,chirping_birds,False,100038,A",
        "2-100210-A-36.wav,2,36,vacuum_cleaner,False,100210,A",
    )
    for name in ("1-100032-A-0", "1-100038-A-14", "2-100210-A-36"):
        wav(root / f"audio/{name}.wav")


def vctk(root: Path) -> None:
    write(root, "txt/p225/p225_001.txt", "Please call Stella.")
    write(root, "txt/p226/p226_001.txt", "Please call Stella.")
    write(root, "txt/s5/s5_002.txt", "Ask her to bring these things.")
    write(root, "speaker-info.txt", "ID AGE GENDER")
    for stem in ("p225/p225_001", "p226/p226_001", "s5/s5_002"):
        touch(root, f"wav48_silence_trimmed/{stem}_mic1.flac")
    touch(root, "wav48_silence_trimmed/p225/p225_001_mic2.wav")
    touch(root, "wav48_silence_trimmed/p315/p315_001_mic1.flac")  # which has no text


def activitynet(root: Path) -> None:
    videos = {
        "v_uqiMw7tQ1Cc": {
            "duration": 55.15,
            "timestamps": [[0.28, 55.15], [13.79, 54.32]],
            "sentences": ["A weight lifting tutorial is given.", " The coach helps\nthe guy. "],
        },
        "v_bXdq2zI1Ms0": {"duration": 73.1, "timestamps": [[17.3, 10.2]], "sentences": ["Three men dance."]},
        "v_gone": {"duration": 1.0, "timestamps": [[0, 1]], "sentences": ["Nobody saw it."]},
    }
    write(root, "captions/val_1.json", json.dumps(videos))
    touch(root, "videos/v_uqiMw7tQ1Cc.mp4", "videos/bXdq2zI1Ms0.mkv")


def kinetics400(root: Path) -> None:
    write(
        root,
        "annotations/val.csv",
        "label,youtube_id,time_start,time_end,split,is_cc",
        "testifying,---QUuC4vJs,84,94,val,0",
        '"air drumming",--nQbRBEz2s,104,114,val,0',
        "washing feet,--GkrdYZ9Tc,0,10,val,0",
    )
    touch(root, "val/testifying/---QUuC4vJs_000084_000094.mp4", "val/air_drumming/--nQbRBEz2s.mp4")


def desed(root: Path) -> None:
    write(
        root,
        "metadata/validation/validation.tsv",
        "filename\tonset\toffset\tevent_label",
        "Y00pbt6aJV8Y_350.000_360.000.wav\t0.0\t0.716\tSpeech",
        "Y00pbt6aJV8Y_350.000_360.000.wav\t1.637\t3.164\tAlarm_bell_ringing",
        "Y0IjVfOVKnlY_100.000_110.000.wav\t\t\t",
        "Y0gone00000_0.000_10.000.wav\t1.0\t2.0\tDog",
    )
    wav(root / "audio/validation/Y00pbt6aJV8Y_350.000_360.000.wav")
    wav(root / "audio/validation/Y0IjVfOVKnlY_100.000_110.000.wav")


def audioset_strong(root: Path) -> None:
    write(root, "mid_to_display_name.tsv", "/m/09x0r\tSpeech", "/m/0ytgt\tChild speech, kid speaking")
    write(
        root,
        "audioset_eval_strong.tsv",
        "segment_id\tstart_time_seconds\tend_time_seconds\tlabel",
        "s9d-2nhuJCQ_30000\t2.627\t7.237\t/m/09x0r",
        "8Z__LFZ28kw_210000\t0.000\t0.841\t/m/0ytgt",
        "8Z__LFZ28kw_210000\t1.000\t1.500\t/m/09x0r",
    )
    touch(root, "eval/s9d-2nhuJCQ_30000.wav", "eval/Y8Z__LFZ28kw_210.000_220.000.flac")


def urbansed(root: Path) -> None:
    """As scaper writes it: the background is an observation, too, and events last as long as they are heard."""

    def observation(label: str, role: str, time: float, duration: float) -> dict:
        value = {"label": label, "role": role, "event_time": time, "event_duration": 9.0, "snr": 6.0}
        return {"time": time, "duration": duration, "confidence": 1.0, "value": value}

    for split, events in (
        ("test", [("gun_shot", "foreground", 1.25, 0.5), ("dog_bark", "foreground", 9.0, 0.75)]),
        ("validate", []),
    ):
        data = [observation("noise", "background", 0.0, 10.0), *(observation(*event) for event in events)]
        annotation = {"namespace": "scaper", "sandbox": {}, "data": data, "duration": 10.0, "time": 0}
        name = f"soundscape_{split}_uniform7"
        write(root, f"annotations/{split}/{name}.jams", json.dumps({"annotations": [annotation]}))
        write(root, f"annotations/{split}/{name}.txt", "1.25\t1.75\tgun_shot")
        touch(root, f"audio/{split}/{name}.wav")


def valor(root: Path) -> None:
    entries = [
        {"video_id": "x-2Abohj8VY_30.000_40.000", "desc": "With the  rumble, a man walks."},
        {"videoid": "abc_0.000_10.000", "desc": "A dog barks."},
        {"video_id": "gone_0.000_10.000", "desc": "Nobody."},
    ]
    write(root, "desc_test.json", json.dumps(entries))
    touch(root, "videos/x-2Abohj8VY_30.000_40.000.mp4", "videos/abc_0.000_10.000.mkv")


def msrvtt(root: Path) -> None:
    write(
        root,
        "MSRVTT_JSFUSION_test.csv",
        "key,vid_key,video_id,sentence",
        "ret0,msr9770,video9770,a person is connecting something to system",
        'ret1,msr9771,video9771,"a little girl, who does gymnastics"',
    )
    touch(root, "TestVideo/video9770.mp4", "TestVideo/video9771.mp4")


def msvd(root: Path) -> None:
    write(
        root,
        "AllVideoDescriptions.txt",
        "# MSVD descriptions",
        "mv89psg6zh4_33_46 a bird in a sink keeps getting under the running water",
        "mv89psg6zh4_33_46 a bird is bathing",
        "mv89psg6zh4_33_46 a bird is bathing",
        "-4wsuPCjDBc_5_15 a squirrel is eating a peanut",
    )
    write(root, "test_list.txt", "mv89psg6zh4_33_46")
    touch(root, "YouTubeClips/mv89psg6zh4_33_46.avi", "YouTubeClips/-4wsuPCjDBc_5_15.avi")


def didemo(root: Path) -> None:
    entries = [
        {
            "annotation_id": 1,
            "video": "10015567@N08_3655_d8.mov",
            "description": "a dog runs.",
            "times": [[0, 0]],
        },
        {
            "annotation_id": 2,
            "video": "10015567@N08_3655_d8.mov",
            "description": "it  stops.",
            "times": [[4, 4]],
        },
        {"annotation_id": 3, "video": "11@N00_2.mp4.avi", "description": "a hill", "times": [[1, 1]]},
    ]
    write(root, "test_data.json", json.dumps(entries))
    touch(root, "videos/10015567@N08_3655_d8.mp4", "videos/11@N00_2.mp4.avi")


def ucf101(root: Path) -> None:
    write(root, "ucfTrainTestlist/classInd.txt", "1 ApplyEyeMakeup", "2 YoYo")
    for split, label in (("01", "ApplyEyeMakeup"), ("02", "YoYo")):
        name = f"{label}/v_{label}_g01_c01.avi"
        write(root, f"ucfTrainTestlist/testlist{split}.txt", name)
        touch(root, f"UCF-101/{name}")


def hmdb51(root: Path) -> None:
    folder = "testTrainMulti_7030_splits"
    write(
        root,
        f"{folder}/brush_hair_test_split1.txt",
        "a_brush_1.avi 1 ",
        "b_brush_2.avi 2 ",
        "c_brush_3.avi 0 ",
    )
    write(root, f"{folder}/wave_test_split1.txt", "#20_wave_u.avi 2 ")
    write(root, f"{folder}/wave_test_split2.txt", "#20_wave_u.avi 1 ")
    touch(root, "brush_hair/a_brush_1.avi", "brush_hair/b_brush_2.avi", "wave/#20_wave_u.avi")


def moments(root: Path) -> None:
    write(
        root,
        "validationSet.csv",
        "adult+male+speaking/getty-1_2.mp4,adult+male+speaking,3,0",
        "clapping/vine-3_4.mp4,clapping,4,1",
    )
    touch(root, "validation/adult+male+speaking/getty-1_2.mp4", "validation/clapping/vine-3_4.mp4")


def something(root: Path) -> None:
    entries = [
        {
            "id": "74225",
            "label": "spinning cube that quickly stops spinning",
            "template": "Spinning [something] that quickly stops spinning",
            "placeholders": ["cube"],
        },
        {"id": "1", "label": "x", "template": "Putting [something similar] on the table", "placeholders": []},
    ]
    write(root, "labels/validation.json", json.dumps(entries))
    touch(root, "20bn-something-something-v2/74225.webm")


MADE = {
    "audiocaps": audiocaps,
    "clotho": clotho,
    "vggsound": vggsound,
    "esc50": esc50,
    "vctk": vctk,
    "activitynet": activitynet,
    "activitynet-clips": activitynet,
    "kinetics400": kinetics400,
    "desed": desed,
    "audioset-strong": audioset_strong,
    "urbansed": urbansed,
    "valor": valor,
    "msr-vtt": msrvtt,
    "msvd": msvd,
    "didemo": didemo,
    "ucf101": ucf101,
    "hmdb51": hmdb51,
    "moments-in-time": moments,
    "something-something-v2": something,
}
EXPECTED = {
    "audiocaps": [
        Item(
            Path("audio/7fmOlUlwoNg.wav"),
            captions=("Constant rattling noise, and sharp vibrations", "Constant rattling"),
        ),
        Item(Path("audio/6BJ455B1aAs_10.wav"), captions=("A rocket flies by",)),
        Item(Path("audio/103541.wav"), captions=("A dog barks",)),
    ],
    "clotho": [
        Item(Path("evaluation/Santa Motor.wav"), captions=("A machine, whirring.", "b", "c", "d", "e")),
        Item(Path("evaluation/rain.wav"), captions=("f", "g", "h", "i")),
    ],
    "vggsound": [
        Item(Path("video/---g-f_I2yQ_000001.mp4"), label="people marching"),
        Item(Path("audio/--56QUhyDQM_000185.wav"), label="playing tennis, and shouting"),
    ],
    "esc50": [
        Item(Path("audio/1-100032-A-0.wav"), label="dog"),
        Item(Path("audio/1-100038-A-14.wav"), label="chirping birds"),
        Item(Path("audio/2-100210-A-36.wav"), label="vacuum cleaner"),
    ],
    "vctk": [
        Item(Path("wav48_silence_trimmed/p225/p225_001_mic1.flac"), captions=("Please call Stella.",)),
        Item(Path("wav48_silence_trimmed/p226/p226_001_mic1.flac"), captions=("Please call Stella.",)),
        Item(Path("wav48_silence_trimmed/s5/s5_002_mic1.flac"), captions=("Ask her to bring these things.",)),
    ],
    "activitynet": [
        Item(
            Path("videos/v_uqiMw7tQ1Cc.mp4"),
            captions=("A weight lifting tutorial is given. The coach helps the guy.",),
        ),
        Item(Path("videos/bXdq2zI1Ms0.mkv"), captions=("Three men dance.",)),
    ],
    "activitynet-clips": [
        Item(
            Path("videos/v_uqiMw7tQ1Cc.mp4"),
            captions=("A weight lifting tutorial is given.",),
            start_s=0.28,
            end_s=55.15,
        ),
        Item(
            Path("videos/v_uqiMw7tQ1Cc.mp4"),
            captions=("The coach helps the guy.",),
            start_s=13.79,
            end_s=54.32,
        ),
        Item(Path("videos/bXdq2zI1Ms0.mkv"), captions=("Three men dance.",), start_s=10.2, end_s=17.3),
    ],
    "kinetics400": [
        Item(Path("val/testifying/---QUuC4vJs_000084_000094.mp4"), label="testifying"),
        Item(Path("val/air_drumming/--nQbRBEz2s.mp4"), label="air drumming"),
    ],
    "desed": [
        Item(
            Path("audio/validation/Y00pbt6aJV8Y_350.000_360.000.wav"),
            events=(LabelledEvent("Speech", 0.0, 0.716), LabelledEvent("Alarm bell ringing", 1.637, 3.164)),
        ),
        Item(Path("audio/validation/Y0IjVfOVKnlY_100.000_110.000.wav")),
    ],
    "audioset-strong": [
        Item(Path("eval/s9d-2nhuJCQ_30000.wav"), events=(LabelledEvent("Speech", 2.627, 7.237),)),
        Item(
            Path("eval/Y8Z__LFZ28kw_210.000_220.000.flac"),
            events=(
                LabelledEvent("Child speech, kid speaking", 0.0, 0.841),
                LabelledEvent("Speech", 1.0, 1.5),
            ),
        ),
    ],
    "urbansed": [
        Item(
            Path("audio/test/soundscape_test_uniform7.wav"),
            events=(LabelledEvent("gun shot", 1.25, 1.75), LabelledEvent("dog bark", 9.0, 9.75)),
        ),
    ],
    "valor": [
        Item(Path("videos/x-2Abohj8VY_30.000_40.000.mp4"), captions=("With the rumble, a man walks.",)),
        Item(Path("videos/abc_0.000_10.000.mkv"), captions=("A dog barks.",)),
    ],
    "msr-vtt": [
        Item(Path("TestVideo/video9770.mp4"), captions=("a person is connecting something to system",)),
        Item(Path("TestVideo/video9771.mp4"), captions=("a little girl, who does gymnastics",)),
    ],
    "msvd": [
        Item(
            Path("YouTubeClips/mv89psg6zh4_33_46.avi"),
            captions=("a bird in a sink keeps getting under the running water", "a bird is bathing"),
        ),
    ],
    "didemo": [
        Item(Path("videos/10015567@N08_3655_d8.mp4"), captions=("a dog runs. it stops.",)),
        Item(Path("videos/11@N00_2.mp4.avi"), captions=("a hill",)),
    ],
    "ucf101": [
        Item(Path("UCF-101/ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi"), label="apply eye makeup"),
    ],
    "hmdb51": [
        Item(Path("brush_hair/b_brush_2.avi"), label="brush hair"),
        Item(Path("wave/#20_wave_u.avi"), label="wave"),
    ],
    "moments-in-time": [
        Item(Path("validation/adult+male+speaking/getty-1_2.mp4"), label="adult male speaking"),
        Item(Path("validation/clapping/vine-3_4.mp4"), label="clapping"),
    ],
    "something-something-v2": [
        Item(
            Path("20bn-something-something-v2/74225.webm"),
            label="Spinning something that quickly stops spinning",
        ),
    ],
}
LABELS = {
    "vggsound": ["people belly laughing", "people marching", "playing tennis, and shouting"],
    "esc50": ["chirping birds", "dog", "vacuum cleaner"],
    "kinetics400": ["air drumming", "testifying", "washing feet"],
    "desed": ["Alarm bell ringing", "Dog", "Speech"],
    "audioset-strong": ["Child speech, kid speaking", "Speech"],
    "urbansed": ["dog bark", "gun shot"],
    "ucf101": ["apply eye makeup"],
    "hmdb51": ["brush hair", "wave"],
    "moments-in-time": ["adult male speaking", "clapping"],
    "something-something-v2": [
        "Putting something similar on the table",
        "Spinning something that quickly stops spinning",
    ],
}
MISSING = {
    "audiocaps": 1,
    "vggsound": 1,
    "activitynet": 1,
    "activitynet-clips": 1,
    "kinetics400": 1,
    "desed": 1,
    "valor": 1,
    "something-something-v2": 1,
}


JAMS = "annotations/test/soundscape_test_uniform7.jams"


def test_every_data_set_is_tested():
    assert set(MADE) == set(EXPECTED) == set(DATASETS)


@pytest.mark.parametrize("name", DATASETS)
def test_published_layout(name, tmp_path):
    MADE[name](tmp_path)
    data = load(name, tmp_path)
    expected = [
        Item(tmp_path / i.path, i.captions, i.label, i.events, i.start_s, i.end_s) for i in EXPECTED[name]
    ]
    assert data.items == expected
    assert data.labels == LABELS.get(name, [])
    assert data.missing == MISSING.get(name, 0)
    assert (data.name, data.split) == (name, DATASETS[name][1])


@pytest.mark.parametrize("name", DATASETS)
def test_every_cut_of_an_annotation_is_read_or_refused_in_one_sentence(name, tmp_path):
    MADE[name](tmp_path)
    annotations = [p for p in tmp_path.rglob("*") if p.suffix in (".csv", ".tsv", ".json", ".jams")]
    for path in annotations:
        whole = path.read_bytes()
        for cut in range(0, len(whole), 13):
            path.write_bytes(whole[:cut])
            try:
                load(name, tmp_path)
            except UserError as error:
                assert "\n" not in str(error)
        path.write_bytes(whole)


@pytest.mark.parametrize("name", DATASETS)
def test_all_media_missing(name, tmp_path):
    MADE[name](tmp_path)
    for path in tmp_path.rglob("*"):
        if path.suffix in MEDIA:
            path.unlink()
    with pytest.raises(UserError, match=f"none of the .* of {name} is in"):
        load(name, tmp_path)


@pytest.mark.parametrize("name", DATASETS)
def test_empty_and_missing_folders(name, tmp_path):
    with pytest.raises(UserError, match="holds no"):
        load(name, tmp_path)
    with pytest.raises(UserError, match="is not a folder"):
        load(name, tmp_path / "nowhere")


@pytest.mark.parametrize(
    "name, path, column",
    [
        ("audiocaps", "dataset/test.csv", "youtube_id"),
        ("clotho", "clotho_captions_evaluation.csv", "caption_3"),
        ("esc50", "meta/esc50.csv", "category"),
        ("kinetics400", "annotations/val.csv", "time_end"),
        ("desed", "metadata/validation/validation.tsv", "event_label"),
        ("audioset-strong", "audioset_eval_strong.tsv", "segment_id"),
    ],
)
def test_a_missing_column_is_named(name, path, column, tmp_path):
    MADE[name](tmp_path)
    text = (tmp_path / path).read_text(encoding="utf-8")
    (tmp_path / path).write_text(text.replace(column, "other", 1), encoding="utf-8")
    with pytest.raises(UserError, match=f"has no column {column}; its columns are .*other"):
        load(name, tmp_path)


@pytest.mark.parametrize(
    "name, path, old, new, message",
    [
        (
            "audiocaps",
            "dataset/test.csv",
            "103548,6BJ455B1aAs,10",
            "103548,6BJ455B1aAs,ten",
            "line 3 .*'ten'",
        ),
        ("vggsound", "vggsound.csv", ",1,people", ",nan,people", "line 1 .*'nan'"),
        ("vggsound", "vggsound.csv", ",people marching,test", "", "too few columns"),
        ("activitynet", "captions/val_1.json", "[0.28, 55.15], ", "", "2 sentences but 1 timestamps"),
        ("activitynet", "captions/val_1.json", "timestamps", "times", "lacks a list"),
        ("activitynet", "captions/val_1.json", "0.28", '"soon"', "a start is 'soon'"),
        ("activitynet", "captions/val_1.json", "{", "[", "is not JSON"),
        ("desed", "metadata/validation/validation.tsv", "3.164", "1.5", "from 1.637 s to 1.5 s is not one"),
        ("desed", "metadata/validation/validation.tsv", "0.716", "", "offset is ''"),
        ("audioset-strong", "audioset_eval_strong.tsv", "/m/09x0r", "/m/none", "'/m/none' is not in mid_to"),
        ("audioset-strong", "audioset_eval_strong.tsv", "s9d-2nhuJCQ_30000", "s9d", "is not named like"),
        ("urbansed", JAMS, '"role"', '"part"', "is not an annotation that scaper wrote"),
        ("urbansed", JAMS, "0.75", '"long"', "a duration is 'long'"),
        ("valor", "desc_test.json", '"desc"', '"text"', "entry 0 .* has no video_id or no desc"),
        ("valor", "desc_test.json", "[", '{"a": [', "is not JSON"),
        ("msvd", "test_list.txt", "_33_46", "_33_47", "mv89psg6zh4_33_47 in .* has no sentence"),
        ("didemo", "test_data.json", '"video"', '"clip"', "entry 0 .* has no video"),
        ("ucf101", "ucfTrainTestlist/testlist01.txt", "/", "-", "is not CLASS/FILE.avi"),
        ("something-something-v2", "labels/validation.json", '"template"', '"x"', "has no id or no template"),
    ],
)
def test_a_wrong_value_is_named_with_its_place(name, path, old, new, message, tmp_path):
    MADE[name](tmp_path)
    text = (tmp_path / path).read_text(encoding="utf-8")
    assert old in text
    (tmp_path / path).write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(UserError, match=message):
        load(name, tmp_path)


def test_other_splits(tmp_path):
    for name in ("ucf101", "hmdb51", "urbansed"):
        MADE[name](tmp_path / name)
    assert [i.label for i in load("ucf101", tmp_path / "ucf101", "2").items] == ["yo yo"]
    with pytest.raises(UserError, match="the 2 split of hmdb51 in .* is empty"):
        load("hmdb51", tmp_path / "hmdb51", "2")
    assert [i.events for i in load("urbansed", tmp_path / "urbansed", "validate").items] == [()]
    for name in ("vggsound", "esc50", "vctk"):
        MADE[name](tmp_path / name)
    assert [i.path.name for i in load("vggsound", tmp_path / "vggsound", "train").items] == [
        "--0PQM4-hqg_000030.mp4"
    ]
    assert [i.label for i in load("esc50", tmp_path / "esc50", "2").items] == ["vacuum cleaner"]
    second = load("vctk", tmp_path / "vctk", "mic2")
    assert [i.path.name for i in second.items] == ["p225_001_mic2.wav"]
    assert second.missing == 2


def test_a_split_that_is_not_there_names_those_that_are(tmp_path):
    vggsound(tmp_path)
    with pytest.raises(UserError, match="no split 'val'; it has test, train"):
        load("vggsound", tmp_path, "val")
    desed(tmp_path)
    with pytest.raises(UserError, match="holds no public.tsv; it has validation.tsv"):
        load("desed", tmp_path, "public")


def test_vggsound_with_a_header(tmp_path):
    vggsound(tmp_path)
    before = load("vggsound", tmp_path)
    text = (tmp_path / "vggsound.csv").read_text(encoding="utf-8")
    (tmp_path / "vggsound.csv").write_text("youtube_id,start,label,split\n" + text, encoding="utf-8")
    assert load("vggsound", tmp_path) == before


def test_a_byte_order_mark_is_not_part_of_a_column(tmp_path):
    esc50(tmp_path)
    before = load("esc50", tmp_path)
    path = tmp_path / "meta/esc50.csv"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert load("esc50", tmp_path) == before
    path.write_bytes(path.read_bytes() + b"\xff\xfe")
    with pytest.raises(UserError, match="is not UTF-8"):
        load("esc50", tmp_path)


def test_converted_media_are_found(tmp_path):
    esc50(tmp_path)
    wav(tmp_path / "audio/1-100032-A-0.wav").rename(tmp_path / "audio/1-100032-A-0.FLAC")
    touch(tmp_path, "audio/._1-100038-A-14.wav")
    data = load("esc50", tmp_path)
    assert [i.path.name for i in data.items][:2] == ["1-100032-A-0.FLAC", "1-100038-A-14.wav"]


@pytest.mark.parametrize("name", ["", "..", "audio"])
def test_a_folder_is_no_medium(name, tmp_path):
    esc50(tmp_path)
    before = load("esc50", tmp_path)
    with (tmp_path / "meta/esc50.csv").open("a", encoding="utf-8") as file:
        file.write(f"{name},1,0,dog,True,1,A\n")
    data = load("esc50", tmp_path)
    assert (data.items, data.missing) == (before.items, 1)


@pytest.mark.parametrize("limit, expected", [(1, [0]), (3, [0, 3, 6]), (10, range(10)), (99, range(10))])
def test_a_limit_takes_clips_from_everywhere(limit, expected, tmp_path):
    lines = [f"{i}.wav,1,{i},class_{i}" for i in range(10)]
    write(tmp_path, "esc50.csv", "filename,fold,target,category", *lines)
    touch(tmp_path, *(f"{i}.wav" for i in range(10)))
    data = load("esc50", tmp_path, limit=limit)
    assert [i.path.stem for i in data.items] == [str(i) for i in expected]
    assert len(data.labels) == 10  # what can be answered stays the same
