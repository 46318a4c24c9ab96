"""LoRA adapters as peft saves them, merged into the weights of their base."""

import warnings
from pathlib import Path

import torch

from ...errors import UserError, first_line, shown
from ..checkpoints import REAL, read
from ..folders import LORA, read_json

# Settings by which the change of the weights is computed, and those that say nothing about it.
MEANT = frozenset(
    ["r", "lora_alpha", "target_modules", "modules_to_save", "bias", "lora_bias", "fan_in_fan_out", "use_rslora"]
    + ["use_dora", "rank_pattern", "alpha_pattern", "layers_to_transform", "layers_pattern", "exclude_modules"]
)
SILENT = frozenset(
    ["peft_type", "peft_version", "base_model_name_or_path", "revision", "task_type", "auto_mapping", "inference_mode"]
    + ["lora_dropout", "init_lora_weights", "megatron_core", "qalora_group_size", "ensure_weight_tying"]
)


def merge_adapter(network: torch.nn.Module, folder: Path) -> tuple[torch.nn.Module, str]:
    """The network with an adapter's change added to its weights, and a line that says so.

    peft computes the change, and is given plain settings and tensors alone, no file. Every tensor of the adapter has to
    take its place, and every place its tensor.

    Raises
    ------
    UserError
        If the settings ask for more than LoRA, rsLoRA or DoRA, or the tensors do not fit them.

    References
    ----------
    Hu et al. 2022, LoRA: low-rank adaptation of large language models, section 4.1.
    """
    import peft

    settings = read_json(folder / LORA[0])
    strange = sorted(key for key, value in settings.items() if value and key not in MEANT | SILENT)
    initial = settings.get("init_lora_weights", True)
    if strange or not (isinstance(initial, bool) or initial == "gaussian"):  # others change the base's weights too
        key = strange[0] if strange else "init_lora_weights"
        value = shown(settings[key], 40)
        raise UserError(f"its {LORA[0]} ({shown(key)}: {value}) asks for more than LoRA; merge it with peft itself")
    tensors = read((folder / LORA[1],))
    for key, value in tensors.items():
        if not isinstance(value, torch.Tensor) or value.dtype not in REAL or not torch.isfinite(value).all():
            raise UserError(f"its {LORA[1]} holds {shown(key)}, which is no tensor of finite real numbers")
    tensors = {key: value.float() for key, value in tensors.items()}
    try:
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):  # peft draws first weights, then replaced
            warnings.simplefilter("ignore")
            config = peft.LoraConfig(**{key: settings[key] for key in sorted(MEANT & {*settings})})
            adapted = peft.get_peft_model(network, config)
            peft.set_peft_model_state_dict(adapted, tensors)
            there = peft.get_peft_model_state_dict(adapted, save_embedding_layers=False)
            _check_places(tensors, there)
            merged = adapted.merge_and_unload(safe_merge=True)
    except UserError:
        raise
    except Exception as error:  # peft, torch: each has its own
        raise UserError(f"its adapter does not fit its base ({first_line(error)})") from error
    return merged, f"a LoRA adapter of rank {shown(settings.get('r'), 10)} is merged into its base"


def _check_places(tensors: dict, there: dict) -> None:
    """Refuse an adapter of which a tensor took no place, or a place no tensor."""
    lost, empty = sorted(tensors.keys() - there.keys()), sorted(there.keys() - tensors.keys())
    for names, what in ((lost, "has no place for {} of its adapter"), (empty, "lacks {} of its adapter")):
        if names:
            raise UserError(f"its base {what.format(f'{len(names)} tensors')}, such as {shown(names[0])}")
    changed = [key for key in sorted(tensors) if not torch.equal(tensors[key], there[key].float())]
    if changed:
        raise UserError(f"peft did not take over {shown(changed[0])} of its adapter")
