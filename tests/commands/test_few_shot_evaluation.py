"""``beit-mm evaluate`` against the same by scikit-learn, from vectors of all images."""

import csv
import json

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import average_precision_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from beit_mm.commands import few_shot_evaluation
from beit_mm.commands.embedding import embed
from beit_mm.commands.evaluating import evaluate
from beit_mm.commands.main import main
from beit_mm.component import ConfigError
from beit_mm.engine.measuring.few_shot import order_of_shots
from beit_mm.models import BEiT

ARCH = dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=16)
CLASSES = ('cat', 'dog', 'elk')


def save_network(path, bands=3):
    torch.manual_seed(0)
    model = BEiT(ARCH, img_size=16, patch_size=4, in_channels=bands)
    torch.save(model.state_dict(), path)
    return path


def write_photos(root, bands=3):
    """A dozen of each class to learn from, and eight to name, of overlapping colours."""
    rng = np.random.default_rng(0)
    for side, count in (('train', 12), ('val', 8)):
        for number, label in enumerate(CLASSES):
            folder = root / side / label
            folder.mkdir(parents=True)
            for index in range(count):
                low = np.roll([40, 20, 0] * 2, number)[:bands] + rng.integers(0, 60, bands)
                pixels = rng.integers(low, low + 90, (20, 24, bands)).astype(np.uint8)
                if bands == 3:
                    Image.fromarray(pixels).save(folder / f'{index:02}.png')
                else:
                    tifffile.imwrite(folder / f'{index:02}.tif', pixels, photometric='minisblack')
    return root


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    return write_photos(tmp_path_factory.mktemp('few') / 'photos')


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    return save_network(tmp_path_factory.mktemp('weights') / 'weights.pth')


def vectors_of(photos, weights, folder):
    """'train' and 'val' -> (path of an image below it -> its vector)."""
    sets = {}
    for side in ('train', 'val'):
        embed(photos / side, folder / f'{side}.npz', weights=weights)
        with np.load(folder / f'{side}.npz') as file:
            sets[side] = dict(zip(file['files'].tolist(), file['features'], strict=True))
    return sets


def by_scikit_learn(photos, weights, folder, shots, seed, missing=()):
    """Top-1 where all vectors are there at once."""
    sets = vectors_of(photos, weights, folder)
    names = {c: sorted(f'train/{n.relative_to(photos / "train")}'
                       for n in (photos / 'train' / c).iterdir()) for c in CLASSES}  # fmt: skip
    order = order_of_shots(names, seed)
    taken = [name for c in CLASSES for name in [n for n in order[c] if n not in missing][:shots]]
    x = np.array([sets['train'][name.removeprefix('train/')] for name in taken])
    y = np.repeat(2 * np.eye(3) - 1, shots, axis=0)
    ridge = make_pipeline(StandardScaler(), Ridge(alpha=2.0**10)).fit(x.astype(float), y)
    scores = ridge.predict(np.array([*sets['val'].values()], dtype=float))
    truth = [CLASSES.index(name.split('/')[0]) for name in sets['val']]
    return 100 * (scores.argmax(axis=1) == truth).mean()


# Of the images held out, how many of each class a table lists.
HELD_OUT = dict(cat=8, dog=5, elk=2)


def write_table(photos, path, several):
    """All images to learn from and some held out; with several labels an elk has none."""
    lines = ['path,split,cat,no elk' if several else 'path,split,label']
    for file in sorted(photos.rglob('*.png')):
        side, label = file.relative_to(photos).parts[:2]
        if side == 'train' or int(file.stem) < HELD_OUT[label]:
            named = f'{int(label == "cat")},{int(label != "elk")}' if several else label
            lines.append(f'{file},{side},{named}')
    path.write_text('\n'.join(lines))
    return path


@pytest.mark.parametrize('several', [False, True])
def test_neighbours_and_a_linear_classifier_are_those_of_scikit_learn(
    photos, weights, several, tmp_path, capsys
):
    table = write_table(photos, tmp_path / 'table.csv', several)
    found = evaluate(table, weights, neighbors=5)
    sets = vectors_of(photos, weights, tmp_path)
    x, y = {}, {}
    for side, vectors in sets.items():
        labels = {name: name.split('/')[0] for name in vectors}
        names = [name for name, label in labels.items()
                 if side == 'train' or int(name[-6:-4]) < HELD_OUT[label]]  # fmt: skip
        x[side] = np.array([vectors[name] for name in names])
        y[side] = np.array([labels[name] for name in names])
        if several:
            y[side] = np.stack([y[side] == 'cat', y[side] != 'elk'], axis=1).astype(int)
    near = KNeighborsClassifier(
        5, metric='cosine', algorithm='brute', weights=lambda far: np.exp((1 - far) / 0.07)
    ).fit(x['train'], y['train'])
    linear = LogisticRegression(max_iter=1000)
    linear = make_pipeline(StandardScaler(), OneVsRestClassifier(linear) if several else linear)
    linear.fit(x['train'], y['train'])
    if several:
        votes = np.stack([each[:, 1] for each in near.predict_proba(x['val'])], axis=1)
        scores = [votes, linear.predict_proba(x['val'])]
        knn, straight = (average_precision_score(y['val'], given) for given in scores)
        chance = (8 + 13) / 30
    else:
        knn, straight, chance = (
            near.score(x['val'], y['val']),
            linear.score(x['val'], y['val']),
            8 / 15,
        )
    expected = dict(knn=100 * knn, linear=100 * straight, chance=100 * chance)
    assert found == pytest.approx(expected)
    assert 100 * chance < min(expected['knn'], expected['linear']), 'more than chance'
    assert max(expected['knn'], expected['linear']) < 100, 'images that it does not know'
    said = capsys.readouterr().out
    assert all(f'{value:5.1f} %' in said for value in expected.values())


@pytest.mark.parametrize('broken', [False, True])
def test_top1_is_that_of_scikit_learn_on_all_vectors(
    photos, weights, broken, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(few_shot_evaluation, 'BATCH', 5)
    missing = ()
    if broken:
        photos = write_photos(tmp_path / 'photos')
        # The first that a seed would take.
        names = {c: [f'train/{c}/{i:02}.png' for i in range(12)] for c in CLASSES}
        missing = (order_of_shots(names, 0)['dog'][0],)
        (photos / missing[0]).write_bytes(b'no image')
    out = tmp_path / 'few.png'
    main(['evaluate', str(photos), '--weights', str(weights), '--few-shot', '8', '1',
          '--seeds', '2', '--out', str(out)])  # fmt: skip
    said = capsys.readouterr().out
    if broken:
        assert f'{missing[0]} cannot be decoded' in said
    with out.with_suffix('.csv').open() as file:
        head, *rows = csv.reader(file)
    assert head == ['images_of_a_class', 'seed', 'top1']
    found = {(int(k), int(seed)): float(value) for k, seed, value in rows}
    expected = {
        (k, seed): by_scikit_learn(photos, weights, tmp_path, k, seed, missing)
        for k in (1, 8)
        for seed in (0, 1)
    }
    assert found == pytest.approx(expected, abs=1e-3)
    assert len(set(found.values())) > 2, 'settings that differ'
    report = json.loads(out.with_suffix('.json').read_text())
    assert [row['images_of_a_class'] for row in report['few_shot']] == [1, 8]
    assert report['chance'] == pytest.approx(100 / 3, abs=1e-3)
    arrays = np.load(out.with_suffix('.npz'))
    np.testing.assert_allclose(arrays['top1'].ravel(), list(expected.values()))
    assert Image.open(out).size[0] > 300
    means = [np.mean([expected[k, 0], expected[k, 1]]) for k in (1, 8)]
    assert all(f'{mean:.1f} % top-1' in said for mean in means)


def test_images_of_five_bands_from_one_choice(tmp_path):
    photos = write_photos(tmp_path / 'photos', bands=5)
    weights = save_network(tmp_path / 'five.pth', bands=5)
    found = evaluate(photos, weights, few_shot=[6], seeds=1, out=tmp_path / 'few.png')
    assert set(found) == {'6-shot', 'chance'}
    assert found['6-shot'] > found['chance']
    (row,) = json.loads((tmp_path / 'few.json').read_text())['few_shot']
    assert row['interval'] is None


def test_no_more_neighbours_vote_than_there_are(photos, weights, tmp_path, capsys):
    usual = evaluate(photos, weights)
    assert '20 nearest neighbours' in capsys.readouterr().out
    assert evaluate(photos, weights, neighbors=20) == usual
    evaluate(photos, weights, neighbors=500)
    assert '36 nearest neighbours' in capsys.readouterr().out


def test_five_choices_where_nobody_says_how_many(photos, weights, tmp_path):
    evaluate(photos, weights, few_shot=[1], out=tmp_path / 'few.png')
    (row,) = json.loads((tmp_path / 'few.json').read_text())['few_shot']
    assert len(row['by_seed']) == 5


def test_each_table_of_a_folder_has_a_picture(photos, weights, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = [path for side in ('train', 'val') for path in (photos / side).rglob('*.png')]
    rows = [f'{path},{path.parent.name},{path.parent.parent.name}' for path in files]
    for name in ('a.csv', 'b.csv'):
        (tmp_path / name).write_text('\n'.join(['path,label,split', *rows]))
        evaluate(name, weights, few_shot=[1], seeds=1)
    evaluate(photos, weights, few_shot=[1], seeds=1)
    assert {path.parent.name for path in tmp_path.rglob('few_shot.png')} == {
        'a_evaluate', 'b_evaluate', 'photos_evaluate'
    }  # fmt: skip


def test_what_cannot_be_is_said(photos, weights, tmp_path):
    with pytest.raises(ConfigError, match="is 13, and class 'cat' has 12 images to learn from"):
        evaluate(photos, weights, few_shot=[1, 13])
    with pytest.raises(ConfigError, match='is where the picture of --few-shot goes'):
        evaluate(photos, weights, out=tmp_path / 'few.png')
    with pytest.raises(ConfigError, match='--seeds is for --few-shot, which is not given'):
        evaluate(photos, weights, seeds=5)
    with pytest.raises(ConfigError, match='--neighbors is of k-NN, in whose place --few-shot'):
        evaluate(photos, weights, few_shot=[1], neighbors=20)
    with pytest.raises(ConfigError, match='--few-shot has no number'):
        evaluate(photos, weights, few_shot=[])
    with pytest.raises(ConfigError, match='--seeds 0; each must be above 0'):
        evaluate(photos, weights, few_shot=[1], seeds=0)
    with pytest.raises(ConfigError, match='must end in'):
        evaluate(photos, weights, few_shot=[1], out=tmp_path / 'few.pdf')
    (tmp_path / 'tags.csv').write_text(f'path,a,b\n{photos}/train/cat/00.png,1,1\n'
                                       f'{photos}/val/cat/00.png,1,1\n')  # fmt: skip
    with pytest.raises(ConfigError, match='images of one class each'):
        evaluate(tmp_path / 'tags.csv', weights, few_shot=[1])
    one = tmp_path / 'one' / 'cat'
    one.mkdir(parents=True)
    Image.new('RGB', (16, 16)).save(one / '1.png')
    with pytest.raises(ConfigError, match='images of 1 classes; there must be two'):
        evaluate(one.parent, weights, few_shot=[1])
