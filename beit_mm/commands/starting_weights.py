"""The weights that a run starts from, and the network that they are of."""

import functools
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..checkpoints import locate, read_about, read_checkpoint
from ..checkpoints.folders import read_mean_and_std
from ..checkpoints.run_settings import run_settings
from ..component import ConfigError
from ..models import BEiT, VisionTransformer, load
from .choices import Machine, choose_batch, choose_sizes, values_for_network
from .how_to_read import (
    MEAN,
    STD,
    HowToRead,
    Place,
    how_of_run,
    how_to_read,
    how_to_read_in,
    in_order,
    parse_bands,
    preprocessor_in,
    with_ranges_of,
)
from .photos import Chooser, Photos
from .trained import CLASSIFIER, PRETRAINED, SEGMENTOR

NONE = 'none'


def weights_of(given: str) -> str:
    """What a user names: of a command's folder the weights in it, of a path all of it.

    A run that is gone on with from elsewhere finds them there.
    """
    path = Path(given).expanduser()
    for _, name in (PRETRAINED, CLASSIFIER, SEGMENTOR):
        if (path / name).is_file():
            return str(path.resolve() / name)
    return str(path.resolve()) if path.exists() else given


class Start(NamedTuple):
    """What a network starts from.

    Attributes:
        weights: What ``beit_mm.load`` takes; None from scratch.
        model: Of the weights.
        images: How the images are read that the weights are for; None of ones from scratch.
        says_how: Whether the weights say so themselves.
    """

    weights: str | None
    model: VisionTransformer | None
    images: HowToRead | None
    says_how: bool

    def choose(
        self, bands: str | None, value_range: str | None, no_data: float | None = None
    ) -> Chooser:
        """Chooses how images are read: as the user says, else as the weights do, else as fits both.

        Args:
            bands, value_range, no_data: See :func:`beit_mm.commands.how_to_read.how_to_read`.
        """
        if self.images is None:
            return functools.partial(
                how_to_read, bands=bands, value_range=value_range, no_data=no_data
            )
        known = self.images if no_data is None else self.images._replace(no_data=no_data)

        def chooser(root: Place, names: Sequence[str]) -> HowToRead:
            same = in_order(known, parse_bands(bands))
            # Weights of photos of 8 bits say nothing of deep images.
            has_ranges = self.says_how and known.value_range is not None
            if same is not None and value_range is None and has_ranges:
                return with_ranges_of(same, root, names)
            if bands is None:
                found = how_to_read_in(known.bands, root, names, value_range, known.no_data)
            else:
                found = how_to_read(root, names, bands, value_range, known.no_data)
            asked = bands is not None or value_range is not None
            known_so = same is not None and same.value_range == found.value_range
            if asked and self.says_how and not known_so:
                return found
            if found.reading.num_bands == known.reading.num_bands:
                # The network knows images that are normalised so.
                same = same or known
                return found._replace(mean=same.mean, std=same.std)
            return found

        return chooser


def start_of(weights: str) -> Start:
    """Read what the user names.

    Args:
        weights: What ``beit_mm.load`` takes, or 'none'.

    Raises:
        CheckpointError: If they are none.
    """
    if weights == NONE:
        return Start(None, None, None, says_how=False)
    weights = weights_of(weights)
    model = load(weights)
    images, says_how = images_of(weights, model)
    return Start(weights, model, images, says_how)


def images_of(weights: str, model: VisionTransformer) -> tuple[HowToRead, bool]:
    """How images are read for weights, and whether the weights say so; photos where they do not.

    Args:
        weights: As :func:`weights_of` gives them.
        model: With them.
    """
    about = read_about(weights).get('images') or {}
    bands: Any = about.get('bands')
    count = model.patch_embed.input.in_channels
    settings = {} if about else _settings_of(locate(weights))
    if 'mean' in preprocessor_in(settings):
        # A checkpoint of a run carries its config.
        of_run = how_of_run(settings)
        if len(of_run.mean) == of_run.reading.num_bands == count:
            return of_run, True
    if not about and count != len(MEAN):
        bands = list(model.bands) if model.bands else count
    mean, std = about.get('mean'), about.get('std')
    if mean is None or std is None:
        found = read_mean_and_std(locate(weights))
        if found is not None and len(found[0]) == count:
            mean, std = (np.multiply(values, 255).round(4).tolist() for values in found)
        elif count == len(MEAN):
            mean, std = list(MEAN), list(STD)
        else:
            mean, std = [127.5] * count, [64.0] * count
    how = HowToRead(bands, about.get('value_range'), mean, std, about.get('no_data'))
    return how, bool(about)


def _settings_of(path: Path) -> dict[str, Any]:
    """Of the config that a checkpoint carries; nothing of weights alone."""
    alone = path.is_dir() or path.suffix in ('.safetensors', '.npz')
    return {} if alone else run_settings(read_checkpoint(path))


def values_of_weights(
    start: Start, photos: Photos, machine: Machine, size: int | None
) -> dict[str, Any]:
    """Variables that the recipes behind a pre-training share.

    Args:
        start: From weights; or from scratch, with a network of a size that is chosen by the images
            and the machine.
        photos: To learn from.
        machine: It runs on.
        size: Of an image, if the user says so; without, that of the weights.

    Raises:
        ConfigError: If the size does not divide into patches.
    """
    model = start.model
    if model is None:
        sizes = choose_sizes(len(photos.train), photos.short_side, machine, size)
        return dict(
            values_for_network(sizes),
            weights=None,
            **photos.how.values,
            batch_size=sizes.batch_size,
            layer_decay_rate=1.0,
        )
    block = model.blocks[0]
    patch = model.patch_size[0]
    check_size(size, patch)
    arch = dict(
        embed_dims=model.embed_dims,
        num_layers=model.num_layers,
        num_heads=block.attn.num_heads,
        feedforward_channels=block.mlp.fc1.out_features,
    )
    image_size = size or size_of_weights(model)
    return dict(
        weights=dict(type='Pretrained', checkpoint=start.weights),
        arch=arch,
        embed_dims=model.embed_dims,
        image_size=image_size,
        patch_size=patch,
        network=_network_of(model),
        **photos.how.values,
        batch_size=choose_batch(len(photos.train), (image_size // patch) ** 2, arch, machine),
        layer_decay_rate=0.65 if model.num_layers >= 12 else 0.75,
    )


def _network_of(model: VisionTransformer) -> dict[str, Any]:
    """Settings of the backbone that goes on with weights."""
    scale = 0.0 if isinstance(model.blocks[0].gamma_1, float) else 0.1
    if isinstance(model, BEiT):
        own: dict[str, Any] = dict(
            type='beit_mm.BEiT',
            use_abs_pos_emb=model.pos_embed is not None,
            use_rel_pos_bias=True,
        )
    else:
        # Positions that were fixed in pre-training learn from here on.
        own = dict(
            type='beit_mm.VisionTransformer',
            positions='learned' if model.positions == 'sine-cosine' else model.positions,
            positions_at=model.positions_at,
            use_rel_pos_bias=model.relative_index is not None,
            num_extra_tokens=model.num_extra_tokens,
        )
    stem = model.patch_embed.stem
    if stem is not None:
        stages = tuple(len(blocks) for blocks in stem.stages)
        own['stem'] = dict(type='beit_mm.HybridStem', stages=stages)
    return dict(own, layer_scale_init_value=scale)


def check_size(size: int | None, patch: int) -> None:
    """Hold a size against the patch of weights.

    Raises:
        ConfigError: If it is no multiple.
    """
    if size is not None and size % patch:
        raise ConfigError(
            f'--size is {size}; it must be a multiple of {patch}, the patch of the weights, such '
            f'as {max(patch, round(size / patch) * patch)}'
        )


def size_of_weights(model: VisionTransformer) -> int:
    """Height and width of the images that weights are given: the height of those that they are of.

    It is said where these are not square.
    """
    height, width = (n * edge for n, edge in zip(model.grid, model.patch_size, strict=True))
    if height != width:
        print(
            f'the weights are of {height} x {width} pixels; they are given {height} x {height}',
            file=sys.stderr,
        )
    return height


def check_same_weights(known: Mapping[str, Any] | None, given: str) -> None:
    """Hold the weights that a run began with against those that are given.

    Raises:
        ConfigError: If they are others.
    """
    was = NONE if known is None else known['checkpoint']
    if given != was and weights_of(given) != was:
        raise ConfigError(
            f'--weights is {given}, and the run in --out began with {was}: begin another run in '
            'another --out'
        )
