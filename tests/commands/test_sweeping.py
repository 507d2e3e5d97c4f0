"""Sweeps of rates and tasks of few labels: who is trained with, who judges, what is chosen."""

import csv
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from beit_mm.commands import sweeping, transferring
from beit_mm.commands.finetuning import finetune
from beit_mm.commands.main import main
from beit_mm.commands.photos import photos_with_labels
from beit_mm.commands.sweeping import hold_back
from beit_mm.commands.transferring import take_labelled, transfer
from beit_mm.component import ConfigError

SIZES = dict(cat=40, dog=20, elk=10)


def write_classes(root, sizes=SIZES, val=3):
    rng = np.random.default_rng(0)
    for side, count in (('train', None), ('val', val)):
        for number, (label, size) in enumerate(sizes.items()):
            folder = root / side / label
            folder.mkdir(parents=True)
            for index in range(count or size):
                pixels = rng.integers(0, 90, (20, 24, 3)) + 60 * number
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f'{index:02}.png')
    return root


@pytest.fixture(scope='module')
def classes(tmp_path_factory):
    return write_classes(tmp_path_factory.mktemp('sweep') / 'pets')


@pytest.fixture
def trained(monkeypatch):
    """No training: each rate comes to a figure, the highest at 3e-3; 1 diverges."""
    done = []

    def train_once(stage, text, photos, track, progress, chosen_by):
        rate = sweeping.Config.fromstring(text, '.py').optim_wrapper.optimizer.lr
        done.append((stage.config.parent.name, rate, photos, text))
        top1 = None if rate == 1 else round(90 - 10 * abs(np.log10(rate / 3e-3)), 2)
        stage.config.parent.mkdir(parents=True, exist_ok=True)
        (stage.config.parent / 'classifier.pth').touch()
        (stage.config.parent / 'report.json').write_text(json.dumps(dict(top1=top1, mAP=top1)))

    for module in (sweeping, transferring):
        monkeypatch.setattr(module, 'train_once', train_once)
    monkeypatch.setattr('beit_mm.commands.classifier_runs.choose_length', lambda *a: a[3] or 70)
    return done


def labels_in(names):
    return Counter(name.split('/')[1] for name in names)


def test_the_best_rate_is_chosen_by_images_to_train_with(classes, trained, tmp_path, capsys):
    run = ['finetune', str(classes), '--weights', 'none', '--steps', '50', '--size', '32',
           '--out', str(tmp_path / 'run'), '--sweep']  # fmt: skip
    main([*run, '0.001', '1', '0.003', '0.01'])
    out = capsys.readouterr().out
    assert '0.003   90.00 %  best' in out
    assert 'diverged' in out
    assert '--steps 50 --cfg-options optim_wrapper.optimizer.lr=0.003' in out
    for _, _, photos, text in trained:
        assert labels_in(photos.train) == dict(cat=32, dog=16, elk=8)
        assert labels_in(photos.val) == dict(cat=8, dog=4, elk=2)
        assert not set(photos.train) & set(photos.val)
        assert all(name.startswith('train/') for name in (*photos.train, *photos.val))
        assert sweeping.Config.fromstring(text, '.py').train_cfg.max_iters == 50
    with (tmp_path / 'run/sweep.csv').open() as file:
        assert list(csv.reader(file)) == [
            ['rate', 'top-1'],
            *(['0.001', '85.23'], ['0.003', '90.0'], ['0.01', '84.77'], ['1.0', '']),
        ]
    assert json.loads((tmp_path / 'run/sweep.json').read_text())['best'] == 0.003


def test_a_rate_that_is_done_is_skipped(classes, trained, tmp_path, capsys):
    arguments = dict(weights='none', out=tmp_path / 'run', steps=50)
    finetune(classes, sweep=[0.03, 0.01], **arguments)
    assert 'the best is the lowest: 0.003 may be better still' in capsys.readouterr().out
    with pytest.raises(ConfigError, match='holds a run already: add --resume'):
        finetune(classes, sweep=[0.003], **arguments)
    trained.clear()
    finetune(classes, sweep=[0.003, 0.01], **arguments, resume=True)
    assert [name for name, *_ in trained] == ['rate_0.003']
    report = json.loads((tmp_path / 'run/sweep.json').read_text())
    assert [row['rate'] for row in report['rates']] == [0.003, 0.01, 0.03]
    with pytest.raises(ConfigError, match='cannot be changed by --resume of several runs'):
        finetune(classes, sweep=[0.1], **{**arguments, 'steps': 60}, resume=True)
    with pytest.raises(ConfigError, match='which is of a beit-mm sweep'):
        finetune(classes, **arguments)


def test_without_rates_three_around_the_usual_one(classes, trained, tmp_path):
    finetune(classes, weights='none', out=tmp_path / 'run', steps=50, sweep=[])
    usual = sweeping.Config.fromfile(tmp_path / 'run/sweep.py').optim_wrapper.optimizer.lr
    assert [rate for _, rate, *_ in trained] == pytest.approx([usual / 3, usual, 3 * usual], 0.05)


def test_what_a_sweep_cannot_take_is_said(classes, trained, tmp_path):
    arguments = dict(weights='none', out=tmp_path / 'run', steps=50)
    with pytest.raises(ConfigError, match='training diverges with each'):
        finetune(classes, sweep=[1], **arguments)
    with pytest.raises(ConfigError, match='each must be above 0'):
        finetune(classes, sweep=[0.1, -1], **arguments)
    for key in (sweeping.RATE, 'train_cfg.val_interval', 'default_hooks.checkpoint.save_best'):
        with pytest.raises(ConfigError, match=f'--cfg-options has {key}; the command sets it'):
            finetune(classes, sweep=[0.1], cfg_options={key: 1}, **arguments)
    key = 'val_dataloader.dataset.ann_file'
    with pytest.raises(ConfigError, match=f'--cfg-options has {key}; the command sets it'):
        transfer([classes], cfg_options={key: 'mine.txt'}, **arguments)
    lone = write_classes(tmp_path / 'lone', dict(cat=4, dog=1), val=1)
    with pytest.raises(ConfigError, match="class 'dog' has 1 image to train with"):
        hold_back(photos_with_labels(lone))


@pytest.mark.parametrize('count', [6, 7, 35, 70])
def test_labels_are_shared_in_proportion(classes, count):
    photos = photos_with_labels(classes)
    chosen = take_labelled(photos, count)
    assert len(chosen.train) + len(chosen.val) == count
    assert len(chosen.val) == count // 5
    assert not set(chosen.train) & set(chosen.val)
    assert {*chosen.train, *chosen.val} <= set(photos.train)
    found = labels_in([*chosen.train, *chosen.val])
    for label, size in SIZES.items():
        assert labels_in(chosen.train)[label] >= 1
        assert abs(found[label] - count * size / 70) <= 1.5
    assert take_labelled(photos, count) == chosen


def test_too_many_and_too_few_labels_are_said(classes):
    for count in (5, 71):
        with pytest.raises(ConfigError, match=f'--labels is {count};.* from 6 to 70'):
            take_labelled(photos_with_labels(classes), count)


def test_tasks_are_tested_once_with_the_rate_that_few_labels_chose(
    classes, trained, tmp_path, capsys
):
    others = write_classes(tmp_path / 'tissue', dict(a=30, b=30))
    arguments = dict(weights='none', out=tmp_path / 'out', labels=40, steps=50)
    sources = [f'natural={classes}', f'specialised={others}']
    means = transfer(sources, sweep=[0.003, 0.03], **arguments)
    assert means == {'natural': 90.0, 'specialised': 90.0, 'mean': 90.0}
    assert [name for name, *_ in trained] == ['rate_0.003', 'rate_0.03', 'all_0.003'] * 2
    for place in (0, 3):
        swept, final = trained[place], trained[place + 2]
        assert sorted([*swept[2].train, *swept[2].val]) == final[2].train
        assert len(final[2].train) == 40
        assert all(name.startswith('val/') for name in final[2].val)
        assert final[1] == 0.003
        cfg = sweeping.Config.fromstring(final[3], '.py')
        for loader, names in (('train', final[2].train), ('test', final[2].val)):
            lines = Path(cfg[f'{loader}_dataloader'].dataset.ann_file).read_text().splitlines()
            assert [line.rpartition(' ')[0] for line in lines] == names
        assert cfg.train_cfg.val_interval == cfg.train_cfg.max_iters == 50
        assert cfg.default_hooks.checkpoint.save_best is None
    out = capsys.readouterr().out
    assert 'specialised  tissue' in out
    # What is done is not done again, and what is new is.
    trained.clear()
    more = write_classes(tmp_path / 'roads', dict(a=30, b=30))
    transfer([*sources, str(more)], sweep=[0.01], **arguments, size=32, resume=True)
    names = [name for name, *_ in trained]
    assert names == ['rate_0.01', 'rate_0.01', 'rate_0.01', 'all_0.01']


def test_a_better_rate_is_trained_with_before_it_is_told(classes, trained, tmp_path):
    arguments = dict(weights='none', out=tmp_path / 'out', steps=50)
    assert transfer([classes], sweep=[0.03], labels=40, **arguments)['mean'] == 80
    trained.clear()
    with pytest.raises(ConfigError, match=r'a sweep with 32 images .* --labels it would be 40'):
        transfer([classes], sweep=[0.03], labels=50, **arguments, resume=True)
    assert not trained
    assert transfer([classes], sweep=[0.003], labels=40, **arguments, resume=True)['mean'] == 90
    assert [(name, rate) for name, rate, *_ in trained] == [
        ('rate_0.003', 0.003),
        ('all_0.003', 0.003),
    ]


@pytest.mark.parametrize('change', ['come', 'gone'])
def test_a_task_that_has_begun_is_tested_on_what_it_held_out(trained, tmp_path, capsys, change):
    # Without sides: who is held out of a class goes by what is in its folder.
    pets = write_classes(tmp_path / 'drawn', dict(cat=30, dog=30), val=0) / 'train'
    pets = pets.rename(tmp_path / 'pets')
    arguments = dict(weights='none', out=tmp_path / 'out', labels=40, steps=50)
    transfer([pets], sweep=[0.03], **arguments)
    held_out = list(trained[-1][2].val)
    if change == 'come':
        for label in ('cat', 'dog'):
            Image.new('RGB', (24, 20)).save(pets / label / '00a.png')
    else:
        (pets / held_out.pop(0)).unlink()
    assert photos_with_labels(pets).val != held_out
    transfer([pets], sweep=[0.003], **arguments, resume=True)
    final = trained[-1][2]
    assert final.val == held_out
    assert not set(final.train) & set(final.val)
    assert ('1 of 12 images held out are gone' in capsys.readouterr().out) == (change == 'gone')
    told = json.loads((tmp_path / 'out/transfer.json').read_text())['tasks'][0]
    assert told['held_out'] == len(held_out)


def test_a_task_that_has_begun_keeps_how_it_reads_images(classes, trained, tmp_path):
    arguments = dict(weights='none', sweep=[0.03], labels=40, steps=50)
    own = dict(size=32, bands='3', value_range='0,200', no_data=7.0)
    transfer([classes], out=tmp_path / 'out', **arguments, **own)
    # The command that began it goes on with it.
    transfer([classes], out=tmp_path / 'out', **arguments, **own, resume=True)
    for other in (dict(size=64), dict(bands='1'), dict(value_range='0,100'), dict(no_data=8.0)):
        option = next(iter(other)).replace('_', '-')
        with pytest.raises(ConfigError, match=f'--{option} cannot be changed by --resume'):
            transfer([classes], out=tmp_path / 'out', **arguments, **{**own, **other}, resume=True)


def test_a_task_stopped_before_it_has_saved_anything_begins_as_asked(classes, trained, tmp_path):
    arguments = dict(weights='none', out=tmp_path / 'out', sweep=[0.03], labels=40, steps=50)
    sweep = tmp_path / 'out/pets/sweep'
    transfer([classes], size=64, **arguments)
    (sweep / 'rate_0.03/classifier.pth').unlink()
    transfer([classes], size=64, **arguments, resume=True)
    assert sweeping.Config.fromfile(sweep / 'sweep.py').image_size == 64


@pytest.mark.parametrize('mark', ['', '|both'])
def test_a_run_that_is_gone_on_with_has_its_labels(classes, trained, tmp_path, mark):
    def table(name, first, second, begin=0):
        places = range(begin, begin + 10)
        rows = [f'{classes}/train/cat/{i:02}.png,{first}{mark}' for i in places]
        rows += [f'{classes}/train/dog/{i:02}.png,{second}{mark}' for i in places]
        (tmp_path / name).write_text('\n'.join(['path,label', *rows, '']))
        return tmp_path / name

    arguments = dict(weights='none', out=tmp_path / 'run', steps=50, sweep=[0.03])
    finetune(table('a.csv', 'cat', 'dog'), **arguments)
    finetune(tmp_path / 'a.csv', **arguments, resume=True)
    with pytest.raises(
        ConfigError, match=r"the label of .* is 'dog'.* now, and 'cat'.* in the run"
    ):
        finetune(table('b.csv', 'dog', 'cat'), **arguments, resume=True)
    with pytest.raises(
        ConfigError, match=r'of the images that the run .* learns from none is given'
    ):
        finetune(table('c.csv', 'cat', 'dog', begin=10), **arguments, resume=True)


def test_what_diverged_is_not_the_best_of_what_knows_nothing():
    figures = {0.01: None, 0.1: 0.0, 1.0: 0.0}
    assert sweeping.Swept(figures, 'top-1', None, 1).best == 0.1


def test_tasks_of_one_name_are_refused(classes, tmp_path):
    with pytest.raises(ConfigError, match='two tasks are called pets'):
        transfer([classes, f'natural={classes}'], 'none', tmp_path / 'out')


@pytest.mark.slow
@pytest.mark.usefixtures('forked_stages')
def test_a_sweep_for_real(classes, tmp_path, capsys):
    out = tmp_path / 'run'
    run = ['finetune', str(classes), '--weights', 'none', '--size', '32', '--out', str(out)]
    main([*run, '--steps', '20', '--sweep', '1e-3', '1e4'])
    said = capsys.readouterr().out
    assert 'diverged' in said
    assert (out / 'rate_0.001/classifier.pth').is_file()
    figure = json.loads((out / 'sweep.json').read_text())['rates'][0]['figure']
    with (out / 'rate_0.001/predictions.csv').open() as file:
        hits = [row['label'] == row['predicted'] for row in csv.DictReader(file)]
    assert len(hits) == 14
    assert figure == pytest.approx(100 * np.mean(hits), abs=0.01)
