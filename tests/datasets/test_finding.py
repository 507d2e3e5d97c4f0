"""Images of a folder are found: against an independent listing that opens every file by Pillow."""

import os
import pickle
import shutil
from pathlib import Path

import fsspec
import numpy as np
import pytest
from mmengine.registry import DefaultScope
from PIL import Image

from beit_mm.component import Component
from beit_mm.datasets import decode_image, finding, found_photos
from beit_mm.datasets.class_folders import folder_samples
from beit_mm.datasets.finding import find_classes, find_photos, has_photo, join_classes
from beit_mm.datasets.reading import known_formats
from beit_mm.datasets.sources import folder_search
from beit_mm.engine.checking.class_check import check_classes_of
from beit_mm.registry import DATASETS

# What Pillow calls the formats that this project takes.
PILLOWS = {'JPEG', 'MPO', 'PNG', 'WEBP', 'GIF', 'BMP', 'PPM', 'TIFF', 'JPEG2000', 'AVIF', 'HEIF'}
WRITTEN = {
    'jpg': 'JPEG', 'jpeg': 'JPEG', 'jpe': 'JPEG', 'jfif': 'JPEG', 'png': 'PNG', 'webp': 'WEBP',
    'gif': 'GIF', 'bmp': 'BMP', 'ppm': 'PPM', 'pgm': 'PPM', 'pbm': 'PPM', 'tif': 'TIFF',
    'tiff': 'TIFF', 'jp2': 'JPEG2000', 'j2k': 'JPEG2000', 'avif': 'AVIF',
}  # fmt: skip
MODES = {'pgm': 'L', 'pbm': '1'}
# An empty image of Photoshop's, 1 x 1, RGB, which Pillow reads and does not write.
PSD = b'8BPS\0\1' + bytes(6) + b'\0\3' + b'\0\0\0\1' * 2 + b'\0\x08\0\3' + bytes(12) + bytes(5)
TEXTS = {
    'notes.txt': b'BMW and P3 and GIF\n',
    'list': b'P6: a pipeline\n',
    'marks.json': b'{"image": 1}',
    'empty': b'',
    'page.html': b'<html>',
    'bm.log': b'BM is how it begins, and it is a text of some length',
    'v1.2024': b'RIFF0000WAVEfmt ',
    'movie.mp4': b'\0\0\0\x18ftypmp42\0\0\0\0mp42isom',
}


def can_write(kind: str) -> bool:
    Image.init()
    return WRITTEN[kind] in Image.SAVE


KINDS = [kind for kind in WRITTEN if can_write(kind)]


def save(path: Path, kind: str = 'jpg') -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(path.name)).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(MODES.get(kind, 'RGB')).save(path, WRITTEN[kind])
    return path


def hidden(path: Path) -> bool:
    systems = ('__MACOSX', '@eaDir', 'Thumbs.db', 'desktop.ini')
    return any(part.startswith('.') or part in systems for part in path.parts)


def independent(folder: Path) -> list[str]:
    """Every file that is not hidden and opens, without links to folders."""
    names = []
    for path in folder.rglob('*'):
        name = path.relative_to(folder)
        if hidden(name) or not path.is_file():
            continue
        try:
            with Image.open(path) as image:
                if image.format in PILLOWS | {'PSD'}:
                    names.append(str(name))
        except OSError:
            continue
    return sorted(names)


@pytest.fixture
def folder(tmp_path):
    """Every kind, with its ending, in upper case, without one, and with a wrong one."""
    folder = tmp_path / 'photos'
    for kind in KINDS:
        save(folder / f'a/plain.{kind}', kind)
        save(folder / f'a b/deep/{kind.upper()}.{kind.upper()}', kind)
        save(folder / f'bare/{kind}', kind)
        save(folder / f'bare/{kind}.dat', kind)
        save(folder / f'bare/scan.{kind}.0001', kind)
        save(folder / f'wrong/{kind}.png', kind)
    for name, content in TEXTS.items():
        (folder / name).write_bytes(content)
    (folder / 'drawing').write_bytes(PSD)
    return folder


def test_every_kind_is_found_as_an_independent_listing_finds_it(folder):
    found = find_photos(folder)
    assert found.names == independent(folder)
    assert len(found.names) == 6 * len(KINDS) + 1
    assert sum(found.kinds.values()) == len(found.names)
    assert found.kinds['png'] == 5 + len(KINDS)
    assert sum(found.left_out.values()) == len(TEXTS)
    assert found.left_out['json'] == 1
    assert found.left_out['of no known ending'] == 3
    for name in found.names:
        assert name == 'drawing' or decode_image(folder / name).size == (24, 20)
    assert find_photos(str(folder)) == found == find_photos(f'{folder}{os.sep}')


def test_known_kinds_alone_are_in_the_order_of_a_walk(tmp_path):
    for name in ('b/2.jpg', 'b/10.png', 'b.jpg', 'b c/1.bmp', 'a/x/1.tif', 'B/1.JPG'):
        save(tmp_path / name, name.rpartition('.')[2].lower())
    walked = sorted(
        str(Path(root, name).relative_to(tmp_path))
        for root, _, names in os.walk(tmp_path)
        for name in names
    )
    assert find_photos(tmp_path).names == walked


def test_hidden_things_are_left_out_and_not_counted(tmp_path):
    save(tmp_path / 'cat.jpg')
    for name in ('.cat.jpg', '._cat.jpg', '.git/1.jpg', '__MACOSX/1.jpg', 'a/@eaDir/1.jpg'):
        save(tmp_path / name)
    for name in ('Thumbs.db', '.DS_Store', 'a/Thumbs.db', 'desktop.ini'):
        (tmp_path / name).write_bytes(b'\xff\xd8\xff\xe0 looks like an image')
    assert find_photos(tmp_path)[:3] == (['cat.jpg'], {'jpg': 1}, {})
    # Folders above do not count.
    save(tmp_path / '.cache/photos/dog.jpg')
    assert find_photos(tmp_path / '.cache/photos').names == ['dog.jpg']


def test_links_are_followed_without_loops(tmp_path):
    inside, outside = tmp_path / 'inside', tmp_path / 'outside'
    save(inside / 'z/deep/1.jpg')
    save(outside / 'more/2.jpg')
    links = {'a': inside, 'b': inside / 'z', 'c': outside, 'd': outside / 'more', 'z/up': tmp_path}
    for name, target in links.items():
        (inside / name).symlink_to(target, target_is_directory=True)
    (outside / 'back').symlink_to(inside, target_is_directory=True)
    (inside / 'self.jpg').symlink_to('self.jpg')
    (inside / 'gone.jpg').symlink_to('nowhere.jpg')
    (inside / 'twin.jpg').symlink_to(inside / 'z/deep/1.jpg')
    found = find_photos(inside)
    # What lies inside has its own name; what lies outside that of the first link.
    assert found.names == ['c/more/2.jpg', 'twin.jpg', 'z/deep/1.jpg']
    assert found.left_out == {'broken link': 2}
    real = {os.path.realpath(inside / name) for name in found.names}
    assert real == {str(p) for p in tmp_path.rglob('*.jpg') if p.is_file() and not p.is_symlink()}


@pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='no pipes here')
def test_what_is_no_file_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / 'pipe')
    os.mkfifo(tmp_path / 'pipe.jpg')
    assert find_photos(tmp_path)[:3] == ([], {}, {'device': 2})


def test_a_text_of_an_images_name_is_left_to_the_decoder(tmp_path):
    (tmp_path / 'x.jpg').write_text('no image')
    assert find_photos(tmp_path).names == ['x.jpg']
    with pytest.raises(ValueError, match='cannot identify'):
        decode_image(tmp_path / 'x.jpg')


def test_only_unknown_endings_are_opened_and_not_all_of_them(tmp_path, monkeypatch):
    opened = []
    head = folder_search._head
    monkeypatch.setattr(folder_search, '_head', lambda path: opened.append(path) or head(path))
    monkeypatch.setattr(folder_search, 'MOST_OPENED', 5)
    save(tmp_path / 'a.jpg')
    for index in range(20):
        (tmp_path / f'{index:02}.xml').write_text('<a>')
        shutil.copy(tmp_path / 'a.jpg', tmp_path / f'{index:02}.scan')
    found = find_photos(tmp_path)
    assert found.left_out == {'xml': 20}
    assert len(found.names) == 21
    assert sum(path.endswith('.xml') for path in opened) == 5
    assert not any(path.endswith('.jpg') for path in opened)
    (tmp_path / 'raw.cr2').write_bytes(b'II*\0\x10\0\0\0CR\x02\0')
    assert find_photos(tmp_path).left_out == {'xml': 20, 'cr2': 1}


def test_what_cannot_be_read_here_is_named_with_its_package(tmp_path, monkeypatch):
    heic = b'\0\0\0\x18ftypheic\0\0\0\0mif1heic'
    avif = b'\0\0\0\x18ftypmif1\0\0\0\0mif1avif'
    for name, content in (('1.HEIC', heic), ('2', heic), ('3', avif), ('4.avif', b'')):
        (tmp_path / name).write_bytes(content)
    save(tmp_path / '5.jpg')
    monkeypatch.setattr(folder_search, 'readable_formats', lambda: frozenset({'jpg', 'png'}))
    assert str(find_photos(tmp_path)) == (
        '1 image (1 jpg), 4 files left out (2 avif, 2 heic); avif takes pillow>=11.3 or '
        'pillow-avif-plugin; heic takes pillow-heif'
    )


def test_heic_is_read_with_its_package(tmp_path):
    heif = pytest.importorskip('pillow_heif')
    pixels = np.full((32, 48, 3), (200, 60, 20), np.uint8)
    heif.from_pillow(Image.fromarray(pixels)).save(tmp_path / 'phone.HEIC')
    shutil.copy(tmp_path / 'phone.HEIC', tmp_path / 'bare')
    assert find_photos(tmp_path)[:3] == (['bare', 'phone.HEIC'], {'heic': 2}, {})
    assert np.abs(np.asarray(decode_image(tmp_path / 'bare'), int) - pixels).max() < 12


def test_the_list_is_what_pillow_can_read_here():
    known = Image.registered_extensions()
    of_pillow = {
        ending
        for name in known_formats.readable_formats() - {'psd'}
        if not known_formats.FORMATS[name].modules
        for ending in known_formats.FORMATS[name].endings
    }
    assert {known[f'.{ending}'] for ending in of_pillow} <= PILLOWS
    assert set(KINDS) <= {ending[1:] for ending in known_formats.image_endings()}


def test_one_line_says_what_was_found():
    found = finding.Found(['a', 'b', 'c'], {'png': 1, 'jpg': 2}, {'txt': 1, 'json': 3})
    assert str(found) == '3 images (2 jpg, 1 png), 4 files left out (3 json, 1 txt)'
    assert str(finding.Found([], {}, {})) == '0 images'
    assert str(finding.Found(['a'], {'png': 1}, {'txt': 1})) == (
        '1 image (1 png), 1 file left out (1 txt)'
    )
    many = {f'k{index}': 1 for index in range(20)}
    told = str(finding.Found([], {}, many))
    assert told.endswith('(1 k0, 1 k1, 1 k10, 1 k11, 1 k12, 1 k13, 14 others)')
    assert pickle.loads(pickle.dumps(found)) == found


def test_a_closed_folder_is_told_and_no_folder_is_an_error(tmp_path, monkeypatch):
    save(tmp_path / 'open/1.jpg')
    (tmp_path / 'shut').mkdir()
    scandir = os.scandir

    def refuse(path):
        if str(path).rstrip(os.sep).endswith('shut'):
            raise PermissionError(13, 'Permission denied')
        return scandir(path)

    monkeypatch.setattr(os, 'scandir', refuse)
    assert find_photos(tmp_path)[:3] == (['open/1.jpg'], {'jpg': 1}, {'closed folder': 1})
    with pytest.raises(FileNotFoundError):
        find_photos(tmp_path / 'missing')


def build(folder: Path, **settings):
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return DATASETS.build({'type': 'beit_mm.PhotoFolder', 'data_root': str(folder), **settings})


def test_photo_folder_takes_them_all_and_says_so(folder, monkeypatch):
    said = []
    monkeypatch.setattr(found_photos, 'print_log', lambda *given: said.append(given))
    dataset = build(folder, with_label=False)
    paths = [dataset.get_data_info(index)['img_path'] for index in range(len(dataset))]
    assert paths == [os.path.join(folder, name) for name in find_photos(folder).names]
    assert said == [(f'{folder}: {find_photos(folder)}', 'current')]
    assert len(pickle.loads(pickle.dumps(dataset))) == len(dataset)
    # The user's own endings are MMPretrain's to look for.
    own = build(folder, with_label=False, extensions=['.webp'])
    assert len(own) == sum(name.lower().endswith('.webp') for name in independent(folder))


@pytest.mark.parametrize('scheme', ['', 'memory://'])
@pytest.mark.parametrize('label', ['', ' 0'])
def test_blank_lines_and_a_mark_of_order_in_a_list_are_no_images(tmp_path, label, scheme):
    path = f'{scheme}{tmp_path}/list.txt'
    with fsspec.open(path, 'wb') as file:
        lines = ['a.jpg' + label, '', ' ', 'b c.jpg' + label, '']
        file.write('\r\n'.join(lines).encode('utf-8-sig'))
    dataset = build('', ann_file=path, data_prefix=str(tmp_path), with_label=bool(label))
    found = [Path(dataset.get_data_info(i)['img_path']).name for i in range(len(dataset))]
    assert found == ['a.jpg', 'b c.jpg']


def test_photo_folder_is_custom_dataset_on_the_kinds_that_both_know(tmp_path):
    for label, kinds in {'b c': ['jpg', 'png'], 'b': ['bmp', 'tif'], 'a': ['jpeg']}.items():
        for index in range(12):
            for kind in kinds:
                save(tmp_path / label / f'{index % 2}' / f'{index}.{kind}', kind)
    ours, theirs = (
        build(tmp_path, **settings) for settings in ({}, dict(type='mmpretrain.CustomDataset'))
    )
    assert ours.CLASSES == theirs.CLASSES == ('a', 'b', 'b c')
    assert ours.folder_to_idx == theirs.folder_to_idx
    assert [ours.get_data_info(i) for i in range(len(ours))] == [
        theirs.get_data_info(i) for i in range(len(theirs))
    ]
    with pytest.raises(ValueError, match='has 3 class folders, and the config names 2'):
        build(tmp_path, metainfo=dict(classes=['a', 'b']))
    with pytest.raises(ValueError, match=r'numbered in this order, .* have the name of another'):
        build(tmp_path, metainfo=dict(classes=['b', 'a', 'b c']))
    assert [*build(tmp_path, metainfo=dict(classes=['x', 'a', 'y'])).CLASSES] == ['x', 'a', 'y']


def test_class_folders_are_not_hidden_and_keep_what_links_put_in_two(tmp_path):
    save(tmp_path / 'cat/1.webp', 'webp')
    save(tmp_path / '__MACOSX/._1.webp', 'webp')
    (tmp_path / '.git').mkdir()
    save(tmp_path / 'loose.jpg')
    save(tmp_path / 'bare', 'png')
    (tmp_path / 'about.txt').write_text('cats')
    (tmp_path / 'pet').symlink_to(tmp_path / 'cat', target_is_directory=True)
    assert join_classes(tmp_path, find_classes(tmp_path))[:3] == (
        ['cat/1.webp', 'pet/1.webp'], {'webp': 2}, {'in no class folder': 2, 'txt': 1},
    )  # fmt: skip
    assert build(tmp_path).CLASSES == ('cat', 'pet')
    assert has_photo(tmp_path / 'pet')
    assert not has_photo(tmp_path / '.git')
    with pytest.raises(ValueError, match='there are 0 images'):
        build(tmp_path / 'cat')


@pytest.mark.parametrize('labels', [['cat', 'dog'], ['unlabelled']])
def test_the_quickstart_takes_them_all(tmp_path, labels):
    for label in labels:
        for index, kind in enumerate(KINDS):
            save(tmp_path / label / f'{index}.{kind.upper()}', kind)
    save(tmp_path / '__MACOSX/._0.jpg')
    samples = folder_samples(tmp_path)
    assert {label for label, _, _ in samples['train']} == set(labels)
    paths = [path for rows in samples.values() for _, _, path in rows]
    assert sorted(str(path.relative_to(tmp_path)) for path in paths) == independent(tmp_path)


def test_the_check_of_a_config_counts_what_is_found(tmp_path):
    save(tmp_path / 'cat/1.webp', 'webp')
    save(tmp_path / 'dog/scan', 'jpg')
    (tmp_path / '.hidden').mkdir()

    def told(**dataset):
        loader = dict(dataset=dict(data_root=str(tmp_path), **dataset))
        model = Component('model', dict(head=dict(num_classes=2)), lambda name: None)
        return [str(said) for said in check_classes_of({'train_dataloader': loader}, model)]

    assert told(type='beit_mm.PhotoFolder') == []
    [said] = [s for s in told(type='beit_mm.PhotoFolder', extensions=['.jpg']) if 'no image' in s]
    assert "no image of '.hidden', 'cat', 'dog'" in said
    (tmp_path / 'ape').mkdir()
    assert any("no image of 'ape'," in s for s in told(type='beit_mm.PhotoFolder'))
