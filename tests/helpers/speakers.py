"""Random-weight generators of real architectures, with their real processors, saved as transformers publishes them.

Their vocabularies are single bytes or characters, so nothing has to be trained; widths and depths are cut so that a
reply takes milliseconds.
"""

import torch
import transformers as hf
from tokenizers import AddedToken
from tokenizers.pre_tokenizers import ByteLevel

TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
}
SIGHT = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
CHARACTERS = [*(f"<0x{byte:02X}>" for byte in range(256)), "▁", *map(chr, range(33, 127))]
ROPE = {"rope_type": "default", "rope_theta": 1e4}
# One turn of a user, and the assistant's turn begun; {image} is what stands for the picture.
CHAT = (
    "{{% for message in messages %}}<|im_start|>{{{{ message.role }}}}\n"
    "{{% for part in message.content %}}{{% if part.type == 'image' %}}{image}{{% else %}}{{{{ part.text }}}}"
    "{{% endif %}}{{% endfor %}}<|im_end|>\n{{% endfor %}}"
    "{{% if add_generation_prompt %}}<|im_start|>assistant\n{{% endif %}}"
)


def bytes_tokenizer(kind, special, **how):
    """A byte-level tokenizer without merges, of a class of transformers."""
    pieces = [*sorted(ByteLevel.alphabet()), *special]
    made = kind(vocab={piece: row for row, piece in enumerate(pieces)}, merges=[], **how)
    made.add_special_tokens({"additional_special_tokens": list(special)})
    return made


def qwen_tokenizer(*special, **how):
    names = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *special]
    return bytes_tokenizer(hf.Qwen2Tokenizer, names, eos_token="<|im_end|>", pad_token="<|endoftext|>", **how)


def saved(folder, network, processor, ends):
    network.generation_config.eos_token_id = ends
    network.generation_config.pad_token_id = processor.tokenizer.pad_token_id
    network.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def text_config(tokenizer, **how):
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    return {**TEXT, "vocab_size": len(tokenizer), **ids, **how}


def llava(folder):
    pieces = ["<unk>", "<s>", "</s>", "<pad>", *CHARACTERS]
    vocabulary = {piece: row for row, piece in enumerate(pieces)}
    tokenizer = hf.LlamaTokenizer(vocab=vocabulary, merges=[], pad_token="<pad>")
    tokenizer.add_tokens(AddedToken("<image>", special=True, normalized=False), special_tokens=True)
    images = hf.CLIPImageProcessor(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    processor = hf.LlavaProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT.format(image="<image>\n"),
    )
    config = hf.LlavaConfig(
        vision_config=hf.CLIPVisionConfig(**SIGHT, image_size=28, patch_size=14, projection_dim=32),
        text_config=hf.LlamaConfig(**text_config(tokenizer)),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=4,
    )
    return saved(folder, hf.LlavaForConditionalGeneration(config), processor, tokenizer.eos_token_id)


def qwen(folder, family="Qwen2_5_VL"):
    marks = ["<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"]
    tokenizer = qwen_tokenizer(*marks)
    old = family == "Qwen2_5_VL"
    how = {"size": {"shortest_edge": 56**2, "longest_edge": 84**2}, "patch_size": 14 if old else 16, "merge_size": 2}
    processor = getattr(hf, f"{family}Processor")(
        image_processor=hf.Qwen2VLImageProcessor(**how),
        tokenizer=tokenizer,
        video_processor=getattr(hf, "Qwen2VLVideoProcessor" if old else "Qwen3VLVideoProcessor")(**how),
        chat_template=CHAT.format(image="<|vision_start|><|image_pad|><|vision_end|>"),
    )
    sight = {"depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 32}
    sight |= {"patch_size": 14, "fullatt_block_indexes": [1], "window_size": 56} if old else {"patch_size": 16}
    sight |= {} if old else {"deepstack_visual_indexes": [0], "num_position_embeddings": 64}
    rope = ROPE | ({"mrope_section": [1, 1, 2]} if old else {"mrope_section": [1, 1, 2], "mrope_interleaved": True})
    token = tokenizer.convert_tokens_to_ids
    config = getattr(hf, f"{family}Config")(
        vision_config=sight,
        text_config=text_config(tokenizer, rope_parameters=rope, head_dim=8),
        image_token_id=token("<|image_pad|>"),
        video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
    )
    network = getattr(hf, f"{family}ForConditionalGeneration")(config)
    return saved(folder, network, processor, [tokenizer.eos_token_id, tokenizer.pad_token_id])


def paligemma(folder):
    pieces = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *CHARACTERS]
    tokenizer = hf.GemmaTokenizer(vocab={piece: row for row, piece in enumerate(pieces)}, merges=[])
    images = hf.SiglipImageProcessor(size={"height": 28, "width": 28})
    images.image_seq_length = 4
    processor = hf.PaliGemmaProcessor(image_processor=images, tokenizer=tokenizer)
    sight = {"model_type": "siglip_vision_model", **SIGHT, "image_size": 28, "patch_size": 14, "vision_use_head": False}
    config = hf.PaliGemmaConfig(
        vision_config={**sight, "projection_dim": 32},
        text_config={"model_type": "gemma", **text_config(processor.tokenizer, num_key_value_heads=1, head_dim=8)},
        image_token_index=processor.image_token_id,
        projection_dim=32,
        hidden_size=32,
    )
    return saved(folder, hf.PaliGemmaForConditionalGeneration(config), processor, tokenizer.eos_token_id)


def idefics(folder, family="Idefics3"):
    places = [f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)]
    names = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<fake_token_around_image>", "<image>"]
    names += ["<end_of_utterance>", "<global-img>", *places]
    own = {"unk_token": "<|endoftext|>", "bos_token": "<|im_start|>", "eos_token": "<end_of_utterance>"}
    tokenizer = bytes_tokenizer(hf.GPT2Tokenizer, names, **own, pad_token="<|im_end|>")
    sizes = {"size": {"longest_edge": 56}, "max_image_size": {"longest_edge": 28}}
    parts = {"image_processor": getattr(hf, f"{family}ImageProcessor")(**sizes), "tokenizer": tokenizer}
    if family == "SmolVLM":
        sampling = {"fps": 1, "max_frames": 2, "video_size": {"longest_edge": 28}}
        parts["video_processor"] = hf.SmolVLMVideoProcessor(**sizes, video_sampling=sampling)
    processor = getattr(hf, f"{family}Processor")(**parts, image_seq_len=1, chat_template=CHAT.format(image="<image>"))
    config = getattr(hf, f"{family}Config")(
        vision_config={**SIGHT, "image_size": 28, "patch_size": 14},
        text_config={"model_type": "llama", **text_config(tokenizer)},
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=2,
    )
    return saved(folder, getattr(hf, f"{family}ForConditionalGeneration")(config), processor, tokenizer.eos_token_id)


def internvl(folder):
    marks = {"start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>"}
    marks |= {"video_token": "<video>"}
    tokenizer = qwen_tokenizer(*marks.values(), extra_special_tokens=marks)
    side = {"height": 28, "width": 28}
    processor = hf.InternVLProcessor(
        image_processor=hf.GotOcr2ImageProcessor(size=side, crop_to_patches=True, max_patches=2),
        tokenizer=tokenizer,
        video_processor=hf.InternVLVideoProcessor(size=side),
        image_seq_length=1,
        chat_template=CHAT.format(image="<IMG_CONTEXT>\n"),
    )
    config = hf.InternVLConfig(
        vision_config={"model_type": "internvl_vision", **SIGHT, "image_size": [28, 28], "patch_size": [14, 14]},
        text_config={"model_type": "qwen2", **text_config(tokenizer)},
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=1,
        downsample_ratio=0.5,
    )
    return saved(folder, hf.InternVLForConditionalGeneration(config), processor, tokenizer.eos_token_id)


def florence(folder):
    """Encoder and decoder; its processor sets the place of the image itself."""
    names = ["<s>", "<pad>", "</s>", "<image>"]
    own = {"unk_token": "</s>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    tokenizer = bytes_tokenizer(hf.GPT2Tokenizer, names, **own, extra_special_tokens={"image_token": "<image>"})
    images = hf.CLIPImageProcessor(size={"height": 64, "width": 64}, do_center_crop=False)
    images.image_seq_length = 5
    processor = hf.Florence2Processor(image_processor=images, tokenizer=tokenizer, num_additional_image_tokens=1)
    layers = {
        f"{side}_{what}": n for side in ("encoder", "decoder") for what, n in (("layers", 2), ("attention_heads", 4))
    }
    width = {
        "init_std": 0.5,
        "d_model": 32,
        "encoder_ffn_dim": 64,
        "decoder_ffn_dim": 64,
        "max_position_embeddings": 1024,
    }
    text = text_config(tokenizer, model_type="bart", forced_eos_token_id=None, **layers, **width)
    sizes = {"embed_dim": [8, 8, 16, 16], "num_heads": [2] * 4, "num_groups": [2] * 4, "depths": [1] * 4}
    config = hf.Florence2Config(
        text_config={**text, "decoder_start_token_id": tokenizer.eos_token_id},
        vision_config={**sizes, "window_size": 2, "projection_dim": 32},
        image_token_id=tokenizer.image_token_id,
        is_encoder_decoder=True,
    )
    return saved(folder, hf.Florence2ForConditionalGeneration(config), processor, tokenizer.eos_token_id)


SPEAKERS = {
    "llava": llava,
    "qwen2.5-vl": qwen,
    "qwen3-vl": lambda folder: qwen(folder, "Qwen3VL"),
    "paligemma": paligemma,
    "idefics3": idefics,
    "smolvlm": lambda folder: idefics(folder, "SmolVLM"),
    "internvl": internvl,
    "florence2": florence,
}


def make(family, folder, seed=0):
    """Save the generator of a family with weights of a seed; returns its folder."""
    torch.manual_seed(seed)
    return SPEAKERS[family](folder)
