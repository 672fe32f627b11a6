"""Separation with SAM-Audio, scored by its Judge, in the shape of upstream's loops; nothing in it is ours.

The data: a folder with a table prompts.csv, which has the columns file, description, start, end (in seconds)
and video; the last three may be empty.
"""

import argparse
import csv
import json
from pathlib import Path

import torch
import torchaudio
from torch.utils.data import DataLoader, Dataset

from sam_audio import SAMAudio, SAMAudioJudgeModel, SAMAudioJudgeProcessor, SAMAudioProcessor
from sam_audio.processor import Batch


class Prompts(Dataset):
    def __init__(self, folder, setting):
        with open(folder / "prompts.csv") as file:
            rows = list(csv.DictReader(file))
        wanted = {
            "text": lambda row: True,
            "span": lambda row: row["start"],
            "visual": lambda row: row["video"],
        }
        self.folder, self.rows = folder, [row for row in rows if wanted[setting](row)]

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        return self.rows[i]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="facebook/sam-audio-large")
    parser.add_argument("--judge", default="facebook/sam-audio-judge")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--setting", choices=["text", "span", "visual"], default="text")
    parser.add_argument("--candidates", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=2)
    args = parser.parse_args()

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = SAMAudio.from_pretrained(args.model, map_location="cpu", visual_ranker=None).eval().to(device)
    processor = SAMAudioProcessor.from_pretrained(args.model)
    judge = SAMAudioJudgeModel.from_pretrained(args.judge).eval().to(device)
    judge_processor = SAMAudioJudgeProcessor.from_pretrained(args.judge)

    def collate(rows):
        more = {}
        if args.setting == "span":
            more["anchors"] = [[["+", float(row["start"]), float(row["end"])]] for row in rows]
        if args.setting == "visual":
            videos = [str(args.data / row["video"]) for row in rows]
            more["masked_videos"] = processor.mask_videos(
                videos, [video.replace("clip", "mask") for video in videos]
            )
        batch = processor(
            audios=[str(args.data / row["file"]) for row in rows],
            descriptions=["" if args.setting == "visual" else row["description"] for row in rows],
            **more,
        )
        return rows, batch

    args.out.mkdir(exist_ok=True)
    scores = []
    for rows, batch in DataLoader(Prompts(args.data, args.setting), args.batch_size, collate_fn=collate):
        assert isinstance(batch, Batch)
        batch = batch.to(model.device())
        with torch.inference_mode():
            result = model.separate(
                batch,
                reranking_candidates=args.candidates,
                predict_spans=args.setting == "text",
                ode_opt={"method": "midpoint", "options": {"step_size": 2 / 4}},
            )
        mixtures = model.unbatch(batch.audios[:, 0], batch.wav_sizes // processor.hop_length)
        targets = [target[: len(mixture)].cpu() for target, mixture in zip(result.target, mixtures)]
        inputs = judge_processor(
            text=[row["description"] for row in rows],
            input_audio=[mixture.cpu() for mixture in mixtures],
            separated_audio=targets,
            return_tensors="pt",
            padding=True,
        ).to(device)
        with torch.inference_mode():
            judged = judge(**inputs)
        for i, row in enumerate(rows):
            name = f"{Path(row['file']).stem} {row['description']}.wav"
            torchaudio.save(str(args.out / name), targets[i][None], processor.audio_sampling_rate)
            axes = ("overall", "recall", "precision", "faithfulness")
            scores.append({"file": name, **{axis: getattr(judged, axis)[i].item() for axis in axes}})
    means = {axis: sum(score[axis] for score in scores) / len(scores) for axis in scores[0] if axis != "file"}
    (args.out / "scores.json").write_text(json.dumps({"means": means, "items": scores}, indent=2))


if __name__ == "__main__":
    main()
