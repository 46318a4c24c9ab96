"""Merges of weights: properties, references in plain numpy, model strings and lineage, layers."""

import copy
import dataclasses
import itertools

import numpy as np
import open_clip
import pytest
import torch
import transformers
from helpers.opened import forget, identity
from helpers.samples import DEMO
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ubench_utils.errors import UserError
from ubench_utils.models import merging
from ubench_utils.models.load import load_model
from ubench_utils.models.registry import TIES_DENSITY, check_lineage, find_model, parse_merge, root

BASE, TUNED, OTHER = "demo-base", "demo-pathology", "demo-fluorescence"
SHAPES = {
    "visual.class_embedding": (2,),
    "visual.transformer.resblocks.0.w": (3, 2),
    "visual.transformer.resblocks.1.w": (4,),
    "visual.transformer.resblocks.2.w": (2,),
    "visual.proj": (2,),
    "token_embedding.weight": (3,),
    "transformer.resblocks.0.w": (2,),
    "transformer.resblocks.1.w": (2,),
    "ln_final.bias": (1,),
    "logit_scale": (),
}
SIZES = [int(np.prod(shape)) for shape in SHAPES.values()]


def state_of(values, dtype=torch.float32, count=0):
    """State dictionary of a flat array, with an integer buffer and with a −0 where its neighbour in number has none."""
    parts = np.split(np.asarray(values, dtype=np.float32), np.cumsum(SIZES)[:-1])
    state = {
        key: torch.from_numpy(part.reshape(shape).copy()).to(dtype)
        for (key, shape), part in zip(SHAPES.items(), parts, strict=True)
    }
    zeros = [0.5, -0.0] if count % 2 else [-0.0, 0.5]
    return {
        **state,
        "visual.ln_post.bias": torch.tensor(zeros, dtype=dtype),
        "visual.bn1.num_batches_tracked": torch.tensor(count),
    }


def states(n):
    """Draw n state dictionaries of eighths, whose sums are exact; many entries are equal or cancel."""
    eighths = arrays(np.int64, sum(SIZES), elements=st.integers(-16, 16))
    return st.lists(eighths, min_size=n, max_size=n).map(
        lambda drawn: [state_of(values / 8, count=number) for number, values in enumerate(drawn)]
    )


def same_bits(first, second):
    return first.keys() == second.keys() and all(
        first[k].dtype == second[k].dtype and first[k].numpy().tobytes() == second[k].numpy().tobytes() for k in first
    )


def close(first, second, atol=1e-6):
    for key in first:
        np.testing.assert_allclose(first[key].numpy(), second[key].numpy(), atol=atol, err_msg=key)


def flat(state):
    """Floating-point entries in one float64 vector."""
    return np.concatenate([np.ravel(v.numpy().astype(np.float64)) for v in state.values() if v.is_floating_point()])


@pytest.fixture(scope="module")
def demo_states():
    return [load_model(name).network.state_dict() for name in (BASE, TUNED, OTHER)]


# Properties


@settings(max_examples=30, deadline=None)
@given(states(3))
def test_no_weight_gives_the_base_bit_for_bit(drawn):
    base, one, other = drawn
    before = [{key: value.clone() for key, value in state.items()} for state in drawn]
    for merged in (
        merging.interpolate(base, one, 0),
        merging.scale_layers(base, one, 0, 0),
        merging.task_arithmetic(base, one, other, weight=0),
        merging.ties(base, one, other, weight=0, density=TIES_DENSITY),
    ):
        assert same_bits(merged, base)
        for value in merged.values():
            value += 1
    assert all(map(same_bits, drawn, before)), "a merge changed or shares what it was given"


@settings(max_examples=30, deadline=None)
@given(states(2))
def test_the_whole_task_vector_gives_the_specialist(drawn):
    base, tuned = drawn
    assert same_bits(merging.interpolate(base, tuned, 1), tuned)
    expected = {**tuned, "visual.bn1.num_batches_tracked": base["visual.bn1.num_batches_tracked"]}
    assert same_bits(merging.scale_layers(base, tuned, 1, 1), expected)
    close(merging.task_arithmetic(base, tuned, weight=1), expected)
    close(merging.ties(base, tuned, weight=1, density=1), expected)


@settings(max_examples=30, deadline=None)
@given(states(1), st.integers(2, 5))
def test_a_soup_of_equal_models_is_the_model(drawn, n):
    merged = merging.uniform_soup(*drawn * n)
    assert all(torch.equal(merged[key], value) for key, value in drawn[0].items())


@settings(max_examples=30, deadline=None)
@given(states(2), st.floats(0, 1, width=32))
def test_equal_ends_of_layer_scaling_are_an_interpolation(drawn, alpha):
    merged, plain = merging.scale_layers(*drawn, alpha, alpha), merging.interpolate(*drawn, alpha)
    assert all(torch.equal(merged[key], plain[key]) for key in SHAPES)


@settings(max_examples=20, deadline=None)
@given(states(4), st.sampled_from([0.2, 0.5, 1]))
def test_the_order_of_specialists_does_not_matter(drawn, density):
    base, *tuned = drawn
    for order in itertools.permutations(tuned):
        close(merging.task_arithmetic(base, *order, weight=0.4), merging.task_arithmetic(base, *tuned, weight=0.4))
        close(
            merging.ties(base, *order, weight=1, density=density), merging.ties(base, *tuned, weight=1, density=density)
        )
        soup = merging.uniform_soup(*order, base)
        close({key: soup[key] for key in SHAPES}, merging.uniform_soup(base, *tuned))


# References in plain numpy


def ties_by_hand(base, tuned, weight, density):
    """Algorithm 1 of Yadav et al., entry by entry."""
    trimmed = []
    for vector in (np.asarray(other) - base for other in tuned):
        kept = max(int(density * len(vector)), 1)
        smallest = sorted(np.abs(vector), reverse=True)[kept - 1]
        trimmed.append([entry if abs(entry) >= smallest else 0 for entry in vector])
    merged = []
    for start, entries in zip(base, zip(*trimmed, strict=True), strict=True):
        elected = np.sign(sum(entries))
        agreeing = [entry for entry in entries if entry and np.sign(entry) == elected]
        merged.append(start + weight * (np.mean(agreeing) if agreeing else 0))
    return np.array(merged)


@settings(max_examples=40, deadline=None)
@given(states(4), st.sampled_from([0.1, 0.2, 0.5, 1]), st.floats(0.1, 3))
def test_ties_and_task_arithmetic_agree_with_references(drawn, density, weight):
    base, *tuned = map(flat, drawn)
    merged = merging.ties(*drawn, weight=weight, density=density)
    np.testing.assert_allclose(flat(merged), ties_by_hand(base, tuned, weight, density), atol=1e-5)
    summed = merging.task_arithmetic(*drawn, weight=weight)
    np.testing.assert_allclose(flat(summed), base + weight * (np.sum(tuned, axis=0) - 3 * base), atol=1e-5)
    np.testing.assert_allclose(flat(merging.uniform_soup(*drawn)), np.mean([base, *tuned], axis=0), atol=1e-5)


def test_ties_keeps_the_right_share_of_real_weights(demo_states):
    base, *tuned = demo_states
    for state in tuned:  # weights stored in float16: entries may equal the smallest that is kept
        trimmed = merging._trim(merging.task_vector(base, state), TIES_DENSITY)
        kept = sum(int((value != 0).sum()) for value in trimmed.values()) / sum(map(torch.numel, trimmed.values()))
        assert TIES_DENSITY <= kept < TIES_DENSITY + 0.01
    merged = merging.ties(*demo_states, weight=1, density=TIES_DENSITY)
    moved = sum(int((merged[key] != base[key]).sum()) for key in base) / sum(map(torch.numel, base.values()))
    assert 0.2 < moved < 0.4


def test_layers_are_scaled_by_their_depth():
    base, tuned = state_of(np.zeros(sum(SIZES))), state_of(np.ones(sum(SIZES)))
    merged = merging.scale_layers(base, tuned, 0.2, 1)
    expected = [0.2, 0.2, 0.6, 1, 1, 0.2, 0.2, 1, 1, 1]  # in the order of SHAPES
    assert [merged[key].flatten()[0].item() for key in SHAPES] == pytest.approx(expected)


def test_half_precision_is_kept_and_added_up_in_float32():
    """2048 + 1.0002 is nearest to 2050 in float16, whose step there is 2; 1.0002 in float16 is 1, and the sum 2048."""
    base, tuned = ({"w": torch.tensor([value], dtype=torch.float16)} for value in (2048, 2052))
    merged = merging.task_arithmetic(base, tuned, weight=0.25005)["w"]
    assert merged.dtype == torch.float16 and merged.item() == 2050


def test_a_negative_variance_is_refused():
    base, tuned = {"visual.bn1.running_var": torch.tensor([1.0])}, {"visual.bn1.running_var": torch.tensor([0.4])}
    assert merging.task_arithmetic(base, tuned, weight=1)["visual.bn1.running_var"].item() == pytest.approx(0.4)
    with pytest.raises(UserError, match="λ = 2 makes visual.bn1.running_var negative"):
        merging.task_arithmetic(base, tuned, weight=2)


# Layers


def architecture(name):
    if name in ("CLIPModel", "SiglipModel"):
        config = getattr(transformers, name.replace("Model", "Config"))()
        return getattr(transformers, name)(config)
    return open_clip.create_model(name, device="meta")


@pytest.mark.parametrize(
    ("name", "image", "text", "first", "last"),
    [
        (
            "ViT-B-32",
            12,
            12,
            ["visual.conv1.weight", "visual.ln_pre.bias", "positional_embedding"],
            ["visual.proj", "visual.ln_post.weight", "text_projection", "ln_final.bias"],
        ),
        (
            "RN50",
            16,
            12,
            ["visual.conv3.weight", "visual.bn1.running_mean", "visual.layer1.0.downsample.0.weight"],
            ["visual.attnpool.positional_embedding", "visual.layer4.2.bn3.running_var"],
        ),
        (
            "ViT-B-16-SigLIP",
            12,
            12,
            ["visual.trunk.patch_embed.proj.weight", "text.token_embedding.weight"],
            ["visual.trunk.attn_pool.latent", "visual.trunk.norm.bias", "text.text_projection.weight"],
        ),
        (
            "CLIPModel",
            12,
            12,
            ["vision_model.pre_layrnorm.bias", "text_model.embeddings.token_embedding.weight"],
            ["vision_model.post_layernorm.bias", "visual_projection.weight", "text_projection.weight"],
        ),
        (
            "SiglipModel",
            12,
            12,
            ["vision_model.embeddings.patch_embedding.bias"],
            ["vision_model.head.probe", "text_model.head.weight", "text_model.final_layer_norm.bias"],
        ),
    ],
)
def test_depths_of_published_architectures(name, image, text, first, last):
    with torch.device("meta"):
        keys = list(architecture(name).state_dict())
    depths = merging.layer_depths(keys)
    assert list(depths) == keys and depths["logit_scale"] == ("both", 0, 1)
    for tower, layers in (("image", image), ("text", text)):
        found = {depth.layer for depth in depths.values() if depth.tower == tower}
        assert found == set(range(layers)) and all(d.layers == layers for d in depths.values() if d.tower == tower)
    assert [depths[key].layer for key in first] == [0] * len(first)
    assert all(depths[key].layer == depths[key].layers - 1 for key in last)


def test_depths_of_a_text_tower_of_transformers_in_open_clip():
    """As in BiomedCLIP; the names of a BERT."""
    keys = [
        "text.transformer.embeddings.LayerNorm.bias",
        "text.transformer.encoder.layer.0.output.dense.bias",
        "text.transformer.encoder.layer.1.output.dense.bias",
        "text.proj.0.weight",
    ]
    assert [depth.layer for depth in merging.layer_depths(keys).values()] == [0, 0, 1, 1]


@pytest.mark.parametrize("key", ["text_decoder.ln_final.weight", "qformer.layer.0.weight", "visual.neck.weight"])
def test_an_unknown_layer_is_refused(key):
    with pytest.raises(UserError, match=f"the layer of weight {key} is unknown"):
        merging.layer_depths(["visual.conv1.weight", key])


# Model strings


def names(merge):
    return tuple(parent.name for parent in merge.parents)


@pytest.mark.parametrize(
    ("spec", "method", "parents", "parameters"),
    [
        (f"mix:{BASE}+{TUNED}@0.5", "interpolation", (BASE, TUNED), {"alpha": 0.5}),
        (f"mix:{BASE}+{TUNED}@0.2..1", "layer-wise linear scaling", (BASE, TUNED), {"first": 0.2, "last": 1}),
        (f"mix:{BASE}+{TUNED}@0.4..0.4", "interpolation", (BASE, TUNED), {"alpha": 0.4}),
        (f"mix:{BASE}+{TUNED}+{OTHER}@1.5", "task arithmetic", (BASE, TUNED, OTHER), {"weight": 1.5}),
        (f"soup:{TUNED}+{OTHER}", "uniform soup", (TUNED, OTHER), {}),
        (f"ties:{BASE}+{TUNED}+{OTHER}@1", "TIES", (BASE, TUNED, OTHER), {"weight": 1, "density": TIES_DENSITY}),
        (
            "soup:hf:/a+b/c+open_clip:ViT-B-32@/d+e.pt+hf:f",
            "uniform soup",
            ("hf:/a+b/c", "open_clip:ViT-B-32@/d+e.pt", "hf:f"),
            {},
        ),
        (f"mix:hf:/a+b+{TUNED}@0.5", "interpolation", ("hf:/a+b", TUNED), {"alpha": 0.5}),
    ],
)
def test_strings_of_merges(spec, method, parents, parameters):
    merge = parse_merge(spec)
    assert (merge.method, names(merge), merge.parameters) == (method, parents, parameters)


@pytest.mark.parametrize(
    "spec",
    [
        "mix",
        "mix:@",
        *(f"mix:a+b@{alpha}" for alpha in ("1.5", "-0.1", "nan", "x")),
        *("mix:a+b", "mix:a@0.5", "mix:+b@0.5"),
        f"mix:{BASE}+{TUNED}@0.2..1.2",
        f"mix:{BASE}+{TUNED}@0.2..",
        f"mix:{BASE}+{TUNED}@0..0.5..1",
        f"mix:{BASE}+{TUNED}+{OTHER}@0.2..1",
        f"mix:{BASE}+{TUNED}+{OTHER}@3.1",
        f"mix:{BASE}+{TUNED}+{OTHER}@-1",
        f"mix:{BASE}+{TUNED}+{OTHER}@nan",
        f"mix:{BASE}+{TUNED}+{OTHER}",
        f"mix!:{BASE}@0.5",
        f"soup:{BASE}",
        f"soup:{BASE}+",
        f"ties:{BASE}+{TUNED}",
        f"ties:{BASE}@1",
        f"ties:{BASE}+{TUNED}@inf",
        f"ties:{BASE}+{TUNED}@0..1",
    ],
)
def test_malformed_strings_are_refused_in_one_line(spec):
    with pytest.raises(UserError, match=f"model '.*': write {spec.partition(':')[0].removesuffix('!')}:") as caught:
        find_model(spec)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (f"soup:{BASE}+nonsense", "unknown model 'nonsense'"),
        (f"ties:{BASE}+{TUNED}+nonsense@1", "unknown model 'nonsense'"),
        (f"soup:{BASE}+mix:{BASE}+{TUNED}@0.5", "is a merge itself"),
        (f"hf!:{BASE}", "unknown model"),
    ],
)
def test_other_parents_are_refused(spec, words):
    with pytest.raises(UserError, match=words):
        find_model(spec)


# Lineage


@pytest.mark.parametrize(
    "spec",
    [
        *(
            rest.format(parents)
            for rest in ("mix:{}@0.5", "soup:{}", "ties:{}@1")
            for parents in ("CLIP+OpenCLIP", f"{BASE}+QuiltNet", "PLIP+QuiltNet+OpenCLIP")
        ),
        "mix:CLIP+OpenCLIP@0.1..1",
        "mix:CLIP+OpenCLIP@1",
    ],
)
def test_models_without_a_common_base_are_refused_unless_forced(spec):
    with pytest.raises(UserError, match="do not share a base") as caught:
        find_model(spec)
    forced = spec.replace(":", "!:", 1)
    assert "\n" not in str(caught.value) and forced in str(caught.value)
    assert names(parse_merge(forced)) == tuple(spec.partition(":")[2].partition("@")[0].split("+"))
    assert find_model(forced).name == forced


def test_lineage_is_followed_and_may_be_unknown(tmp_path, monkeypatch):
    own = tmp_path / "own.yml"
    own.write_text(
        f"deep: {{spec: 'hf:/deep', base: {TUNED}}}\nstray: {{spec: 'hf:/stray', base: 'hf:/elsewhere'}}\n"
        f"named: {{spec: 'mix:CLIP+OpenCLIP@0.5'}}\n"
    )
    monkeypatch.setenv("UBENCH_MODELS", str(own))
    assert [root(name) for name in ("PLIP", "CLIP", "deep", f"local-dir:{DEMO / 'pathology'}", "hf:/x", "stray")] == [
        "CLIP",
        "CLIP",
        BASE,
        BASE,
        None,
        "hf:/elsewhere",
    ]
    check_lineage(OTHER, "deep", "hf:/x")
    with pytest.raises(UserError, match="'deep' and 'stray' do not share a base"):
        check_lineage("deep", "hf:/x", "stray")
    with pytest.raises(UserError, match="do not share a base"):  # a merge with a name of its own is one all the same
        identity("named")


# Identity and loading


def test_the_identity_changes_with_every_parameter_and_parent(monkeypatch):
    specs = [
        *(f"mix:{BASE}+{TUNED}@{at}" for at in ("0.4", "0.5", "0.4..1", "0.5..1", "0.4..0.9")),
        *(f"{form}:{BASE}+{TUNED}+{OTHER}@{at}" for form in ("mix", "ties") for at in (0.4, 1)),
        *(f"ties:{BASE}+{name}@0.4" for name in (TUNED, OTHER)),
        f"soup:{BASE}+{TUNED}",
        f"soup:{BASE}+{OTHER}",
        f"soup:{BASE}+{TUNED}+{OTHER}",
        f"soup:{TUNED}+{OTHER}",
    ]
    identities = [identity(spec) for spec in specs]
    assert all(one != other for one, other in itertools.combinations(identities, 2))
    before = identity(f"ties:{BASE}+{TUNED}@0.4")
    monkeypatch.setattr("ubench_utils.models.registry.TIES_DENSITY", 0.3)
    forget()
    assert identity(f"ties:{BASE}+{TUNED}@0.4") != before
    for spec in specs:  # an exclamation mark changes no weight
        assert identity(spec.replace(":", "!:", 1)) == identity(spec)
    for spec in (f"mix:{BASE}+{TUNED}+{OTHER}@0", f"ties:{BASE}+{TUNED}@0", f"mix:{BASE}+{TUNED}@0..0"):
        assert identity(spec) == identity(BASE)


@pytest.mark.parametrize(
    ("spec", "merge"),
    [
        (f"mix:{BASE}+{TUNED}@0.2..1", lambda a, b, c: merging.scale_layers(a, b, 0.2, 1)),
        (f"mix:{BASE}+{TUNED}+{OTHER}@0.4", lambda a, b, c: merging.task_arithmetic(a, b, c, weight=0.4)),
        (f"soup:{BASE}+{TUNED}+{OTHER}", merging.uniform_soup),
        (f"ties!:{BASE}+{TUNED}+{OTHER}@1", lambda a, b, c: merging.ties(a, b, c, weight=1, density=0.2)),
    ],
)
def test_a_string_loads_what_the_function_merges(spec, merge, demo_states):
    model = load_model(spec)
    assert model.name == spec and same_bits(model.network.state_dict(), merge(*demo_states))
    image = model.encode_images(np.zeros((1, 3, 64, 64), np.uint8))
    assert np.linalg.norm(image, axis=1) == pytest.approx(1, abs=1e-5)


def test_every_parent_is_checked(model_folder):
    folder = model_folder(change=lambda config: config["model_cfg"].update(quick_gelu=True))
    with pytest.raises(UserError, match="cannot mix .* activation"):
        load_model(f"soup:{BASE}+{TUNED}+local-dir:{folder}")
    model, other = load_model(BASE), load_model(TUNED)
    with pytest.raises(UserError, match="two types of number .*float32 and torch.float16"):
        merging.check_mixable(model, dataclasses.replace(other, network=copy.deepcopy(other.network).half()))
