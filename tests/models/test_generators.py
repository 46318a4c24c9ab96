"""Models that reply in words: asked by the benchmark's prompt, batched as singly, once, and read by one rule."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.refusals import refused_model
from helpers.speakers import SPEAKERS, make
from PIL import Image
from safetensors.torch import load_file, save_file

from ubench_utils.cli import main
from ubench_utils.data.benchmark import load_benchmark
from ubench_utils.data.questions import HEADLINE_WORDING, build_questions
from ubench_utils.errors import UserError
from ubench_utils.evaluation.evaluate import evaluate, plan
from ubench_utils.models.generators import asked, local
from ubench_utils.models.generators.local import facts, letters_of
from ubench_utils.models.generators.protocol import LETTERS, is_right, prompt
from ubench_utils.models.generators.reply import Failure, Item, Reply, read
from ubench_utils.models.generators.sights import seen
from ubench_utils.models.load import open_model
from ubench_utils.report import tables

OPTIONS = ("light microscopy", "electron microscopy", "none of the above")
REAL = Path(__file__).parents[3] / "shared" / "data" / "real_sample.parquet"


@pytest.fixture(scope="session")
def speaker(tmp_path_factory):
    """Return the folder of a family's generator."""
    made = {}

    def get(family):
        if family not in made:
            made[family] = make(family, tmp_path_factory.mktemp(family))
        return made[family]

    return get


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Random models never end by themselves; a dozen tokens show what a hundred would."""
    monkeypatch.setattr(local, "MOST_TOKENS", 12)


def pictures(n):
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (40 + 9 * at, 64, 3), dtype=np.uint8)) for at in range(n)]


# ---------------------------------------------------------------------------------------------------- the protocol


def test_the_prompt_is_the_benchmarks_own():
    asked = prompt("What is it?", ("a cell", "none of the above"))
    assert (
        asked == "Answer with a single letter, no extra details.\nQuestion:What is it?\nA) a cell\nB) none of the above"
    )
    with pytest.raises(ValueError, match="zip"):
        prompt("?", ["x"] * 27)


@pytest.mark.parametrize(
    ("reply", "right"),
    [
        ("B", [1]),
        ("B) electron microscopy", [1]),
        ("A) light microscopy or B) electron microscopy", [0, 1]),  # the rule knows which option is right
        ("Both", [1]),
        (" B", []),
        ("b", []),
        ("The answer is B.", []),
        ("Cannot say", [2]),
        ("", []),
        ("electron microscopy", []),
    ],
)
def test_the_official_rule_is_as_the_benchmark_has_it(reply, right):
    assert [at for at in range(3) if is_right(reply, at, OPTIONS)] == right


ODD = [
    *(
        "",
        " ",
        "A",
        "B",
        "C",
        "D",
        " B",
        "b",
        "\nB",
        "B\n",
        "B.",
        "B)",
        "(B)",
        "**B**",
        "B</s>",
        "BB",
        "Both",
        "Can't say",
        "Dark",
    ),
    *(
        "An image",
        "A) ",
        "A)light microscopy",
        "A)  light microscopy",
        "a) light microscopy",
        "A) Light microscopy",
        "nan",
    ),
    *(
        "A) light microscopy",
        "B) electron microscopy",
        "C) none of the above",
        "D) nan",
        "B) light microscopy",
        "np.nan",
    ),
    *("The answer is B", "The answer is B) electron microscopy.", "x B) electron microscopyx", "B) electron", "Z", "1"),
    *("A) light microscopy\nB) electron microscopy\nC) none of the above\nD) nan", "not B) electron microscopy", "АB"),
    *(
        "A) light microscopyB) electron microscopy",
        "A) a) light microscopy",
        "A) A) light microscopy",
        "Ｂ",
        "В",
        "é",
        "👍 B",
    ),
    *(
        "light microscopy",
        "electron microscopy",
        "none of the above",
        "\\boxed{B}",
        "<think>B</think>A",
        "I",
        "I think A",
    ),
    *(
        '{"answer": "B"}',
        "B or A",
        "D",
        "Dapi",
        "Cells",
        "Answer: C",
        "Bacteria",
        "\tA",
        "\u200bA",
        "AAAA",
        "D) np.nan",
        "C)nan",
    ),
]


def officially_right(reply, letter, text):
    """The benchmark's rule stated otherwise: by cutting the reply, character for character."""
    line = [*letter, ")", " ", *text]
    starts = range(len(reply) - len(line) + 1)
    return list(reply)[:1] == [letter] or any([*reply[at : at + len(line)]] == line for at in starts)


def test_the_official_rule_agrees_with_another_statement_of_it():
    options = ("light microscopy", "electron microscopy", "none of the above", "nan")
    cases = [(reply, at) for reply in ODD for at in range(len(options))]
    found = [is_right(reply, at, options) for reply, at in cases]
    assert len(cases) >= 200 and 0.1 < np.mean(found) < 0.5
    assert found == [officially_right(reply, "ABCD"[at], options[at]) for reply, at in cases]


# ------------------------------------------------------------------------------------------------- local generators


@pytest.mark.parametrize("family", SPEAKERS)
def test_a_batch_is_answered_as_its_questions_one_by_one(speaker, family):
    model = open_model(f"hf:{speaker(family)}").load()
    images = [(picture,) for picture in pictures(6)]
    prompts = [prompt("Which? " + "really " * at, OPTIONS[: 2 + at % 2]) for at in range(6)]
    together = model.ask(images, prompts)
    singly = [model.ask([image], [text])[0] for image, text in zip(images, prompts, strict=True)]
    for one, other in zip(together, singly, strict=True):
        assert one.text == other.text and (one.finish, one.tokens_out) == (other.finish, other.tokens_out)
        assert one.tokens_in == other.tokens_in
        assert np.allclose(np.log(one.letters), np.log(other.letters), atol=1e-4)
        assert 0 < sum(one.letters) <= 1


def test_letters_are_summed_over_every_token_that_is_one(speaker):
    model = open_model(f"hf:{speaker('llava')}").load()
    tokenizer = model.processor.tokenizer
    letters = letters_of(tokenizer)
    for number, letter in enumerate(LETTERS[:4]):
        own = [token for token in range(len(tokenizer)) if tokenizer.decode([token]).strip() == letter]
        assert len(own) > 1 and np.flatnonzero(letters == number).tolist() == own  # A, and the byte that is A


def test_memory_that_runs_out_makes_batches_smaller(speaker, monkeypatch):
    model = open_model(f"hf:{speaker('qwen2.5-vl')}").load()
    ask, sizes = model.ask, []

    def tight(images, prompts):
        sizes.append(len(images))
        if len(images) > 3:
            raise RuntimeError("CUDA out of memory")
        return ask(images, prompts)

    items = [Item(at, (image,), prompt("?", OPTIONS)) for at, image in enumerate(pictures(10))]
    expected = {at: reply.text for at, reply in model.replies(items)}
    monkeypatch.setattr(model, "ask", tight)
    assert {at: reply.text for at, reply in model.replies(items)} == expected and sorted(expected) == list(range(10))
    assert sizes == [10, 5, 3, 3, 3, 1]


def test_a_question_with_the_token_of_an_image_fails_alone(speaker):
    model = open_model(f"hf:{speaker('qwen2.5-vl')}").load()
    odd = prompt("?", ("a <|image_pad|>", "b"))
    items = [Item(at, (image,), odd if at == 1 else prompt("?", OPTIONS)) for at, image in enumerate(pictures(3))]
    found = dict(model.replies(items))
    assert [type(found[at]) for at in range(3)] == [Reply, Failure, Reply] and "<|image_pad|>" in found[1].reason
    assert found[2].text == dict(model.replies(items[2:]))[2].text


def test_a_question_that_fails_is_counted_as_often_as_it_stands_there(speaker, cache, rows, parquet):
    held = [rows[0] | {"image_id": f"copy {n}"} for n in range(3)] + rows[4:6]
    for row in held[:3]:
        row["questions"] = {**row["questions"], "stain": row["questions"]["stain"] | {"question": "Which <image>?"}}
    run = evaluate(parquet(held), [f"hf:{speaker('llava')}"])
    passport = next(iter(run.record["models"].values()))
    assert passport["questions_failed"] == 3 and any("3 questions have no reply" in note for note in passport["notes"])


def test_weights_that_were_loaded_for_facts_alone_are_let_go(speaker, cache, rows, parquet, monkeypatch):
    benchmark = load_benchmark(parquet(rows[:2]))
    questions, model = build_questions(benchmark), open_model(f"hf:{speaker('llava')}")
    model.answer(benchmark, questions, device="cpu", precision="float32")
    shutil.rmtree(cache / "passports")
    loads, load = [], local.load
    monkeypatch.setattr(local, "load", lambda *how: loads.append(how) or load(*how))
    model.answer(benchmark, questions, device="cpu", precision="float32")
    assert len(loads) == 1 and not model._ready


def test_what_decodes_an_image_decides_what_is_asked(speaker, cache, rows, parquet, monkeypatch):
    data, name = parquet(rows[:3]), f"hf:{speaker('llava')}"
    assert plan(data, [name])[0].to_ask == evaluate(data, [name]).record["models"][name]["questions_asked_now"] > 0
    assert plan(data, [name])[0].to_ask == 0
    monkeypatch.setattr(asked, "decoder", lambda: {"rule": 0})
    assert plan(data, [name])[0].to_ask > 0


@pytest.mark.parametrize("family", ["paligemma", "florence2"])
def test_a_question_that_holds_a_token_of_the_models_own_is_not_asked(speaker, family):
    """It would show an image that is none, or end the user's turn."""
    model = open_model(f"hf:{speaker(family)}").load()
    words = ["cell", "<image>", "nucleus", model.processor.tokenizer.eos_token]
    items = [Item(at, (pictures(1)[0],), prompt("Which?", [word, "other"])) for at, word in enumerate(words)]
    found = dict(model.replies(items))
    assert [type(found[at]) for at in range(4)] == [Reply, Failure] * 2
    assert found[1].reason == "its words hold <image>, a token of the model's own"


def test_of_a_checkpoints_own_decoding_only_the_ends_are_taken(speaker, tmp_path):
    """Letters stand in the prompt, so a penalty on repetition would punish answers."""
    model = open_model(f"hf:{speaker('idefics3')}").load()
    asked = [(picture,) for picture in pictures(2)], [prompt("Which?", OPTIONS)] * 2
    plain = model.ask(*asked)
    folder = shutil.copytree(speaker("idefics3"), tmp_path / "own")
    third = int(model.network.generate(**model._inputs(*asked), max_new_tokens=3)[0, -1])
    own = {"repetition_penalty": 1.5, "no_repeat_ngram_size": 1, "min_new_tokens": 50, "do_sample": True}
    (folder / "generation_config.json").write_text(json.dumps({**own, "temperature": 3.0}))
    assert open_model(f"hf:{folder}").load().ask(*asked) == plain
    (folder / "generation_config.json").write_text(json.dumps({**own, "eos_token_id": [third, 1]}))
    ended = open_model(f"hf:{folder}").load().ask(*asked)[0]
    assert ended.finish == "stop" and ended.tokens_out <= 3 and plain[0].text.startswith(ended.text)
    tokenizer = model.processor.tokenizer
    tokens = tokenizer.convert_ids_to_tokens(sorted({third, 1, tokenizer.eos_token_id}))
    assert facts(open_model(f"hf:{folder}").load())["decoding"]["ends"] == tokens


def test_a_model_that_does_not_see_the_image_is_refused(speaker, tmp_path):
    """It would answer, and its score would be one of the text alone."""
    folder = shutil.copytree(speaker("llava"), tmp_path / "blind")
    weights = load_file(folder / "model.safetensors")
    (last,) = [key for key in weights if key.endswith("projector.linear_2.weight")]
    save_file({**weights, last: torch.zeros_like(weights[last])}, folder / "model.safetensors")
    refused_model(f"hf:{folder}", "a black and a white image make no difference")
    (folder / "chat_template.jinja").write_text("{{ messages[0].content[-1].text }}")
    refused_model(f"hf:{folder}", "does not answer about a blank image", "number of <image> tokens")


def test_the_chat_template_is_a_part_of_what_a_model_is(speaker, tmp_path):
    folder = shutil.copytree(speaker("qwen3-vl"), tmp_path / "own")
    before = open_model(f"hf:{folder}").identity
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text().replace("assistant", "helper"))
    assert open_model(f"hf:{folder}").identity != before and template in open_model(f"hf:{folder}").files


def test_scores_that_are_no_numbers_are_refused(speaker):
    """Greedy decoding would make a reply of them: always the first token of the vocabulary."""
    model = open_model(f"hf:{speaker('llava')}").load()
    with torch.no_grad():
        model.network.lm_head.weight[3] = float("nan")
    with pytest.raises(UserError, match="no numbers in float32; choose another --precision"):
        model.ask([(picture,) for picture in pictures(1)], [prompt("Which?", OPTIONS)])


def test_questions_are_asked_once_through_the_public_string(speaker, cache, rows, parquet, monkeypatch):
    name = f"hf:{speaker('paligemma')}"
    loads, load = [], local.load
    monkeypatch.setattr(local, "load", lambda *how: loads.append(how) or load(*how))
    data = parquet(rows[::4])
    assert main(["evaluate", "--dataset", data, "--models", name, "--out", "nowhere", "--dry-run"]) == 0 and not loads
    run = evaluate(data, [name, "random"])
    own = run.predictions[run.predictions.model == name]
    questions = build_questions(load_benchmark(data))
    assert len(own) == (questions.wording == HEADLINE_WORDING).sum() and (own.wording == HEADLINE_WORDING).all()
    assert own.reply.str.len().gt(0).all() and own.letter_mass.between(0, 1).all()
    assert run.predictions[run.predictions.model == "random"].reply.isna().all()
    monkeypatch.setattr(local.Speaker, "_generate", None)
    again = evaluate(data, [name])
    assert len(loads) == 1  # for its facts and for its replies
    assert again.record["models"][name]["questions_asked_now"] == 0
    pd.testing.assert_frame_equal(again.predictions, own.reset_index(drop=True))
    with pytest.raises(UserError, match="does not answer"):  # other questions are asked
        evaluate(parquet(rows[1::4], "other.parquet"), [name])


@pytest.mark.slow
@pytest.mark.parametrize("family", SPEAKERS)
@pytest.mark.parametrize("data", ["demo", pytest.param(str(REAL), id="real")])
def test_every_architecture_answers_end_to_end(speaker, cache, family, data):
    if data != "demo" and not REAL.exists():
        pytest.skip("the real sample is not here")
    name = f"hf:{speaker(family)}"
    run = evaluate(data, [name], limit=24)
    asked = run.questions[run.questions.wording == HEADLINE_WORDING]
    assert run.failures.empty and len(run.predictions) == len(asked) > 100
    assert run.predictions.letter_mass.between(0, 1, inclusive="right").all()
    assert run.record["models"][name]["questions_asked_now"] <= len(asked)  # pictures may have copies
    assert evaluate(data, [name], limit=24).record["models"][name]["questions_asked_now"] == 0


@pytest.mark.slow
def test_the_benchmark_of_generators_runs(speaker, tmp_path):
    script = Path(__file__).parents[2] / "benchmarks" / "generators.py"
    how = ["--questions", "8", "--batches", "1", "4", "--tokens", "4", "--rounds", "1", "--precisions", "float32"]
    out = tmp_path / "figures.json"
    command = [sys.executable, script, "--model", f"hf:{speaker('internvl')}", *how, "--out", out]
    subprocess.run(command, check=True, timeout=300)
    figures = json.loads(out.read_text())
    assert [row["batch"] for row in figures["batches"]] == [1, 4]
    assert all(row["ratio"] > 0 and row["bare_s"] > 0 for row in figures["batches"])
    assert figures["flips"] == [{"precision": "float32", "replies": 0.0, "letters": 0.0}]


def test_a_generator_whose_weights_are_not_whole_is_refused(speaker, tmp_path):
    folder = shutil.copytree(speaker("llava"), tmp_path / "cut")
    weights = load_file(folder / "model.safetensors")
    first = sorted(weights)[0]
    save_file({key: value for key, value in weights.items() if key != first}, folder / "model.safetensors")
    refused_model(f"hf:{folder}", "LlavaForConditionalGeneration", "weights")


def test_the_doctor_loads_a_generator(speaker, capsys):
    name = f"hf:{speaker('llava')}"
    assert main(["doctor", "--models", name, "--device", "cpu"]) == 0
    assert f"ok       {name}: " in capsys.readouterr().out


# -------------------------------------------------------------------------------------------------------- passports


@pytest.mark.parametrize("side", [20, 56, 64, 200, 300])
def test_an_image_has_a_token_for_every_merged_patch_that_is_seen(speaker, side):
    model = open_model(f"hf:{speaker('qwen2.5-vl')}").load()
    image = Image.new("RGB", (side, side + 30))
    found = seen(model, image)
    assert (found["width"], found["height"]) == image.size and found["tiles"] == 1
    assert found["tokens"] == found["seen_width"] * found["seen_height"] / 28**2
    assert 56**2 <= found["seen_width"] * found["seen_height"] <= 84**2  # what its processor allows
    ratio = (found["seen_width"] / found["seen_height"]) / (side / (side + 30))
    assert 0.5 < ratio < 2


def test_a_split_image_is_seen_in_tiles(speaker):
    model = open_model(f"hf:{speaker('idefics3')}").load()
    found = seen(model, Image.new("RGB", (100, 100)))
    assert (found["seen_width"], found["seen_height"], found["tiles"], found["tokens"]) == (28, 28, 5, 5)


def test_the_passport_names_what_users_fight_over(speaker, cache, rows, parquet, monkeypatch):
    name = f"hf:{speaker('qwen3-vl')}"
    data = parquet(rows[:2])
    run = evaluate(data, [name])
    facts = run.record["models"][name]
    (one,) = facts["sights"]  # images of one size
    assert one["tokens"] * 32**2 == one["seen_width"] * one["seen_height"]
    shown = tables.passport(run, name).set_index("what").value
    named = [
        "prompt",
        "chat template",
        "images",
        "normalisation",
        "decoding",
        "letters",
        "precision, device",
        "software",
    ]
    assert set(named) <= set(shown.index) and shown[f"an image of {one['width']} × {one['height']}"].endswith("tokens")
    assert not shown.str.contains(r"\bNone\b|\bnan\b").any() and "attention sdpa" in shown["precision, device"]
    assert "shortest_edge 3136" in shown["images"] and "longest_edge 7056" in shown["images"]
    monkeypatch.setattr(local, "load", None)
    assert evaluate(data, [name, "random"]).record["models"][name]["sights"] == [one]


# --------------------------------------------------------------------------------------------------------- reading


def test_a_reply_is_read_by_both_rules():
    asked = pd.DataFrame(
        {
            "dataset": "d",
            "image_id": [str(at) for at in range(4)],
            "question": "modality",
            "wording": 1,
            "answer_idx": 1,
            "n_options": 3,
            "labels": [OPTIONS] * 4,
            "options": [OPTIONS] * 4,
        }
    )
    letters = (0.2, 0.6, 0.0) + (0.0,) * 23
    replies = [
        Reply("B", "stop", letters),
        Reply("The answer is B.", "stop"),
        Reply("A) light microscopy, not B) electron microscopy", "length", letters),
        Reply("I cannot help with that", "refusal", (0.0,) * 26),
    ]
    found, notes = read(asked, replies)
    assert found.predicted_idx.tolist() == [1, 1, 0, -1]
    assert found.correct.tolist() == [True, True, False, False]
    assert found.correct_official.tolist() == [True, False, True, False]
    assert found.p_answer.round(6).tolist()[0] == 0.75 and found.p_answer.isna().tolist() == [False, True, False, True]
    assert found.letter_mass.round(6).tolist()[0] == 0.8 and np.isnan(found.p_predicted[3])
    assert notes == [
        "1 of 4 replies choose no option and count as wrong",
        "1 of 4 replies were cut off at the cap on tokens",
        "1 of 4 replies were declined by the model or its server",
    ]
