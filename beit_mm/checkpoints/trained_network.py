"""What a file says of the network that its weights are of, where no shape does."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .about import about_in, read_about
from .run_settings import run_settings

# By what `about` calls it: where a run's config says so.
IN_A_CONFIG = {
    'num_heads': ('backbone', 'arch', 'num_heads'),
    'decoder_heads': ('decoder', 'num_heads'),
    'normalize': ('target_generator', 'normalize'),
}
# And what transformers' configs call it.
IN_TRANSFORMERS = {
    'num_heads': 'num_attention_heads',
    'decoder_heads': 'decoder_num_attention_heads',
    'normalize': 'norm_pix_loss',
}


def told_of_network(model: Mapping[str, Any]) -> dict[str, Any]:
    """What a run's config says of its network that weights do not.

    Args:
        model: Of the config.

    Returns:
        What there is of ``num_heads``, of the encoder, ``decoder_heads`` and ``normalize``, whether
        pixels are normalised patch by patch, of MAE.
    """
    found = {}
    for name, keys in IN_A_CONFIG.items():
        value: Any = model
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        if isinstance(value, int):
            found[name] = value
    return found


def network_in(path: Path, content: object) -> dict[str, Any]:
    """The same, by what this project or the Runner has written beside weights.

    Args:
        path: Of the weights.
        content: What :func:`beit_mm.checkpoints.read_checkpoint` has read from it.

    Returns:
        What there is, under the names of transformers' configs: ``num_attention_heads``,
        ``decoder_num_attention_heads``, ``norm_pix_loss``.
    """
    about = read_about(path) if path.suffix == '.safetensors' else about_in(content, str(path))
    model: Any = run_settings(content).get('model')
    told = told_of_network(model) if isinstance(model, Mapping) else {}
    told |= {name: about[name] for name in IN_A_CONFIG if isinstance(about.get(name), int)}
    # No network has no heads.
    return {
        theirs: told[name]
        for name, theirs in IN_TRANSFORMERS.items()
        if told.get(name, 0) > 0 or (name == 'normalize' and name in told)
    }
