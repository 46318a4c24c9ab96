"""Time the straightforward evaluation loop against `ubench_utils.evaluate` on the same images.

The loop does what the official evaluation does: for every question it encodes the image and all options again, one
question at a time. `evaluate` starts from an empty cache and encodes each image and each distinct text once. Both
run in this process, on the CPU in float32, and must choose the same option for every question.

Read the last line: `ratio` is the loop's seconds over evaluate's; loading the model and the data is in neither.
It grows with the number of questions that share an image and of images that share their options.
"""

import argparse
import os
import tempfile
import time

import torch
from tqdm import tqdm

from ubench_utils.data.benchmark import load_benchmark
from ubench_utils.data.pixels import decode
from ubench_utils.data.questions import build_questions
from ubench_utils.evaluation.evaluate import evaluate
from ubench_utils.models import load


def loop(benchmark, questions, model):
    """Answer each question by itself; returns the chosen indices."""
    row_of = {key: row for row, key in enumerate(zip(benchmark.images.dataset, benchmark.images.image_id, strict=True))}
    chosen = []
    for question in tqdm(questions.itertuples(), total=len(questions), unit="question", disable=None):
        image = decode(benchmark.image_bytes(row_of[question.dataset, question.image_id]))
        vector = torch.from_numpy(model.encode_images(model.preprocess(image)[None]))
        options = torch.from_numpy(model.encode_texts(list(question.options)))
        chosen.append(int((vector @ options.T).argmax()))
    return chosen


def main():
    """Run both sides and print the seconds of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="open_clip:ViT-B-32", help="default: ViT-B/32 with random weights")
    parser.add_argument("--dataset", default="demo")
    parser.add_argument("--images", type=int, default=60)
    options = parser.parse_args()
    benchmark = load_benchmark(options.dataset, limit=options.images)
    questions = build_questions(benchmark)
    model = load.load_model(options.model)  # kept by the module, so neither side pays for it
    model.encode_texts(["warm up"])
    with tempfile.TemporaryDirectory() as folder:
        os.environ["UBENCH_CACHE"] = folder
        started = time.perf_counter()
        predictions = evaluate(benchmark, [options.model], device="cpu", precision="float32").predictions
        once = time.perf_counter() - started
    started = time.perf_counter()
    chosen = loop(benchmark, questions, model)
    again = time.perf_counter() - started
    different = int((predictions.predicted_idx.to_numpy() != chosen).sum())
    print(f"model {options.model}, dataset {options.dataset}, {torch.get_num_threads()} threads")
    print(f"images {len(benchmark.images)}, questions {len(questions)}, different predictions {different}")
    print(f"loop {again:.1f} s, evaluate {once:.1f} s, ratio {again / once:.1f}")
    return 1 if different else 0


if __name__ == "__main__":
    raise SystemExit(main())
