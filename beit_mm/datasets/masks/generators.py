"""Masks as steps of an input pipeline."""

import random
from collections.abc import Iterator

import numpy as np
import torch
from mmcv.transforms import BaseTransform

from ...component import Component, Plan
from ...registry import TRANSFORMS
from .blockwise import check_budget
from .corrupted_patches import check_shares, corrupt_patches
from .fast_blockwise import Blocks
from .grid_patches import grid_mask
from .random_patches import random_mask


class MaskGenerator(BaseTransform):
    """What adds ``mask``, (h, w) bool, to a sample."""

    @staticmethod
    def check_grid(
        component: Component, grid: tuple[int, int], backbone: Component
    ) -> Iterator[str]:
        """The mask of a config has a place for each patch of the backbone's grid."""
        if component.get('grid_size') is None:
            return
        height, width = component['grid_size']
        if (height, width) != grid:
            yield (
                f'{component.key}.grid_size is {(height, width)}; it must be img_size / patch_size '
                f'of {backbone.key}, {backbone["img_size"]} / {backbone["patch_size"]} = {grid}'
            )

    @staticmethod
    def hidden_of(component: Component) -> tuple[str, int | None]:
        """Where a config says how many patches are hidden of each image, and how many."""
        return f'{component.key}.num_masked', component.get('num_masked')


@TRANSFORMS.register_module()
class BlockwiseMaskGenerator(MaskGenerator):
    """Add ``mask``, (h, w) bool, by :func:`blockwise_mask`.

    Args:
        grid_size: Patch grid (h, w); it must be img_size / patch_size.
        num_masked: Patches to hide.
        min_block, max_block, aspect_ratio, exact: See :func:`blockwise_mask`.
    """

    def __init__(
        self,
        grid_size: tuple[int, int] = (14, 14),
        num_masked: int = 75,
        min_block: int = 16,
        max_block: int | None = None,
        aspect_ratio: tuple[float, float] = (0.3, 1 / 0.3),
        exact: bool = True,
    ) -> None:
        height, width = grid_size
        self.grid_size = height, width
        self.num_masked = num_masked
        self.settings = dict(
            num_masked=num_masked,
            min_block=min_block,
            max_block=max_block,
            aspect_ratio=tuple(aspect_ratio),
            exact=exact,
        )
        check_budget(self.grid_size, num_masked)
        self.blocks = Blocks(self.grid_size, min_block, max_block, aspect_ratio, exact)

    def transform(self, results: dict) -> dict:
        """Add ``mask`` to the sample."""
        # Python's global state, which mmengine seeds in each loader worker: a number of NumPy's
        # takes ten times as long.
        numbers = iter(random.random, None)
        results['mask'] = self.blocks.mask(self.num_masked, numbers)
        return results

    def __repr__(self) -> str:
        settings = ', '.join(f'{name}={value}' for name, value in self.settings.items())
        return f'{type(self).__name__}(grid_size={self.grid_size}, {settings})'


@TRANSFORMS.register_module()
class RandomMaskGenerator(MaskGenerator):
    """Add ``mask``, (h, w) bool, by :func:`random_mask`.

    Args:
        grid_size: Patch grid (h, w); it must be img_size / patch_size.
        num_masked: Patches to hide.
    """

    def __init__(self, grid_size: tuple[int, int] = (14, 14), num_masked: int = 75) -> None:
        height, width = grid_size
        self.grid_size = height, width
        self.num_masked = num_masked
        check_budget(self.grid_size, num_masked)

    def transform(self, results: dict) -> dict:
        """Add ``mask`` to the sample."""
        results['mask'] = random_mask(self.grid_size, self.num_masked, rng=np.random)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(grid_size={self.grid_size}, num_masked={self.num_masked})'


@TRANSFORMS.register_module()
class GridMaskGenerator(MaskGenerator):
    """Add ``mask``, (h, w) bool, by :func:`grid_mask`: the same one in every sample.

    Args:
        grid_size: Patch grid (h, w); it must be img_size / patch_size.
        num_masked: Patches to hide, see :func:`grid_mask`.
    """

    def __init__(self, grid_size: tuple[int, int] = (14, 14), num_masked: int = 147) -> None:
        height, width = grid_size
        self.grid_size = height, width
        self.num_masked = num_masked
        self.mask = grid_mask(self.grid_size, num_masked)

    @staticmethod
    def check_config(component: Component, plan: Plan) -> Iterator[str]:
        """What cannot work in a config, see :class:`beit_mm.component.Component`."""
        try:
            grid_mask(tuple(component['grid_size']), component['num_masked'])
        except ValueError as error:
            yield f'{component.key}: {error}'

    def transform(self, results: dict) -> dict:
        """Add ``mask`` to the sample."""
        results['mask'] = self.mask.copy()
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(grid_size={self.grid_size}, num_masked={self.num_masked})'


@TRANSFORMS.register_module()
class PatchCorruptionGenerator(MaskGenerator):
    """Add ``mask`` and ``sources`` by :func:`corrupt_patches`, for ViT's masked patch prediction.

    ``mask``, (h, w) bool, are the corrupted patches, ``sources``, (h, w) int64, what stands in
    their place: see :class:`beit_mm.models.MaskedPatchPrediction`, which asks of ``PackInputs``
    that its ``algorithm_keys`` be ``('sources',)``.

    Args:
        grid_size: Patch grid (h, w); it must be img_size / patch_size.
        share: Of the patches, corrupted.
        mask_share, other_share: Of these, replaced by the mask token and by another patch; the
            rest is kept.

    Raises:
        ValueError: If the shares cannot be.
    """

    # What checks ask: it sets ``sources``.
    GIVES_SOURCES = True

    def __init__(
        self,
        grid_size: tuple[int, int] = (14, 14),
        share: float = 0.5,
        mask_share: float = 0.8,
        other_share: float = 0.1,
    ) -> None:
        height, width = grid_size
        self.grid_size = height, width
        self.settings = dict(share=share, mask_share=mask_share, other_share=other_share)
        check_shares(self.grid_size, **self.settings)

    @staticmethod
    def check_grid(
        component: Component, grid: tuple[int, int], backbone: Component
    ) -> Iterator[str]:
        """The shares of a config can be, too."""
        yield from MaskGenerator.check_grid(component, grid, backbone)
        try:
            check_shares(grid, *(component[n] for n in ('share', 'mask_share', 'other_share')))
        except ValueError as error:
            yield f'{component.key}: {error}'

    @staticmethod
    def hidden_of(component: Component) -> tuple[str, int | None]:
        """Where a config says how many patches are corrupted of each image, and how many."""
        height, width = component['grid_size']
        return f'{component.key}.share of the patches', round(component['share'] * height * width)

    def transform(self, results: dict) -> dict:
        """Add ``mask`` and ``sources`` to the sample."""
        mask, sources = corrupt_patches(self.grid_size, **self.settings, rng=np.random)
        results.update(mask=mask, sources=torch.from_numpy(sources))
        return results

    def __repr__(self) -> str:
        settings = ', '.join(f'{name}={value}' for name, value in self.settings.items())
        return f'{type(self).__name__}(grid_size={self.grid_size}, {settings})'
