"""``beit-mm look``: its pictures, with what each takes."""

import argparse

from .parsing import WEIGHTS, Command, natural, positive, positive_float

LOOK = 'look'
MAPS = ('pca', 'tsne', 'umap')


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


def _of_features(parser: argparse.ArgumentParser) -> None:
    _of_images(parser)
    parser.add_argument(
        '--block', type=int, default=-1, metavar='N', help='counted from 0; -1 is the last'
    )


def _of_neighbours(parser: argparse.ArgumentParser) -> None:
    _of_images(parser)
    parser.add_argument(
        '--among', metavar='FOLDER',
        help='images to look for neighbours in; by default the same ones',
    )  # fmt: skip
    parser.add_argument(
        '--count', type=positive, default=7, metavar='N', help='of each image (%(default)s)'
    )


def _of_map(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('weights', help=f'folder of a beit-mm command, {WEIGHTS}')
    parser.add_argument('source', help='folder of images, or table with the columns path and label')
    parser.add_argument('--size', type=positive, metavar='N', help='height and width of an image')
    parser.add_argument(
        '--how', choices=MAPS, default=MAPS[0], help='what lays images out (%(default)s)'
    )
    _of_a_picture(parser)


def _reconstructions(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        'model', help='folder of beit-mm pretrain, work directory, or checkpoint of a pre-training'
    )
    parser.add_argument('images', nargs='+', help='images, or folders of them')
    parser.add_argument(
        '--tokenizer', metavar='FILE',
        help='of a checkpoint that does not hold it: folder of a pre-training, tokenizer.pth, or '
        "OpenAI's encoder.pkl with decoder.pkl beside it",
    )  # fmt: skip
    parser.add_argument(
        '--mask', choices=('blockwise', 'random'), default='blockwise', help='what is hidden'
    )
    parser.add_argument(
        '--share', type=positive_float, default=0.4, metavar='P', help='of the patches, hidden'
    )
    parser.add_argument(
        '--temperature', type=positive_float, metavar='T', help='show tokens drawn at it as well'
    )
    parser.add_argument('--seed', type=natural, default=0, help='of the masks')
    parser.add_argument('--count', type=positive, default=8, metavar='N', help='images at most')
    parser.add_argument('--size', type=positive, metavar='N', help='height and width of an image')
    _of_a_picture(parser)


def _film(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('work_dir', help='of a run, or the folder of a beit-mm command')
    parser.add_argument('--out', metavar='FILE', help='film to write: .gif, .webp or .mp4')


LOOKS = {
    'reconstructions': Command(
        'what a pre-training fills in where patches are hidden',
        'look_reconstructions:look_reconstructions',
        _reconstructions,
        'beit-mm look reconstructions work_dirs/photos_pretrain photos\n'
        'beit-mm look reconstructions work_dirs/photos_pretrain a.jpg b.jpg --mask random '
        '--share 0.75\n'
        'beit-mm look reconstructions beit_base_patch16_224_pt22k.pth photos --tokenizer '
        'encoder.pkl',
    ),
    'film': Command(
        'what a run filled in as it learned, as a film',
        'look_film:look_film',
        _film,
        'beit-mm look film work_dirs/photos_pretrain\n'
        'beit-mm look film work_dirs/beit_pretrain --out film.mp4',
    ),
    'filters': Command(
        'principal components of the patch projection',
        'look_filters:look_filters',
        _of_weights,
        'beit-mm look filters work_dirs/photos_pretrain\n'
        'beit-mm look filters timm:beit_base_patch16_224.in22k_ft_in22k --out filters.png',
    ),
    'features': Command(
        'features of patches as colours, the same for all images',
        'look_features:look_features',
        _of_features,
        'beit-mm look features work_dirs/photos_pretrain photos --block 7\n'
        'beit-mm look features work_dirs/photos_pretrain dog.jpg cat.jpg --size 448',
    ),
    'neighbours': Command(
        'images with the features that are most like those of others',
        'look_neighbours:look_neighbours',
        _of_neighbours,
        'beit-mm look neighbours work_dirs/photos_pretrain photos\n'
        'beit-mm look neighbours work_dirs/photos_pretrain dog.jpg cat.jpg --among photos',
    ),
    'map': Command(
        'images in a plane, those with like features together; k-NN accuracy by their classes',
        'look_map:look_map',
        _of_map,
        'beit-mm look map work_dirs/photos_pretrain class_folders\n'
        'beit-mm look map work_dirs/photos_pretrain labels.csv --how umap',
    ),
}
