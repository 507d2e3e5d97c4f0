"""Volumes and stacks: each of their images takes part, and whole stacks are held out."""

import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image

from beit_mm.commands.holding_out import hold_out, sides_of_stacks
from beit_mm.commands.photos import labels_of, photos_with_labels, photos_without_labels
from beit_mm.commands.predicting import files_of
from beit_mm.datasets import photo_folder, stacks
from beit_mm.datasets.finding import find_photos
from beit_mm.datasets.reading.opening import open_image
from beit_mm.datasets.stacks import unroll

RNG = np.random.default_rng(0)


def volume(path, slices=5, level=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = (RNG.integers(0, 500, (12, 14, slices)) + level).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(pixels, np.eye(4)), path)
    return pixels


def test_volumes_are_named_slice_by_slice(tmp_path):
    volume(tmp_path / 'a.nii.gz', 3)
    volume(tmp_path / 'b/c.nii', 2)
    np.savez(tmp_path / 'd.npz', one=np.zeros((8, 8), np.uint8), two=np.ones((8, 8), np.uint8))
    Image.new('RGB', (8, 8)).save(tmp_path / 'e.png')
    found = unroll(tmp_path, find_photos(tmp_path))
    assert list(found.names) == [
        'a.nii.gz#0', 'a.nii.gz#1', 'a.nii.gz#2', 'b/c.nii#0', 'b/c.nii#1', 'd.npz#one',
        'd.npz#two', 'e.png',
    ]  # fmt: skip
    assert str(found) == '8 images (2 nii, 1 npz, 1 png) in 4 files, of which 3 hold a stack'


def test_few_stacks_among_many_files_are_found(tmp_path, monkeypatch):
    for index in range(40):
        pixels = np.zeros((5, 12, 14) if index == 17 else (12, 14), np.uint8)
        axes = dict(axes='ZYX') if index == 17 else {}
        tifffile.imwrite(tmp_path / f'{index:02}.tif', pixels, imagej=True, metadata=axes)
    assert len(unroll(tmp_path, find_photos(tmp_path)).names) == 44
    # Of very many some are looked at.
    monkeypatch.setattr(stacks, 'FEW', 39)
    assert len(unroll(tmp_path, find_photos(tmp_path)).names) == 40


def test_pages_stay_one_image_and_series_do_not(tmp_path):
    pages = RNG.integers(0, 255, (4, 16, 18), dtype=np.uint8)
    with tifffile.TiffWriter(tmp_path / 'book.tif') as writer:
        for page in pages:
            writer.write(page, photometric='minisblack', metadata=None)
    found = find_photos(tmp_path)
    assert unroll(tmp_path, found) is found
    tifffile.imwrite(tmp_path / 'stack.tif', pages, imagej=True, metadata={'axes': 'ZYX'})
    names = list(unroll(tmp_path, find_photos(tmp_path)).names)
    assert names == ['book.tif', *(f'stack.tif#{n}' for n in range(4))]


def test_all_files_of_a_format_are_asked_if_a_few_are_stacks(tmp_path):
    for number in range(20):
        images = np.zeros((33 + number, 40, 40), np.uint8)
        np.save(tmp_path / f'{number}.npy', images if number != 7 else images[0])
    found = unroll(tmp_path, find_photos(tmp_path))
    assert found.stacks == 19
    assert len(found.names) == sum(33 + n for n in range(20)) - 40 + 1
    assert '7.npy' in found.names


def test_folders_without_stacks_are_not_opened(tmp_path, monkeypatch):
    Image.new('RGB', (8, 8)).save(tmp_path / 'e.png')
    (tmp_path / 'broken.nii').write_bytes(b'nothing')
    found = find_photos(tmp_path)
    assert list(unroll(tmp_path, found).names) == list(found.names)


def test_a_data_set_reads_each_slice(tmp_path):
    made = volume(tmp_path / 'scans/a.nii', 4)
    dataset = photo_folder(
        data_root=str(tmp_path), data_prefix='scans', with_label=False,
        pipeline=[dict(type='beit_mm.LoadPhoto', bands=1, value_range=(0, 255))],
    )  # fmt: skip
    assert len(dataset) == 4
    slices = [dataset[index]['img'][0].numpy() for index in range(4)]
    # Turned as nibabel's canonical axes lie, whichever those are, each has its own values.
    for index, found in enumerate(slices):
        expected = np.clip(made[..., index], 0, 255)
        assert sorted(found.ravel().tolist()) == sorted(expected.ravel().astype(float).tolist())


def test_whole_volumes_are_held_out(tmp_path):
    for index in range(8):
        volume(tmp_path / f'{index}.nii', 4)
    photos = photos_without_labels(tmp_path)
    assert len(photos.train) + len(photos.val) == 32
    assert len(photos.val) >= 5
    sides = [{name.partition('#')[0] for name in names} for names in (photos.train, photos.val)]
    assert not sides[0] & sides[1]


def test_of_few_volumes_slices_are_held_out(tmp_path):
    volume(tmp_path / 'one.nii', 40)
    photos = photos_without_labels(tmp_path)
    assert (len(photos.train), len(photos.val)) == (35, 5)


def test_class_folders_of_volumes(tmp_path):
    for label, level in (('ill', 0), ('well', 300)):
        for index in range(6):
            volume(tmp_path / label / f'{index}.nii', 3, level)
    photos = photos_with_labels(tmp_path)
    assert len(photos.labels) == 36
    sides = [{name.partition('#')[0] for name in names} for names in (photos.train, photos.val)]
    assert not sides[0] & sides[1]


@pytest.mark.parametrize('compression', [None, 'zlib'])
def test_of_an_experiment_in_several_files_each_has_its_own_planes(tmp_path, compression):
    """OME lists all planes in each file, as MicroManager and Bio-Formats write it."""
    ids = [f'urn:uuid:00000000-0000-0000-0000-00000000000{n}' for n in range(3)]
    planes = ''.join(
        f'<TiffData IFD="{z % 2}" FirstC="0" FirstZ="{z}" FirstT="0" PlaneCount="1">'
        f'<UUID FileName="{z // 2}.ome.tif">{ids[z // 2]}</UUID></TiffData>'
        for z in range(5)
    )
    for n in range(3):
        about = (
            '<?xml version="1.0" encoding="UTF-8"?><OME '
            f'xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="{ids[n]}">'
            '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" '
            'SizeX="32" SizeY="24" SizeZ="5" SizeC="1" SizeT="1">'
            f'<Channel ID="Channel:0:0" SamplesPerPixel="1"/>{planes}</Pixels></Image></OME>'
        )
        with tifffile.TiffWriter(tmp_path / f'{n}.ome.tif') as writer:
            for z in range(2 * n, min(2 * n + 2, 5)):
                writer.write(
                    np.full((24, 32), 100 + z, np.uint16), photometric='minisblack', metadata=None,
                    description=about if z == 2 * n else None, compression=compression,
                )  # fmt: skip
    names = unroll(tmp_path, find_photos(tmp_path)).names
    assert list(names) == [*(f'{n}.ome.tif#{k}' for n in (0, 1) for k in (0, 1)), '2.ome.tif']
    for z, name in enumerate(names):
        with open_image(tmp_path / name) as image:
            assert (image.read() == 100 + z).all()


def test_a_volume_that_is_named_by_itself_is_all_of_its_slices(tmp_path):
    volume(tmp_path / 'a.nii', 3)
    Image.new('RGB', (8, 8)).save(tmp_path / 'e.png')
    by_folder = files_of([tmp_path])
    assert files_of([tmp_path / 'a.nii', tmp_path / 'e.png']) == by_folder
    one = tmp_path / 'a.nii#1'
    assert files_of([one]) == {one: by_folder[one]}


def test_a_table_of_volumes_is_as_class_folders_of_them(tmp_path):
    rows = ['path,label']
    for label, level in (('ill', 0), ('well', 300)):
        for index in range(6):
            volume(tmp_path / label / f'{index}.nii', 3, level)
            rows.append(f'{label}/{index}.nii,{label}')
    folders = photos_with_labels(tmp_path)
    (tmp_path / 'labels.csv').write_text('\n'.join(rows))
    photos = photos_with_labels(tmp_path / 'labels.csv')
    assert (photos.labels, photos.val) == (folders.labels, folders.val)
    # A slice may have a row of its own, and the volume's side is that of its slices.
    sides = ['train', 'val'] * 6
    rows = [f'{row},{side}' for row, side in zip(rows, ['split', *sides], strict=True)]
    (tmp_path / 'labels.csv').write_text('\n'.join([*rows, 'ill/0.nii#1,well,train']))
    photos = photos_with_labels(tmp_path / 'labels.csv')
    changed = {name for name in folders.labels if photos.labels[name] != folders.labels[name]}
    assert changed == {'ill/0.nii#1'}
    assert len(photos.train) == len(photos.val) == 18
    assert {name.partition('#')[0] for name in photos.val} == {
        row.split(',')[0] for row in rows if row.endswith(',val')
    }
    root, labels, _ = labels_of(tmp_path / 'labels.csv', stacks=False)
    assert (root, len(labels)) == (tmp_path, 13)


def lesions(several):
    """Twelve volumes of 10 slices, of which six have lesions in five; and one photo."""
    labels = {f'{n}.nii#{i}': ['none'] for n in range(12) for i in range(10)} | {'p.png': ['none']}
    for n in range(6):
        for i in range(3, 8):
            labels[f'{n}.nii#{i}'] = ['lesion', 'seen'] if several else ['lesion']
    return labels


@pytest.mark.parametrize('several', [False, True])
@pytest.mark.parametrize('turned', [False, True])
def test_slices_with_labels_of_their_own_have_no_neighbours_on_the_other_side(several, turned):
    labels = lesions(several)
    sides = sides_of_stacks(dict(reversed(labels.items())) if turned else labels)
    assert sides.keys() == labels.keys()
    by_file = {}
    for name, side in sides.items():
        by_file.setdefault(name.partition('#')[0], set()).add(side)
    assert all(len(found) == 1 for found in by_file.values())
    for label in ('none', 'lesion'):
        of_class = [name for name in labels if label in labels[name]]
        held_out = sum(sides[name] == 'val' for name in of_class)
        assert len(of_class) // 5 <= held_out <= 2 * (len(of_class) // 5)


def test_a_class_in_one_stack_is_parted_and_that_is_said(capsys):
    labels = {f'{n}.nii#{i}': ['b' if (n, i) > (4, 1) else 'a'] for n in range(5) for i in range(4)}
    assert sides_of_stacks(labels) == {}
    assert "of the stacks with 'b' none can be held out as a whole" in capsys.readouterr().err


def test_stacks_of_one_class_each_are_held_out_class_by_class():
    assert sides_of_stacks({f'{n}.nii#{i}': [f'{n % 2}'] for n in range(9) for i in range(4)}) == {}
    assert sides_of_stacks({f'{n}.png': ['a', 'b'] for n in range(9)}) == {}


@pytest.mark.parametrize('count', [1, 7, 20])
@pytest.mark.parametrize('folder', ['', '#'])
def test_files_that_are_no_stacks_are_held_out_one_by_one(count, folder):
    names = [f'{index % 5}{folder}/{index}.png' for index in range(40)]
    train, val = hold_out(names, count)
    assert sorted([*train, *val]) == sorted(names)
    assert len(val) == count


def test_who_is_held_out_of_a_folder_without_stacks_stays_so():
    names = [f'{index:02}.png' for index in range(40)]
    assert hold_out(names, 5)[1] == ['02.png', '16.png', '24.png', '26.png', '32.png']


# Lengths of stacks, how many of their images are to be held out, and the most that are.
@pytest.mark.parametrize(
    ('lengths', 'count', 'most'),
    [
        ([1000] + [1] * 20, 51, 51),
        ([1] * 60 + [1000], 53, 53),
        ([2000, 30, 30, 30, 30], 106, 120),
        ([30, 30, 2000, 30, 30], 106, 120),
        ([900, 300, 40, 40, 40, 5, 5, 5], 66, 132),
        # As they were: all of one length.
        ([30] * 40, 51, 60),
        ([1000] * 6, 200, 1000),
    ],
)
def test_of_unequal_stacks_about_as_many_as_asked_are_held_out(lengths, count, most, capsys):
    names = [f'{file}.tif#{i}' for file, length in enumerate(lengths) for i in range(length)]
    for many in (names, names[::-1]):
        train, val = hold_out(many, count)
        assert sorted([*train, *val]) == sorted(names)
        assert count / 2 <= len(val) <= most
        told = 'held out one by one' in capsys.readouterr().err
        assert told == bool({n.split('#')[0] for n in train} & {n.split('#')[0] for n in val})
