"""``beit-mm look``: its pictures, with what each takes."""

import argparse

from .parsing import WEIGHTS, Command, add_size, natural, positive, positive_float

LOOK = 'look'
MAPS = ('pca', 'tsne', 'umap')
MASKS = ('blockwise', 'random')


def _of_a_picture(parser: argparse.ArgumentParser) -> None:
    """What every look takes."""
    parser.add_argument(
        '--out', metavar='FILE',
        help='picture to write, .png; what it shows goes beside it as .npz',
    )  # fmt: skip


def _weights(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('weights', help=f'folder of a beit-mm command, {WEIGHTS}')


def _of_weights(parser: argparse.ArgumentParser) -> None:
    """What looks into a backbone take."""
    _weights(parser)
    _of_a_picture(parser)


def _of_images(parser: argparse.ArgumentParser) -> None:
    """What looks at images take."""
    _weights(parser)
    parser.add_argument('images', nargs='+', help='images, or folders of them')
    add_size(parser)
    _of_a_picture(parser)


def _of_a_block(parser: argparse.ArgumentParser) -> None:
    """What looks at images in the middle of a network take."""
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
    _weights(parser)
    parser.add_argument('source', help='folder of images, or table with the columns path and label')
    add_size(parser)
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
        '--mask',
        choices=MASKS,
        help=f'what is hidden: by default {MASKS[0]}, of MAE and ViT {MASKS[1]}',
    )
    parser.add_argument(
        '--share', type=positive_float, metavar='P',
        help='of the patches, hidden: by default 0.4, of MAE 0.75, of ViT 0.5',
    )  # fmt: skip
    parser.add_argument(
        '--temperature', type=positive_float, metavar='T', help='show tokens drawn at it as well'
    )
    parser.add_argument('--seed', type=natural, default=0, help='of the masks')
    parser.add_argument('--count', type=positive, default=8, metavar='N', help='images at most')
    add_size(parser)
    _of_a_picture(parser)


def _film(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('work_dir', help='of a run, or the folder of a beit-mm command')
    parser.add_argument('--out', metavar='FILE', help='film to write: .gif, .webp or .mp4')


def _of_attention(parser: argparse.ArgumentParser) -> None:
    _of_a_block(parser)
    parser.add_argument(
        '--head', default='mean', metavar='N', help='mean, all, or a number, counted from 0'
    )
    parser.add_argument(
        '--points', nargs='+', type=_point, metavar='Y,X',
        help='whose attention it is, as fractions of height and width; without, [S] and some',
    )  # fmt: skip


def _point(text: str) -> tuple[float, float]:
    try:
        y, x = map(float, text.split(','))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f'it has {text!r}; a point is two fractions, of height and width, such as 0.5,0.25'
        ) from None
    return y, x


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
    parser.add_argument(
        'masks', nargs='?', help='its mask, a folder of masks of the same names, or a COCO .json'
    )
    parser.add_argument('--checkpoint', metavar='FILE', help='weights of a config')
    _of_a_picture(parser)


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
    'attention': Command(
        'what points of images attend to',
        'look_attention:look_attention',
        _of_attention,
        'beit-mm look attention work_dirs/photos_pretrain photos/\n'
        'beit-mm look attention work_dirs/photos_pretrain dog.jpg --head all --points 0.4,0.6',
    ),
    'rollout': Command(
        'what [S] draws on in images through all blocks',
        'look_attention:look_rollout',
        _of_images,
        'beit-mm look rollout work_dirs/photos_pretrain photos/',
    ),
    'distance': Command(
        'how far each head looks, by depth',
        'look_attention:look_distance',
        _of_images,
        'beit-mm look distance work_dirs/photos_pretrain photos/',
    ),
    'positions': Command(
        'relative position tables, and how alike absolute positions are',
        'look_positions:look_positions',
        _of_weights,
        'beit-mm look positions work_dirs/photos_pretrain\n'
        'beit-mm look positions timm:beit_base_patch16_224.in22k_ft_in22k --out positions.png',
    ),
    'filters': Command(
        'principal components of the patch projection',
        'look_filters:look_filters',
        _of_weights,
        'beit-mm look filters work_dirs/photos_pretrain\n'
        'beit-mm look filters timm:beit_base_patch16_224.in22k_ft_in22k --out filters.png',
    ),
    'vit': Command(
        "the ViT paper's figures 7 and 14: filters, positions, distances; rollouts",
        'look_vit:look_vit',
        _of_images,
        'beit-mm look vit work_dirs/photos_pretrain photos\n'
        'beit-mm look vit timm:vit_base_patch16_224.augreg_in21k photos --out vit.png',
    ),
    'tokens': Command(
        'what visual tokens stand for, and whether they are in use',
        'look_tokens:look_tokens',
        _of_tokens,
        'beit-mm look tokens work_dirs/first/tokenizer.pth photos\n'
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
    'features': Command(
        'features of patches as colours, the same for all images',
        'look_features:look_features',
        _of_a_block,
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
