"""Choosing among options: memory follows the options there are, and answers that are ties are told."""

import tracemalloc

import numpy as np
import pandas as pd
import pytest

from ubench_utils.models.answers import blocks, in_blocks
from ubench_utils.models.baseline import predict_randomly
from ubench_utils.models.encoders.features import Features, predict
from ubench_utils.models.encoders.matching import predict_matches

pytestmark = pytest.mark.usefixtures("cache")
N, LONGEST = 2000, 5000


def of_counts(counts):
    """Questions with these numbers of options, about 20 images, and features of a random model; options repeat."""
    rng = np.random.default_rng(0)
    texts = [f"text {i:05}" for i in range(max(counts))]
    options = [tuple(texts[i] for i in rng.permutation(max(n, 12))[:n]) for n in counts]
    images = [f"image {i}" for i in rng.integers(20, size=len(counts))]
    keys = {"dataset": "d", "image_id": images, "image_hash": images, "question": "classification", "wording": 1}
    answers = [int(rng.integers(n)) for n in counts]
    questions = pd.DataFrame(keys).assign(options=options, answer_idx=answers, n_options=counts)

    def features(names):
        vectors = rng.normal(size=(len(names), 16)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return Features({name: row for row, name in enumerate(names)}, vectors, {}, [], 0)

    return questions, features(sorted(set(images))), features(texts)


@pytest.fixture(scope="module")
def uneven():
    """Questions of two to seven options, and one of thousands in their midst."""
    counts = np.random.default_rng(1).integers(2, 8, size=N)
    counts[N // 2] = LONGEST
    return of_counts(counts)


def matches_of(questions, images, texts):
    pairs = sorted(
        {(image, text) for image, row in zip(questions.image_hash, questions.options, strict=True) for text in row}
    )
    values = [images.vectors[images.row_of[image]] @ texts.vectors[texts.row_of[text]] for image, text in pairs]
    return Features({pair: row for row, pair in enumerate(pairs)}, np.array(values, np.float32), {}, [], 0)


def test_answers_equal_a_loop_over_the_questions(uneven):
    questions, images, texts = uneven
    found = predict(questions, images, texts, 10.0)
    assert found.index.equals(questions.index) and found.image_id.equals(questions.image_id)
    for answer, question in zip(found.itertuples(), questions.itertuples(), strict=True):
        vectors = texts.vectors[[texts.row_of[option] for option in question.options]].astype(np.float64)
        similarity = vectors @ images.vectors[images.row_of[question.image_hash]]
        probability = np.exp(10 * similarity) / np.exp(10 * similarity).sum()
        assert answer.predicted_idx == similarity.argmax() and not answer.tied
        assert answer.correct == (answer.predicted_idx == question.answer_idx)
        np.testing.assert_allclose(answer.p_predicted, probability.max(), rtol=1e-4)
        np.testing.assert_allclose(answer.p_answer, probability[question.answer_idx], rtol=1e-4)


def test_an_answer_does_not_depend_on_the_other_questions(uneven):
    """Bit for bit, whatever stands beside a question."""
    questions, images, texts = uneven
    whole, part = predict(questions, images, texts, 10.0), questions.sample(frac=0.1, random_state=0)
    pd.testing.assert_frame_equal(predict(part, images, texts, 10.0), whole.loc[part.index])
    pd.testing.assert_frame_equal(predict_randomly(part), predict_randomly(questions).loc[part.index])
    matches = matches_of(questions, images, texts)
    whole = predict_matches(questions, matches)
    pd.testing.assert_frame_equal(predict_matches(part, matches), whole.loc[part.index])
    assert whole.predicted_idx.equals(predict(questions, images, texts, 1.0).predicted_idx)


def test_memory_follows_the_options_there_are(uneven):
    """As one rectangle, similarities alone would take 40 MB, rows and probabilities 80 MB each."""
    questions, images, texts = uneven
    matches = matches_of(questions, images, texts)
    for answer in (
        lambda: predict(questions, images, texts, 10.0),
        lambda: predict_matches(questions, matches),
        lambda: predict_randomly(questions),
    ):
        tracemalloc.start()
        answer()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 8e6


def test_blocks_hold_every_question_once(uneven):
    questions = uneven[0]
    places = blocks(questions)
    assert sorted(np.concatenate(places)) == list(range(N))
    for place in places:
        assert questions.n_options.iloc[place].nunique() == 1
        assert len(place) == 1 or questions.n_options.iloc[place].sum() <= 24_000
    table = in_blocks(questions, lambda block: block[["image_id"]].assign(first=[row[0] for row in block.options]))
    assert table["first"].tolist() == [row[0] for row in questions.options]
    assert len(predict(questions.iloc[:0], *uneven[1:], 1.0)) == 0
