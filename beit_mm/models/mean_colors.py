"""Mean colours as targets: ViT's masked patch prediction (arXiv 2010.11929, B.1.2)."""

from collections.abc import Iterator

import torch
from mmengine.model import BaseModule
from torch import Tensor

from ..component import Component, Plan
from ..registry import MODELS
from .target_generators import places_of, refuse_other_bands


@MODELS.register_module()
class MeanColorTargetGenerator(BaseModule):
    """The class of each patch's mean colour, or of those of its parts.

    A mean in [0, 1] has 3 bits a channel, which makes 512 classes (B.1.2). The paper predicts one
    colour of a patch, or the 16 of the patch downsized to 4 x 4 pixels, in parallel.

    Args:
        patch_size: Height and width of a patch of the second view.
        in_channels: Bands of the second view.
        levels: That the mean of each band has; ``levels ** in_channels`` classes. Images of many
            bands take fewer than 8: with 13 bands 2 make 8192 classes.
        cells: Along each side of a patch; the mean of each cell is a target. 4 for the paper's
            downsized patches.

    Raises:
        ValueError: If the cells do not divide the patch.
    """

    def __init__(
        self, patch_size: int = 16, in_channels: int = 3, levels: int = 8, cells: int = 1
    ) -> None:
        super().__init__()
        if refused := _refused(patch_size, cells):
            raise ValueError(refused)
        self.stride = patch_size
        self.in_channels, self.levels, self.cells = in_channels, levels, cells
        self.vocab_size = levels**in_channels
        self.tokens_per_place = cells**2

    @staticmethod
    def check_config(component: Component, plan: Plan) -> Iterator[str]:
        """What cannot work in a config, see :class:`beit_mm.component.Component`."""
        if refused := _refused(component['patch_size'], component['cells']):
            yield f'{component.key}.{refused}'

    @staticmethod
    def stride_of(component: Component) -> int:
        """Pixels of the second view a place covers, by a config."""
        return component['patch_size']

    @staticmethod
    def bands_of(component: Component) -> tuple[str, int, tuple]:
        """Where a config says how many bands there are, and how many; they have no names."""
        return f'{component.key}.in_channels', component['in_channels'], ()

    @staticmethod
    def vocab_size_of(component: Component) -> tuple[str, int]:
        """What a config's number of classes follows from, and the number."""
        levels, bands = component['levels'], component['in_channels']
        return f'{component.key}.levels ** in_channels', levels**bands

    @staticmethod
    def tokens_per_place_of(component: Component) -> tuple[str, int]:
        """What a config's number of targets a place follows from, and the number."""
        return f'{component.key}.cells ** 2', component['cells'] ** 2

    def forward(self, images: Tensor) -> Tensor:
        """Targets.

        Args:
            images: (B, in_channels, h * patch_size, w * patch_size) in [0, 1], the second view.

        Returns:
            (B, h, w) int64 in [0, vocab_size): by default 64 * red + 8 * green + blue, each of 0
            to 7. Of several cells (B, h, w, cells ** 2), row by row.

        Raises:
            ValueError: If the images have other bands.
        """
        refuse_other_bands(images, self.in_channels)
        means = places_of(images, self.stride // self.cells).float().mean(dim=(3, 4))
        classes = torch.zeros(means.shape[:3], dtype=torch.int64, device=means.device)
        for band in (means * self.levels).long().clamp(0, self.levels - 1).unbind(-1):
            classes = classes * self.levels + band
        if self.cells == 1:
            return classes
        return places_of(classes[:, None], self.cells).flatten(3)

    def picture(self, classes: Tensor) -> Tensor:
        """Images of classes, a pixel a cell, of the middle of each one's colours.

        Args:
            classes: (B, h, w), or (B, h, w, cells ** 2).

        Returns:
            (B, in_channels, h * cells, w * cells) in [0, 1].
        """
        return self.in_rows(self.colors(classes).movedim(0, 1))

    def colors(self, classes: Tensor) -> Tensor:
        """The middle of each class's colours: (...) int64 -> (in_channels, ...) in [0, 1]."""
        values = [self.levels**power for power in reversed(range(self.in_channels))]
        bands = torch.stack([classes // value % self.levels for value in values])
        return (bands + 0.5) / self.levels

    def in_rows(self, bands: Tensor) -> Tensor:
        """What is of cells as images: (B, C, h, w, n) -> (B, C, h * cells, w * cells)."""
        if self.cells == 1:
            return bands
        cells = bands.unflatten(4, (self.cells, self.cells))
        return cells.permute(0, 1, 2, 4, 3, 5).flatten(4).flatten(2, 3)


def _refused(patch_size: int, cells: int) -> str:
    if cells < 1 or patch_size % cells:
        return f'patch_size is {patch_size}; it must be a multiple of cells, {cells}, at least 1'
    return ''
