"""Lists, Parquet, Hugging Face's datasets, LMDB: against pandas and what was stored."""

import io
import os
import pickle
import random
import unicodedata
from pathlib import Path

import datasets
import fsspec
import lmdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from failing_server import serving
from mmengine.config import Config
from mmengine.registry import DefaultScope
from PIL import Image
from pyarrow import parquet
from torch.utils.data import DataLoader

from beit_mm.component import Component
from beit_mm.datasets import HubPhotos, PhotoLMDB, PhotoTable
from beit_mm.datasets.places import PlacedSampler, SeededDataset
from beit_mm.datasets.reading.broken_image import BrokenImage
from beit_mm.datasets.replacing import ReplacingDataset
from beit_mm.datasets.sources import parquet_table, stores
from beit_mm.datasets.sources.column_labels import MISSING, Codes, number_labels
from beit_mm.engine.checking.data_check import check_data
from beit_mm.engine.starting import measured_ranges
from beit_mm.registry import DATASETS

CLASSES = ['cat', 'dog', 'Ünï "quoted", name']
BROKEN = 7


def encoded(number: int) -> bytes:
    """A PNG whose pixels are its number."""
    if number == BROKEN:
        return b'no image'
    file = io.BytesIO()
    Image.new('RGB', (8, 6), (number % 256, number // 256, 5)).save(file, 'PNG')
    return file.getvalue()


def table(count: int, seed: int = 0) -> pd.DataFrame:
    rng = random.Random(seed)
    names = [f'{rng.choice(["a", "b c", "ü"])}/{n:04}.png' for n in range(count)]
    return pd.DataFrame(
        dict(
            Path=names,
            class_name=[rng.choice(CLASSES) for _ in names],
            mask=[f'masks/{n:04}.png' for n in range(count)],
            split=[rng.choice(['Train', 'valid', 'extra']) for _ in names],
        )
    )


def write(frame: pd.DataFrame, path: Path) -> Path:
    if path.suffix == '.parquet':
        frame.to_parquet(path, row_group_size=7)
    else:
        frame.to_csv(path, index=False, sep='\t' if path.suffix == '.tsv' else ',')
    return path


def infos(dataset) -> list[dict]:
    return [dataset.get_data_info(index) for index in range(len(dataset))]


@pytest.mark.parametrize('ending', ['.csv', '.tsv', '.parquet'])
@pytest.mark.parametrize('split', ['', 'train', 'test', 'extra'])
def test_a_table_is_what_pandas_reads(tmp_path, ending, split):
    path = write(table(50), tmp_path / f'list{ending}')
    read = pd.read_parquet if ending == '.parquet' else pd.read_csv
    frame = read(path, **(dict(sep='\t') if ending == '.tsv' else {}))
    if split:
        sides = dict(train='Train', test='valid', extra='extra')
        frame = frame[frame['split'] == sides[split]]
    dataset = PhotoTable(str(path), split=split)
    assert dataset.CLASSES == dataset.metainfo['classes'] == tuple(sorted(CLASSES))
    expected = [
        dict(
            img_path=str(tmp_path / row.Path),
            gt_label=sorted(CLASSES).index(row.class_name),
            seg_map_path=str(tmp_path / row.mask),
            seg_fields=[],
            label_map=None,
            reduce_zero_label=False,
            sample_idx=place,
        )
        for place, row in enumerate(frame.itertuples())
    ]
    assert infos(dataset) == expected == infos(pickle.loads(pickle.dumps(dataset)))
    assert dataset.read_photo is None
    subset = dataset.get_subset([3, 1])
    assert [info['img_path'] for info in infos(subset)] == [
        expected[3]['img_path'],
        expected[1]['img_path'],
    ]
    assert len(PhotoTable(str(path), split=split, indices=5)) == 5
    assert list(dataset.get_gt_labels()) == [info['gt_label'] for info in expected]


def test_lines_paths_and_folders(tmp_path):
    (tmp_path / 'list.txt').write_text('a b.png\n\n  sub/ü.png \n/whole.png\ns3://there/x.png\n')
    at = dict(ann_file='list.txt', data_root=str(tmp_path), with_label=False)
    paths = [info['img_path'] for info in infos(PhotoTable(**at, data_prefix='in'))]
    assert paths == [
        f'{tmp_path}/in/a b.png', f'{tmp_path}/in/sub/ü.png', '/whole.png', 's3://there/x.png',
    ]  # fmt: skip
    stored = PhotoTable(str(tmp_path / 'list.txt'), data_root='s3://b/x', with_label=False)
    assert stored.get_data_info(0)['img_path'] == 's3://b/x/a b.png'
    (tmp_path / 'semicolons.csv').write_text('Datei;Klasse\n1,5.png;cat\n')
    dataset = PhotoTable(
        str(tmp_path / 'semicolons.csv'), columns=dict(path='Datei', label='Klasse')
    )
    assert infos(dataset) == [
        dict(img_path=f'{tmp_path}/1,5.png', gt_label=0, sample_idx=0),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ('text', 'settings', 'said'),
    [
        ('path,label\na,x\n\n,y\n', {}, r'list\.csv, line 4: there is no path'),
        ('path,label\na,x\n"b\nc",y\nd,\n', {}, r'list\.csv, line 5: there is no label'),
        ('path,label\na,x\nb,cats\n', dict(classes=['x', 'cat']), r"line 3: .*'cats'.*mean 'cat'"),
        ('path,label\na,0\nb,2\n', dict(classes=['x', 'y']), r"line 3: the label is '2'"),
        ('name,label\na,0\n', {}, r'has the columns name, label; it must have path and label'),
        ('path\na\n', {}, r'has the columns path; it must have path and label'),
        ('path,label\na,x\n', dict(split='train'), r"split is 'train', and .* no such column"),
        ('path,label,set\na,x,val\n', dict(split='train'), r"split is 'train', and .* has val"),
        ('path,label\na,x\n', dict(columns=dict(label='lable')), r"no 'lable'; .*mean 'label'"),
        ('path,label\na,x\n', dict(columns=dict(lable='label')), r"names 'lable'.*mean 'label'"),
        ('path,label,mask\na,x,m\nb,x,\n', {}, r'line 3: there is no mask; columns='),
        ('path,label\n', {}, 'there are no images'),
        (b'path,label\n\xff,x\n', {}, 'not in UTF-8'),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_list_is_told_with_its_line(tmp_path, text, settings, said):
    path = tmp_path / 'list.csv'
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=said):
        PhotoTable(str(path), **settings)


@pytest.mark.parametrize(
    ('there', 'asked', 'found'),
    [
        (('train', 'val', 'test'), 'val', ['val']),
        (('train', 'val', 'test'), 'testing', ['test']),
        (('train', 'Valid', 'testing'), 'val', ['Valid']),
        (('train', 'test'), 'val', ['test']),
        (('train', 'val', 'validation'), 'test', ['val', 'validation']),
    ],
)
def test_rows_of_a_test_are_none_of_validation(tmp_path, there, asked, found):
    rows = [f'{side}.png,{side}' for side in there]
    (tmp_path / 'list.csv').write_text('\n'.join(['path,split', *rows]) + '\n')
    dataset = PhotoTable(str(tmp_path / 'list.csv'), split=asked, with_label=False)
    assert [Path(info['img_path']).stem for info in infos(dataset)] == found


def test_labels_are_numbered():
    def where(row):
        return f'row {row}'

    numbers = Codes(np.array([2, 0, 1]), None)
    assert number_labels(numbers, None, where)[0].tolist() == [2, 0, 1]
    assert number_labels(Codes(np.array([0, 1]), ['10', '9']), None, where)[0].tolist() == [10, 9]
    by_name = number_labels(Codes(np.array([0, 1]), ['10', '9']), ['9', '10'], where)
    assert (by_name[0].tolist(), by_name[1]) == ([1, 0], ('9', '10'))
    stated = Codes(np.array([1, 0]), ['zebra', 'ape'], True)
    assert number_labels(stated, None, where)[1] == ('zebra', 'ape')
    assert number_labels(stated, ['ape', 'zebra'], where)[0].tolist() == [0, 1]
    for wrong in (Codes(np.array([0, -3]), None), Codes(np.array([0, MISSING]), ['a'])):
        with pytest.raises(ValueError, match='row 1: '):
            number_labels(wrong, None, where)


def test_an_image_may_have_several_labels(tmp_path):
    cells = ['dog; cat', 'cat', '', 'u\u0308 | dog', 'ü']
    expected = [{'cat', 'dog'}, {'cat'}, set(), {'u\u0308 | dog'}, {'ü'}]
    frame = pd.DataFrame(dict(path=list('abcde'), label=cells))
    paths = [str(write(frame, tmp_path / name)) for name in ('list.csv', 'list.parquet')]
    lists = frame.assign(label=[sorted(names) for names in expected])
    for path in [*paths, str(write(lists, tmp_path / 'lists.parquet'))]:
        dataset = PhotoTable(path)
        assert set(dataset.CLASSES) == {'cat', 'dog', 'ü', 'ü | dog'}
        labels = [info['gt_label'] for info in infos(dataset)]
        named = [{dataset.CLASSES[number] for number in numbers} for numbers in labels]
        assert named == [{unicodedata.normalize('NFC', n) for n in names} for names in expected]
        assert dataset.get_cat_ids(0) == labels[0]
    assert PhotoTable(paths[0], multi_label='|').CLASSES == ('cat', 'dog', 'dog; cat', 'ü')
    with pytest.raises(ValueError, match=r"line 5: .*'ü \| dog', and the 3 classes"):
        PhotoTable(paths[0], classes=['cat', 'dog', 'ü'])
    with pytest.raises(ValueError, match='line 4: there is no label'):
        PhotoTable(paths[0], multi_label=False)
    numbers = write(pd.DataFrame(dict(path=['a', 'b'], label=['0', '2;10'])), tmp_path / 'n.csv')
    assert [info['gt_label'] for info in infos(PhotoTable(str(numbers)))] == [[0], [2, 10]]
    alone = write(pd.DataFrame(dict(path=['a', 'b'], label=['x', 'y'])), tmp_path / 'one.csv')
    labels = [info['gt_label'] for info in infos(PhotoTable(str(alone), multi_label=True))]
    assert labels == [[0], [1]]


def test_texts_as_spreadsheets_write_them(tmp_path):
    path = tmp_path / 'list.csv'
    for text, encoding in (
        ('path;label\na,1.png;ü\n', 'utf-16'),
        ('sep=|\r\npath|label\r\na,1.png|ü\r\n', 'utf-8-sig'),
        ('path\tlabel\na,1.png\tü\n', 'utf-8'),
    ):
        path.write_bytes(text.encode(encoding))
        dataset = PhotoTable(str(path))
        assert (dataset.get_data_info(0)['img_path'], dataset.CLASSES) == (
            str(tmp_path / 'a,1.png'),
            ('ü',),
        )
    path.write_bytes(b'sep=;\r\npath;label\r\na;x\r\nb;\r\n')
    with pytest.raises(ValueError, match=r'list\.csv, line 4: there is no label'):
        PhotoTable(str(path))


def hub_dataset(count: int):
    return datasets.Dataset.from_dict(
        dict(
            image=[dict(bytes=encoded(n), path=f'{n}.png') for n in range(count)],
            label=[n % 3 for n in range(count)],
        ),
        features=datasets.Features(
            image=datasets.Image(decode=False), label=datasets.ClassLabel(names=CLASSES)
        ),
    ).cast_column('image', datasets.Image())


def write_parquet(folder: Path, count: int, files: int = 3) -> None:
    folder.mkdir()
    whole = hub_dataset(count)
    for number in range(files):
        part = whole.shard(files, number, contiguous=True)
        part.to_parquet(folder / f'train-{number:05}-of-{files:05}.parquet', batch_size=10)


def write_lmdb(path: Path, count: int) -> None:
    with lmdb.open(str(path), map_size=1 << 24) as database, database.begin(write=True) as writing:
        for number in range(count):
            writing.put(f'{number:06}'.encode(), encoded(number))
        writing.put(b'__keys__', pickle.dumps([f'{n:06}' for n in range(count)]))
        writing.put(b'__len__', str(count).encode())


COUNT = 47
LOAD = [dict(type='beit_mm.LoadPhoto')]


@pytest.fixture(params=['parquet', 'folder', 'disk', 'streaming', 'lmdb'])
def stored(request, tmp_path, monkeypatch):
    """A data set of images that are no files of their own, and how many there are."""
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    folder, kind = tmp_path / 'data', request.param
    cache = dict(loading=dict(cache_dir=str(tmp_path / 'cache')))
    if kind in ('parquet', 'folder', 'streaming'):
        write_parquet(folder, COUNT)
    if kind == 'parquet':
        return lambda **given: PhotoTable(str(folder / '*.parquet'), **given)
    if kind == 'folder':
        return lambda **given: HubPhotos(str(folder), **cache, **given)
    if kind == 'streaming':
        return lambda **given: HubPhotos(str(folder), streaming=True, **cache, **given)
    if kind == 'disk':
        datasets.DatasetDict(train=hub_dataset(COUNT)).save_to_disk(folder)
        return lambda **given: HubPhotos(str(folder), **given)
    write_lmdb(folder, COUNT)
    frame = pd.DataFrame(
        dict(path=[f'{n:06}' for n in range(COUNT)], label=[CLASSES[n % 3] for n in range(COUNT)])
    )
    listed = write(frame, tmp_path / 'labels.csv')
    return lambda **given: PhotoLMDB(str(folder), str(listed), classes=CLASSES, **given)


def test_stored_images_are_those_that_were_stored(stored):
    dataset = stored(pipeline=[dict])
    assert tuple(CLASSES) == dataset.CLASSES
    assert len(dataset) == COUNT
    for place in (0, COUNT - 1, 20, BROKEN):
        sample = dataset[place]
        assert sample['img_bytes'] == encoded(place) == dataset.read_photo(place)
        assert sample['gt_label'] == place % 3
        assert sample['img_path'] == dataset.get_data_info(place)['img_path']
        assert 'img_bytes' not in dataset.get_data_info(place)
    assert len({info['img_path'] for info in infos(dataset)}) == COUNT
    some = stored(pipeline=[dict], indices=[30, 2], with_label=False)
    assert [some[place]['img_bytes'] for place in (0, 1)] == [encoded(30), encoded(2)]
    assert 'gt_label' not in some[0]
    assert pickle.loads(pickle.dumps(dataset))[3]['img_bytes'] == encoded(3)


def test_the_check_of_a_config_looks_for_lists_where_they_are_looked_for(tmp_path, monkeypatch):
    write(table(5), tmp_path / 'list.csv')
    model = Component('model', {}, DATASETS.get)

    def told(**dataset):
        return list(check_data('val_dataloader', dataset, model))

    at = dict(type='beit_mm.PhotoTable', data_root=str(tmp_path), split='train')
    assert told(**at, ann_file='list.csv', data_prefix='anything') == []
    assert told(**at, ann_file='*.csv') == told(**at, ann_file='s3://b/x.csv') == []
    assert 'there is no such file' in told(**at, ann_file='lists.csv')[0]
    assert told(type='HubPhotos', name='x', split='train') == []
    assert 'data_root' in told(type='PhotoLMDB', data_root='nowhere')[0]
    monkeypatch.setenv('HOME', str(tmp_path))
    assert told(type='PhotoShards', data_root='~', ann_file='~/list.csv') == []
    assert 'no such folder' in told(type='PhotoShards', data_root='~/nowhere')[0]
    assert 'no such folder' in told(type='PhotoFolder', data_root='~')[0]


def test_ranges_are_measured_on_stored_images(stored):
    dataset = stored()
    cfg = Config(dict(train_dataloader=dict(dataset=dict(type=type(dataset), name='x'))))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measured_ranges.DATASETS, 'build', lambda settings: dataset)
        found = measured_ranges._training_images(cfg)
    assert [read() for _, read in found] == [encoded(number) for number in range(COUNT)]


class Number:
    """A pipeline's last step: the number in the pixels, and a number at random."""

    def __call__(self, results: dict) -> dict:
        red, green, _ = results['img'].getpixel((0, 0))
        return dict(number=red + 256 * green, label=results['gt_label'], drawn=np.random.random())


def run(dataset, workers: int, epoch: int, start: int) -> list[tuple]:
    dataset = SeededDataset(dataset)
    sampler = PlacedSampler(dict(type='DefaultSampler', shuffle=True), dataset, seed=5)
    sampler.epoch, sampler.start = epoch, start
    loader = DataLoader(dataset, 4, sampler=sampler, num_workers=workers, collate_fn=list)
    return [tuple(sample.values()) for batch in loader for sample in batch]


def test_a_run_resumes_exactly_with_any_number_of_workers(stored):
    dataset = stored(pipeline=[*LOAD, Number()], indices=[n for n in range(COUNT) if n != BROKEN])
    whole = run(dataset, 0, 1, 0)
    assert sorted(number for number, _, _ in whole) == [n for n in range(COUNT) if n != BROKEN]
    assert all(label == number % 3 for number, label, _ in whole)
    assert run(dataset, 2, 1, 0) == whole
    assert run(dataset, 2, 1, 20) == whole[20:]
    assert run(dataset, 0, 2, 0) != whole


def test_a_broken_image_is_replaced_and_named(stored):
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        dataset = ReplacingDataset(stored(pipeline=[*LOAD, dict(type='PackInputs')]))
    np.random.seed(0)
    sample = dataset[BROKEN]
    [(path, reason)] = sample['data_samples'].broken_images
    assert path == dataset.get_data_info(BROKEN)['img_path']
    assert 'cannot identify' in reason
    assert int(sample['data_samples'].gt_label) == int(sample['inputs'][0, 0, 0]) % 3


def test_row_groups_are_read_once_where_they_are_kept(tmp_path, monkeypatch):
    write_parquet(tmp_path / 'data', COUNT)
    dataset = PhotoTable(str(tmp_path / 'data/*.parquet'), pipeline=[dict])
    blocks = dataset.shard_numbers()
    sizes = [
        parquet.ParquetFile(path).metadata.row_group(group).num_rows
        for path in sorted((tmp_path / 'data').iterdir())
        for group in range(parquet.ParquetFile(path).metadata.num_row_groups)
    ]
    assert len(sizes) > 3
    assert blocks.tolist() == [number for number, size in enumerate(sizes) for _ in range(size)]
    assert dataset.get_subset([40, 0]).shard_numbers().tolist() == [blocks[40], 0]
    read = []
    own = parquet.ParquetFile.read_row_group
    monkeypatch.setattr(
        parquet.ParquetFile,
        'read_row_group',
        lambda self, group, **given: read.append(group) or own(self, group, **given),
    )
    for place in range(COUNT):
        dataset[place]
    assert len(read) == len(sizes)
    monkeypatch.setattr(parquet_table, 'KEPT', 1)
    other = pickle.loads(pickle.dumps(dataset))
    for place in (0, COUNT - 1, 0, 1):
        assert other[place]['img_bytes'] == encoded(place)
    assert len(read) == len(sizes) + 3
    monkeypatch.setattr(parquet_table, 'LARGEST_GROUP', 100)
    with pytest.raises(ValueError, match='write it with row_group_size=100'):
        PhotoTable(str(tmp_path / 'data/*.parquet'))


def test_row_groups_of_a_store_are_asked_for_again(tmp_path, monkeypatch):
    write_parquet(tmp_path / 'data', COUNT, 1)
    [path] = (tmp_path / 'data').iterdir()
    fsspec.filesystem('memory').pipe('/lists/images.parquet', path.read_bytes())
    dataset = PhotoTable('memory://lists/images.parquet', pipeline=[dict])
    assert [dataset[k]['img_bytes'] for k in range(COUNT)] == [encoded(k) for k in range(COUNT)]
    assert dataset[3]['img_path'] == 'memory://lists/images.parquet, row 3'


@pytest.mark.parametrize('seed', range(3))
def test_parquet_comes_from_a_server_that_fails(tmp_path, monkeypatch, seed):
    write_parquet(tmp_path / 'data', COUNT, 1)
    [path] = (tmp_path / 'data').iterdir()
    pauses = []
    monkeypatch.setattr(stores.time, 'sleep', pauses.append)
    with serving(tmp_path / 'data', share=0.3, seed=seed) as server:
        dataset = PhotoTable(f'{server.url}/{path.name}', pipeline=[dict])
        assert [dataset[k]['gt_label'] for k in range(COUNT)] == [k % 3 for k in range(COUNT)]
        for number in range(COUNT):
            assert pickle.loads(pickle.dumps(dataset))[number]['img_bytes'] == encoded(number)
        assert pauses
        server.always = [path.name]
        monkeypatch.setenv('BEIT_MM_STORE_TRIES', '2')
        with pytest.raises(BrokenImage, match=r'row 3 cannot be decoded: .* tried 2 times'):
            pickle.loads(pickle.dumps(dataset))[3]


def test_what_parquet_has_none_of_is_told_with_its_row(tmp_path):
    path = str(tmp_path / 'list.parquet')
    parquet.write_table(pa.table(dict(path=['a', None], label=[1, 2])), path)
    with pytest.raises(ValueError, match=r'list\.parquet, row 1: there is no path'):
        PhotoTable(path)
    parquet.write_table(pa.table(dict(path=['a', 'b'], label=[1, None])), path)
    with pytest.raises(ValueError, match=r'list\.parquet, row 1: there is no label'):
        PhotoTable(path)
    parquet.write_table(pa.table(dict(path=['a', 'b'], label=[[1, 2], [1]])), path)
    with pytest.raises(ValueError, match='a label is a text, a list of texts or a whole number'):
        PhotoTable(path)
    Path(path).write_text('no table')
    with pytest.raises(ValueError, match='is no Parquet file'):
        PhotoTable(path)
    with pytest.raises(FileNotFoundError):
        PhotoTable(str(tmp_path / 'none.parquet'))
    categories = pd.DataFrame(dict(path=['a', 'b', 'c'], label=pd.Categorical(['y', 'x', 'y'])))
    categories.to_parquet(path)
    assert [info['gt_label'] for info in infos(PhotoTable(path))] == [1, 0, 1]


def test_a_data_set_of_the_hub_without_such_a_split_is_told(tmp_path):
    write_parquet(tmp_path / 'data', 4, 1)
    given = dict(loading=dict(cache_dir=str(tmp_path / 'cache')))
    with pytest.raises(ValueError, match=r"split is 'trian', and .* has train; did you mean"):
        HubPhotos(str(tmp_path / 'data'), 'trian', streaming=True, **given)
    datasets.DatasetDict(a=hub_dataset(2), b=hub_dataset(3)).save_to_disk(tmp_path / 'saved')
    with pytest.raises(ValueError, match=r"split is '', and .* has a, b"):
        HubPhotos(str(tmp_path / 'saved'), '')
    assert len(HubPhotos(str(tmp_path / 'saved'), 'b')) == 3
    hub_dataset(4).select([3, 1]).save_to_disk(tmp_path / 'chosen')
    chosen = HubPhotos(str(tmp_path / 'chosen'), '', pipeline=[dict])
    assert [s['gt_label'] for s in map(chosen.__getitem__, range(2))] == [0, 1]
    (tmp_path / 'texts').mkdir()
    (tmp_path / 'texts/train.csv').write_text('a\n1\n')
    with pytest.raises(ValueError, match='must be Parquet files'):
        HubPhotos(str(tmp_path / 'texts'), streaming=True, **given)


class Trap:
    """Runs when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ('unpickled',)


def test_lmdb_reads_keys_and_unpickles_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_lmdb(tmp_path / 'bare', 5)
    bare = PhotoLMDB('bare', with_label=False, pipeline=[dict])
    assert [bare[n]['img_bytes'] for n in range(len(bare))] == [encoded(n) for n in range(5)]
    assert bare[1]['img_path'] == 'bare/000001'
    # A second one in a process, which LMDB forbids to open twice.
    assert len(PhotoLMDB('bare', with_label=False)) == 5
    with lmdb.open('texts', map_size=1 << 24) as database, database.begin(write=True) as writing:
        for n in range(1, 4):
            writing.put(b'image-%09d' % n, encoded(n))
            writing.put(b'label-%09d' % n, ['b', 'a', 'b'][n - 1].encode())
        writing.put(b'num-samples', b'3')
    texts = PhotoLMDB('texts', pipeline=[dict])
    assert [(s['img_bytes'], s['gt_label']) for s in map(texts.__getitem__, range(3))] == [
        (encoded(1), 1), (encoded(2), 0), (encoded(3), 1),
    ]  # fmt: skip
    with lmdb.open('trap', map_size=1 << 24) as database, database.begin(write=True) as writing:
        writing.put(b'__keys__', pickle.dumps(Trap()))
        writing.put(b'1', pickle.dumps(Trap()))
    with pytest.raises(ValueError, match='trap/1 is a pickled object'):
        PhotoLMDB('trap', with_label=False)
    assert not Path('unpickled').exists()
    Path('keys.csv').write_text('path,label\n000001,a\n00002,b\n')
    with pytest.raises(ValueError, match=r'keys\.csv, line 3: 00002 is no key of bare'):
        PhotoLMDB('bare', 'keys.csv')
    with pytest.raises(FileNotFoundError, match='there is no LMDB database'):
        PhotoLMDB('none')
