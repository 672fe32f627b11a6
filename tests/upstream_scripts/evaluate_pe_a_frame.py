"""When events sound, with PE-A-Frame, in the shape of upstream's loops: only the import line names our package.

The data: a table with the columns file, event, onset and offset, in seconds.
"""

import argparse
import csv
import json
from collections import defaultdict

import torch

from peav import PEAudioFrame, PEAudioFrameTransform


def overlap(spans, truth, step=0.04):
    frames = {
        name: {i for start, end in each for i in range(round(start / step), round(end / step))}
        for name, each in (("spans", spans), ("truth", truth))
    }
    union = frames["spans"] | frames["truth"]
    return len(frames["spans"] & frames["truth"]) / max(len(union), 1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="pe-a-frame-large")
    parser.add_argument("--data")
    parser.add_argument("--out")
    parser.add_argument("--threshold", type=float, default=0.3)
    args = parser.parse_args()

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = PEAudioFrame.from_config(args.model, pretrained=True).to(device)
    transform = PEAudioFrameTransform.from_config(args.model)

    events = defaultdict(lambda: defaultdict(list))
    with open(args.data) as file:
        for row in csv.DictReader(file):
            events[row["file"]][row["event"]].append((float(row["onset"]), float(row["offset"])))

    results = []
    for file, truth in events.items():
        descriptions = list(truth)
        inputs = transform(audio=[file] * len(descriptions), text=descriptions).to(device)
        with torch.inference_mode():
            outputs = model(**inputs, return_spans=True, threshold=args.threshold)
        for description, spans in zip(descriptions, outputs.spans):
            times = ", ".join(f"({start:.2f}, {end:.2f})" for start, end in spans)
            print(f'"{description}": [{times}]')
            results.append(
                {"file": file, "event": description, "overlap": overlap(spans, truth[description])}
            )
    with open(args.out, "w") as file:
        json.dump(results, file, indent=2)


if __name__ == "__main__":
    main()
