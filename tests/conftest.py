"""Shared fixtures: a fresh cache, small datasets in the Hub's schema, tiny model folders."""

import copy
import json
import shutil

import pytest
from helpers.samples import DEMO, as_dataset


@pytest.fixture(autouse=True)
def _nothing_opened():
    """Let every test open its models anew: what it patches shows, and does not stay."""
    from ubench_utils.models import load

    load._opened.clear()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Folder of an empty cache of this test's own (also for what `datasets` converts)."""
    import datasets

    datasets.disable_progress_bars()  # they would mix with the lines that tests read
    folder = tmp_path / "cache"
    monkeypatch.setenv("UBENCH_CACHE", str(folder))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    return folder


@pytest.fixture(scope="session")
def demo_rows():
    """Return 40 rows of the demo as dictionaries, four of each sub-dataset; copy before changing one."""
    from datasets import Image

    from ubench_utils.demo.sample import draw_sample

    return list(draw_sample(images_per_set=4).cast_column("image", Image(decode=False)))


@pytest.fixture
def rows(demo_rows):
    """Return the 40 rows, free to change."""
    return copy.deepcopy(demo_rows)


@pytest.fixture
def parquet(tmp_path):
    """Write rows to a parquet file and return its path."""

    def write(rows, name="rows.parquet", drop=()):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        as_dataset(rows, drop).to_parquet(path)
        return str(path)

    return write


@pytest.fixture
def small_arch(monkeypatch):
    """Architectures of the small CLIP's shape, GELU and QuickGELU, as if open_clip knew them."""
    import open_clip

    config = {
        "embed_dim": 32,
        "vision_cfg": {"image_size": 64, "layers": 2, "width": 48, "head_width": 12, "patch_size": 16, "mlp_ratio": 2},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 48, "heads": 4, "layers": 2, "mlp_ratio": 2},
    }
    known = {"small": config, "small-quickgelu": {**config, "quick_gelu": True}}
    for name, value in known.items():
        monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, name, value)
    monkeypatch.setattr("ubench_utils.models.sources._arch_config", lambda arch: known[arch])


@pytest.fixture
def model_folder(tmp_path):
    """Copy a demo model's folder; `change` edits the configuration, `weights` the state dictionary."""

    def make(name="copy", of="base", change=None, weights=None):
        folder = tmp_path / name
        shutil.copytree(DEMO / of, folder)
        if change:
            file = folder / "open_clip_config.json"
            config = json.loads(file.read_text())
            change(config)
            file.write_text(json.dumps(config))
        if weights:
            from safetensors.torch import load_file, save_file

            state = load_file(folder / "open_clip_model.safetensors")
            weights(state)
            save_file(state, folder / "open_clip_model.safetensors")
        return folder

    return make


@pytest.fixture
def counted(monkeypatch):
    """Count what the encoders are given: images by their bytes, texts as they are."""
    from ubench_utils.models.encoders.network import DualEncoder

    seen = {"images": [], "texts": []}
    encode_images, encode_texts = DualEncoder.encode_images, DualEncoder.encode_texts

    def images(self, pixels):
        seen["images"] += [image.tobytes() for image in pixels]
        return encode_images(self, pixels)

    def texts(self, batch):
        seen["texts"] += list(batch)
        return encode_texts(self, batch)

    monkeypatch.setattr(DualEncoder, "encode_images", images)
    monkeypatch.setattr(DualEncoder, "encode_texts", texts)
    return seen
