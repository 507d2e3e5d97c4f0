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


def _of_tokens(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        'tokenizer', help='folder of a beit-mm pretrain, a work directory, .pth, or encoder.pkl'
    )
    parser.add_argument('images', nargs='+', help='images, or folders of them')
    parser.add_argument(
        '--size', type=positive, metavar='N', help='height and width of what the tokenizer sees'
    )
    _of_a_picture(parser)


def _of_segmentation(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('model', help='folder of a beit-mm segment, or a config and --checkpoint')
    parser.add_argument('images', help='an image, or a folder of them')
    parser.add_argument('masks', nargs='?', help='its mask, or a folder of masks of the same names')
    parser.add_argument('--checkpoint', metavar='FILE', help='weights of a config')
    _of_a_picture(parser)


LOOKS = {
    'filters': Command(
        'principal components of the patch projection',
        'look_filters:look_filters',
        _of_weights,
        'beit-mm look filters work_dirs/photos_pretrain\n'
        'beit-mm look filters timm:beit_base_patch16_224.in22k_ft_in22k --out filters.png',
    ),
    'tokens': Command(
        'what visual tokens stand for, and whether they are in use',
        'look_tokens:look_tokens',
        _of_tokens,
        'beit-mm look tokens work_dirs/photos_pretrain photos\n'
        'beit-mm look tokens encoder.pkl photos --size 112 --out tokens.png',
    ),
    'segmentation': Command(
        'what a segmentor says of photos, where it errs, IoU of each class',
        'look_segmentation:look_segmentation',
        _of_segmentation,
        'beit-mm look segmentation work_dirs/photos_segment photos masks\n'
        'beit-mm look segmentation work_dirs/photos_segment photo.jpg --out photo.png\n'
        'beit-mm look segmentation mine.py photos masks --checkpoint iter_160000.pth',
    ),
}
