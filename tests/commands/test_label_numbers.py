"""What masks show becomes classes: the labels that a config gives to the loss are looked at."""

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from beit_mm.commands.class_names import read_names, read_table_of_colors
from beit_mm.commands.filling import fill_recipe
from beit_mm.commands.label_numbers import number_classes
from beit_mm.commands.mask_pairs import find_pairs
from beit_mm.component import ConfigError
from beit_mm.datasets import LoadLabels, MapLabels

RED, GREEN, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 0)


@pytest.fixture
def pairs(tmp_path):
    """Images and masks in stripes of these numbers or colours."""

    def pairs(*every, dtype=np.uint8, ending='.png', palettes=()):
        for kind in ('images', 'masks'):
            (tmp_path / kind).mkdir(exist_ok=True)
        for index in range(4):
            stripes = np.array(every[index % len(every)], dtype)
            mask = np.repeat(stripes, 5, axis=0)[None].repeat(8, axis=0)
            Image.new('RGB', mask.shape[1::-1]).save(tmp_path / f'images/{index}.jpg')
            path = tmp_path / f'masks/{index}{ending}'
            if ending == '.npy':
                np.save(path, mask)
            elif palettes:
                image = Image.fromarray(mask).convert('P')
                image.putpalette(palettes[index % len(palettes)])
                image.save(path)
            else:
                cv2.imwrite(str(path), mask[..., ::-1] if mask.ndim == 3 else mask)
        return find_pairs(tmp_path / 'images', tmp_path / 'masks')

    return pairs


def labels(found, pairs, stem='0'):
    """The first row of a mask's labels, a stripe each, as the recipe's steps make them."""
    values = found.values
    keys = ('colors', 'ignored', 'divide_by', 'ignore_index')
    load = LoadLabels(**{key: values[key] for key in keys})
    results = load(dict(seg_map_path=str(pairs.mask(stem))))
    return MapLabels(values['label_map'] or {})(results)['gt_seg_map'][0, ::5].tolist()


def test_minus_one_and_255_are_no_class(pairs, capsys):
    made = pairs([0, 1, -1, 255], dtype=np.int32, ending='.npy')
    found = number_classes(made)
    assert found.names == ['class 0', 'class 1']
    assert labels(found, made) == [0, 1, 255, 255]
    assert 'no class: -1, 255 (--ignore)' in capsys.readouterr().out
    with pytest.raises(ConfigError, match=r'has the number -1; classes are 0 to'):
        number_classes(made, ignore=[255])


def test_numbers_with_gaps_become_classes_in_order(pairs, capsys):
    made = pairs([0, 100, 200], [0, 50, 255])
    found = number_classes(made)
    assert found.names == ['class 0', 'class 50', 'class 100', 'class 200']
    assert [labels(found, made, stem) for stem in '01'] == [[0, 2, 3], [0, 1, 255]]
    assert 'which become the classes 0, 1, ...' in capsys.readouterr().out
    # Nothing is ignored: 255 is one more class.
    every = number_classes(made, ['a', 'b', 'c', 'd', 'e'], ignore=[])
    assert [labels(every, made, stem) for stem in '01'] == [[0, 2, 3], [0, 1, 4]]


def test_sixteen_bits(pairs):
    made = pairs([0, 255, 1000, 65535], dtype=np.uint16)
    found = number_classes(made)
    # 255 is a class here, and what is ignored does not get its number.
    assert found.names == ['class 0', 'class 255', 'class 1000']
    assert labels(found, made) == [0, 1, 2, 65535]
    assert found.values['ignore_index'] == 65535
    cars = pairs([0, 7, 26000, 26001], dtype=np.uint16)
    assert number_classes(cars, divide_by=1000).names == ['class 0', 'class 7', 'class 26']


def test_more_than_255_classes(pairs):
    made = pairs(list(range(300)), [65535, 299, 254, 255, 256], dtype=np.uint16)
    found = number_classes(made)
    assert len(found.names) == len(found.palette) == 300
    assert labels(found, made) == list(range(300))
    assert labels(found, made, '1') == [65535, 299, 254, 255, 256]


# What of a config of MMSegmentation's looks for pixels of no class, or makes some.
OF_NO_CLASS = {
    'SegDataPreProcessor', 'beit_mm.SETRPUPHead', 'beit_mm.LoadLabels', 'beit_mm.CheckAnnotation',
    'RandomCrop', 'BaseSegDataset', 'IoUMetric',
}  # fmt: skip


def parts_of(value):
    """All dicts in a config."""
    if isinstance(value, dict):
        yield value
    for child in value.values() if isinstance(value, dict) else value:
        if isinstance(child, (dict, list)):
            yield from parts_of(child)


def test_of_more_than_255_classes_padding_is_none():
    values = dict(classes=[f'class {number}' for number in range(300)], ignore_index=65535)
    cfg = Config.fromstring(fill_recipe('own/segment.py', values, 'A test.'), '.py')
    found = {
        (part['type'], part.get('ignore_index', part.get('seg_pad_val')))
        for part in parts_of(cfg.to_dict())
        if part.get('type') in OF_NO_CLASS
    }
    assert found == {(name, 65535) for name in OF_NO_CLASS}


def test_class_255_of_more_is_learned(pairs):
    found = number_classes(pairs(list(range(300)), dtype=np.uint16))
    assert found.values['ignore_index'] == 65535


def test_zero_that_is_no_class_moves_the_others_down(pairs, tmp_path):
    made = pairs([0, 1, 3])
    with pytest.raises(ConfigError, match='if 0 is no class, set --ignore 0 255'):
        number_classes(made, ['a', 'b', 'c'])
    found = number_classes(made, ['a', 'b', 'c'], ignore=['0', '255'])
    assert found.names == ['a', 'b', 'c']
    assert labels(found, made) == [255, 0, 2]
    assert number_classes(made, ignore=[0]).names == ['class 1', 'class 2', 'class 3']
    # The first line of a file of names is then 1.
    (tmp_path / 'classes.txt').write_text('a\nb\nc\n')
    found = number_classes(made, ignore=[0])
    assert found.names == ['a', 'b', 'c']
    assert labels(found, made) == [255, 0, 2]


def test_names_beside_the_masks(pairs, tmp_path, capsys):
    made = pairs([0, 1, 2])
    (tmp_path / 'classes.txt').write_text('Himmel\nStraße\n車\n', encoding='utf-8-sig')
    assert number_classes(made).names == ['Himmel', 'Straße', '車']
    assert 'classes.txt names the classes' in capsys.readouterr().out
    (tmp_path / 'masks/labels.txt').write_text('2: car\n0: sky\n1: road\n7: bus\n')
    (tmp_path / 'classes.txt').unlink()
    found = number_classes(made)
    assert found.names == ['sky', 'road', 'car', 'bus']
    assert found.values['label_map'] == {7: 3}
    assert number_classes(made, ['a', 'b', 'c']).names == ['a', 'b', 'c']
    (tmp_path / 'masks/labels.txt').write_text('sky\nsky\n')
    with pytest.raises(ConfigError, match='none of them twice'):
        number_classes(made)


@pytest.mark.parametrize('name', ['classes.txt', 'labels.txt', 'class_names.txt'])
@pytest.mark.parametrize('folder', ['', 'masks'])
def test_files_of_names_that_are_found(pairs, tmp_path, folder, name):
    made = pairs([0, 1])
    (tmp_path / folder / name).write_text('sky\nroad\n')
    assert number_classes(made).names == ['sky', 'road']


def test_colours_are_proposed_as_classes(pairs, capsys):
    made = pairs([BLACK, RED], [GREEN, RED])
    found = number_classes(made)
    assert found.names == ['#000000', '#00ff00', '#ff0000']
    assert found.palette == [[0, 0, 0], [0, 255, 0], [255, 0, 0]]
    assert [labels(found, made, stem) for stem in '01'] == [[0, 2], [1, 2]]
    assert 'masks of 3 colours, in this order the classes #000000, #00ff00' in (
        capsys.readouterr().out
    )
    found = number_classes(made, ['tree', 'car'], ignore=['#000000'])
    assert labels(found, made) == [255, 1]
    with pytest.raises(ConfigError, match='--classes has 2 names, and the masks have 3 classes'):
        number_classes(made, ['tree', 'car'])


def test_a_table_says_what_colours_mean(pairs, tmp_path, capsys):
    made = pairs([BLACK, RED], [GREEN, RED])
    (tmp_path / 'labelmap.txt').write_text(
        '# label:color_rgb:parts:actions\ncar:255,0,0::\ntree:0,255,0::\nvoid:0,0,0::\n'
    )
    found = number_classes(made)
    assert found.names == ['car', 'tree']
    assert [labels(found, made, stem) for stem in '01'] == [[255, 0], [1, 0]]
    assert 'no class: #000000' in capsys.readouterr().out
    (tmp_path / 'mine.csv').write_text('name,r,g,b\ncar,255,0,0\ntree,0,0,0\n')
    with pytest.raises(ConfigError, match=r'1\.png has the colour #00ff00, which .* does not know'):
        number_classes(made, colors=tmp_path / 'mine.csv')
    assert number_classes(made, colors=tmp_path / 'mine.csv', ignore=['#00ff00']).names == [
        'car', 'tree'
    ]  # fmt: skip


def test_a_class_of_a_table_whose_colours_are_ignored_is_none(pairs, tmp_path):
    made = pairs([BLACK, RED, GREEN])
    table = tmp_path / 'mine.csv'
    table.write_text('road,0,0,0\ncar,255,0,0\ncar,0,0,255\ntree,0,255,0\n')
    found = number_classes(made, colors=table, ignore=['#000000'])
    assert (found.names, found.palette) == (['car', 'tree'], [[255, 0, 0], [0, 255, 0]])
    assert labels(found, made) == [255, 0, 1]
    # The other colour of cars is left.
    found = number_classes(made, colors=table, ignore=['#ff0000'])
    assert (found.names, found.palette[1]) == (['road', 'car', 'tree'], [0, 0, 255])
    assert labels(found, made) == [0, 255, 2]
    with pytest.raises(ConfigError, match='show tree alone'):
        number_classes(made, colors=table, ignore=['#000000', '#ff0000', '#0000ff'])


@pytest.mark.parametrize(
    ('name', 'no_class'),
    [
        ('labelmap.txt', 'void'),
        ('class_dict.csv', 'Ignore'),
        ('colors.csv', 'unlabelled'),
        ('colors.txt', 'unlabeled'),
        ('colors.txt', 'ignored'),
    ],
)
def test_tables_that_are_found_and_names_of_no_class(pairs, tmp_path, name, no_class):
    made = pairs([BLACK, RED, GREEN])
    rows = {'tree': '0,255,0', no_class: '0,0,0', 'car': '255,0,0'}
    line = '{}:{}::' if name == 'labelmap.txt' else '{},{}'
    (tmp_path / name).write_text('\n'.join(line.format(*row) for row in rows.items()))
    found = number_classes(made)
    assert found.names == ['tree', 'car']
    assert labels(found, made) == [255, 1, 0]


def test_smooth_borders_and_pictures_are_no_masks(pairs):
    ramp = [(value, 0, 255 - value) for value in range(65)]
    assert len(number_classes(pairs(ramp[:64])).names) == 64
    with pytest.raises(ConfigError, match='65 colours, too many to stand for classes'):
        number_classes(pairs(ramp))
    with pytest.raises(ConfigError, match=r'1,500 numbers .* --divide-by'):
        number_classes(pairs(list(range(1500)), dtype=np.uint16))


def test_a_palette_is_what_predictions_are_painted_in(pairs, capsys):
    palette = [10, 20, 30, 200, 0, 0, 0, 0, 200]
    made = pairs([0, 2, 1], palettes=[palette])
    found = number_classes(made)
    assert found.palette == [[10, 20, 30], [200, 0, 0], [0, 0, 200]]
    assert labels(found, made) == [0, 2, 1]
    # Where files disagree about it, the number is what counts, and it is said.
    made = pairs([0, 2, 1], palettes=[palette, palette[::-1]])
    assert labels(number_classes(made), made) == [0, 2, 1]
    assert 'the number is taken for the class' in capsys.readouterr().out


def test_grey_colours_are_numbers(pairs):
    made = pairs([(0, 0, 0), (2, 2, 2), (1, 1, 1)])
    found = number_classes(made)
    assert found.names == ['class 0', 'class 1', 'class 2']
    assert labels(found, made) == [0, 2, 1]


def test_lines_of_names_and_colours(tmp_path):
    path = tmp_path / 'colors.txt'
    path.write_text('road #804080\n#00FF00 tall tree\n')
    found = read_table_of_colors(path)
    assert found == (['road', 'tall tree'], {'#804080': 0, '#00ff00': 1})
    path.write_text('road 1 2 3\nroad 1 2 300\n')
    with pytest.raises(ConfigError, match="line 2: 'road 1 2 300' must be a name and a colour"):
        read_table_of_colors(path)
    path.write_text('0 sky\n1 road\n')
    assert read_names(path) == {0: 'sky', 1: 'road'}


@pytest.mark.parametrize(
    ('stripes', 'given', 'said'),
    [
        ([0, 1, 255], dict(ignore=['#ff0000']), '--ignore is #ff0000, a colour, and .* numbers'),
        ([RED, GREEN], dict(ignore=[0]), '--ignore is 0, a number, and the masks .* have colours'),
        ([RED, GREEN], dict(divide_by=1000), '--divide-by is 1000, for masks of numbers, and'),
    ],
)
def test_options_of_the_other_kind_of_masks_are_refused(pairs, stripes, given, said):
    with pytest.raises(ConfigError, match=said):
        number_classes(pairs(stripes), **given)


def test_a_mask_of_another_size_is_told(pairs):
    made = pairs([0, 1, 2])
    Image.new('L', (7, 7)).save(made.mask('2'))
    with pytest.raises(ConfigError, match='is 7 x 7 pixels and the image 8 x 15'):
        number_classes(made)


def save(path):
    path.parent.mkdir(exist_ok=True)
    Image.new('RGB', (8, 8)).save(path, format='JPEG' if 'j' in path.suffix.lower() else None)


@pytest.mark.parametrize('ending', ['.jpg', '.jpeg', '.JPG', '.jpe', '.jfif'])
def test_masks_that_are_jpegs_are_refused(tmp_path, ending):
    for index in range(4):
        save(tmp_path / f'images/{index}.png')
        save(tmp_path / f'masks/{index}{ending}')
    with pytest.raises(ConfigError, match=f'masks that end in {ending}, which changes the numbers'):
        find_pairs(tmp_path / 'images', tmp_path / 'masks')


@pytest.mark.parametrize('folder', ['images', 'masks'])
def test_images_end_alike_and_so_do_masks(tmp_path, capsys, folder):
    for index in range(6):
        save(tmp_path / f'images/{index}.png')
        if index < 5:
            save(tmp_path / f'masks/{index}.png')
    pairs = find_pairs(tmp_path / 'images', tmp_path / 'masks')
    assert pairs.stems == ['0', '1', '2', '3', '4']
    assert '1 of 6 images have no mask and are left out' in capsys.readouterr().out
    # Of one name but for the ending, whose mask would be the other's too.
    save(tmp_path / folder / '3.bmp')
    (tmp_path / folder / '3.png').rename(tmp_path / folder / '3.PNG')
    with pytest.raises(ConfigError, match=f'{folder} has .* in .*; all must end alike'):
        find_pairs(tmp_path / 'images', tmp_path / 'masks')
    (tmp_path / folder / '3.PNG').rename(tmp_path / folder / '3.png')
    with pytest.raises(ConfigError, match=f'{folder} has {folder} that differ in their ending'):
        find_pairs(tmp_path / 'images', tmp_path / 'masks')
