"""What of a Transformer's settings cannot work."""

from collections.abc import Iterator

from ..component import Component
from ..layers.fit_bands import check_names
from ..layers.patch_embed import patch_grid, to_pair


def faults_of_backbone(component: Component) -> Iterator[str]:
    """Sizes that do not divide and bands that do not agree, a message each."""
    size, patch = to_pair(component['img_size']), to_pair(component['patch_size'])
    if patch_grid(size, patch) is None:
        yield (
            f'{component.key}.img_size is {size[0]} x {size[1]}; it must be a multiple of '
            f'patch_size, {patch[0]} x {patch[1]}'
        )
    stride = component.part('stem').ask('stride_of') or 1
    if patch[0] % stride or patch[1] % stride:
        yield (
            f'{component.key}.patch_size is {patch[0]} x {patch[1]} pixels; it must be a multiple '
            f"of the stem's stride, {stride}"
        )
    try:
        check_names(component['bands'], component['in_channels'])
    except ValueError as error:
        yield f'{component.key}: {error}'
