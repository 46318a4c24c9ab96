"""Time what this project adds to `generate` of transformers, by batch size, and count replies that precision changes.

Both sides answer the same questions of the same images in this process, with the same network and cap on tokens. The
bare side is `generate` on batches whose tensors were made beforehand and lie on the device; ours is `Speaker.replies`
from images and prompts to replies with the probabilities of the letters, preprocessing included. They take turns, and
must reply alike.

Without `--model` the network has random weights in the shape of LLaVA-1.5-7B (`--layers` makes it smaller), bytes for
tokens, and so never ends a reply by itself: every reply is as long as `--tokens`. Read `ratio`: ours over bare. The
last lines hold, where asked for by `--precisions`, the share of replies, and of likeliest letters, that are otherwise
than in the first of them.

    python benchmarks/generators.py --model hf:DIR --precisions float32 bfloat16 float16
    python benchmarks/generators.py --device cuda --precision bfloat16 --tokens 8
"""

import argparse
import json
import platform
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
import transformers
from tokenizers import AddedToken

from ubench_utils.data.benchmark import load_benchmark
from ubench_utils.data.pixels import decode
from ubench_utils.data.questions import HEADLINE_WORDING, build_questions
from ubench_utils.models.generators import local
from ubench_utils.models.generators.protocol import prompt
from ubench_utils.models.generators.reply import Item
from ubench_utils.models.load import open_model

TEMPLATE = (
    "{% for message in messages %}USER: {% for part in message.content %}{% if part.type == 'image' %}<image>\n"
    "{% else %}{{ part.text }}{% endif %}{% endfor %}\nASSISTANT:{% endfor %}"
)


def random_llava(layers: int, device: str, precision: str) -> local.Speaker:
    """A LLaVA of the widths of LLaVA-1.5-7B with random weights, made on the device."""
    names = [
        "<unk>",
        "<s>",
        "</s>",
        "<pad>",
        *(f"<0x{byte:02X}>" for byte in range(256)),
        "▁",
        *map(chr, range(33, 127)),
    ]
    vocabulary = {name: row for row, name in enumerate(names)}
    tokenizer = transformers.LlamaTokenizer(vocab=vocabulary, merges=[], pad_token="<pad>")
    tokenizer.add_tokens(AddedToken("<image>", special=True, normalized=False), special_tokens=True)
    side = {"height": 336, "width": 336}
    processor = transformers.LlavaProcessor(
        image_processor=transformers.CLIPImageProcessor(size={"shortest_edge": 336}, crop_size=side),
        tokenizer=tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    )
    sight = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
    text = {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": layers, "num_attention_heads": 32}
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(**sight, image_size=336, patch_size=14, projection_dim=768),
        text_config=transformers.LlamaConfig(**text, **ids, vocab_size=32064, max_position_embeddings=4096),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )
    dtype = local.DTYPES[precision]
    torch.manual_seed(0)
    with torch.device(device):
        network = transformers.AutoModelForImageTextToText.from_config(config, dtype=dtype).eval()
    return local.Speaker("random", network, processor, local.letters_of(tokenizer), torch.device(device), dtype)


def questions_of(name: str, n: int) -> list[Item]:
    """The first questions of a benchmark in the headline wording, those of an image next to each other."""
    benchmark = load_benchmark(name, limit=n)
    questions = build_questions(benchmark)
    asked = questions[questions.wording == HEADLINE_WORDING][:n]
    rows = {key: row for row, key in enumerate(zip(benchmark.images.dataset, benchmark.images.image_id, strict=True))}
    pictures = {
        key: decode(benchmark.image_bytes(rows[key])) for key in set(zip(asked.dataset, asked.image_id, strict=True))
    }
    return [
        Item(at, (pictures[one.dataset, one.image_id],), prompt(one.asked, one.labels))
        for at, one in enumerate(asked.itertuples())
    ]


def bare(speaker: local.Speaker, items: list[Item], size: int) -> tuple[float, float, list[str]]:
    """Seconds to make the tensors of all batches, seconds of `generate` on them, and the replies."""
    started = time.perf_counter()
    parts = [items[start : start + size] for start in range(0, len(items), size)]
    inputs = [speaker._inputs([item.images for item in part], [item.prompt for item in part]) for part in parts]
    made, tokens = time.perf_counter(), []
    how = {"do_sample": False, "num_beams": 1, "repetition_penalty": 1.0, "max_new_tokens": local.MOST_TOKENS}
    with torch.inference_mode():
        for one in inputs:
            tokens.append(speaker.network.generate(**one, **how)[:, one["input_ids"].shape[1] :])
    settle(speaker)
    done = time.perf_counter()
    texts = [text for part in tokens for text in speaker.processor.batch_decode(part, skip_special_tokens=True)]
    return made - started, done - made, texts


def ours(speaker: local.Speaker, items: list[Item], size: int) -> tuple[float, list]:
    """Seconds from images and prompts to replies, and the replies."""
    local.BATCH = size
    started = time.perf_counter()
    found = [reply for _, reply in sorted(speaker.replies(items))]
    settle(speaker)
    return time.perf_counter() - started, found


def settle(speaker: local.Speaker) -> None:
    """Wait for the device: calls return before it is done."""
    if speaker.device.type == "cuda":
        torch.cuda.synchronize()


def main():
    """Run both sides and print seconds and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="name or model string of a generator (default: random weights)")
    parser.add_argument("--layers", type=int, default=32, help="of the language model with random weights")
    parser.add_argument("--dataset", default="demo")
    parser.add_argument("--questions", type=int, default=96)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--tokens", type=int, default=local.MOST_TOKENS, help="at most, of a reply")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="float32", choices=local.DTYPES)
    parser.add_argument("--precisions", nargs="+", default=[], choices=local.DTYPES, help="whose replies are compared")
    parser.add_argument("--out", type=Path, help="also write the figures as JSON")
    options = parser.parse_args()
    local.MOST_TOKENS = options.tokens

    def load(precision):
        if options.model:
            return open_model(options.model).load(options.device, precision)
        return random_llava(options.layers, options.device, precision)

    items, speaker = questions_of(options.dataset, options.questions), load(options.precision)
    device = torch.cuda.get_device_name() if options.device == "cuda" else platform.processor() or platform.machine()
    about = {
        "model": options.model or f"random, {options.layers} layers",
        "parameters": speaker.parameters,
        "precision": options.precision,
        "questions": len(items),
        "device": device,
        "threads": torch.get_num_threads(),
        "versions": {name: version(name) for name in ("torch", "transformers")},
    }
    print(json.dumps(about))
    ours(speaker, items[:1], 1)  # the first call prepares
    rows = []
    for size in options.batches:
        taken = []
        for _ in range(options.rounds):
            made, alone, texts = bare(speaker, items, size)
            whole, found = ours(speaker, items, size)
            if texts != [reply.text for reply in found]:
                raise SystemExit(f"batch {size}: the two sides do not reply alike")
            taken.append((made, alone, whole))
        made, alone, whole = np.median(taken, axis=0)
        ratio = np.median([one[2] / one[1] for one in taken])
        rows.append({"batch": size, "prepare_s": made, "bare_s": alone, "ours_s": whole, "ratio": ratio})
        print(
            f"batch {size}: bare generate {len(items) / alone:.1f} questions/s, ours {len(items) / whole:.1f}, "
            f"ratio {ratio:.2f} (of it making tensors {made / alone:.2f})"
        )
    flips = []
    usual = None
    for precision in options.precisions:
        del speaker
        speaker = load(precision)
        found = ours(speaker, items, options.batches[-1])[1]
        said = [(reply.text, int(np.argmax(reply.letters))) for reply in found]
        usual = usual or said
        replies, letters = np.mean(
            [[a != b for a, b in zip(*two, strict=True)] for two in zip(usual, said, strict=True)], 0
        )
        flips.append({"precision": precision, "replies": float(replies), "letters": float(letters)})
        print(f"{precision}: {100 * replies:.1f} % of replies and {100 * letters:.1f} % of likeliest letters changed")
    if options.out:
        options.out.write_text(json.dumps({**about, "batches": rows, "flips": flips}, indent=1) + "\n")


if __name__ == "__main__":
    main()
