"""Time a sweep over α against as many plain evaluations of one model: what mixing the weights adds to encoding.

Both start from an empty cache of features and the same cached pixels. The pair is an open_clip architecture with random
weights and the same weights with noise, saved as a checkpoint. Read the last line: `ratio` is the seconds of the sweep
over those of as many encodings by a model that is already there; 1.05 is 5 % on top. Mixing costs the same for any
number of images, so the ratio falls with their number.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import torch

from ubench_utils.data.benchmark import load_benchmark
from ubench_utils.evaluation.evaluate import evaluate
from ubench_utils.models.load import load_model
from ubench_utils.models.registry import mix_name
from ubench_utils.studies.interpolation import ALPHAS


def encode_once(benchmark, model) -> float:
    """Seconds to encode all images and texts of a benchmark with a loaded model, through the project's own engine."""
    from ubench_utils.data.questions import build_questions
    from ubench_utils.models.encoders.features import image_features, text_features

    texts = {text for options in build_questions(benchmark).options for text in options}
    started = time.perf_counter()
    key = f"timing-{started}"
    text_features(texts, key, lambda: model)
    image_features(benchmark, key, lambda: model)
    return time.perf_counter() - started


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arch", default="ViT-B-32")
    parser.add_argument("--images", type=int, default=400)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["UBENCH_CACHE"] = folder
        base, file = f"open_clip:{options.arch}", Path(folder) / "tuned.pt"
        model = load_model(base)
        torch.manual_seed(0)
        state = {
            k: v + 1e-3 * torch.randn_like(v) if v.is_floating_point() else v
            for k, v in model.network.state_dict().items()
        }
        torch.save(state, file)
        tuned = f"{base}@{file}"
        benchmark = load_benchmark("demo", options.images)
        encode_once(benchmark, model)  # warm: pixels are in the cache
        passes = [encode_once(benchmark, model) for _ in range(3)]
        names = [mix_name(base, tuned, alpha) for alpha in ALPHAS]
        load_model(tuned)
        started = time.perf_counter()
        evaluate(benchmark, names, device="cpu", precision="float32")
        sweep = time.perf_counter() - started
        left = [
            path for path in Path(folder).rglob("*") if path.suffix in (".pt", ".safetensors", ".bin") and path != file
        ]
    one = sorted(passes)[1]
    print(f"{options.arch}, {options.images} images; checkpoints written by the sweep: {len(left)}")
    print(f"one encoding pass: {one:.1f} s (median of {', '.join(f'{value:.1f}' for value in passes)})")
    print(f"sweep over {len(ALPHAS)} alphas: {sweep:.1f} s; ratio {sweep / (len(ALPHAS) * one):.3f}")


if __name__ == "__main__":
    main()
