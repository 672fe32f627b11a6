"""Retrieval with PE-AV, in the shape of upstream's loops: only the import line names our package.

The data: a table with the columns file, caption and label.
"""

import argparse
import csv
import json

import torch
from torch.utils.data import DataLoader, Dataset

from peav import PEAudioVisual, PEAudioVisualTransform


class Clips(Dataset):
    def __init__(self, table):
        with open(table) as file:
            self.rows = list(csv.DictReader(file))

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        return self.rows[i]["file"], self.rows[i]["caption"]


def recall(similarity, k):
    top = similarity.topk(min(k, similarity.shape[1]), dim=1).indices
    wanted = torch.arange(len(similarity))[:, None]
    return (top == wanted).any(dim=1).float().mean().item()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="pe-av-large")
    parser.add_argument("--data")
    parser.add_argument("--out")
    parser.add_argument("--batch-size", type=int, default=2)
    args = parser.parse_args()

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = PEAudioVisual.from_config(args.model, pretrained=True).to(device).eval()
    transform = PEAudioVisualTransform.from_config(args.model)

    def collate(items):
        files, captions = map(list, zip(*items))
        return transform(videos=files, audio=files, text=captions)

    clips = Clips(args.data)
    found = {}
    for inputs in DataLoader(clips, args.batch_size, collate_fn=collate):
        inputs = inputs.to(device)
        with torch.inference_mode(), torch.autocast(device.type, dtype=torch.bfloat16):
            outputs = model(**inputs)
        for name in (
            "audio_embeds",
            "visual_embeds",
            "audio_visual_embeds",
            "audio_text_embeds",
            "visual_text_embeds",
            "audio_visual_text_embeds",
            "audio_plus_text_embeds",
            "visual_plus_text_embeds",
        ):
            found.setdefault(name, []).append(getattr(outputs, name).float().cpu())
    found = {name: torch.cat(parts) for name, parts in found.items()}

    directions = {
        "text to audio": ("audio_text_embeds", "audio_embeds"),
        "text to video": ("visual_text_embeds", "visual_embeds"),
        "text to audio-video": ("audio_visual_text_embeds", "audio_visual_embeds"),
        "audio to video": ("audio_embeds", "visual_embeds"),
        "audio+text to video": ("audio_plus_text_embeds", "visual_embeds"),
        "video+text to audio": ("visual_plus_text_embeds", "audio_embeds"),
    }
    results = {}
    for name, (query, gallery) in directions.items():
        similarity = found[query] @ found[gallery].T
        results[name] = {f"R@{k}": recall(similarity, k) for k in (1, 5, 10)}

    # zero-shot classification: the encoders one by one
    labels = sorted({row["label"] for row in clips.rows})
    with torch.inference_mode():
        classes = model.encode_audio_text(**transform(text=labels).to(device))
        scores = torch.cat(
            [
                model.encode_audio(**transform(audio=[row["file"]]).to(device)) @ classes.T
                for row in clips.rows
            ]
        )
    truth = torch.tensor([labels.index(row["label"]) for row in clips.rows])
    results["zero-shot"] = {"accuracy": (scores.argmax(dim=1).cpu() == truth).float().mean().item()}
    with open(args.out, "w") as file:
        json.dump(results, file, indent=2)


if __name__ == "__main__":
    main()
