"""Random-weight models of every architecture family, saved to disk in the formats in which they are published.

The classes, file names and tokenizer formats are the real ones; widths and depths are cut so that a test takes seconds.
Weights are seeded. ``DOCUMENTED[family]`` answers one question as the library's own documentation does.
"""

import gzip
import json
from functools import cache, partial

import open_clip
import torch
import transformers

SIZES = {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
VISION = {**SIZES, "image_size": 64, "patch_size": 16}


@cache
def captions():
    """Every caption of the built-in sample: what the small vocabularies are made of."""
    from ubench_utils.data.benchmark import load_benchmark
    from ubench_utils.data.questions import build_questions

    return sorted({text for row in build_questions(load_benchmark("demo", 200)).options for text in row})


@cache
def clip_vocabulary():
    """CLIP's own byte-pair vocabulary and merges, from the file that open_clip ships."""
    file = open_clip.tokenizer.default_bpe()
    with gzip.open(file) as lines:
        merges = lines.read().decode().split("\n")[1 : 49152 - 256 - 2 + 1]
    names = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}  # open_clip renamed the two
    vocabulary = {names.get(piece, piece): row for piece, row in open_clip.SimpleTokenizer().encoder.items()}
    return vocabulary, [tuple(line.split()) for line in merges]


def clip_tokenizer():
    vocabulary, merges = clip_vocabulary()
    return transformers.CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=77)


def bert_vocabulary():
    words = sorted({word.strip(".,") for text in captions() for word in text.lower().replace("-", " - ").split()})
    pieces = [chr(letter) for letter in range(33, 127)] + [f"##{chr(letter)}" for letter in range(33, 127)]
    return list(dict.fromkeys(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *pieces, *words]))


def bert_tokenizer(context=64):
    """WordPiece over the words of the captions, in BERT's format."""
    vocabulary = {word: row for row, word in enumerate(bert_vocabulary())}
    return transformers.BertTokenizer(vocab=vocabulary, model_max_length=context)


def sentencepiece_tokenizer(folder):
    """A unigram model of the captions in sentencepiece's format, as SigLIP's."""
    import sentencepiece

    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([text.lower() for text in captions()]),
        model_prefix=str(folder / "spiece"),
        vocab_size=150,
        pad_id=-1,
        bos_id=-1,
        eos_id=1,
        unk_id=2,
        model_type="unigram",
        minloglevel=2,
        hard_vocab_limit=False,
        num_threads=1,
    )
    # the published tokenizer gives no attention mask
    return transformers.SiglipTokenizer(str(folder / "spiece.model"), model_input_names=["input_ids"])


def gemma_tokenizer():
    """Byte-pair vocabulary of single characters and bytes, in the format of SigLIP 2's Gemma tokenizer."""
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    pieces = [*special, *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *map(chr, range(33, 127))]
    return transformers.Siglip2Tokenizer(
        vocab={piece: row for row, piece in enumerate(pieces)}, model_max_length=64, model_input_names=["input_ids"]
    )


def save(folder, network, processor, tokenizer):
    network.save_pretrained(folder)
    processor.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def clip(folder, **changes):
    config = transformers.CLIPConfig(
        text_config={**SIZES, "vocab_size": 49408, "bos_token_id": 49406, "eos_token_id": 49407, **changes},
        vision_config={**VISION, **changes},
        projection_dim=32,
    )
    torch.manual_seed(1)
    network = transformers.CLIPModel(config)
    size = {"size": {"shortest_edge": 64}, "crop_size": {"height": 64, "width": 64}}
    return save(folder, network, transformers.CLIPImageProcessor(**size), clip_tokenizer())


def siglip(folder):
    folder.mkdir(exist_ok=True)
    tokenizer = sentencepiece_tokenizer(folder)
    config = transformers.SiglipConfig(
        text_config={**SIZES, "vocab_size": len(tokenizer), "projection_size": 48}, vision_config=VISION
    )
    torch.manual_seed(2)
    processor = transformers.SiglipImageProcessor(size={"height": 64, "width": 64})
    return save(folder, transformers.SiglipModel(config), processor, tokenizer)


def siglip2(folder):
    """The variable-resolution variant (NaFlex): images become up to 256 patches with a mask and a grid."""
    tokenizer = gemma_tokenizer()
    config = transformers.Siglip2Config(
        text_config={**SIZES, "vocab_size": len(tokenizer), "projection_size": 48},
        vision_config={**SIZES, "patch_size": 16, "num_patches": 256},
    )
    torch.manual_seed(3)
    processor = transformers.Siglip2ImageProcessor(patch_size=16, max_num_patches=256)
    return save(folder, transformers.Siglip2Model(config), processor, tokenizer)


def align(folder):
    tokenizer = bert_tokenizer()
    vision = {
        "image_size": 64,
        "width_coefficient": 0.25,
        "depth_coefficient": 0.2,
        "depth_divisor": 8,
        "hidden_dim": 80,
        "depthwise_padding": [],
    }
    config = transformers.AlignConfig(
        text_config={**SIZES, "vocab_size": len(tokenizer)},
        vision_config=vision,
        projection_dim=80,
        temperature_init_value=0.07,
    )
    torch.manual_seed(4)
    network = transformers.AlignModel(config)
    for module in network.modules():  # running statistics of a trained network are not 0 and 1
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_var, 0.01, 0.1)
    processor = transformers.EfficientNetImageProcessor(
        size={"height": 80, "width": 80},
        crop_size={"height": 64, "width": 64},
        do_center_crop=True,
        resample=2,
        rescale_factor=1 / 127.5,
        rescale_offset=True,
        do_normalize=False,
        include_top=False,
    )
    return save(folder, network, processor, tokenizer)


def blip(folder):
    tokenizer = bert_tokenizer(128)
    text = {
        **SIZES,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 128,
        "encoder_hidden_size": 48,
        "bos_token_id": 2,
        "pad_token_id": 0,
        "eos_token_id": 3,
        "sep_token_id": 3,
        "initializer_range": 0.3,
    }
    config = transformers.BlipConfig(
        text_config=text, vision_config=VISION, projection_dim=32, image_text_hidden_size=32
    )
    torch.manual_seed(5)
    network = transformers.BlipForImageTextRetrieval(config)
    torch.nn.init.normal_(network.itm_head.weight, std=0.1)  # neither all alike nor saturated
    processor = transformers.BlipImageProcessor(size={"height": 64, "width": 64})
    return save(folder, network, processor, tokenizer)


def edit(file, change):
    """Change the content of a JSON file."""
    content = json.loads(file.read_text()) if file.exists() else {}
    change(content)
    file.write_text(json.dumps(content))


FAMILIES = {"clip": clip, "siglip": siglip, "siglip2": siglip2, "align": align, "blip": blip}


# The documented usage, one image and one question at a time


def _by_logits(network, processor, padding, image, options):
    inputs = processor(text=list(options), images=image, padding=padding, truncation=True, return_tensors="pt")
    return network(**inputs).logits_per_image[0]


def _by_match(network, processor, image, options):
    """The usage documented for BLIP: one text at a time, probability of the class "match"."""
    scores = []
    for option in options:
        inputs = processor(images=image, text=option, return_tensors="pt")
        scores.append(torch.softmax(network(**inputs).itm_score, dim=1)[0, 1])
    return torch.stack(scores)


def documented(family, folder):
    """Return a function (image, options) → scores, by the classes that the library's documentation names."""
    image_processor = transformers.AutoImageProcessor.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    kind = {"clip": "CLIP", "siglip": "Siglip", "siglip2": "Siglip2", "align": "Align", "blip": "Blip"}[family]
    processor = getattr(transformers, f"{kind}Processor")(image_processor, tokenizer)
    if family == "blip":
        network = transformers.BlipForImageTextRetrieval.from_pretrained(folder).eval()
        return partial(_by_match, network, processor)
    network = transformers.AutoModel.from_pretrained(folder).eval()
    return partial(_by_logits, network, processor, "max_length" if "siglip" in family else True)


# open_clip's formats


def biomedclip(folder, text_model):
    """BiomedCLIP's format: open_clip_config.json with a timm ViT and a BERT whose configuration lies elsewhere."""
    folder.mkdir()
    tokenizer = bert_tokenizer(256)
    bert = transformers.BertConfig(**SIZES, vocab_size=len(tokenizer))
    bert.save_pretrained(text_model)
    config = {
        "model_cfg": {
            "embed_dim": 32,
            "vision_cfg": {
                "timm_model_name": "vit_tiny_patch16_224",
                "timm_model_pretrained": False,
                "timm_pool": "",
                "timm_proj": "linear",
                "image_size": 224,
            },
            "text_cfg": {
                "hf_model_name": str(text_model),
                "hf_tokenizer_name": str(text_model),
                "hf_proj_type": "mlp",
                "hf_pooler_type": "cls_last_hidden_state_pooler",
                "context_length": 256,
            },
        },
        "preprocess_cfg": {"mean": [0.48145466, 0.4578275, 0.40821073], "std": [0.26862954, 0.26130258, 0.27577711]},
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    tokenizer.save_pretrained(folder)
    torch.manual_seed(6)
    model_cfg = json.loads(json.dumps(config["model_cfg"]))
    model_cfg["text_cfg"]["hf_model_pretrained"] = False
    network = open_clip.model.CustomTextCLIP(**model_cfg)
    torch.save(network.state_dict(), folder / "open_clip_pytorch_model.bin")
    return folder


def conch(folder, layers=1):
    """CONCH's format: its parameter names with the decoder that is not used, and a tokenizer file."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

    from ubench_utils.models.encoders.conch import Conch
    from ubench_utils.models.folders import CONCH_TOKENIZER

    folder.mkdir()
    torch.manual_seed(7)
    network = Conch(layers)
    extra = {
        "text_decoder.ln_final.weight": torch.ones(768),
        "visual.attn_pool_caption.query": torch.zeros(256, 768),
        "visual.ln_caption.weight": torch.ones(768),
    }
    torch.save({**network.state_dict(), **extra}, folder / "pytorch_model.bin")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<pad>", "<start_of_text>", "<end_of_text>"]
    trainer = trainers.BpeTrainer(special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(captions(), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<start_of_text> $A <end_of_text>", special_tokens=[(name, row) for row, name in enumerate(special)]
    )
    tokenizer.save(str(folder / CONCH_TOKENIZER))
    return folder
