"""``beit-mm look vit``: the figures of ViT's paper that look into a network, at once."""

from collections.abc import Sequence
from pathlib import Path

from ..layers.positions import whole_table
from ..models import VisionTransformer
from ..visualization.filters import principal_filters
from ..visualization.position_maps import position_similarities
from ..visualization.vit_figure import draw_vit_figure
from .look_attention import backbone_with_token, distances_of, rollouts_of
from .look_filters import SHOWN
from .look_positions import absolute_positions
from .looked_images import counted
from .picture_files import picture_path, write_picture


def look_vit(
    weights: str | Path,
    images: Sequence[str | Path],
    size: int | None = None,
    out: str | Path | None = None,
) -> list[Path]:
    """Draw filters, positions and attention distances, and rollouts (ViT, figures 7 and 14).

    Args:
        weights: What ``beit_mm.load`` takes, or the folder of a command.
        images: Files, or folders of them; distances are of up to 128, rollouts of up to 16, from
            all over them.
        size: Height and width of what the network sees; without, that of the weights.
        out: The picture, .png; by default ``work_dirs/look/vit.png``. Beside it ``.npz`` with the
            arrays of ``look_filters``, ``look_distance`` and, where there are absolute positions,
            ``look_positions``. The rollouts go under its name with ``_rollout``, with the arrays
            of ``look_rollout``.

    Returns:
        Both pictures.

    Raises:
        ConfigError: If there is not one token before the patches, [S].
    """
    path = picture_path(out, 'vit')
    take, files = backbone_with_token(weights, images, size)
    model = take.model
    filters, shares = principal_filters(model.patch_embed.input.weight, SHOWN)
    arrays = dict(filters=filters, shares=shares, **distances_of(take, files))
    if (absolute := absolute_positions(model)) is not None:
        arrays['similarities'] = position_similarities(whole_table(absolute), model.grid)
    figure = draw_vit_figure(
        filters,
        shares,
        arrays.get('similarities'),
        arrays['distances'].mean(axis=0),
        float(arrays['uniform']),
        no_positions=_in_their_place(model),
        subtitle=f'{counted(len(arrays["names"]))} of {take.size} pixels',
        bands=model.bands,
    )
    written = write_picture(figure, path, arrays)
    return [written, rollouts_of(take, files, path.with_stem(f'{path.stem}_rollout'))]


def _in_their_place(model: VisionTransformer) -> str:
    """What is said where there are no absolute positions."""
    if model.rel_pos_bias is not None:
        relative = 'one table of relative ones serves all blocks'
    elif model.relative_index is not None:
        relative = 'each block has a table of relative ones'
    else:
        return 'This network has no positions.'
    return (
        f'This network has no absolute positions:\n{relative},\nwhich beit-mm look positions draws.'
    )
