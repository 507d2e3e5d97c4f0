"""Images with several labels: tables of every shape, and a network that learns them."""

import csv
import json

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score

from beit_mm.commands.filling import fill_recipe
from beit_mm.commands.holding_out import hold_out_several
from beit_mm.commands.main import main
from beit_mm.commands.photos import photos_with_labels
from beit_mm.commands.predicting import predict
from beit_mm.component import ConfigError
from beit_mm.engine.measuring.several_labels_evaluation import (
    knn_mean_precision,
    linear_mean_precision,
)


@pytest.fixture
def table(tmp_path):
    """Write a table beside ten images, and read it."""
    for index in range(10):
        Image.new('RGB', (40, 30)).save(tmp_path / f'{index}.png')

    def table(text: str, encoding='utf-8', name='t.csv', **settings):
        (tmp_path / name).write_bytes(text.encode(encoding))
        return photos_with_labels(tmp_path / name, **settings)

    return table


EXPECTED = {'0.png': {'cat', 'big dog'}, '1.png': {'cat'}, '2.png': set(), '3.png': {'big dog'},
            '4.png': {'cat', 'big dog'}}  # fmt: skip


def as_rows(mark: str) -> str:
    lines = [f'{name},{mark.join(sorted(labels))}' for name, labels in EXPECTED.items()]
    return '\n'.join(['path,labels', *lines])


COLUMNS = (
    'path,patient,cat,big dog\n0.png,x,1,1\n1.png,y,1,0\n2.png,y,0,0\n3.png,z,0,1\n4.png,z,1,1\n'
)
ROWS = (
    'path,label\n0.png,cat\n0.png,big dog\n1.png,cat\n2.png,\n'
    '3.png,big dog\n4.png,cat\n4.png,big dog'
)
# Kind -> text, encoding, what is said.
TABLES = {
    "'|' in a cell": (as_rows('|'), 'utf-8', "'|' parts the labels"),
    "';' in a cell, with spaces": (as_rows(' ; '), 'utf-8-sig', "';' parts the labels"),
    'a row for each': (ROWS, 'utf-8', '2 images are in several rows'),
    'a column for each': (COLUMNS, 'utf-8', '2 columns of 0 and 1 are the classes: cat, big dog'),
    'of pandas': (COLUMNS.replace(',1', ',1.0').replace(',0', ','), 'utf-8', 'left out: patient'),
    "Excel's in Europe": (COLUMNS.replace(',', ';'), 'utf-8-sig', '2 columns of 0 and 1'),
    "Excel's with its note": ('sep=;\n' + COLUMNS.replace(',', ';'), 'utf-8', '2 columns'),
    "Excel's Unicode text": (COLUMNS.replace(',', '\t'), 'utf-16', '2 columns of 0 and 1'),
}  # fmt: skip


@pytest.mark.parametrize('kind', TABLES)
def test_tables_with_several_labels(kind, table, capsys):
    text, encoding, said = TABLES[kind]
    photos = table(text, encoding)
    assert {name: set(labels) for name, labels in photos.several.items()} == EXPECTED
    assert photos.classes == ['big dog', 'cat']
    assert not photos.labels
    told = capsys.readouterr().out
    assert said in told
    assert '2 of 5 images have several labels, 1 none' in told


def test_commas_and_spaces_part_labels_where_the_user_says_so(table):
    text = 'path,label\n' + '\n'.join(
        f'{i}.png,"{"cat, dog" if i % 2 else "cat"}"' for i in range(8)
    )
    assert table(text).classes == ['cat', 'cat, dog']
    photos = table(text, multi_label=',')
    assert photos.several['1.png'] == ('cat', 'dog')
    spaced = text.replace(',"', '\t"').replace('path,', 'path\t').replace(', dog', '  dog')
    assert table(spaced, name='t.tsv', multi_label=' ').several['1.png'] == ('cat', 'dog')


def test_one_label_each_stays_so(table):
    text = 'path;class\n' + '\n'.join(f'{i}.png;{[1, 2, 10][i % 3]}' for i in range(9))
    photos = table(text)
    assert photos.several is None
    # Numbers in their order, and gaps between them.
    assert photos.classes == ['1', '2', '10']
    with_points = 'path;class\n' + '\n'.join(f'{i}.png;{[1, 2, 10][i % 3]}.0' for i in range(9))
    assert table(with_points).classes == ['1', '2', '10']
    one_hot = 'path,a,b\n' + '\n'.join(f'{i}.png,{i % 2},{1 - i % 2}' for i in range(8))
    assert table(one_hot).several is None
    assert table(one_hot).labels['1.png'] == 'a'
    assert table(one_hot, multi_label=True).several['1.png'] == ('a',)
    # One letter, typed in two ways.
    marks = 'path,label\n0.png,Ka\u0308fer\n1.png,Käfer\n2.png,猫\n3.png,猫\n'
    assert table(marks).classes == ['Käfer', '猫']


@pytest.mark.parametrize('first', [0, 1])
def test_names_beside_a_table_of_numbers(first, table, tmp_path, capsys):
    text = 'path,label\n' + '\n'.join(f'{i}.png,{first + i % 2}' for i in range(8))
    (tmp_path / 'classes.txt').write_text('red panda\nMaus\n')
    assert table(text).labels['1.png'] == 'Maus'
    assert 'classes.txt names the classes' in capsys.readouterr().out
    with pytest.raises(ConfigError, match='has 2 names, and none for the label 7'):
        table(text + '\n8.png,7\n9.png,7')


@pytest.mark.parametrize('several', [False, True])
def test_names_that_may_count_from_0_or_from_1(several, table, tmp_path):
    mark = '|2' if several else ''
    text = 'path,label\n' + '\n'.join(f'{i}.png,{1 + i % 2}{mark * (i % 2 == 0)}' for i in range(8))
    names = tmp_path / 'classes.txt'
    names.write_text('background\ncat\ndog\n')
    with pytest.raises(ConfigError, match=r'has 3 names, and the labels are 1 to 2: .* "0 backgr'):
        table(text)
    for first, expected in ((0, ['cat', 'dog']), (1, ['background', 'cat'])):
        lines = enumerate(('background', 'cat', 'dog'), first)
        names.write_text('\n'.join(f'{number} {name}' for number, name in lines))
        assert table(text).classes == expected


def test_tables_that_cannot_be_told(table):
    with pytest.raises(ConfigError, match=r'1\.png both to train with and to validate with'):
        table('path,label,split\n1.png,a,train\n1.png,b,val\n')
    with pytest.raises(ConfigError, match=r"class 'a' has 1 images to train with and 0"):
        table('path,label\n0.png,a|b\n1.png,b\n2.png,b\n3.png,b')
    with pytest.raises(ConfigError, match='a column of 0 and 1 for each class'):
        table('path,age,weight\n0.png,3,4\n1.png,5,6\n')
    with pytest.raises(ConfigError, match=r'0\.png has several labels, and multi_label is False'):
        table('path,a,b\n0.png,1,1\n1.png,1,0\n2.png,0,1\n', multi_label=False)
    with pytest.raises(ConfigError, match=r"the mark ',', and .* has no column of labels"):
        table(COLUMNS, multi_label=',')
    for text in (COLUMNS, ROWS):
        with pytest.raises(ConfigError, match='--multi-label is an empty mark'):
            table(text, multi_label='')


def test_each_class_is_held_out_by_its_share():
    rng = np.random.default_rng(0)
    shares = np.array([0.02, 0.1, 0.5, 0.9])
    truth = rng.random((1000, 4)) < shares
    labels = {str(i): tuple(f'c{k}' for k in np.flatnonzero(row)) for i, row in enumerate(truth)}
    train, val = hold_out_several(labels)
    assert sorted(train + val) == sorted(labels)
    for k, total in enumerate(truth.sum(axis=0)):
        held = sum(f'c{k}' in labels[name] for name in val)
        assert held == pytest.approx(total / 5, rel=0.1, abs=1)


@pytest.mark.parametrize('count', [1, 3])
@pytest.mark.parametrize('measure', [knn_mean_precision, linear_mean_precision])
def test_features_that_know_the_labels_and_features_that_do_not(measure, count):
    generator = torch.Generator().manual_seed(0)
    labels = torch.rand(400, count, generator=generator) < 0.3
    features = torch.cat([labels.float() * 4 - 2, torch.ones(400, 1)], dim=1)
    features += 0.1 * torch.randn(features.shape, generator=generator)
    known = measure(features[:300], labels[:300], features[300:], labels[300:])
    assert known > 99
    noise = torch.randn(400, 8, generator=generator)
    chance = measure(noise[:300], labels[:300], noise[300:], labels[300:])
    assert chance == pytest.approx(30, abs=12)


def half_known(size, seed):
    """Features, and labels that they tell in part, one rare."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(size, 4, generator=generator) + torch.tensor([0.0, 0, 0, 1])
    noise = torch.randn(size, 3, generator=generator)
    return features, features[:, :3] + noise > torch.tensor([0.0, 0.5, 1.5])


@pytest.mark.parametrize('neighbors', [20, 1000])
def test_neighbours_vote_by_their_cosine_for_each_label(neighbors):
    (train, train_labels), (test, test_labels) = half_known(60, 0), half_known(45, 1)
    votes = np.zeros((45, 3))
    for row, feature in enumerate(test.double().numpy()):
        others = train.double().numpy()
        cosines = others @ feature / np.linalg.norm(others, axis=1) / np.linalg.norm(feature)
        nearest = np.argsort(-cosines)[:neighbors]
        weights = np.exp(cosines[nearest] / 0.07)
        votes[row] = weights @ train_labels.numpy()[nearest] / weights.sum()
    expected = 100 * average_precision_score(test_labels.numpy(), votes)
    assert 40 < expected < 90, 'neither hopeless nor trivial'
    found = knn_mean_precision(train, train_labels, test, test_labels, neighbors)
    assert found == pytest.approx(expected)


def test_a_linear_classifier_of_each_label_is_scikit_learns_on_standardised_features():
    (train, train_labels), (test, test_labels) = half_known(60, 0), half_known(45, 1)
    # Features of very unequal sizes, which standardising brings to one.
    scale = torch.tensor([1.0, 1e-3, 1e3, 1.0])
    mean, std = train.mean(0), train.std(0, unbiased=False)
    each = []
    for known, asked in zip(train_labels.T, test_labels.T, strict=True):
        direct = LogisticRegression(max_iter=1000).fit((train - mean) / std, known)
        scores = direct.decision_function((test - mean) / std)
        each.append(100 * average_precision_score(asked, scores))
    assert 40 < np.mean(each) < 90
    found = linear_mean_precision(train * scale, train_labels, test * scale, test_labels)
    assert found == pytest.approx(np.mean(each))


def test_the_loss_is_binary_cross_entropy_summed_over_labels():
    from mmpretrain.structures import DataSample

    text = fill_recipe('own/finetune.py', dict(several_labels=True, classes=list('abc')), 'A test.')
    head = MODELS.build(Config.fromstring(text, '.py').model.head)
    features = torch.randn(4, 128, generator=torch.Generator().manual_seed(0))
    labels = [[0, 2], [], [1], [0, 1, 2]]
    samples = [DataSample().set_gt_label(numbers) for numbers in labels]
    targets = torch.tensor([[1.0, 0, 1], [0, 0, 0], [0, 1, 0], [1, 1, 1]])
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        head.fc(features), targets, reduction='sum'
    )
    found = head.loss((features,), samples)['loss']
    torch.testing.assert_close(found, expected / 4)


def test_labels_are_named_from_a_half_on_where_nobody_says_otherwise(tmp_path, capsys):
    values = dict(
        several_labels=True, classes=list('abcd'), weights=None, embed_dims=16, image_size=32,
        arch=dict(embed_dims=16, num_layers=1, num_heads=2, feedforward_channels=16),
    )  # fmt: skip
    (tmp_path / 'finetune.py').write_text(fill_recipe('own/finetune.py', values, 'A test.'))
    init_default_scope('mmpretrain')
    model = MODELS.build(Config.fromfile(tmp_path / 'finetune.py').model)
    # Whatever the image is.
    with torch.no_grad():
        model.head.fc.weight.zero_()
        model.head.fc.bias.copy_(torch.tensor([0.48, 0.97, 0.02, 0.52]).logit())
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'classifier.pth')
    image, table = tmp_path / '1.png', tmp_path / 'p.csv'
    Image.new('RGB', (40, 30)).save(image)
    ((file, named),) = predict(tmp_path, [image])
    assert (file, list(named)) == (image, ['b', 'd'])
    assert named == pytest.approx(dict(b=0.97, d=0.52), abs=1e-5)
    assert f'{image}: b 97.0%, d 52.0%\n' in capsys.readouterr().out
    predict(tmp_path, [image], threshold=0.98)
    assert f'{image}: none from 98% on' in capsys.readouterr().out
    predict(tmp_path, [image], table, threshold=0.3)
    with table.open() as rows:
        assert list(csv.reader(rows)) == [
            ['path', 'labels', *'abcd'],
            [str(image), 'b|d|a', '0.4800', '0.9700', '0.0200', '0.5200'],
        ]


def make_attributes(root, count=60):
    """Images that are red or not and striped or not, one independent of the other, and a table."""
    rng = np.random.default_rng(0)
    rows = []
    for index in range(count):
        red, striped = rng.random(2) < 0.5
        pixels = rng.integers(0, 60, (40, 40, 3)) + 60
        pixels[..., 0] += 100 * red
        pixels[::4] += 60 * striped
        pixels[1::4] += 60 * striped
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / f'{index}.png')
        rows.append((f'{index}.png', '|'.join(['red'] * int(red) + ['striped'] * int(striped))))
    with (root / 'tags.csv').open('w', newline='') as file:
        csv.writer(file).writerows([('path', 'tags'), *rows])
    return dict(rows)


@pytest.mark.slow
@pytest.mark.usefixtures('forked_stages')
def test_two_attributes_are_learned_each_by_itself(tmp_path, capsys):
    truth = make_attributes(tmp_path)
    out = tmp_path / 'run'
    run = ['finetune', str(tmp_path / 'tags.csv'), '--weights', 'none', '--out', str(out)]
    main([*run, '--steps', '120', '--size', '32'])
    said = capsys.readouterr().out
    assert 'an image may have several of them' in said
    figures = json.loads((out / 'report.json').read_text())
    assert set(figures['by_class']) == {'red', 'striped'}
    # By chance it is the share of a label, about 50.
    assert figures['mAP'] > 85
    assert (out / 'precision.png').is_file()
    rows = list(csv.DictReader((out / 'predictions.csv').open()))
    assert {row['path']: row['labels'] for row in rows} == {
        r['path']: truth[r['path']] for r in rows
    }
    for name, precision in figures['by_class'].items():
        there = [name in row['labels'].split('|') for row in rows]
        expected = 100 * average_precision_score(there, [float(row[name]) for row in rows])
        assert precision == pytest.approx(expected, abs=0.5)
    main(['predict', str(out), str(tmp_path / '0.png'), str(tmp_path / '1.png'), '--out',
          str(tmp_path / 'p.csv'), '--threshold', '0.3'])  # fmt: skip
    for row in csv.DictReader((tmp_path / 'p.csv').open()):
        named = {name for name in ('red', 'striped') if float(row[name]) >= 0.3}
        assert set(filter(None, row['labels'].split('|'))) == named
    main(['test', str(out), '--out', str(tmp_path / 'metrics.json')])
    metrics = json.loads((tmp_path / 'metrics.json').read_text())
    assert metrics['multi-label/mAP'] == pytest.approx(figures['mAP'], abs=0.5)
    main([*run, '--resume', '--steps', '124'])
    again = [row['path'] for row in csv.DictReader((out / 'predictions.csv').open())]
    assert again == [row['path'] for row in rows]
