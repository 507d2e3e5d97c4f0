"""Masks of annotated instances, against faster-coco-eval's way from a file to the mask of one."""

import json

import numpy as np
import pytest
from PIL import Image, ImageDraw

from beit_mm.commands.label_numbers import classes_of_coco
from beit_mm.commands.mask_pairs import pairs_of_coco
from beit_mm.component import ConfigError
from beit_mm.datasets import LoadLabels, draw_instances, read_coco, write_coco_masks

RNG = np.random.default_rng(0)
SIZE = (40, 60)


def polygon(corners=5):
    """Corners around a middle: x, y, x, y, ..."""
    angles = np.sort(RNG.uniform(0, 2 * np.pi, corners))
    radius, middle = RNG.uniform(4, 18, corners), RNG.uniform((10, 10), SIZE)
    xs, ys = middle[1] + radius * np.cos(angles), middle[0] + radius * np.sin(angles)
    corner = np.stack([xs.clip(0, SIZE[1]), ys.clip(0, SIZE[0])], axis=1)
    return corner.ravel().round(2).tolist()


def run_lengths(mask):
    """Uncompressed, down the columns, beginning with how many are 0."""
    flat = mask.T.ravel()
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat, [2]])))
    return dict(size=list(mask.shape), counts=np.diff([0, *edges]).tolist())


def compressed(mask):
    from faster_coco_eval import mask as drawing

    lengths = drawing.encode(np.asfortranarray(mask.astype(np.uint8)))
    return dict(size=list(mask.shape), counts=lengths['counts'].decode())


def write(folder, images=6, ending='.jpg'):
    """Images of random instances of every kind of region, and the file of their annotations."""
    annotations = []
    for image in range(images):
        (folder / 'images/more').mkdir(parents=True, exist_ok=True)
        Image.new('RGB', SIZE[::-1]).save(folder / f'images/more/{image}{ending}')
        for kind in range(9):
            region = np.zeros(SIZE, int)
            top, left = RNG.integers(0, 30, 2)
            region[top : top + RNG.integers(3, 20), left : left + RNG.integers(3, 30)] = 1
            segmentation = ([polygon()], [polygon(), polygon(7)], run_lengths(region),
                            compressed(region))[kind % 4]  # fmt: skip
            annotations.append(dict(
                id=len(annotations), image_id=100 + image, category_id=[7, 3, 90][kind % 3],
                iscrowd=int(kind == 6), segmentation=segmentation, bbox=[0, 0, 1, 1], area=1,
            ))  # fmt: skip
    known = dict(
        images=[dict(id=100 + i, file_name=f'more/{i}{ending}', height=SIZE[0], width=SIZE[1])
                for i in range(images)],
        annotations=annotations,
        categories=[dict(id=90, name='cat'), dict(id=3, name='dog'), dict(id=7, name='tree')],
    )  # fmt: skip
    (folder / 'a.json').write_text(json.dumps(known))
    return known


@pytest.mark.parametrize('classes', [None, ['cat', 'tree', 'dog'], ['background', 'tree']])
def test_masks_are_those_of_the_peer_laid_on_each_other(tmp_path, classes):
    from faster_coco_eval import COCO

    write(tmp_path)
    coco = read_coco(tmp_path / 'a.json', classes)
    assert coco.names == (classes or ['background', 'dog', 'tree', 'cat'])
    peer = COCO(tmp_path / 'a.json')
    for image in peer.imgs.values():
        expected = np.full(SIZE, 0 if 'background' in coco.names else 255)
        every = peer.loadAnns(peer.getAnnIds(image['id']))
        for one in sorted(every, key=lambda a: -int(peer.annToMask(a).sum())):
            if one['iscrowd']:
                expected[peer.annToMask(one) == 1] = 255
        for one in sorted(every, key=lambda a: -int(peer.annToMask(a).sum())):
            name = peer.cats[one['category_id']]['name']
            if not one['iscrowd'] and name in coco.names:
                expected[peer.annToMask(one) == 1] = coco.names.index(name)
        found = coco.mask(image['file_name'])
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == np.uint8


def test_a_polygon_is_where_pillow_draws_it():
    corners = [(10, 5), (50, 8), (40, 35), (12, 30)]
    segmentation = [[float(value) for corner in corners for value in corner]]
    found = draw_instances([dict(segmentation=segmentation, category_id=1)], SIZE, {1: 1})
    image = Image.new('L', SIZE[::-1])
    ImageDraw.Draw(image).polygon(corners, fill=1)
    differ = found != np.asarray(image)
    # They round borders each in its own way.
    assert differ.sum() < 130
    inner = np.asarray(image.reduce(1))[7:29, 14:38]
    np.testing.assert_array_equal(found[7:29, 14:38], inner)


def test_the_smaller_instance_lies_on_top():
    large, small = np.zeros(SIZE, int), np.zeros(SIZE, int)
    large[5:35, 5:50] = 1
    small[10:20, 10:20] = 1
    one, other = (
        dict(segmentation=run_lengths(mask), category_id=number)
        for number, mask in ((1, small), (2, large))
    )
    for order in ([one, other], [other, one]):
        np.testing.assert_array_equal(
            draw_instances(order, SIZE, {1: 300, 2: 2}), np.where(small, 300, 2 * large)
        )


def test_what_is_ignored_is_no_class_however_many_there_are(tmp_path):
    for count, ignored in ((255, 255), (256, 65535)):
        path = write_json(tmp_path, dict(
            images=[dict(id=1, file_name='a.png', height=8, width=9)],
            annotations=[dict(image_id=1, category_id=1, segmentation=[[0, 0, 5, 0, 5, 5]])],
            categories=[dict(id=number, name=f'{number}') for number in range(1, count + 1)],
        ))  # fmt: skip
        names = [f'{number}' for number in range(1, count + 1)]
        coco = read_coco(path, names)
        assert coco.background == coco.ignored == ignored
        assert set(np.unique(coco.mask('a.png'))) == {0, ignored}


def test_annotations_become_masks_of_a_run(tmp_path, capsys):
    write(tmp_path)
    Image.new('RGB', (9, 9)).save(tmp_path / 'images/other.png')
    coco = read_coco(tmp_path / 'a.json')
    pairs, files = pairs_of_coco(tmp_path / 'images', coco, tmp_path / 'masks')
    assert '1 images are not annotated' in capsys.readouterr().out
    write_coco_masks(coco, files, pairs.masks)
    numbering = classes_of_coco(coco)
    assert numbering.names == ['background', 'dog', 'tree', 'cat']
    load = LoadLabels(ignored=numbering.values['ignored'])
    for stem in pairs.stems:
        assert pairs.image(stem).is_file()
        np.testing.assert_array_equal(load.read(pairs.mask(stem)), coco.mask(stem))
    assert 'crowds are ignored' in ' '.join(coco.said)


@pytest.mark.parametrize(
    ('classes', 'so'),
    [(['background', 'dog'], 'count as background'), (['cat', 'dog'], 'are ignored')],
)
def test_what_becomes_of_the_others_is_told(tmp_path, classes, so):
    names = ['cat', 'dog', 'horse']
    known = dict(
        images=[dict(id=i, file_name=f'{i}.png', height=9, width=9) for i in range(4)],
        annotations=[
            dict(id=i, image_id=i, category_id=i, segmentation=[[1, 1, 5, 1, 5, 5]])
            for i in range(3)
        ],
        categories=[dict(id=i, name=name) for i, name in enumerate(names)],
    )
    file = tmp_path / 'a.json'
    file.write_text(json.dumps(known))
    others, empty = read_coco(file, classes).said
    assert others.endswith(f'not among the classes {so}')
    assert empty.endswith(f'images without an annotation {so}, as a whole')


def test_what_cannot_be_is_told(tmp_path):
    known = write(tmp_path)
    path = tmp_path / 'a.json'
    with pytest.raises(ConfigError, match=r"'caat' is no category of .*; did you mean 'cat'"):
        read_coco(path, ['caat', 'dog'])
    boxes = [{**one, 'segmentation': []} for one in known['annotations']]
    path.write_text(json.dumps({**known, 'annotations': boxes}))
    with pytest.raises(ConfigError, match='54 annotations, of which none has a mask'):
        read_coco(path)
    path.write_text(json.dumps([1]))
    with pytest.raises(ConfigError, match='no annotations of instances as COCO has them'):
        read_coco(path)
    known['images'][2]['height'] = 41
    path.write_text(json.dumps(known))
    with pytest.raises(ConfigError, match='41 x 60 pixels and the image 40 x 60'):
        pairs_of_coco(tmp_path / 'images', read_coco(path), tmp_path / 'masks')
    known['annotations'][20]['segmentation'] = dict(size=[3, 3], counts=[9])
    path.write_text(json.dumps(known))
    coco = read_coco(path)
    with pytest.raises(ConfigError, match=r'more/2\.jpg: its annotations cannot be drawn'):
        write_coco_masks(coco, {'more/2.jpg': 'm.png'}, tmp_path)


@pytest.mark.parametrize('segmentation', [
    [[0, 0, 1e30, 0, 5, 5]], [[0, 0, float('nan'), 0, 5, 5]], [['a'] * 6], [[None] * 6], [1, 2, 3],
    7, dict(size=[8, 9]), dict(counts=[72]), dict(size=[8, 9], counts=[5]),
    dict(size=[8, 9], counts=[-5, 77]), dict(size=[8, 9], counts=['a']),
    dict(size=[9, 8], counts=[72]), dict(size=[8, 9], counts='zz'), dict(size=[8, 9], counts=None),
])  # fmt: skip
def test_a_region_that_is_none_is_an_error_of_one_kind(segmentation):
    with pytest.raises(ValueError, match='a region is no polygon and no run lengths'):
        draw_instances([dict(segmentation=segmentation, category_id=1)], (8, 9), {1: 1})


@pytest.mark.parametrize(('part', 'key', 'value'), [
    ('images', 'height', 0), ('images', 'width', 2**40), ('images', 'height', None),
    ('images', 'id', []), ('annotations', 'category_id', {}), ('categories', 'id', [1]),
])  # fmt: skip
def test_annotations_with_odd_values_are_told(tmp_path, part, key, value):
    content = dict(
        images=[dict(id=1, file_name='a.png', height=8, width=9)],
        annotations=[dict(image_id=1, category_id=1, segmentation=[[0, 0, 5, 0, 5, 5]])],
        categories=[dict(id=1, name='a')],
    )
    read_coco(write_json(tmp_path, content))
    content[part][0][key] = value
    with pytest.raises(ConfigError, match='as COCO has them'):
        read_coco(write_json(tmp_path, content))


def write_json(folder, content):
    (folder / 'odd.json').write_text(json.dumps(content))
    return folder / 'odd.json'
