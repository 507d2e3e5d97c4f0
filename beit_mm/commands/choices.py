"""What a run is made of where its user does not say: sizes by images, lengths by machine."""

import math
import os
from typing import Any, NamedTuple

import torch

from ..component import ConfigError, did_you_mean
from ..models.sizes import ARCHS, resolve_arch

# A network for minutes on a CPU; those with names want a GPU, or days.
SMALL = dict(embed_dims=128, num_layers=6, num_heads=4, feedforward_channels=512)
# Up to how many images each is enough for, on a GPU.
ARCH_BY_IMAGES = ((20_000, 'tiny'), (200_000, 'small'), (math.inf, 'base'))


class Machine(NamedTuple):
    """What a choice may depend on."""

    gpus: int
    cores: int
    gpu_memory: int

    @property
    def name(self) -> str:
        """In words."""
        cores = f'{self.cores} cores'
        return f'{self.gpus} GPU{"s" if self.gpus > 1 else ""}, {cores}' if self.gpus else cores

    @property
    def workers(self) -> int:
        """Processes that load images, for each GPU; on a CPU they take cores from the network."""
        return max(1, min(8, self.cores // self.gpus if self.gpus else self.cores // 4))

    @property
    def threads(self) -> int:
        """Of the network, on a CPU: a core that others use stops all of them."""
        return max(1, self.cores - self.workers)

    @property
    def processes(self) -> int:
        """That train together."""
        return max(1, self.gpus)

    @property
    def environment(self) -> dict[str, str]:
        """Variables of the processes that train."""
        return {} if self.gpus else {'OMP_NUM_THREADS': str(self.threads)}


class Sizes(NamedTuple):
    """Of images and networks; see the recipes of ``configs/own``."""

    image_size: int
    patch_size: int
    arch: str | dict
    vocab_size: int
    batch_size: int
    learning_rate: float
    num_workers: int

    @property
    def grid(self) -> int:
        """Patches along an edge."""
        return self.image_size // self.patch_size

    @property
    def embed_dims(self) -> int:
        """Width of the Transformer."""
        return resolve_arch(self.arch)['embed_dims']

    @property
    def is_small(self) -> bool:
        """Whether it is too narrow to learn its positions from relative bias alone."""
        return self.embed_dims < ARCHS['tiny']['embed_dims']

    @property
    def arch_in_words(self) -> str:
        """Its name, or its sizes."""
        if isinstance(self.arch, str):
            return self.arch
        return f'{self.arch["num_layers"]} blocks, {self.arch["embed_dims"]} wide'


def this_machine() -> Machine:
    """The machine that the process runs on, as far as it may use it."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    memory = torch.cuda.get_device_properties(0).total_memory if gpus else 0
    return Machine(gpus, cores or 1, memory)


def choose_sizes(
    num_images: int,
    short_side: int,
    machine: Machine,
    size: int | None = None,
    arch: str | None = None,
) -> Sizes:
    """Sizes that fit a set of images and a machine.

    Args:
        num_images: To train with.
        short_side: Of most images, in pixels.
        machine: It runs on.
        size: Height and width of what the network sees, if the user says so.
        arch: A name in :data:`beit_mm.models.sizes.ARCHS`, if the user says so.

    Raises:
        ConfigError: If size or arch is none.
    """
    if arch is not None and arch not in ARCHS:
        raise ConfigError(
            f'--arch is {arch!r}; it must be one of {", ".join(ARCHS)}{did_you_mean(arch, ARCHS)}'
        )
    if size is None:
        fitting = [s for s in (32, 64, 128, 224) if s <= max(32, short_side)]
        size = fitting[-1] if machine.gpus else min(fitting[-1], 64)
    patch = 16 if size >= 160 else 8
    if size < 4 * patch or size % patch:
        step = 8 if size < 160 else 16
        raise ConfigError(
            f'--size is {size}; it must be a multiple of {step}, 32 at least, such as '
            f'{max(32, round(size / step) * step)}'
        )
    if arch is not None:
        chosen: str | dict = arch
    elif machine.gpus:
        chosen = next(name for most, name in ARCH_BY_IMAGES if num_images <= most)
    else:
        chosen = SMALL
    batch = choose_batch(num_images, (size // patch) ** 2, chosen, machine)
    return Sizes(
        size,
        patch,
        chosen,
        256 if num_images < 5_000 else 1024,
        batch,
        choose_rate(batch * machine.processes, chosen),
        machine.workers,
    )


def choose_batch(num_images: int, tokens: int, arch: str | dict, machine: Machine) -> int:
    """Images at once, on one device: a power of two, eight steps an epoch if there are images."""
    width, layers = resolve_arch(arch)['embed_dims'], resolve_arch(arch)['num_layers']
    if machine.gpus:
        # Measured with bfloat16: about 34 bytes a token, layer and unit of width; half is left.
        most = machine.gpu_memory // 2 / (34 * tokens * width * layers)
    else:
        # As much work as 64 images of 64 patches by the small network.
        most = max(8, 64 * 64 * 128 * 128 * 6 / (tokens * width * width * layers))
    wanted = min(most, 64 if not machine.gpus else 1024, max(16, num_images / 8))
    wanted /= machine.processes
    return 2 ** max(3, int(math.log2(max(wanted, 1))))


def choose_rate(batch: int, arch: str | dict) -> float:
    """The paper's 1.5e-3 for 2,048 images at once, by the root for fewer; more for the narrow."""
    rate = 1.5e-3 * math.sqrt(batch / 2048) * 768 / resolve_arch(arch)['embed_dims']
    return float(f'{rate:.1e}')


def choose_steps(
    num_images: int, batch: int, seconds_a_step: float, machine: Machine, epochs: int
) -> int:
    """So many epochs, 2,000 steps at least, and no more than a day's work of the machine.

    Of a machine without a GPU, for which all of this is a trial, half an hour's.
    """
    most = (24 * 3600 if machine.gpus else 1800) / seconds_a_step
    return max(200, int(min(max(2000, epochs * num_images / batch), most)))


def values_for_tokenizer(sizes: Sizes) -> dict[str, Any]:
    """Variables of ``own/dvae.py``."""
    # A token stands for half a patch, as the tokenizer sees half of the size.
    return dict(
        second_size=sizes.image_size // 2,
        vocab_size=sizes.vocab_size,
        num_groups=int(math.log2(sizes.patch_size // 2)) + 1,
        hidden=64 if sizes.vocab_size > 256 else 32,
        batch_size=sizes.batch_size,
        num_workers=sizes.num_workers,
    )


def values_for_backbone(sizes: Sizes) -> dict[str, Any]:
    """Variables that all recipes with a Transformer share."""
    return dict(
        arch=sizes.arch,
        embed_dims=sizes.embed_dims,
        image_size=sizes.image_size,
        patch_size=sizes.patch_size,
    )


def settings_for_beit(sizes: Sizes) -> dict[str, Any]:
    """What a BEiT takes by its width."""
    return dict(
        use_abs_pos_emb=sizes.is_small,
        layer_scale_init_value=1.0 if sizes.is_small else 0.1,
        initial_values='xavier' if sizes.is_small else 'truncated-normal',
    )


def values_for_network(sizes: Sizes) -> dict[str, Any]:
    """Variables of the recipes with labels, for a BEiT from scratch."""
    network = dict(type='beit_mm.BEiT', use_rel_pos_bias=True, **settings_for_beit(sizes))
    return dict(values_for_backbone(sizes), network=network)


def values_for_decoder(sizes: Sizes) -> dict[str, int]:
    """Of MAE's decoder: two thirds of the encoder, as the paper's beside its ViT-B; no larger.

    Beside a small encoder half as wide and a third as deep: in as much time that learns more.
    """
    layers = resolve_arch(sizes.arch)['num_layers']
    wide, deep = (1 / 2, 1 / 3) if sizes.is_small else (2 / 3, 2 / 3)
    heads = max(1, min(16, round(sizes.embed_dims * wide / 32)))
    return dict(
        embed_dims=32 * heads, num_layers=max(1, min(8, round(layers * deep))), num_heads=heads
    )
