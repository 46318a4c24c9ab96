"""llama.cpp's own server, on random weights that are written here in its format: an Idefics 3 of two layers.

As a program, ``llama_server.py TEXT MMPROJ PORT`` serves until it is killed, and logs every request to stderr.
"""

import sys
import time

import numpy as np

WIDTH, INNER, LAYERS, HEADS, KEYS = 32, 64, 2, 4, 2
PATCH, SIDE, SHRUNK = 14, 56, 112  # pixels of a patch, of the image that is encoded, and of the one that is cut
# The vocabulary must hold two line feeds in one token, or every image is refused; Ċ is the line feed in bytes' letters.
BLANK_LINE = "ĊĊ"
CHAT = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + ': ' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }}{% else %}{{ '<image>' }}{% endif %}{% endfor %}{% endif %}"
    "{{ '<end_of_utterance>\n' }}{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)


def write(folder):
    """Write both files of the model; returns their paths."""
    import gguf
    from tokenizers.pre_tokenizers import ByteLevel

    rng = np.random.default_rng(0)

    def drawn(*shape, scale=0.2):
        return (rng.standard_normal(shape) * scale).astype(np.float32)

    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<fake_token_around_image>", "<image>"]
    special += ["<end_of_utterance>", "<global-img>"]
    special += [f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)]
    tokens = [*special, *sorted(ByteLevel.alphabet()), BLANK_LINE]
    kinds = [gguf.TokenType.CONTROL if token in special else gguf.TokenType.NORMAL for token in tokens]
    text, mmproj = str(folder / "text.gguf"), str(folder / "mmproj.gguf")

    made = gguf.GGUFWriter(text, "llama")
    made.add_context_length(2048)
    made.add_embedding_length(WIDTH)
    made.add_block_count(LAYERS)
    made.add_feed_forward_length(INNER)
    made.add_head_count(HEADS)
    made.add_head_count_kv(KEYS)
    made.add_layer_norm_rms_eps(1e-5)
    made.add_rope_dimension_count(WIDTH // HEADS)
    made.add_vocab_size(len(tokens))
    made.add_file_type(0)
    made.add_tokenizer_model("gpt2")
    made.add_tokenizer_pre("smollm")
    made.add_token_list(tokens)
    made.add_token_types(kinds)
    made.add_token_merges(["Ċ Ċ"])
    made.add_bos_token_id(tokens.index("<|im_start|>"))
    made.add_eos_token_id(tokens.index("<end_of_utterance>"))
    made.add_pad_token_id(tokens.index("<|im_end|>"))
    made.add_add_bos_token(False)
    made.add_chat_template(CHAT)
    made.add_tensor("token_embd.weight", drawn(len(tokens), WIDTH))
    made.add_tensor("output_norm.weight", np.ones(WIDTH, np.float32))
    made.add_tensor("output.weight", drawn(len(tokens), WIDTH))
    shapes = {"attn_q": (WIDTH, WIDTH), "attn_output": (WIDTH, WIDTH)}
    shapes |= dict.fromkeys(("attn_k", "attn_v"), (WIDTH * KEYS // HEADS, WIDTH))
    shapes |= {"ffn_gate": (INNER, WIDTH), "ffn_up": (INNER, WIDTH), "ffn_down": (WIDTH, INNER)}
    for layer in range(LAYERS):
        for name, shape in shapes.items():
            made.add_tensor(f"blk.{layer}.{name}.weight", drawn(*shape))
        for name in ("attn_norm", "ffn_norm"):
            made.add_tensor(f"blk.{layer}.{name}.weight", np.ones(WIDTH, np.float32))
    _finish(made)

    made = gguf.GGUFWriter(mmproj, "clip")
    made.add_type("mmproj")
    made.add_file_type(0)
    made.add_bool("clip.has_vision_encoder", True)
    made.add_bool("clip.use_gelu", True)
    made.add_string("clip.projector_type", "idefics3")
    sizes = {"image_size": SIDE, "patch_size": PATCH, "preproc_image_size": SHRUNK, "projector.scale_factor": 2}
    sizes |= {"embedding_length": WIDTH, "feed_forward_length": INNER, "projection_dim": WIDTH}
    sizes |= {"block_count": LAYERS, "attention.head_count": HEADS}
    for name, value in sizes.items():
        made.add_uint32(f"clip.vision.{name}", value)
    made.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-6)
    for name in ("image_mean", "image_std"):
        made.add_array(f"clip.vision.{name}", [0.5, 0.5, 0.5])
    made.add_tensor("v.patch_embd.weight", drawn(WIDTH, 3, PATCH, PATCH))
    made.add_tensor("v.patch_embd.bias", drawn(WIDTH))
    made.add_tensor("v.position_embd.weight", drawn((SIDE // PATCH) ** 2, WIDTH))
    shapes = dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_out"), (WIDTH, WIDTH))
    shapes |= {"ffn_up": (INNER, WIDTH), "ffn_down": (WIDTH, INNER)}
    for layer in range(LAYERS):
        for name, shape in shapes.items():
            made.add_tensor(f"v.blk.{layer}.{name}.weight", drawn(*shape))
            made.add_tensor(f"v.blk.{layer}.{name}.bias", drawn(shape[0]))
        _normalise(made, f"v.blk.{layer}.ln1", f"v.blk.{layer}.ln2")
    _normalise(made, "v.post_ln")
    made.add_tensor("mm.model.fc.weight", drawn(WIDTH, 4 * WIDTH))
    _finish(made)
    return text, mmproj


def _normalise(made, *names):
    for name in names:
        made.add_tensor(f"{name}.weight", np.ones(WIDTH, np.float32))
        made.add_tensor(f"{name}.bias", np.zeros(WIDTH, np.float32))


def _finish(made):
    made.write_header_to_file()
    made.write_kv_data_to_file()
    made.write_tensors_to_file()
    made.close()


def serve(text, mmproj, port):
    """Serve the model on loopback, until the process is killed."""
    import xllamacpp

    how = xllamacpp.CommonParams()
    how.model.path, how.mmproj.path = text, mmproj
    how.hostnames, how.port = ["127.0.0.1"], port
    how.n_gpu_layers, how.mmproj_use_gpu = 0, False
    how.n_ctx, how.n_parallel = 4096, 2
    how.cpuparams.n_threads = 1
    how.warmup, how.use_jinja = False, True
    server = xllamacpp.Server(how)
    print(server.listening_address, flush=True)
    while True:
        time.sleep(60)


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2], int(sys.argv[3]))
