"""Principal components of a patch's pixels as targets (MAE, table 1d)."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from mmengine.model import BaseModule
from torch import Tensor

from ..component import Component, Plan
from ..registry import MODELS
from .target_generators import PixelTargetGenerator


@MODELS.register_module()
class PCATargetGenerator(BaseModule):
    """The first coefficients of each patch in the space of all patches, for a :class:`PixelHead`.

    MAE takes 96 of the 768 of a patch of 16 x 16 (4.1). The components are those of the training
    images, fitted once by ``tools/fit_patch_components.py``.

    Args:
        checkpoint: The ``.npz`` file of that tool; None leaves them zero, for weights that come
            with a checkpoint of the whole model.
        num_values: Coefficients of a patch, the largest first.
        patch_size: Height and width of a patch of the second view.
        in_channels: Channels of the second view.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is of patches of another size, or has fewer components.
    """

    def __init__(
        self,
        checkpoint: str | None = None,
        num_values: int = 96,
        patch_size: int = 16,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        self.pixels = PixelTargetGenerator(patch_size, False, in_channels)
        self.stride, self.num_values = patch_size, num_values
        count = self.pixels.num_values
        if not 0 < num_values <= count:
            raise ValueError(f'num_values is {num_values}; a patch has {count} values')
        self.register_buffer('mean', torch.zeros(count))
        self.register_buffer('components', torch.zeros(count, num_values))
        if checkpoint is not None:
            with np.load(checkpoint) as file:
                mean, components = file['mean'], file['components'][:, :num_values]
            if mean.shape != (count,) or components.shape != (count, num_values):
                raise ValueError(
                    f'{checkpoint} has components {components.shape} of patches of {mean.shape} '
                    f'values; model.target_generator takes {(count, num_values)}'
                )
            self.mean.copy_(torch.from_numpy(mean))
            self.components.copy_(torch.from_numpy(components))

    @staticmethod
    def check_config(component: Component, plan: Plan) -> Iterator[str]:
        """What cannot work in a config, see :class:`beit_mm.component.Component`."""
        given = component['checkpoint']
        if given is not None and not Path(given).is_file():
            yield (
                f'{component.key}.checkpoint is {given!r}, and there is no such file; '
                f'python tools/fit_patch_components.py CONFIG --out {given} makes it'
            )

    @staticmethod
    def stride_of(component: Component) -> int:
        """Pixels of the second view a place covers, by a config."""
        return component['patch_size']

    @staticmethod
    def bands_of(component: Component) -> tuple[str, int, tuple]:
        """Where a config says how many bands there are, and how many; they have no names."""
        return f'{component.key}.in_channels', component['in_channels'], ()

    def init_weights(self) -> None:
        """Nothing to do: the constructor has loaded the components."""

    def forward(self, images: Tensor) -> Tensor:
        """Targets.

        Args:
            images: (B, C, h * patch_size, w * patch_size), the second view.

        Returns:
            (B, h, w, num_values) float32.

        Raises:
            ValueError: If the images have other bands.
        """
        # Targets are no place to save precision.
        with torch.autocast(images.device.type, enabled=False):
            return (self.pixels(images) - self.mean) @ self.components

    def picture(self, values: Tensor) -> Tensor:
        """Images of what the components hold: (B, h, w, num_values) -> (B, C, h * p, w * p)."""
        return self.pixels.picture(values @ self.components.T + self.mean)
