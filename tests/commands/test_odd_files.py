"""A thousand odd files end in a line each: no traceback, no crash, bounded memory and time."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from odd_files import write_odd_files

from beit_mm.datasets import LoadLabels, broken_photos
from beit_mm.datasets.finding import find_photos
from beit_mm.datasets.reading.choosing import Reading
from beit_mm.datasets.reading.measuring import look_at, measure
from beit_mm.datasets.sources.folder_search import CONTROLS, NO_TEXT

# With 4 GiB of addresses, most of which are the libraries'.
CHECK = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (2**32, 2**32))
from beit_mm.commands.main import main
main(['check', *sys.argv[1:], '--workers', '2'])
"""


@pytest.fixture(scope='module')
def odd(tmp_path_factory):
    folder = tmp_path_factory.mktemp('odd')
    trace = write_odd_files(folder / 'files')
    yield folder / 'files'
    assert not trace.exists()


@pytest.mark.slow
def test_each_broken_file_is_a_line(odd, tmp_path):
    listed = tmp_path / 'broken.txt'
    settings = dict(OMP_NUM_THREADS='1', PYTHONIOENCODING='utf-8:strict', MALLOC_ARENA_MAX='2')
    ended = subprocess.run(
        [sys.executable, '-c', CHECK, str(odd), str(listed)],
        capture_output=True, timeout=300, env={**os.environ, **settings},
    )  # fmt: skip
    out, err = ended.stdout.decode(), ended.stderr.decode()
    assert ended.returncode == 0, err
    assert 'Traceback' not in out + err
    broken = [line.split('\t') for line in listed.read_text('utf-8').split('\n')[:-1]]
    assert all(len(line) == 2 and all(line) for line in broken)
    assert out.split('\n')[: len(broken)] == ['\t'.join(line) for line in broken]
    # What was found is what is read and what is broken; what is left out is said.
    files, left_out = map(int, re.search(r'in (\d+) files.*?, (\d+) files left out', err).groups())
    images = int(re.search(r': (\d+) images', err)[1])
    assert f'{len(broken)} of {images} images cannot be decoded' in err
    read = sum(map(int, re.findall(r': (\d+) images', re.search('depths .*', out)[0])))
    assert read + len(broken) == images
    assert files + left_out == files_in(odd)
    names = {name.partition('#')[0] for name, _ in broken}
    assert not [name for name in names if name.startswith('good_')]


@pytest.mark.parametrize(
    ('value', 'kind'),
    [(7, 'uint8'), (2**24, 'uint32'), (-(2**31), 'int32'), (1e300, 'float64'), (3e38, 'float32'),
     (np.finfo(float).max, 'float64'), (np.finfo(float).min, 'float64'), (5e-324, 'float64')],
)  # fmt: skip
def test_one_value_of_any_size_is_a_range(tmp_path, value, kind):
    np.save(tmp_path / 'a.npy', np.full((8, 9), value, kind))
    found = measure([look_at(tmp_path / 'a.npy', 0)], 'percentile')
    reading = Reading(1, found.value_range)
    with reading.open(tmp_path / 'a.npy') as image:
        pixels = image.read()
    assert pixels.min() == pixels.max()
    assert 0 <= pixels.min() <= 255


@pytest.mark.parametrize('kind', ['uint32', 'int32', 'float64'])
def test_steps_of_large_numbers_are_kept(kind):
    pixels = (np.arange(256) + 2_000_000_000).astype(kind).reshape(16, 16, 1)
    scaled = Reading(1, (2_000_000_000, 2_000_000_255)).scale(pixels)
    assert np.allclose(scaled.ravel(), np.arange(256), atol=1e-4)


def test_ranges_as_wide_as_numbers_are(tmp_path):
    ends = np.array([[[-1.7e308], [0], [1.7e308]]])
    assert Reading(1, (-1.7e308, 1.7e308)).scale(ends).ravel().tolist() == [0, 127.5, 255]


def ends_its_process(source, *settings):
    if source.name == '3.png':
        os._exit(9)
    return look_at(source, *settings)


def test_a_reader_that_ends_its_process_is_a_line(tmp_path, monkeypatch):
    for number in range(40):
        (tmp_path / f'{number}.png').write_bytes(b'broken')
    # Processes are forks of this one.
    monkeypatch.setattr(broken_photos, 'look_at', ends_its_process)
    names = find_photos(tmp_path).names
    told = dict(broken_photos.check_photos(tmp_path, names, 2))
    assert list(told) == names
    assert [name for name in names if told[name] == broken_photos.ENDED] == ['3.png']


def test_names_that_no_list_can_hold_are_counted(tmp_path):
    names = (
        b'a b.png',
        b'c#1.png',
        b'd\n.png',
        b'e\x1b[0m.png',
        b'f\xff.png',
        b'g\xe2\x80\xa8.png',
    )
    for name in names:
        with open(os.path.join(os.fsencode(tmp_path), name), 'wb') as file:
            file.write(b'x')
    (tmp_path / 'g\n').mkdir()
    (tmp_path / 'g\n/h.png').write_bytes(b'x')
    found = find_photos(tmp_path)
    assert list(found.names) == ['a b.png', 'c#1.png']
    assert found.left_out == {CONTROLS: 4, NO_TEXT: 1}


@pytest.mark.slow
def test_odd_masks_are_told_by_name(tmp_path):
    written = write_odd_files(tmp_path / 'files', 600) and tmp_path / 'files'
    names = [name for name in find_photos(written).names if not name.startswith('up/')]
    told = {}
    for name in names:
        try:
            assert LoadLabels().read(str(written / name)).ndim == 2
        # BrokenImage is one of them.
        except ValueError as error:
            told[name] = str(error)
    assert len(told) > len(names) // 3
    assert all(str(written / name) in message for name, message in told.items())


def files_in(folder: Path) -> int:
    """Files of a folder, without hidden ones; Zarr's folders are one."""
    count = 0
    for where, folders, names in os.walk(folder):
        images = [name for name in folders if name.endswith('.zarr')]
        folders[:] = [name for name in folders if name not in images]
        folders[:] = [name for name in folders if not Path(where, name).is_symlink()]
        count += len(images) + sum(not name.startswith('.') for name in names)
    return count
