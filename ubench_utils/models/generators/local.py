"""A generator in memory: a model of transformers that reads image and text and writes a reply."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image

from ...errors import UserError, first_line
from ..encoders.hf import network_of, part_of, silent
from ..folders import Source, read_json, refuse_code
from .protocol import LETTERS, digest
from .reply import Failure, Item, Reply

BATCH = 16  # questions asked at once, or ever fewer where memory runs out
MOST_TOKENS = 100  # of a reply: the benchmark's code allows PaliGemma as many
UNSEEN = 1e-7  # largest difference of probabilities that rounding may make
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class FirstStep(transformers.LogitsProcessor):
    """Keeps the log-probabilities of the first token that is generated, and changes nothing.

    Keeping the scores of every step would take gigabytes: as many numbers as the vocabulary has tokens, for each.
    """

    def __init__(self) -> None:
        self.log_probabilities: torch.Tensor | None = None

    def __call__(self, input_ids, scores):
        """Look at the scores of a step; they leave as they came."""
        if self.log_probabilities is None:
            self.log_probabilities = scores.float().log_softmax(dim=-1)
        return scores


@dataclass
class Speaker:
    """A model and its processor, ready to be asked."""

    name: str
    network: torch.nn.Module = field(repr=False)
    processor: Any = field(repr=False)
    letters: np.ndarray = field(repr=False)  # which letter every token of the vocabulary is, −1 for none
    device: torch.device
    dtype: torch.dtype
    mark: str = ""  # of an image in the text, where no chat template sets it

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    @property
    def recipe(self) -> dict:
        """How images are prepared, JSON-able."""
        images = getattr(self.processor, "image_processor", None)
        return {key: str(value) for key, value in sorted(images.to_dict().items())} if images is not None else {}

    @property
    def settings(self) -> dict:
        """What two models must share beside architecture, tokens and preprocessing to be merged."""
        template = getattr(self.processor, "chat_template", None)
        ends = self.network.generation_config.eos_token_id
        return {"chat template": template and digest(str(template)), "end tokens": ends}

    def token_ids(self, texts: list[str]) -> list:
        """What the tokenizer makes of texts, by which two of them are compared."""
        return self.processor.tokenizer(texts)["input_ids"]

    def on(self, device: str, precision: str) -> "Speaker":
        """The same model, moved to a device and rounded to a precision."""
        place, dtype = torch.device(device), DTYPES[precision]
        return replace(self, network=self.network.to(device=place, dtype=dtype), device=place, dtype=dtype)

    @property
    def own_tokens(self) -> set[str]:
        """Texts that its tokenizer takes for marks of images, turns and the like, wherever they stand."""
        tokens = self.processor.tokenizer.added_tokens_decoder.values()
        images = (getattr(self.processor, f"{kind}_token", None) for kind in ("image", "video"))
        return {str(token) for token in (*(one for one in tokens if one.special), *images) if token}

    def replies(self, items: Iterable[Item]) -> Iterator[tuple[int, Reply | Failure]]:
        """Replies as they come, each with the number of its question; where memory runs out, batches stay smaller.

        A question that its processor refuses fails alone. One whose words hold a token of the model's own is not
        asked: it would show an image that is none, or end the user's turn.
        """
        unasked: list[tuple[int, Failure]] = []
        coming, size = self._askable(items, unasked), BATCH
        part: list[Item] = []
        while part := [*part, *islice(coming, max(size - len(part), 0))]:
            now = part[:size]
            found: list[Reply | Failure]
            try:
                found = [*self.ask([item.images for item in now], [item.prompt for item in now])]
            except (RuntimeError, MemoryError) as error:  # torch's OutOfMemoryError is a RuntimeError
                if not isinstance(error, MemoryError) and "out of memory" not in str(error).lower():
                    raise
                if len(now) == 1:
                    why = "out of memory with one question: use a smaller model or another device"
                    raise UserError(why) from error
                size = (len(now) + 1) // 2
                continue
            except ValueError as error:
                if len(now) == 1:
                    found = [Failure(first_line(error, 140))]
                else:
                    found = [reply for item in now for _, reply in self.replies([item])]
            yield from ((item.number, reply) for item, reply in zip(now, found, strict=True))
            part = part[size:]
        yield from unasked

    def _askable(self, items: Iterable[Item], unasked: list) -> Iterator[Item]:
        own = sorted(self.own_tokens)
        for item in items:
            token = next((token for token in own if token in item.prompt), None)
            if token is None:
                yield item
            else:
                unasked.append((item.number, Failure(f"its words hold {token}, a token of the model's own")))

    def ask(self, images: Sequence[tuple[Image.Image, ...]], prompts: Sequence[str]) -> list[Reply]:
        """Replies to prompts, each about its images; greedy, so that the same question has the same reply.

        Raises
        ------
        UserError
            If its scores are no numbers, as of a network that was trained in bfloat16 and overflows in float16.
        """
        inputs, made, first = self._generate(images, prompts, MOST_TOKENS)
        start = inputs["input_ids"].shape[1]
        if self.network.config.is_encoder_decoder:
            made = made[:, 1:]  # what begins every reply, often a token that ends one too
        elif torch.equal(made[:, :start], inputs["input_ids"]):  # not of those that give back the reply alone
            made = made[:, start:]
        texts = self.processor.batch_decode(made, skip_special_tokens=True)
        letters = self._letters(first)
        ends = set(self.network.generation_config.eos_token_id)
        masks = inputs["attention_mask"].sum(dim=1).tolist()
        return [
            Reply(
                text=text,
                finish="stop" if set(tokens) & ends else "length",
                letters=tuple(row),
                tokens_in=int(n),
                tokens_out=_until(tokens, ends),
            )
            for text, tokens, row, n in zip(texts, made.tolist(), letters, masks, strict=True)
        ]

    def sees(self) -> bool:
        """Whether a black and a white image make a difference: a template or a processor may leave images out."""
        images = [(Image.new("RGB", (64, 64), colour),) for colour in ("black", "white")]
        _, _, first = self._generate(images, ["a micrograph"] * 2, 1)
        return float((first[0].exp() - first[1].exp()).abs().max()) > UNSEEN

    def _generate(self, images, prompts, most: int) -> tuple:
        """Tensors that were asked, tokens of prompts and replies, and log-probabilities of the first of each reply."""
        inputs = self._inputs(images, prompts)
        first = FirstStep()
        with torch.inference_mode():
            made = self.network.generate(
                **inputs,
                do_sample=False,
                num_beams=1,
                max_new_tokens=most,
                logits_processor=transformers.LogitsProcessorList([first]),
                return_dict_in_generate=True,
            ).sequences
        assert first.log_probabilities is not None
        if first.log_probabilities.isnan().any():
            now = str(self.dtype).removeprefix("torch.")
            raise UserError(f"its scores are no numbers in {now}; choose another --precision, say bfloat16 or float32")
        return inputs, made, first.log_probabilities

    def _inputs(self, images, prompts):
        """Tensors for ``generate``; padded on the left, or the first token of a shorter prompt would follow padding.

        An encoder counts its places from the left, so it is padded on the right.
        """
        side = "right" if self.network.config.is_encoder_decoder else "left"
        padded = {"padding": True, "padding_side": side}
        if getattr(self.processor, "chat_template", None):
            asked = [
                [*({"type": "image", "image": image} for image in shown), {"type": "text", "text": text}]
                for shown, text in zip(images, prompts, strict=True)
            ]
            how = {"tokenize": True, "return_dict": True, "return_tensors": "pt", "processor_kwargs": padded}
            chats = [[{"role": "user", "content": content}] for content in asked]
            found = self.processor.apply_chat_template(chats, add_generation_prompt=True, **how)
        else:  # PaliGemma and base models have none
            texts = [self.mark * len(shown) + text for shown, text in zip(images, prompts, strict=True)]
            found = self.processor(images=[list(shown) for shown in images], text=texts, return_tensors="pt", **padded)
        found.pop("labels", None)
        return found.to(self.device).to(self.dtype)  # the type touches floats alone

    def _letters(self, log_probabilities: torch.Tensor) -> np.ndarray:
        """Probability that the first token is a letter, summed over all tokens that are it; shape (n, 26)."""
        probabilities = log_probabilities.exp().cpu().numpy()
        found, letters = np.zeros((len(probabilities), len(LETTERS))), self.letters[: probabilities.shape[1]]
        for number in range(len(LETTERS)):
            found[:, number] = probabilities[:, np.flatnonzero(letters == number)].sum(axis=1)
        return found


def _until(tokens: list[int], ends: set[int]) -> int:
    """Number of tokens up to the first that ends a reply; those after it are padding."""
    return next((at + 1 for at, token in enumerate(tokens) if token in ends), len(tokens))


def greedy() -> dict:
    """How replies are made."""
    return {"do_sample": False, "repetition_penalty": 1.0, "max_new_tokens": MOST_TOKENS}


@silent()
def load(name: str, source: Source, device: str, precision: str) -> Speaker:
    """Load a generator of transformers.

    Raises
    ------
    UserError
        If the folder lacks weights, or its processor cannot be loaded.
    """
    refuse_code(Path(source.arch))
    dtype = DTYPES[precision]
    network, _ = network_of(source, dtype)
    processor = part_of(source, "processor", transformers.AutoProcessor)
    tokenizer = getattr(processor, "tokenizer", None)
    if tokenizer is None:
        raise UserError(f"its processor, a {type(processor).__name__}, has no tokenizer")
    network = network.to(torch.device(device)).eval()
    network.generation_config = decoding(Path(source.arch), network.generation_config, tokenizer)
    speaker = Speaker(name, network, processor, letters_of(tokenizer), torch.device(device), dtype)
    why = None
    for speaker.mark in (
        [""] if getattr(processor, "chat_template", None) else ["<image>", ""]
    ):  # some set it themselves
        try:
            if speaker.sees():
                return speaker
            why = why or UserError(
                "a black and a white image make no difference to it, so its replies say nothing of any"
            )
        except UserError:
            raise
        except Exception as error:  # each library has its own
            why = why or UserError(f"it does not answer about a blank image ({first_line(error, 120)})")
    assert why
    raise why


def decoding(folder: Path, of_config, tokenizer) -> transformers.GenerationConfig:
    """Which tokens end a reply, by whatever of a checkpoint names one, and nothing else that it would decode by.

    A penalty, a ban or a least length that ``generation_config.json`` sets would act on greedy decoding too.
    """
    file = folder / "generation_config.json"
    named = [read_json(file).get("eos_token_id") if file.exists() else None]
    named += [of_config.eos_token_id, tokenizer.eos_token_id]
    ends = {int(token) for of in named if of is not None for token in (of if isinstance(of, list) else [of])}
    if not ends:
        raise UserError("neither its generation_config.json nor its tokenizer names a token that ends a reply")
    pad = min(ends) if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    start = {"bos_token_id": of_config.bos_token_id, "decoder_start_token_id": of_config.decoder_start_token_id}
    return transformers.GenerationConfig(eos_token_id=sorted(ends), pad_token_id=pad, **start)


def letters_of(tokenizer) -> np.ndarray:
    """Which letter (0 for A) each token of a vocabulary is once it is decoded and bare of blanks, int of shape (n,)."""
    texts = tokenizer.batch_decode([[token] for token in range(len(tokenizer))])
    return np.array([LETTERS.find(text.strip()) if len(text.strip()) == 1 else -1 for text in texts])


def facts(speaker: Speaker) -> dict:
    """What decides how a generator was asked, for its passport."""
    network, processor, template = speaker.network, speaker.processor, speaker.settings["chat template"]
    images = getattr(processor, "image_processor", None)
    return {
        "parameters": speaker.parameters,
        "architecture": type(network).__name__,
        "chat_template": template,
        "image_processor": json.loads(json.dumps(images.to_dict() if images is not None else {}, default=str)),
        "letter_tokens": [int((speaker.letters == number).sum()) for number in range(len(LETTERS))],
        "dtype": str(speaker.dtype).removeprefix("torch."),
        "attention": getattr(network.config, "_attn_implementation", None),
        "decoding": greedy()
        | {"ends": speaker.processor.tokenizer.convert_ids_to_tokens(network.generation_config.eos_token_id)},
        **(
            {}
            if template
            else {"doubt": "it has no chat template: the benchmark's prompt stands alone after the image"}
        ),
        "transformers": version("transformers"),
    }
