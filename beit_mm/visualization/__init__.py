"""Pictures of what a model sees and predicts."""

from .reconstructions import draw_reconstructions, hide_patches

__all__ = ['draw_reconstructions', 'hide_patches']
