"""Names in tables that are almost those of files, and names that no list can hold."""

import pytest
from PIL import Image

from beit_mm.commands.photos import photos_with_labels
from beit_mm.component import ConfigError


@pytest.fixture
def read(tmp_path):
    """Read a table of names beside four photos of two classes."""
    (tmp_path / 'scans').mkdir()
    for name in ('001.png', '002.JPG', '003.b.png', 'four.png'):
        Image.new('RGB', (8, 8)).save(tmp_path / 'scans' / name)

    def read(*names):
        rows = (f'"{name}",{"ab"[place % 2]}' for place, name in enumerate(names))
        (tmp_path / 't.csv').write_text('\n'.join(['path,label', *rows]), newline='')
        return photos_with_labels(tmp_path / 't.csv')

    return read


def test_names_of_files_are_taken(read):
    photos = read('scans/001.png', 'scans/002.JPG', 'scans/003.b.png', './scans//four.png')
    assert sorted(photos.labels) == [
        'scans/001.png', 'scans/002.JPG', 'scans/003.b.png', 'scans/four.png'
    ]  # fmt: skip


@pytest.mark.parametrize(
    ('name', 'meant'),
    [
        ('scans/001', '001.png'),
        ('scans/002.jpg', '002.JPG'),
        ('scans/Four.jpeg', 'four.png'),
        ('scans/003.b', '003.b.png'),
        ('scans\\001.png', 'scans/001.png'),
        ('scans\\001', '001.png'),
        ('scans/5.png', None),
        ('elsewhere/001.png', None),
    ],
)
def test_a_name_that_is_almost_right_is_told(name, meant, read):
    with pytest.raises(ConfigError, match=r't\.csv names .*\(1 of 2 are not\)') as told:
        read(name, 'scans/four.png')
    said = str(told.value)
    assert said.endswith(f'; did you mean {meant!r}?' if meant else 'the folder of the table')


def test_a_whole_path_that_is_almost_right_is_told(read, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp('elsewhere')
    Image.new('RGB', (8, 8)).save(elsewhere / 'a.png')
    with pytest.raises(ConfigError, match=f"did you mean '{elsewhere}/a.png'"):
        read(f'{elsewhere}\\a.png', 'scans/four.png')


@pytest.mark.parametrize('mark', ['\n', '\t', '\x0b', '\x85', '\u2028'])
def test_a_name_that_breaks_a_list_is_refused_before_the_run(mark, read, tmp_path):
    name = f'scans/a{mark}b.png'
    Image.new('RGB', (8, 8)).save(tmp_path / name)
    with pytest.raises(ConfigError, match=r'another control character in it \(1 of 2 have one\)'):
        read(name, 'scans/four.png')
