"""A few images of validation, the same with the same masks whenever a run is drawn."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from ...datasets.reading.broken_image import BrokenImage
from ...datasets.reading.measuring import spread


def held_out_batch(loader: Any, count: int) -> dict | None:
    """Some images of a data loader's data set, evenly spread.

    Args:
        loader: Of validation.
        count: How many; fewer if there are not so many, or some cannot be read.

    Returns:
        A batch as the loader makes them; None of no images. Crops and masks depend on the place of
        an image in the data set alone, and no random generator is moved.
    """
    samples = []
    places = range(len(loader.dataset))
    for place in spread(places, count):
        with seeded_for_a_while(place):
            try:
                samples.append(loader.dataset[place])
            except (BrokenImage, OSError):
                # Validation, which comes to it, says so.
                continue
    return loader.collate_fn(samples) if samples else None


@contextmanager
def seeded_for_a_while(seed: int) -> Iterator[None]:
    """Python's, NumPy's and torch's generators seeded, and then again as they were."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed)
    # Not CUDA's, which making a sample does not draw from.
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


@contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """A model in eval mode, without gradients, and then each of its modules as it was."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        # What evaluation keeps of weights is let go: a fused optimizer moves them unseen.
        model.train()
        for module, mode in modes:
            module.training = mode
