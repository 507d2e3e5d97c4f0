"""A layer that takes or makes the bands of images, fitted to images of other bands.

By numbers as timm does it, ``adapt_input_conv``; by names where both sides have them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# What three bands without names are.
COLORS = ('red', 'green', 'blue')


def check_names(bands: Sequence[str] | None, in_channels: int) -> tuple[str, ...] | None:
    """Names of the bands of a network, as a tuple.

    Raises:
        ValueError: If they are not ``in_channels`` different names.
    """
    if bands is None:
        return None
    names = () if isinstance(bands, str) else tuple(bands)
    plain = all(isinstance(name, str) and name and '\n' not in name for name in names)
    if not (names and plain) or len(set(names)) < len(names):
        raise ValueError(f'bands is {bands!r}; it must be None or a list of different names')
    if len(names) != in_channels:
        raise ValueError(
            f'bands is {list(names)}, and in_channels is {in_channels}; set '
            f'in_channels={len(names)}, or name {in_channels} bands'
        )
    return names


@dataclass(frozen=True)
class BandFit:
    """How the bands of weights become those of a network.

    With m bands in the weights, kernels k_i of mean k, and n in the network:

    - By numbers, where names are not known or have nothing in common: the sum of all kernels for
      one band; else the kernels in their order, again and again, times m / n.
    - By names: k_i - s + (m / n) k for a band that both have, with s the mean kernel of those that
      both have; (m / n) k for any other. What a network makes of differences between the bands
      that both have stays as it was, and what it makes of their mean is shared among all n. So an
      image whose other bands, on either side, equal the mean of those that both have gives the
      same output: of red, green and blue with their mean as a fourth, that of the three.

    An image of equal bands gives the same output in both ways, but by numbers where m > 1 does not
    divide n > 1. All this is of images that are normalised alike: a mean and a standard deviation
    for each band.

    Args:
        old: Bands of the weights.
        new: Bands of the network.
        old_names, new_names: Of these bands; of three without names, red, green and blue.
    """

    old: int
    new: int
    old_names: Sequence[str] | None = None
    new_names: Sequence[str] | None = None

    @property
    def names(self) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
        """Of the bands of the weights and of the network; None where the fit is by numbers."""
        theirs, ours = _named(self.old_names, self.old), _named(self.new_names, self.new)
        return (theirs, ours) if theirs and ours and set(ours) & set(theirs) else None

    @property
    def places(self) -> list[int | None] | None:
        """Which band of the weights has the name of each of the network's; None by numbers."""
        if self.names is None:
            return None
        theirs, ours = self.names
        return [theirs.index(name) if name in theirs else None for name in ours]

    @property
    def is_needed(self) -> bool:
        """Whether the bands are not the same in the same order."""
        places = self.places
        return self.new != self.old if places is None else places != list(range(self.old))

    def inputs(self, kernels: Tensor) -> Tensor:
        """Kernels of a layer that takes images.

        Args:
            kernels: (D, old, h, w) floating.

        Returns:
            (D, new, h, w) of that dtype; the same tensor where nothing is to do.
        """
        if not self.is_needed:
            return kernels
        places, share = self.places, self.old / self.new
        values = kernels.to(torch.promote_types(kernels.dtype, torch.float32))
        if places is None:
            fitted = values.sum(dim=1, keepdim=True) if self.new == 1 else self._again(values)
            return (fitted if self.new == 1 else fitted * share).to(kernels.dtype)
        kept = [place for place in places if place is not None]
        if len(kept) == self.old == self.new:
            return kernels[:, kept]
        mean, of_shared = values.mean(dim=1) * share, values[:, kept].mean(dim=1)
        bands = [mean if p is None else values[:, p] - of_shared + mean for p in places]
        return torch.stack(bands, dim=1).to(kernels.dtype)

    def outputs(self, rows: Tensor, parts: int = 1) -> Tensor:
        """Weights or biases of a layer that makes images.

        A band that both have is made as before, any other as the mean of all; by numbers one band
        is their mean, and more are made as they are, again and again.

        Args:
            rows: (parts * old, ...) floating.
            parts: What is made of each band: its mean and its scale are two.

        Returns:
            (parts * new, ...) of that dtype; the same tensor where nothing is to do.
        """
        if not self.is_needed:
            return rows
        places = self.places
        values = rows.unflatten(0, (parts, self.old))
        mean = values.to(torch.promote_types(rows.dtype, torch.float32)).mean(dim=1).to(rows.dtype)
        if places is None:
            fitted = mean[:, None] if self.new == 1 else self._again(values)
        else:
            fitted = torch.stack([mean if p is None else values[:, p] for p in places], dim=1)
        return fitted.flatten(0, 1)

    def _again(self, values: Tensor) -> Tensor:
        """(D, old, ...) -> (D, new, ...), the bands in their order, again and again."""
        repeats = [1] * values.ndim
        repeats[1] = math.ceil(self.new / self.old)
        return values.repeat(repeats)[:, : self.new]

    def __str__(self) -> str:
        """What is done, for a log.

        >>> str(BandFit(3, 4, None, ('red', 'green', 'blue', 'nir')))
        '3 -> 4 bands: red, green, blue by name, nir from their mean'
        """
        head = f'{self.old} -> {self.new} band{"s" * (self.new != 1)}'
        if self.names is None or self.new == 1:
            return f'{head}: {self._by_numbers()}'
        theirs, ours = self.names
        made = [name for name in ours if name not in theirs]
        lost = [name for name in theirs if name not in ours]
        said = [f'{", ".join(name for name in ours if name in theirs)} by name']
        said += [f'{", ".join(made)} from their mean'] * bool(made)
        said += [f'without {", ".join(lost)}'] * bool(lost)
        return f'{head}: {", ".join(said)}'

    def _by_numbers(self) -> str:
        return 'their sum' if self.new == 1 else f'repeated, times {self.old}/{self.new}'


def _named(names: Sequence[str] | None, count: int) -> tuple[str, ...] | None:
    if names is not None:
        return tuple(names)
    return COLORS if count == len(COLORS) else None
