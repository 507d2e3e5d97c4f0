"""Vectors of images, by frozen weights."""

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from ..datasets.decoding import read_pixels
from ..datasets.reading.broken_image import BrokenImage
from ..layers.fit_bands import COLORS
from ..models import VisionTransformer, load
from .changed_images import Changes
from .how_to_read import HowToRead, Place
from .starting_weights import Start, check_size, images_of, size_of_weights, weights_of


class Extractor(NamedTuple):
    """A backbone, and what images must be for it.

    Attributes:
        model: In eval mode, with ``out_type='featmap'``.
        size: Height and width of an image.
        how: They are read.
        says_how: Whether the weights do.
        weights: That the backbone is of, as ``beit_mm.load`` takes them.
    """

    model: VisionTransformer
    size: int
    how: HowToRead
    says_how: bool = True
    weights: str = ''

    def for_images(
        self,
        root: Place,
        names: Sequence[str],
        bands: str | None = None,
        value_range: str | None = None,
        no_data: float | None = None,
    ) -> 'Extractor':
        """The same, with ranges of pixels that fit images which the weights know nothing of.

        Args:
            root: Where the images lie.
            names: Their names there.
            bands, value_range, no_data: See :func:`beit_mm.commands.how_to_read.how_to_read`. To
                bands that the weights do not know their first layer is fitted.
        """
        begun_from = Start(self.weights, self.model, self.how, self.says_how)
        how = begun_from.choose(bands, value_range, no_data)(root, names)
        if how != self.how:
            print(f'read as {how.line.partition(" (--")[0]}', file=sys.stderr)
        if how.bands == self.how.bands:
            return self._replace(how=how)
        return self._replace(how=how, model=_backbone(self.weights, how.bands or COLORS))

    @torch.no_grad()
    def __call__(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Mean of the patches' last hidden states, (N, C) float32, of images (H, W, bands)."""
        batch = self.normalised([self.fitted(image) for image in images])
        return self.model(batch)[-1].mean(dim=(2, 3)).float().cpu().numpy()

    def normalised(self, images: Sequence[np.ndarray]) -> Tensor:
        """(N, bands, S, S) float32 on the model's device, of images that :meth:`fitted` gave."""
        device = self.model.patch_embed.proj.weight.device
        batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).to(device).float()
        return (batch - _of_bands(self.how.mean, device)) / _of_bands(self.how.std, device)

    def fitted(self, image: np.ndarray) -> np.ndarray:
        """The middle of an image (H, W, bands), in the size of the network; in [0, 255]."""
        return middle_of(image, self.size, self.how.is_plain)


def middle_of(image: np.ndarray, size: int, is_plain: bool) -> np.ndarray:
    """The middle of an image, resized.

    Args:
        image: (H, W, bands) in [0, 255].
        size: Height and width of what comes out.
        is_plain: Whether it is a photo of 8 bits in colours.

    Returns:
        (size, size, bands), uint8 or float32 in [0, 255].
    """
    planes = [image] if is_plain else np.moveaxis(image.astype(np.float32), -1, 0)
    small = [
        np.asarray(
            ImageOps.fit(
                Image.fromarray(np.ascontiguousarray(plane)),
                (size, size),
                Image.Resampling.BICUBIC,
            )
        )
        for plane in planes
    ]
    # The filter overshoots beside edges.
    return small[0] if is_plain else np.stack(small, axis=-1).clip(0, 255)


def extractor(weights: str | Path, size: int | None = None) -> Extractor:
    """The backbone of weights.

    Args:
        weights: What ``beit_mm.load`` takes.
        size: Height and width of an image; without, that of the weights.

    Raises:
        ConfigError: If the size is no multiple of the patch.
    """
    weights = weights_of(str(weights))
    model = _backbone(weights)
    check_size(size, model.patch_size[0])
    how, says_how = images_of(weights, model)
    return Extractor(model, size or size_of_weights(model), how, says_how, weights)


def _backbone(weights: str, bands: int | Sequence[str] | None = None) -> VisionTransformer:
    model = load(weights, out_type='featmap', bands=bands)
    return model.cuda() if torch.cuda.is_available() else model


def _of_bands(values: Sequence[float], device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device=device).view(-1, 1, 1)


def features_in_order(
    take: Extractor,
    root: Place,
    names: Sequence[str],
    batch_size: int,
    broken: Callable[[str, str], None],
    changes: Changes,
) -> Iterator[tuple[list[str], np.ndarray]]:
    """Vectors of images, a batch at a time.

    Args:
        take: The backbone.
        root: Where the images lie.
        names: Their names there.
        batch_size: Images at once.
        broken: Is told the name of an image that cannot be decoded, which is left out, and why.
        changes: Counts what reading changes.

    Yields:
        Names, and (N, C) float32.
    """
    for begin in range(0, len(names), batch_size):
        kept, images = [], []
        for name in names[begin : begin + batch_size]:
            try:
                with changes.of_image():
                    images.append(read_pixels(root.joinpath(name), take.how.reading))
                kept.append(name)
            except (BrokenImage, OSError) as error:
                broken(name, getattr(error, 'reason', f'{error}'))
        yield kept, take(images) if images else np.zeros((0, take.model.embed_dims), np.float32)
