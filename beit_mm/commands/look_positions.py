"""``beit-mm look positions``: what was learned of where patches are."""

from pathlib import Path

import numpy as np

from ..component import ConfigError
from ..layers.positions import Positions, whole_table
from ..models import VisionTransformer, load
from ..visualization.position_maps import (
    draw_offset_maps,
    draw_similarities,
    offset_maps,
    position_similarities,
)
from .picture_files import picture_path, write_picture
from .starting_weights import weights_of


def look_positions(weights: str | Path, out: str | Path | None = None) -> list[Path]:
    """Draw relative position tables, and how alike absolute positions are (ViT, figure 7, centre).

    Args:
        weights: What ``beit_mm.load`` takes, or the folder of a command.
        out: The picture, .png; by default ``work_dirs/look/positions.png``. Beside it ``.npz``:
            ``tables`` (T, heads, 2h - 1, 2w - 1), T 1 where all blocks share one, and ``of_s``
            (T, heads, 3), see :func:`beit_mm.visualization.offset_maps`; or, of absolute positions,
            ``similarities`` (h, w, h, w), those of the first block where each has its own. Of
            weights with both, the latter go beside the former under its name with ``_absolute``.

    Returns:
        The pictures, one or two.

    Raises:
        ConfigError: If the weights have no positions.
    """
    path = picture_path(out, 'positions')
    model = load(weights_of(str(weights)))
    tables = _tables(model)
    absolute = absolute_positions(model)
    if not tables and absolute is None:
        raise ConfigError(f'{weights}: has no positions, neither relative tables nor absolute ones')
    written = []
    if tables:
        maps, of_s = map(np.stack, zip(*(offset_maps(t, model.grid) for t in tables), strict=True))
        figure = draw_offset_maps(maps, of_s)
        written.append(write_picture(figure, path, dict(tables=maps, of_s=of_s)))
    if absolute is not None:
        alike = position_similarities(whole_table(absolute), model.grid)
        beside = path.with_stem(f'{path.stem}_absolute') if tables else path
        written.append(write_picture(draw_similarities(alike), beside, dict(similarities=alike)))
    return written


def _tables(model: VisionTransformer) -> list:
    if model.rel_pos_bias is not None:
        return [model.rel_pos_bias.table]
    biases = [block.attn.rel_pos_bias for block in model.blocks]
    return [bias.table for bias in biases if bias is not None]


def absolute_positions(model: VisionTransformer) -> Positions:
    """The first of a network's absolute positions, as it stores them; None if it has none."""
    of_all = (model.pos_embed, model.pos_embed_shared, model.blocks[0].pos_embed)
    return next((stored for stored in of_all if stored is not None), None)
