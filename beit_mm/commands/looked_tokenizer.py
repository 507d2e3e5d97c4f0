"""The tokenizer that a look is into, wherever its weights are."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..checkpoints import read_checkpoint
from ..checkpoints.run_settings import images_in, run_settings
from ..component import ConfigError
from ..models import DiscreteVAE
from ..models.tokenizer_shapes import load_tokenizer
from .features import middle_of
from .how_to_read import PHOTOS, HowToRead
from .starting_weights import Start
from .which_tokenizer import tokenizer_files

# The paper's grid of tokens, of weights that say nothing of the size of their images.
GRID = 14
# What is shown is larger than what the tokenizer sees, by so much: BEiT sees it so.
SHOWN = 2


class LookedTokenizer(NamedTuple):
    """A tokenizer, and what images must be for it; see :class:`..looked_images.Sees`.

    Attributes:
        model: In eval mode.
        size: Height and width of an image that it sees.
        how: They are read.
    """

    model: DiscreteVAE
    size: int
    how: HowToRead

    def fitted(self, image: np.ndarray) -> np.ndarray:
        """The middle of an image (H, W, bands), twice as large as the tokenizer sees it."""
        return middle_of(image, SHOWN * self.size, self.how.is_plain)

    def normalised(self, images: Sequence[np.ndarray]) -> Tensor:
        """(N, bands, S, S) float32 in [0, 1], of images that :meth:`fitted` gave."""
        device = self.model.encoder.input.weight.device
        batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).to(device).float() / 255
        return F.interpolate(
            batch, (self.size, self.size), mode='bilinear', antialias=True, align_corners=False
        ).clamp(0, 1)


def tokenizer_for(
    given: str | Path, files: Sequence[Path], size: int | None = None
) -> LookedTokenizer:
    """A tokenizer that reads some images as they are to be read.

    Args:
        given: See :func:`beit_mm.commands.which_tokenizer.tokenizer_files`.
        files: Images.
        size: Height and width of what it sees; without, that of its training, else 14 tokens.

    Raises:
        ConfigError: If there is no tokenizer, or the size is no multiple of its stride.
        CheckpointError: If there is none in the file.
    """
    paths = tokenizer_files(given)
    model = load_tokenizer(*paths)
    known = images_in(run_settings(read_checkpoint(paths[0])))
    side = size or known.size or GRID * model.stride
    if side % model.stride:
        raise ConfigError(
            f'--size is {side}; it must be a multiple of {model.stride}, the pixels that a token '
            'of this tokenizer stands for'
        )
    how = PHOTOS._replace(**known.reading)
    count = model.in_channels
    if how.reading.num_bands != count:
        how = how._replace(
            bands=list(model.bands) if model.bands else count, mean=[0.0] * count, std=[1.0] * count
        )
    begun_from = Start(None, None, how, says_how=bool(known.reading))
    how = begun_from.choose(None, None)(Path(), [str(file) for file in files])
    if torch.cuda.is_available():
        model.cuda()
    return LookedTokenizer(model, side, how)
