"""``beit-mm look filters``: what the patch projection looks for."""

from pathlib import Path

from ..models import load
from ..visualization.filters import draw_filters, principal_filters
from .picture_files import picture_path, write_picture
from .starting_weights import weights_of

# The paper of ViT shows as many (arXiv 2010.11929, figure 7, left).
SHOWN = 28


def look_filters(weights: str | Path, out: str | Path | None = None) -> Path:
    """Draw the principal components of the patch projection's filters (ViT, figure 7, left).

    Args:
        weights: What ``beit_mm.load`` takes, or the folder of a command.
        out: The picture, .png; by default ``work_dirs/look/filters.png``. Beside it ``.npz``:
            ``filters`` (K, bands, p, p) and ``shares`` (K,), the share of the variance of each.

    Returns:
        The picture.
    """
    path = picture_path(out, 'filters')
    model = load(weights_of(str(weights)))
    filters, shares = principal_filters(model.patch_embed.input.weight.detach(), SHOWN)
    figure = draw_filters(filters, shares, bands=model.bands)
    return write_picture(figure, path, dict(filters=filters, shares=shares))
