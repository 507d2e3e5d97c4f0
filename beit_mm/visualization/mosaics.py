"""Many small pictures as one array: hundreds of axes would take matplotlib minutes."""

import numpy as np


def mosaic(panels: np.ndarray, gap: int, fill: float = np.nan) -> np.ndarray:
    """Panels in rows and columns, with gaps between them.

    Args:
        panels: (R, C, h, w) or (R, C, h, w, bands).
        gap: Pixels between two.
        fill: Of the gaps.

    Returns:
        (R (h + gap) - gap, C (w + gap) - gap) or with bands, of the dtype of the panels.
    """
    rows, columns, height, width = panels.shape[:4]
    padded = np.full(
        (rows, height + gap, columns, width + gap, *panels.shape[4:]), fill, panels.dtype
    )
    padded[:, :height, :, :width] = np.moveaxis(panels, 2, 1)
    whole = padded.reshape(rows * (height + gap), columns * (width + gap), *panels.shape[4:])
    return whole[: len(whole) - gap, : whole.shape[1] - gap]


def middles(count: int, length: int, gap: int) -> np.ndarray:
    """Where the middles of panels of so many pixels lie on an axis of :func:`mosaic`, (count,)."""
    return np.arange(count) * (length + gap) + (length - 1) / 2
