"""Loading CONCH (Lu et al. 2024): a CoCa whose images are read by a timm ViT and pooled by attention.

open_clip has its parts but not their arrangement, so the towers are put together here from open_clip's and timm's own
classes, under the names of the published checkpoint. The text decoder and the pooling for captions do not take part in
comparing images with texts; their weights stay on disk.
"""

import re
from functools import partial

import numpy as np
import torch
from open_clip.transformer import AttentionalPooler, TextTransformer
from timm.models.vision_transformer import VisionTransformer

from ...errors import UserError, first_line
from ..cards import ModelCard
from ..checkpoints import Weights, check_fit, fit, read, states
from ..folders import Source
from .hf import too_long
from .network import DualEncoder
from .openclip import pixels

# Configuration `conch_ViT-B-16` of the authors' repository; the context is 127 tokens and the class token.
IMAGE_SIZE, PATCH, WIDTH, LAYERS, HEADS = 448, 16, 768, 12, 12
CONTEXT, VOCABULARY, FEATURES, POOLING_HEADS = 127, 32007, 512, 8
RECIPE = {
    "size": IMAGE_SIZE,
    "mode": "RGB",
    "mean": [0.48145466, 0.4578275, 0.40821073],
    "std": [0.26862954, 0.26130258, 0.27577711],
    "interpolation": "bicubic",
    "resize_mode": "shortest",
    "fill_color": 0,
}
UNUSED = ("text_decoder.", "visual.attn_pool_caption.", "visual.ln_caption.")


class Conch(torch.nn.Module):
    """The two towers of CONCH, with the parameter names of its checkpoint."""

    def __init__(self, layers: int = LAYERS):
        super().__init__()
        self.visual = torch.nn.Module()
        self.visual.trunk = VisionTransformer(
            img_size=IMAGE_SIZE, patch_size=PATCH, embed_dim=WIDTH, depth=layers, num_heads=HEADS, num_classes=0
        )
        self.visual.attn_pool_contrast = AttentionalPooler(FEATURES, WIDTH, n_head=POOLING_HEADS, n_queries=1)
        self.visual.ln_contrast = torch.nn.LayerNorm(FEATURES)
        self.visual.proj_contrast = torch.nn.Parameter(torch.randn(FEATURES, FEATURES) * WIDTH**-0.5)
        self.text = TextTransformer(
            context_length=CONTEXT,
            vocab_size=VOCABULARY,
            width=WIDTH,
            heads=HEADS,
            layers=layers,
            embed_cls=True,
            output_dim=FEATURES,
            pad_id=0,
        )
        self.logit_scale = torch.nn.Parameter(torch.tensor(np.log(1 / 0.07), dtype=torch.float32))

    def encode_image(self, images: torch.Tensor) -> torch.Tensor:
        """Features of shape (n, 512) of images of shape (n, 3, 448, 448): one query over all patches."""
        patches = self.visual.trunk.forward_features(images)
        return self.visual.ln_contrast(self.visual.attn_pool_contrast(patches)[:, 0]) @ self.visual.proj_contrast

    def encode_text(self, tokens: torch.Tensor) -> torch.Tensor:
        """Features of shape (n, 512) of token ids of shape (n, 127)."""
        return self.text(tokens)


def load(card: ModelCard, source: Source) -> DualEncoder:
    """Load CONCH on the CPU from its checkpoint and tokenizer.

    Raises
    ------
    UserError
        If the checkpoint is another model's, or the tokenizer cannot be read.
    """
    from transformers import PreTrainedTokenizerFast

    if card.preprocess:
        raise UserError("`preprocess` in its entry is for models of open_clip; CONCH's is fixed")
    content = read(source.weights)
    names = [list(state) for _, state in states(content)]
    blocks = [re.search(r"visual\.trunk\.blocks\.(\d+)\.", key) for keys in names for key in keys]
    layers = 1 + max((int(block[1]) for block in blocks if block), default=0)
    if layers > max(map(len, names), default=1):
        raise UserError("the checkpoint numbers more layers than it has weights")
    with torch.device("meta"):
        expected = Conch(layers).state_dict()
    weights = fit(content, expected, _without_captions)
    check_fit(weights, content, expected, "CONCH", IMAGE_SIZE)
    network = Conch(layers)
    network.load_state_dict(weights.values, strict=False)
    try:
        special = {"bos_token": "<start_of_text>", "eos_token": "<end_of_text>", "pad_token": "<pad>"}
        tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(source.files[1]), **special)
    except Exception as error:  # the tokenizers library raises plain exceptions
        raise UserError(f"cannot load its tokenizer ({first_line(error)})") from error

    def tokenize(texts):
        return tokenizer(
            list(texts), padding="max_length", truncation=True, max_length=CONTEXT, return_tensors="pt"
        ).input_ids

    return DualEncoder(
        card.name,
        network,
        RECIPE,
        preprocess=partial(pixels, RECIPE),
        tokenize=tokenize,
        truncated=partial(too_long, tokenizer, CONTEXT),
        context_length=CONTEXT,
        activation="gelu",
        activation_from="the architecture, which has no other",
    )


def _without_captions(state: dict) -> Weights:
    return Weights({key: value for key, value in state.items() if not key.startswith(UNUSED)})
