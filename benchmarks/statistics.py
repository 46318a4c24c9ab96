"""Time the statistics of many models and interpolations on a benchmark of μ-Bench's shape.

The answers are made up: 20 sub-datasets of unequal size, each with its modality and scale, five question types an image
whose answers are correlated, and base models that lose or gain with α. Timed are the public functions on one table of
all answers: `score` (every interval; the α curves are its rows), `compare_pairs` (every α against its own base) and,
unless `--core` is given, the table of forgetting, the choice of α and the calibration of the first base model's sweep.

Read the last lines: seconds of each step, and the peak memory of the whole process, making the answers included.
"""

import argparse
import resource
import time

import numpy as np
import pandas as pd

from ubench_utils.statistics import calibration, families, resampling, scores, selection

TYPES = {"domain": "coarse", "modality": "coarse", "submodality": "coarse", "stain": "coarse", "classification": "fine"}
ALPHAS = np.arange(11) / 10


def made_up(n_models: int, n_images: int, seed: int = 0) -> pd.DataFrame:
    """Answers of every model × α to five questions of every image; text columns are categories."""
    rng = np.random.default_rng(seed)
    sizes = rng.dirichlet(np.full(20, 3.0))
    dataset = np.sort(rng.choice(20, n_images, p=sizes))
    modality, scale = rng.integers(3, size=20), rng.integers(3, size=20)
    image, kind = np.repeat(np.arange(n_images), len(TYPES)), np.tile(np.arange(len(TYPES)), n_images)

    def category(codes, names):
        return pd.Categorical.from_codes(codes, [str(name) for name in names])

    level = np.array([list(TYPES.values()).index(level) for level in TYPES.values()])
    questions = pd.DataFrame(
        {
            "dataset": category(dataset[image], [f"set {i:02}" for i in range(20)]),
            "image_id": category(image, range(n_images)),
            "question": category(kind, TYPES),
            "wording": 1,
            "level": category((level[kind] > 0).astype(int), ["coarse", "fine"]),
            "n_options": 6,
            "modality": category(modality[dataset[image]], ["electron", "fluorescence", "light"]),
            "scale": category(scale[dataset[image]], ["cellular", "subcellular", "tissue"]),
        }
    )
    tables, names = [], [f"model {m} at {alpha}" for m in range(n_models) for alpha in ALPHAS]
    for m in range(n_models):
        ease = rng.normal(size=(n_images, 1)) + rng.normal(size=(20, 1))[dataset] + rng.normal(size=len(TYPES))
        change = rng.normal(0, 0.7, (20, len(TYPES)))[dataset]
        threshold = rng.logistic(size=ease.shape)
        for a, alpha in enumerate(ALPHAS):
            margin = (ease + alpha * change - threshold + rng.normal(0, 0.2, ease.shape)).ravel()
            tables.append(
                questions.assign(
                    model=category(np.full(len(questions), m * len(ALPHAS) + a), names),
                    alpha=alpha,
                    correct=margin > 0,
                    p_predicted=1 / (1 + np.exp(-np.abs(margin))),
                )
            )
    return pd.concat(tables, ignore_index=True)


def main():
    """Run the steps and print what each took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=10, help="base and fine-tuned pairs, each with 11 α")
    parser.add_argument("--images", type=int, default=20_000, help="five questions each")
    parser.add_argument("--resamples", type=int, default=resampling.RESAMPLES)
    parser.add_argument("--core", action="store_true", help="only intervals, differences and curves")
    options = parser.parse_args()
    with resampling.resamples(options.resamples):
        measure(options)


def measure(options):
    """Time every statistic."""
    answers = made_up(options.models, options.images)
    by = ["modality", "scale", "dataset"]
    print(
        f"{answers.model.nunique()} answer vectors × {len(answers) // answers.model.nunique():,} questions, "
        f"{options.resamples} resamples"
    )
    total = time.perf_counter()

    def timed(what, function, *arguments):
        started = time.perf_counter()
        table = function(*arguments)
        rows = f"{len(table):,} rows" if isinstance(table, pd.DataFrame) else "one result"
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"{what:<58} {time.perf_counter() - started:6.1f} s  {rows:>13}  peak so far {peak:.2f} GiB", flush=True)

    timed("score: all intervals and α curves", scores.score, answers, by)
    pairs = [(f"model {m} at 0.0", f"model {m} at {alpha}") for m in range(options.models) for alpha in ALPHAS[1:]]
    timed("compare_pairs: every α against its base", scores.compare_pairs, answers, pairs, by)
    print(f"{'intervals, paired differences, α curves':<58} {time.perf_counter() - total:6.1f} s")
    if not options.core:
        one = answers[answers.model.isin([f"model 0 at {alpha}" for alpha in ALPHAS])]
        ends = ("model 0 at 0.0", "model 0 at 1.0")
        timed("compare_cells: one pair", families.compare_cells, one, [ends], by)
        timed("cross_fit: one sweep", selection.cross_fit, one)
        timed("calibration_error: all answer vectors", calibration.calibration_error, answers)


if __name__ == "__main__":
    main()
