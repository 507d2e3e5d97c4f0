"""Which pixels a masked autoencoder predicts whose weights do not say so."""

from torch import Tensor

from ..models import MaskedAutoencoder

KINDS = {False: 'pixels as they are', True: 'pixels normalised patch by patch'}


def settle_pixels(task: MaskedAutoencoder, images: Tensor, mask: Tensor) -> str:
    """Take what fits better of some images: pixels as they are, or normalised patch by patch.

    The authors have published both, under names that do not say which. To take one for the other
    costs more than the whole variance of the targets.

    Args:
        task: Its target generator is told.
        images: (B, bands, H, W) normalised.
        mask: (B, h, w) bool, True where hidden.

    Returns:
        What was found, a line.
    """
    predicted = task.outputs(images, mask).float()[mask]
    errors = {}
    for normalize in KINDS:
        task.target_generator.normalize = normalize
        targets = task.target_generator(images)[mask]
        # Of pixels as they are, that they vary is no merit of the network's.
        errors[normalize] = float((predicted - targets).square().mean() / targets.var())
    best = min(errors, key=lambda kind: errors[kind])
    task.target_generator.normalize = best
    return (
        f'the weights do not say what they predict; taken for {KINDS[best]}, whose hidden patches '
        f'are {errors[best]:.2f} of their variance off; {KINDS[not best]} would be '
        f'{errors[not best]:.2f}'
    )
