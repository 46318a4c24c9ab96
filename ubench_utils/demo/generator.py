"""The recipe of the sample's tiny generator: a model that reads a micrograph and a question and replies in words.

FastVLM of transformers with a small residual network of timm as its eye, on the CPU, in minutes. It learns to see
first, by naming class and instrument, then to answer, by three exercises at once: which letter, in the benchmark's
prompt; the answer itself, where no options are given; and the letter of an option whose text stands in place of the
question, which needs no image.
"""

import copy
import sys
from string import ascii_uppercase as LETTERS

import numpy as np
import torch
import transformers
from tokenizers import AddedToken
from tokenizers.pre_tokenizers import ByteLevel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from .sample import NONE, QUESTIONS, SETS, TRAIN_SEED, VALUES, ask_all
from .train import SPECIALISTS, draw_training, whole_folder

SIDE, STRIDE = 64, 32  # pixels of an image, and of the square that one of its tokens stands for
IMAGE_TOKENS = (SIDE // STRIDE) ** 2
MEAN, STD = 0.5, 0.25
EYE = {"architecture": "resnet10t", "channels": [16, 32, 64, 128], "stem_width": 16}
WIDTH, LAYERS, HEADS = 64, 3, 4
VIEWS = 8  # quarter turns, and these mirrored
MOST_OPTIONS = 6
START, END, PAD, IMAGE = "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<image>"
CHAT = (
    f"{{% for message in messages %}}{START}{{% for part in message.content %}}{{% if part.type == 'image' %}}{IMAGE}"
    f"{{% else %}}{{{{ part.text }}}}{{% endif %}}{{% endfor %}}{END}{{% endfor %}}"
    f"{{% if add_generation_prompt %}}{START}{{% endif %}}"
)
INSTRUCTION = "Answer with a single letter, no extra details.\nQuestion:"  # the benchmark's own
# `askings`: how often an image is asked for its class in a step; `coarse`: how likely each other question is each time.
SEEING = {"images_per_set": 400, "steps": 375, "batch": 64, "lr": 2e-3}
ANSWERING = {"lr": 3.5e-3, "batch": 32, "exercises": 0.25}
LESSONS = [{"steps": 250, "askings": 1, "coarse": 1.0}, {"steps": 900, "askings": 4, "coarse": 0.1}]
TUNING = {"images_per_set": 400, "steps": 200, "batch": 32, "lr": 1e-4, "askings": 4, "coarse": 0.1}
UNASKED = ("modality", "submodality")  # in tuning: as in the specialists' captions, never the acquisition


# --------------------------------------------------------------------------------------------------- its parts


def processor():
    """Image processor and tokenizer: whatever the sample's questions say is one token, all other text its bytes."""
    phrases = [
        NONE,
        *(value for values in VALUES.values() for value in values),
        *(c for s in SETS for c in s["classes"]),
    ]
    phrases += [INSTRUCTION, *QUESTIONS.values(), *(s["question"] for s in SETS), *map(_mark, range(MOST_OPTIONS))]
    pieces = {piece: row for row, piece in enumerate([*sorted(ByteLevel.alphabet()), START, END, PAD, IMAGE])}
    tokenizer = transformers.Qwen2Tokenizer(vocab=pieces, merges=[], eos_token=END, pad_token=PAD)
    tokenizer.add_special_tokens({"additional_special_tokens": [START, END, PAD, IMAGE]})
    tokenizer.add_tokens([AddedToken(phrase, normalized=False) for phrase in dict.fromkeys(phrases)])
    images = transformers.CLIPImageProcessor(
        size={"shortest_edge": SIDE},
        crop_size={"height": SIDE, "width": SIDE},
        image_mean=[MEAN] * 3,
        image_std=[STD] * 3,
    )
    return transformers.LlavaProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=STRIDE,
        vision_feature_select_strategy="full",
        num_additional_image_tokens=0,
        chat_template=CHAT,
        image_token=IMAGE,
    )


def network(tokenizer):
    """The untrained network for a tokenizer."""
    eye = {name: EYE[name] for name in ("channels", "stem_width")}
    vision = transformers.TimmWrapperConfig(
        architecture=EYE["architecture"], do_pooling=False, hidden_size=EYE["channels"][-1], model_args=eye
    )
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None}
    text = transformers.Qwen2Config(
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        vocab_size=len(tokenizer),
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        **ends,
    )
    config = transformers.FastVlmConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
        image_seq_length=IMAGE_TOKENS,
        tie_word_embeddings=True,
    )
    return transformers.FastVlmForConditionalGeneration(config)


def _mark(number):
    return f"\n{LETTERS[number]}) "


# ------------------------------------------------------------------------------------------------- what it learns


def exercise(question, kind):
    """What is said to the model of one question of the sample, and the one token that it should reply.

    Parameters
    ----------
    question : dict
        As from `ask_all`.
    kind : {"letter", "words", "lookup"}
        The benchmark's prompt; the question alone, whose answer is its text; the prompt with the answer as question.

    Returns
    -------
    said, reply : str
    """
    asked = question["answer"] if kind == "lookup" else question["question"]
    options = "" if kind == "words" else "".join(_mark(at) + text for at, text in enumerate(question["options"]))
    reply = question["answer"] if kind == "words" else LETTERS[question["answer_idx"]]
    return f"{START}{IMAGE * IMAGE_TOKENS}{INSTRUCTION}{asked}{options}{END}{START}", reply


def see(eye, images, facts, rng, settings):
    """Train the eye in place to name class and instrument of each image; what names them is thrown away."""
    kinds = [(spec["dataset"], kind, submodality) for spec, kind, submodality in facts]
    number = {kind: row for row, kind in enumerate(sorted(set(kinds)))}
    answer = torch.tensor([number[kind] for kind in kinds])
    head = torch.nn.Linear(EYE["channels"][-1], len(number))
    optimiser, schedule = _optimiser([*eye.parameters(), *head.parameters()], settings["lr"], settings["steps"])
    eye.train().to(memory_format=torch.channels_last)
    for step, chosen in enumerate(_batches(rng, len(images), settings["batch"], settings["steps"])):
        pixels = _view(_scaled(images[chosen]), int(rng.integers(VIEWS)))
        seen = eye(pixels.contiguous(memory_format=torch.channels_last)).last_hidden_state
        loss = torch.nn.functional.cross_entropy(head(seen.mean((2, 3))), answer[chosen], label_smoothing=0.1)
        _step(optimiser, schedule, loss)
        _tell("seeing", step, settings["steps"], loss)
    eye.eval()


def answer(model, tokenizer, features, facts, rng, settings, lessons):
    """Train projector and language model in place, on features (views, images, tokens, width) of a frozen eye."""
    learning = [*model.model.multi_modal_projector.parameters(), *model.model.language_model.parameters()]
    n_steps = sum(lesson["steps"] for lesson in lessons)
    optimiser, schedule = _optimiser(learning, settings["lr"], n_steps)
    share = settings["exercises"]
    step = 0
    for lesson in lessons:
        for chosen in _batches(rng, len(facts), settings["batch"], lesson["steps"]):
            asked = list(_ask(facts, chosen, rng, lesson))
            kinds = rng.choice(["words", "lookup", "letter"], len(asked), p=[share, share, 1 - 2 * share])
            seen = features[int(rng.integers(VIEWS))][[image for image, _ in asked]]
            said = [exercise(question, kind) for (_, question), kind in zip(asked, kinds, strict=True)]
            loss = _loss(model, tokenizer, seen, said)
            _step(optimiser, schedule, loss, learning)
            _tell("answering", step, n_steps, loss)
            step += 1


def tune(model, tokenizer, images, facts, rng, settings):
    """Fine-tune the whole network in place on the benchmark's prompt; batch statistics stay the base's."""
    eye = model.model.vision_tower
    learning = list(model.parameters())
    optimiser, schedule = _optimiser(learning, settings["lr"], settings["steps"])
    for step, chosen in enumerate(_batches(rng, len(facts), settings["batch"], settings["steps"])):
        asked = list(_ask(facts, chosen, rng, settings, UNASKED))
        seen = _tokens(eye(_view(_scaled(images[chosen]), int(rng.integers(VIEWS)))))
        row = {image: row for row, image in enumerate(chosen)}
        said = [exercise(question, "letter") for _, question in asked]
        loss = _loss(model, tokenizer, seen[[row[image] for image, _ in asked]], said)
        _step(optimiser, schedule, loss, learning)
        _tell("tuning", step, settings["steps"], loss)


def _ask(facts, chosen, rng, lesson, unasked=()):
    """Pairs of an image and a question: the class every time, each other question now and then."""
    for image in chosen:
        for _ in range(lesson["askings"]):
            for name, question in ask_all(*facts[image], str(image), rng)[0].items():
                often = name == "classification" or (name not in unasked and rng.random() < lesson["coarse"])
                if question and often:
                    yield int(image), question


def _loss(model, tokenizer, seen, said):
    """Cross-entropy of the replies, and of their end, to which a tenth of the weight is given."""
    tokens = tokenizer([text + reply for text, reply in said], padding=True, padding_side="left", return_tensors="pt")
    image = BaseModelOutputWithPooling(pooler_output=model.model.multi_modal_projector(seen))
    found = model(**tokens, mm_encoder_outputs={"image": image}, logits_to_keep=2).logits
    reply = tokens["input_ids"][:, -1]
    end = torch.full_like(reply, tokenizer.eos_token_id)
    entropy = torch.nn.functional.cross_entropy
    return entropy(found[:, 0], reply) + 0.1 * entropy(found[:, 1], end)


def features_of(eye, images):
    """What the eye makes of every view of all images, (views, n, tokens, width)."""
    with torch.no_grad():
        parts = [[_tokens(eye(_view(_scaled(part), view))) for part in images.split(200)] for view in range(VIEWS)]
    return torch.stack([torch.cat(part) for part in parts])


def _tokens(seen):
    return seen.last_hidden_state.flatten(2).transpose(1, 2)


def _scaled(images):
    return (images.float() / 255 - MEAN) / STD


def _view(images, number):
    """One of the eight turns and mirrorings: micrographs have neither upright nor handedness."""
    turned = torch.rot90(images, number % 4, (2, 3))
    return turned.flip(3) if number >= 4 else turned


def _batches(rng, n, size, steps):
    """Yield `steps` batches of numbers below n, each number about equally often."""
    order = np.empty(0, int)
    for _ in range(steps):
        if len(order) < size:
            order = rng.permutation(n)
        yield order[:size]
        order = order[size:]


def _optimiser(learning, lr, steps):
    groups = [
        {"params": [p for p in learning if p.ndim > 1], "weight_decay": 0.05},
        {"params": [p for p in learning if p.ndim <= 1], "weight_decay": 0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98))
    return optimiser, torch.optim.lr_scheduler.OneCycleLR(optimiser, lr, steps, pct_start=0.1, cycle_momentum=False)


def _step(optimiser, schedule, loss, clipped=()):
    optimiser.zero_grad()
    loss.backward()
    if clipped:
        torch.nn.utils.clip_grad_norm_(clipped, 1.0)
    optimiser.step()
    schedule.step()


def _tell(what, step, steps, loss):
    if (step + 1) % 50 == 0 or step + 1 == steps:
        print(f"  {what} {step + 1}/{steps}  loss {loss.item():.3f}", file=sys.stderr, flush=True)


# -------------------------------------------------------------------------------------------------- training


def save(model, folder):
    """Write a folder that `AutoModelForImageTextToText` and `AutoProcessor` read, in float16, all at once."""
    with whole_folder(folder) as new:
        copy.deepcopy(model).half().save_pretrained(new)
        processor().save_pretrained(new)  # a tokenizer that was used keeps how it padded
        for file in new.iterdir():
            file.chmod(0o644)


def train(out_dir, seed=TRAIN_SEED):
    """Train the generator and its pathology specialist and save each as a folder of transformers.

    Parameters
    ----------
    out_dir : path
        Receives `speaker/` and `speaker-pathology/`.
    seed : int
        Of the training images (those of the dual encoders), the questions and the initial weights.

    Returns
    -------
    dict of str to pathlib.Path
        The folders written, by model name.
    """
    folders = {name: out_dir / name for name in ("speaker", "speaker-pathology")}
    rng = np.random.default_rng([seed, 8])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        parts = processor()
        model = network(parts.tokenizer)
        eye = model.model.vision_tower
        print("speaker", file=sys.stderr)
        images, facts = draw_training(SETS, seed, SEEING["images_per_set"])
        see(eye, images, facts, rng, SEEING)
        answer(model, parts.tokenizer, features_of(eye, images), facts, rng, ANSWERING, LESSONS)
        save(model, folders["speaker"])
        print("speaker-pathology", file=sys.stderr)
        images, facts = draw_training(SPECIALISTS["pathology"], seed + 1, TUNING["images_per_set"])
        tune(model, parts.tokenizer, images, facts, rng, TUNING)
        save(model, folders["speaker-pathology"])
    return folders
