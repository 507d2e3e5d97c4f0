"""``beit-mm look``: its pictures, with what each takes."""

import argparse

from .parsing import WEIGHTS, Command, positive

LOOK = 'look'


def _of_a_picture(parser: argparse.ArgumentParser) -> None:
    """What every look takes."""
    parser.add_argument(
        '--out', metavar='FILE',
        help='picture to write, .png; what it shows goes beside it as .npz',
    )  # fmt: skip


def _of_weights(parser: argparse.ArgumentParser) -> None:
    """What looks into a backbone take."""
    parser.add_argument('weights', help=f'folder of a beit-mm command, {WEIGHTS}')
    _of_a_picture(parser)


def _of_images(parser: argparse.ArgumentParser) -> None:
    """What looks at images take."""
    parser.add_argument('weights', help=f'folder of a beit-mm command, {WEIGHTS}')
    parser.add_argument('images', nargs='+', help='images, or folders of them')
    parser.add_argument('--size', type=positive, metavar='N', help='height and width of an image')
    _of_a_picture(parser)


LOOKS = {
    'filters': Command(
        'principal components of the patch projection',
        'look_filters:look_filters',
        _of_weights,
        'beit-mm look filters work_dirs/photos_pretrain\n'
        'beit-mm look filters timm:beit_base_patch16_224.in22k_ft_in22k --out filters.png',
    ),
}
