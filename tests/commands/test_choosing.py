"""What is chosen for a folder of images, and what is read from it."""

import ast
import json
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
import tifffile
import torch
from mmengine.config import Config
from mmengine.dataset import default_collate, pseudo_collate
from PIL import Image

from beit_mm.commands import mask_pairs
from beit_mm.commands.choices import (
    Machine,
    choose_sizes,
    choose_steps,
    settings_for_beit,
    values_for_decoder,
    values_for_network,
)
from beit_mm.commands.filling import fill_recipe, with_options
from beit_mm.commands.holding_out import held_out_without_labels
from beit_mm.commands.how_to_read import PHOTOS, HowToRead, how_to_read
from beit_mm.commands.lengths import LENGTH, check_dry_run, seconds_left, steps_asked
from beit_mm.commands.photos import photos_with_labels, photos_without_labels
from beit_mm.commands.run_folder import RunFolder
from beit_mm.commands.timing import seconds_a_step
from beit_mm.component import ConfigError
from beit_mm.datasets.decoding import read_pixels
from beit_mm.models import BEiT
from beit_mm.models.sizes import ARCHS
from beit_mm.recipes import find_recipe, folder_of_recipes, list_recipes
from beit_mm.visualization import read_scalars

TWO_CORES = Machine(0, 2, 0)
H100 = Machine(1, 16, 80 * 2**30)
ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize('machine', [TWO_CORES, H100, Machine(8, 64, 24 * 2**30)])
@pytest.mark.parametrize('num_images', [10, 300, 20_000, 1_281_167])
@pytest.mark.parametrize('short_side', [16, 28, 64, 100, 375, 3000])
def test_sizes_fit_each_other_whatever_the_images(machine, num_images, short_side):
    sizes = choose_sizes(num_images, short_side, machine)
    assert sizes.image_size % sizes.patch_size == 0
    assert sizes.grid >= 4
    # An image is enlarged only if it is smaller than the smallest size.
    assert sizes.image_size <= max(32, short_side)
    assert 8 <= sizes.batch_size <= 1024
    assert 1e-5 < sizes.learning_rate < 1e-2
    # On a CPU all of it is small.
    assert machine.gpus or (sizes.image_size <= 64 and sizes.embed_dims <= 192)


def test_what_the_user_says_wins_and_is_checked():
    assert choose_sizes(100, 300, TWO_CORES, size=96, arch='tiny')[:3] == (96, 8, 'tiny')
    for wrong, said in ((100, 'such as 96'), (230, 'such as 224'), (16, '32 at least')):
        with pytest.raises(ConfigError, match=said):
            choose_sizes(100, 300, TWO_CORES, size=wrong)
    with pytest.raises(ConfigError, match="did you mean 'large'"):
        choose_sizes(100, 300, TWO_CORES, arch='larg')


@pytest.mark.parametrize('name', ARCHS)
def test_a_batch_of_a_named_network_fits_a_gpu(name):
    """By the paper: 128 images of BEiT-B at once in 32 GB, and 64 of BEiT-L."""
    sizes = choose_sizes(10**6, 224, Machine(1, 16, 32 * 2**30), size=224, arch=name)
    assert sizes.batch_size <= {'base': 256, 'large': 128, 'huge': 64}.get(name, 1024)
    assert sizes.batch_size >= 8


# Xavier's bound, of 3 x 8 x 8 pixels and a width of 128; and the paper's.
@pytest.mark.parametrize(('arch', 'bound'), [(None, (6 / (192 + 128)) ** 0.5), ('tiny', 0.02)])
def test_a_network_too_narrow_for_the_papers_initial_values_has_larger_ones(arch, bound):
    sizes = choose_sizes(1000, 32, TWO_CORES, arch=arch)
    chosen = settings_for_beit(sizes)
    assert values_for_network(sizes)['network'].items() >= chosen.items()
    network = BEiT(sizes.arch, img_size=32, patch_size=8, **chosen)
    assert 0.97 * bound < network.patch_embed.proj.weight.abs().max() <= bound


def test_length_by_data_and_machine():
    # The paper's 800 epochs of 10,000 images, 100 at once.
    assert choose_steps(10_000, 100, 0.001, TWO_CORES, 800) == 80_000
    # Half an hour of a CPU.
    assert choose_steps(10_000, 100, 0.1, TWO_CORES, 800) == 18_000
    assert choose_steps(10, 10, 0.001, TWO_CORES, 800) == 2000
    # A day of a GPU.
    assert choose_steps(10**7, 100, 1.0, H100, 800) == 86_400
    # On the slowest machine.
    assert choose_steps(10_000, 100, 100.0, TWO_CORES, 800) == 200
    with pytest.raises(ConfigError, match='are both given'):
        steps_asked(3, 3.0, {})
    with pytest.raises(ConfigError, match=r'--minutes is 0\.1; to start and to make 20 steps'):
        seconds_left(0.1, start=0.0, around=17, least=3)


def save(path: Path, size=(40, 30)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', size).save(path)


@pytest.mark.parametrize(
    ('steps', 'minutes', 'options', 'said'),
    [
        (3, None, {LENGTH: 4}, f'--steps and {LENGTH} are both given'),
        (None, 3.0, {LENGTH: 4}, f'--minutes and {LENGTH} are both given'),
        (None, None, {LENGTH: 'many'}, f'{LENGTH} is many; it must be a whole number above 0'),
        (None, None, {LENGTH: 1e3}, f'{LENGTH} is 1000.0; it must be a whole number above 0'),
        (None, 0, {}, '--minutes is 0; it must be a number above 0'),
    ],
)
def test_a_length_is_said_once(steps, minutes, options, said):
    with pytest.raises(ConfigError, match=said):
        steps_asked(steps, minutes, options)


def test_steps_by_an_option_of_their_own_or_of_the_config():
    assert steps_asked(None, 3.0, {}) is None
    assert steps_asked(4, None, {'train_cfg.val_interval': 2}) == 4
    assert steps_asked(None, None, {LENGTH: 4}) == 4


@pytest.mark.parametrize(
    ('given', 'option'),
    [((True, None), '--resume'), ((False, 3.0), '--minutes'), ((False, None, []), '--sweep')],
)
def test_a_dry_run_shows_no_more_than_one_config(given, option):
    with pytest.raises(ConfigError, match=f'--dry-run and {option} are both given'):
        check_dry_run(True, *given)
    check_dry_run(False, *given)


@pytest.mark.parametrize('length', [dict(minutes=2), dict(cfg_options={LENGTH: 40})])
def test_a_pretraining_is_timed_with_the_options_of_its_user(tmp_path, monkeypatch, capsys, length):
    from beit_mm.commands import pretraining

    for index in range(16):
        save(tmp_path / f'photos/{index}.png')
    timed = []
    monkeypatch.setattr(pretraining, 'seconds_a_step', lambda cfg, _: timed.append(cfg) or 0.5)
    monkeypatch.setattr(pretraining.RunFolder, 'train', lambda *a: 1 / 0)
    length.setdefault('cfg_options', {})['train_dataloader.batch_size'] = 55
    with pytest.raises(ZeroDivisionError):
        pretraining.pretrain(tmp_path / 'photos', tmp_path / 'run', **length)
    assert [cfg.train_dataloader.batch_size for cfg in timed] == [55]
    steps = Config.fromfile(tmp_path / 'run/pretrain.py').train_cfg.max_iters
    assert steps == 40 or 100 < steps < 240
    assert f'{steps} steps of the Transformer ({5 * steps} epochs)' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('method', 'expected'), [('mae', ['pretrain']), ('beit', ['tokenizer', 'pretrain'])]
)
def test_a_start_that_saved_nothing_leaves_nothing_to_the_next(
    tmp_path, monkeypatch, capsys, method, expected
):
    from beit_mm.commands import pretraining, run_folder

    for index in range(16):
        save(tmp_path / f'photos/{index}.png')
    stages = []

    def run_stage(stage, _, work_dir, *others):
        stages.append(stage.config.stem)
        logs = work_dir / str(len(stages)) / 'vis_data'
        logs.mkdir(parents=True)
        figures = {'step': 10 - len(stages), 'tokenizer/codes_used': 4, 'tokenizer/recon_mse': 1.0}
        (logs / 'scalars.json').write_text(json.dumps(figures) + '\n')
        if len(stages) == 1:
            raise SystemExit('out of memory')
        (work_dir / 'last.pth').touch()
        return work_dir / 'last.pth'

    monkeypatch.setattr(run_folder, 'run_stage', run_stage)
    monkeypatch.setattr(pretraining, 'seconds_a_step', lambda *_: 0.5)
    for name in ('write_bare_weights', 'draw_what_was_learned'):
        monkeypatch.setattr(pretraining, name, lambda *_: None)
    with pytest.raises(SystemExit):
        pretraining.pretrain(tmp_path / 'photos', tmp_path / 'run', steps=20, method='beit')
    out = pretraining.pretrain(tmp_path / 'photos', tmp_path / 'run', steps=20, method=method)
    assert stages == ['tokenizer', *expected]
    logged = read_scalars(out / 'tokenizer').get('tokenizer/recon_mse', [])
    assert logged == ([(8, 1.0)] if method == 'beit' else [])
    assert ('visual tokens in use' in capsys.readouterr().out) == (method == 'beit')


def test_photos_without_labels_are_split_always_alike(tmp_path):
    for index in range(50):
        save(tmp_path / f'a/b {index % 3}/{index}.png', (40 + index, 30))
    photos = photos_without_labels(tmp_path)
    assert len(photos.val) == 5
    assert sorted([*photos.train, *photos.val]) == sorted(
        str(path.relative_to(tmp_path)) for path in tmp_path.rglob('*.png')
    )
    assert photos == photos_without_labels(str(tmp_path))
    assert photos.short_side == 30


@pytest.mark.parametrize(
    ('count', 'held_out'), [(10, 5), (100, 5), (240, 12), (4000, 200), (10**6, 200)]
)
def test_a_twentieth_is_held_out_to_look_at(count, held_out):
    assert held_out_without_labels(count) == held_out


@pytest.mark.parametrize(('count', 'held_out'), [(4, 1), (50, 10), (1000, 200), (5000, 200)])
def test_every_fifth_image_with_a_mask_is_held_out(tmp_path, monkeypatch, count, held_out):
    monkeypatch.setattr(mask_pairs, 'short_side', lambda *_: 30)
    stems = [f'{index:05}' for index in range(count)]
    pairs = mask_pairs.MaskPairs(tmp_path, tmp_path, stems, '.jpg', '.png')
    photos = pairs.photos(lambda *_: PHOTOS)
    assert len(photos.val) == held_out
    assert sorted([*photos.train, *photos.val]) == stems


@pytest.mark.parametrize(
    ('train', 'held_out', 'left_out'),
    [
        ('train', 'val', 'test'),
        ('Training', 'Validation', 'TEST'),
        ('train', 'valid', 'testing'),
        ('train', 'test', None),
    ],
)
def test_what_is_for_a_test_is_held_out_where_there_is_no_other(
    tmp_path, train, held_out, left_out
):
    for side in filter(None, (train, held_out, left_out)):
        for label in ('cat', 'dog'):
            save(tmp_path / side / label / '1.png')
    photos = photos_with_labels(tmp_path)
    assert photos.classes == ['cat', 'dog']
    assert photos.train == [f'{train}/cat/1.png', f'{train}/dog/1.png']
    assert photos.val == [f'{held_out}/cat/1.png', f'{held_out}/dog/1.png']


def test_class_folders_with_and_without_sides(tmp_path):
    for index in range(10):
        save(tmp_path / f'all/cat/{index}.png')
        save(tmp_path / f'all/dog/more/{index}.png')
    photos = photos_with_labels(tmp_path / 'all')
    assert photos.classes == ['cat', 'dog']
    assert len(photos.val) == 4
    assert {photos.labels[name] for name in photos.val} == {'cat', 'dog'}
    for name in photos.train + photos.val:
        assert name.startswith(photos.labels[name])

    for side, count in (('train', 3), ('val', 2)):
        for index in range(count):
            save(tmp_path / f'split/{side}/cat/{index}.png')
            save(tmp_path / f'split/{side}/dog/{index}.png')
    photos = photos_with_labels(tmp_path / 'split')
    assert len(photos.train) == 6
    assert all(name.startswith('val/') for name in photos.val)
    (tmp_path / 'split/val/dog/0.png').unlink()
    (tmp_path / 'split/val/dog/1.png').unlink()
    with pytest.raises(ConfigError, match="class 'dog' has 3 images to train with and 0"):
        photos_with_labels(tmp_path / 'split')


def test_tables(tmp_path):
    for index in range(6):
        save(tmp_path / f'{index}.png')
    table = tmp_path / 'labels.csv'

    def write(head, *rows):
        table.write_text('\n'.join([head, *rows]), encoding='utf-8-sig')

    write('File,Class', *(f'{i}.png,{"ab"[i % 2]}' for i in range(6)))
    photos = photos_with_labels(table)
    assert photos.labels['3.png'] == 'b'
    assert len(photos.val) == 2
    write('path,label,split', *(f'{i}.png,{"ab"[i % 2]},{"val" if i > 3 else "train"}'
                                for i in range(6)))  # fmt: skip
    assert photos_with_labels(table).val == ['4.png', '5.png']
    frame = pd.read_csv(table)
    frame.to_parquet(tmp_path / 'labels.parquet')
    frame.to_csv(tmp_path / 'labels.tsv', sep='\t', index=False)
    for other in ('labels.parquet', 'labels.tsv'):
        assert photos_with_labels(tmp_path / other) == photos_with_labels(table)
    frame.assign(label=[10, 9] * 3).to_parquet(tmp_path / 'labels.parquet')
    assert photos_with_labels(tmp_path / 'labels.parquet').classes == ['9', '10']
    np.savez(tmp_path / 's.npz', a=np.zeros((40, 40, 40), np.uint8))
    write('path,label', *(f's.npz#a/{i},{"ab"[i % 2]}' for i in range(6)))
    assert photos_with_labels(table).labels['s.npz#a/3'] == 'b'
    write('path,name', '0.png,a')
    with pytest.raises(ConfigError, match='has the columns path, name; it must have path and'):
        photos_with_labels(table)
    write('path,label', '0.png,a', 'missing.png,b')
    with pytest.raises(ConfigError, match=r'names missing.png, .* \(1 of 2 are not\)'):
        photos_with_labels(table)
    write('path,label,split', *(f'{i}.png,{"ab"[i % 2]},{("train", "val", "test")[i // 2]}'
                                for i in range(6)))  # fmt: skip
    photos = photos_with_labels(table)
    assert (sorted(photos.train), sorted(photos.val)) == (['0.png', '1.png'], ['2.png', '3.png'])
    write('path,label,split', '0.png,a,later')
    with pytest.raises(ConfigError, match="split is 'later'; it must be train or val"):
        photos_with_labels(table)


def test_a_filled_recipe_differs_in_its_values_alone():
    text = fill_recipe('own/pretrain.py', dict(image_size=96, max_iters=7), 'Mine.')
    filled, plain = Config.fromstring(text, '.py'), Config.fromfile(find_recipe('own/pretrain'))
    assert filled.model.backbone.img_size == 96
    assert filled.param_scheduler[1].T_max == 7 - plain.warmup_iters
    assert filled.val_dataloader.dataset.pipeline[1].size == 96
    assert ast.get_docstring(ast.parse(text)) == 'Mine.'
    with pytest.raises(KeyError, match='has no image_sise'):
        fill_recipe('own/pretrain.py', dict(image_sise=96), 'Mine.')


@pytest.mark.parametrize('no_data', [float('nan'), float('inf'), -9999.0, None])
def test_pixels_that_are_no_number_need_no_name(no_data, tmp_path):
    """The text of a config cannot name them, and they hold no measurement anyway."""
    named = no_data if no_data == -9999 else None
    how = HowToRead(1, dict(float32=[(0.0, 1.0)]), [1.0], [2.0], no_data)
    values = {name: value for name, value in how.values.items() if name != 'bands'}
    run = RunFolder(tmp_path, 'pretrain.py')
    run.write('pretrain.py', fill_recipe('own/mae.py', values, 'Mine.'))
    assert run.known(no_data=no_data).no_data == named
    with pytest.raises(ConfigError, match='--no-data cannot be changed'):
        run.known(no_data=7.0)


def test_the_index_lists_every_recipe_with_the_figure_of_its_docstring():
    listed = {recipe.name: recipe for recipe in list_recipes()}
    assert set(listed) == {path.name for path in (ROOT / 'configs').glob('*.py')}
    for name, recipe in listed.items():
        docstring = (folder_of_recipes() / name).read_text().split('"""')[1]
        figures = recipe.figure.split(' ', 1)[0]
        assert figures in docstring, name


def test_an_unknown_recipe_is_told():
    with pytest.raises(FileNotFoundError, match=r"did you mean 'beit_pretrain\.py'"):
        find_recipe('beit_pretrian')


def test_sides_alone_are_no_classes(tmp_path):
    for side in ('Train', 'test'):
        for name in ('cat', 'dog', '.ipynb_checkpoints'):
            save(tmp_path / f'both/{side}/{name}/1.png')
    photos = photos_with_labels(tmp_path / 'both')
    assert photos.classes == ['cat', 'dog']
    assert photos.val == ['test/cat/1.png', 'test/dog/1.png']
    (tmp_path / 'both/Train').rename(tmp_path / 'both/val')
    with pytest.raises(ConfigError, match='of train and val there must be both'):
        photos_with_labels(tmp_path / 'both')


def test_tables_that_cannot_be(tmp_path):
    save(tmp_path / '0.png')
    table = tmp_path / 'labels.csv'
    cases = {
        'path,label\n0.png,a\n0.png,a\n': 'lists 0.png more than once',
        'path,label\n0.png,a\n./0.png,a\n': 'lists 0.png more than once',
        'path,label\n0.png\n': '0.png has no label',
        'path,label\n0.png,\n': '0.png has no label',
    }
    for text, said in cases.items():
        table.write_text(text)
        with pytest.raises(ConfigError, match=said):
            photos_with_labels(table)
    table.write_bytes('path,label\n0.png,Käfer\n'.encode('latin-1'))
    with pytest.raises(ConfigError, match='is not in UTF-8'):
        photos_with_labels(table)
    with pytest.raises(ConfigError, match=r'is a file and no table; .* end in \.csv, '):
        photos_with_labels(tmp_path / '0.png')


def test_masks_are_read_as_numbers(tmp_path):
    from beit_mm.commands.label_numbers import number_classes
    from beit_mm.commands.mask_pairs import find_pairs

    def pairs(last: np.ndarray):
        for index in range(5):
            save(tmp_path / f'images/{index}.jpg')
            mask = np.zeros((30, 40), np.uint8)
            mask[:5] = 255
            Path(tmp_path / 'masks').mkdir(exist_ok=True)
            Image.fromarray(last if index == 4 else mask).save(tmp_path / f'masks/{index}.png')
        return find_pairs(tmp_path / 'images', tmp_path / 'masks')

    # 255 is an object where there is nothing but it and 0 in all masks, and else no class.
    plain = np.zeros((30, 40), np.uint8)
    found = number_classes(pairs(plain))
    assert (found.names, found.values['label_map']) == (['background', 'object'], {255: 1})
    plain[0] = 1
    found = number_classes(pairs(plain))
    assert (found.names, found.values['label_map']) == (['class 0', 'class 1'], None)
    with pytest.raises(ConfigError, match='--classes has 1 names, and the masks have the number 1'):
        number_classes(pairs(plain), ['sky'])
    save(tmp_path / 'lossy/4.jpg')
    for index in range(4):
        save(tmp_path / f'lossy/{index}.jpg')
    with pytest.raises(ConfigError, match='changes the numbers'):
        find_pairs(tmp_path / 'images', tmp_path / 'lossy')


def test_each_slice_of_volumes_has_that_of_its_mask(tmp_path):
    import mmseg.datasets  # noqa: F401
    from mmengine.registry import DATASETS, DefaultScope

    from beit_mm.commands.label_numbers import number_classes
    from beit_mm.commands.mask_pairs import find_pairs

    def write(path, pixels):
        path.parent.mkdir(exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(pixels.astype(np.int16), np.eye(4)), path)

    rng = np.random.default_rng(0)
    drawn = {}
    for index in range(6):
        drawn[index] = rng.integers(0, 3, (12, 14, 5))
        for folder, pixels in (('scans', 100 * drawn[index]), ('masks', drawn[index])):
            write(tmp_path / f'{folder}/{index}.nii', pixels)
    pairs = find_pairs(tmp_path / 'scans', tmp_path / 'masks')
    assert pairs.stems == [f'{index}.nii#{k}' for index in range(6) for k in range(5)]
    assert number_classes(pairs).names == ['class 0', 'class 1', 'class 2']
    photos = pairs.photos(how_to_read)
    sides = [{stem.partition('#')[0] for stem in stems} for stems in (photos.train, photos.val)]
    assert not sides[0] & sides[1]
    cfg = Config.fromstring(
        fill_recipe(
            'own/segment.py',
            dict(
                image_root=str(pairs.images), mask_root=str(pairs.masks), image_ending='',
                mask_ending='', val_list=str(tmp_path / 'val.txt'), classes=['a', 'b', 'c'],
                palette=[[0, 0, 0]] * 3, scale=(12, 12), **photos.how.values,
            ),
            'A test.',
        ),
        '.py',
    )  # fmt: skip
    (tmp_path / 'val.txt').write_text('\n'.join(photos.val))
    with DefaultScope.overwrite_default_scope('mmseg'):
        dataset = DATASETS.build(cfg.val_dataloader.dataset)
        for place in range(len(dataset)):
            sample = dataset[place]['data_samples']
            name, _, number = Path(sample.img_path).name.partition('.nii#')
            labels = sample.gt_sem_seg.data[0].numpy()
            # Whatever way up: the reader's, of the image as of the mask.
            image = read_pixels(sample.img_path, photos.how.reading)[..., 0]
            assert len({(a, b) for a, b in zip(image.flat, labels.flat, strict=True)}) == 3
            assert sorted(labels.flat) == sorted(drawn[int(name)][..., int(number)].flat)
    # An image that is no stack takes part beside them.
    for folder in ('scans', 'masks'):
        Image.fromarray(np.zeros((12, 14), np.uint8)).save(tmp_path / f'{folder}/one.png')
    assert find_pairs(tmp_path / 'scans', tmp_path / 'masks').stems == [*pairs.stems, 'one.png']
    write(tmp_path / 'masks/3.nii', drawn[3][..., :4])
    with pytest.raises(ConfigError, match=r'3.nii holds 5 images and its mask 4; they must be'):
        find_pairs(tmp_path / 'scans', tmp_path / 'masks')
    (tmp_path / 'masks/3.nii').unlink()
    Image.fromarray(np.zeros((12, 14), np.uint8)).save(tmp_path / 'masks/3.png')
    with pytest.raises(ConfigError, match=r'3.nii holds 5 images, and there is no .*3.nii'):
        find_pairs(tmp_path / 'scans', tmp_path / 'masks')


def test_a_batch_is_that_of_the_weights_and_the_rate_that_of_all_devices():
    eight = Machine(8, 64, 80 * 2**30)
    one = choose_sizes(20_000, 224, H100, arch='small')
    all_of_them = choose_sizes(20_000, 224, eight, arch='small')
    assert all_of_them.batch_size * 8 <= 20_000 / 8
    ratio = (all_of_them.batch_size * 8 / one.batch_size) ** 0.5
    assert all_of_them.learning_rate == pytest.approx(one.learning_rate * ratio, rel=0.05)


@pytest.mark.parametrize(('size', 'asked', 'said'), [((32, 64), None, True), ((32, 64), 48, False),
                                                     ((32, 32), None, False)])  # fmt: skip
def test_weights_of_images_that_are_not_square_are_told(tmp_path, capsys, size, asked, said):
    from beit_mm.commands.features import extractor
    from beit_mm.models import BEiT

    arch = dict(embed_dims=16, num_layers=1, num_heads=2, feedforward_channels=16)
    model = BEiT(arch, img_size=size, patch_size=8)
    meta = dict(cfg=f'model = dict(backbone=dict(type="beit_mm.BEiT", arch={arch}, '
                    f'img_size={size}, patch_size=8))')  # fmt: skip
    torch.save(dict(state_dict=model.state_dict(), meta=meta), tmp_path / 'weights.pth')
    assert extractor(tmp_path / 'weights.pth', asked).size == (asked or 32)
    assert ('of 32 x 64 pixels; they are given 32 x 32' in capsys.readouterr().err) == said


def test_what_is_found_and_left_out_is_said(tmp_path, capsys):
    for index in range(11):
        save(tmp_path / f'cat/{index}.WEBP')
        save(tmp_path / f'dog/{index}.gif')
    save(tmp_path / 'dog/.hidden.png')
    (tmp_path / 'dog/notes.txt').write_text('two of them bark')
    assert len(photos_with_labels(tmp_path).labels) == 22
    assert len(photos_without_labels(tmp_path).train) == 17
    line = f'{tmp_path}: 22 images (11 gif, 11 webp), 1 file left out (1 txt)\n'
    assert capsys.readouterr().err == line * 2
    (tmp_path / 'lists').mkdir()
    (tmp_path / 'lists/a.json').write_text('{}')
    with pytest.raises(ConfigError, match=r'has 0 images, 1 file left out \(1 json\); ten is the'):
        photos_without_labels(tmp_path / 'lists')


def test_class_folders_of_both_sides_may_be_links(tmp_path):
    for index in range(6):
        for label in ('cat', 'dog'):
            save(tmp_path / f'all/{label}{index % 2}/{index}.png')
    for number, side in enumerate(('train', 'val')):
        (tmp_path / side).mkdir()
        for label in ('cat', 'dog'):
            (tmp_path / side / label).symlink_to(tmp_path / f'all/{label}{number}')
    photos = photos_with_labels(tmp_path)
    assert photos.train == [f'train/{label}/{i}.png' for label in ('cat', 'dog') for i in (0, 2, 4)]
    assert photos.val == [f'val/{label}/{i}.png' for label in ('cat', 'dog') for i in (1, 3, 5)]


DEEP = {'uint16': [(0, 4095), (100, 4000), (0, 60000)]}


@pytest.mark.parametrize(
    ('bands', 'value_range', 'middles'),
    [
        (None, None, [200, 100, 20]),
        (None, DEEP, [3000, 1000, 20000]),
        (['3', '2', '4', '1'], {'uint16': [(0, 4095)] * 4}, [300, 1000, 2000, 3000]),
    ],
)
def test_every_command_sees_an_image_alike(tmp_path, bands, value_range, middles):
    """What a network is given of one image: in pre-training, fine-tuning, segmentation, embedding.

    Bands far apart, so that another order would show.
    """
    from mmengine.registry import DATASETS, MODELS, DefaultScope

    from beit_mm.commands.features import Extractor
    from beit_mm.models import BEiT

    size, count = 64, len(middles)
    mean, std = [10.0, 60.0, 90.0, 30.0][:count], [20.0, 30.0, 40.0, 50.0][:count]
    pixels = np.random.default_rng(0).integers(0, 40, (size, size, count)) + np.array(middles)
    if value_range is None:
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / '1.png')
    else:
        tifffile.imwrite(tmp_path / '1.png', pixels.astype(np.uint16), planarconfig='contig')
    (tmp_path / 'list.txt').write_text('1.png\n')
    (tmp_path / 'labels.txt').write_text('1.png 0\n')
    (tmp_path / 'stems.txt').write_text('1\n')
    (tmp_path / 'masks').mkdir()
    Image.fromarray(np.zeros((size, size), np.uint8)).save(tmp_path / 'masks/1.png')
    scaled = pixels.astype(float)
    if bands is not None:
        scaled = scaled[..., [int(band) - 1 for band in bands]]
    if value_range is not None:
        low, high = np.array(value_range['uint16']).T
        scaled = (scaled - low) / (high - low) * 255
    expected = ((torch.tensor(scaled).permute(2, 0, 1) - column(mean)) / column(std)).float()

    def seen(recipe: str, collate, **values) -> torch.Tensor:
        values = dict(bands=bands, value_range=value_range, mean=mean, std=std, **values)
        cfg = Config.fromstring(fill_recipe(f'own/{recipe}.py', values, 'A test.'), '.py')
        with DefaultScope.overwrite_default_scope(cfg.default_scope):
            sample = DATASETS.build(cfg.val_dataloader.dataset)[0]
            settings = dict(cfg.model.data_preprocessor)
            settings.setdefault('type', 'mmpretrain.ClsDataPreprocessor')
            inputs = MODELS.build(settings)(collate([sample]))['inputs']
        return inputs[0] if recipe == 'pretrain' else inputs

    where = dict(data_root=str(tmp_path), image_size=size)
    found = [
        seen('pretrain', default_collate, **where, val_list=str(tmp_path / 'list.txt')),
        seen('finetune', default_collate, **where, val_list=str(tmp_path / 'labels.txt')),
        seen('segment', pseudo_collate, image_root=str(tmp_path), image_size=size,
             mask_root=str(tmp_path / 'masks'), image_ending='.png', scale=(size, size),
             val_list=str(tmp_path / 'stems.txt')),
    ]  # fmt: skip
    for tensor in found:
        torch.testing.assert_close(tensor[0], expected, atol=1e-4, rtol=1e-5)

    class Seen(BEiT):
        def forward(self, x, mask=None):
            found.append(x)
            return super().forward(x, mask)

    model = Seen('tiny', img_size=size, out_type='featmap', in_channels=count).eval()
    how = HowToRead(bands, value_range, mean, std)
    Extractor(model, size, how)([read_pixels(tmp_path / '1.png', how.reading)])
    torch.testing.assert_close(found[-1][0], expected, atol=1e-4, rtol=1e-5)


def column(values) -> torch.Tensor:
    return torch.tensor(values)[:, None, None]


@pytest.mark.parametrize('made', [True, False])
def test_what_is_refused_leaves_nothing(tmp_path, made):
    if made:
        (tmp_path / 'run').mkdir()
        (tmp_path / 'run/mine.txt').write_text('mine')
    run = RunFolder(tmp_path / 'run', 'pretrain.py')

    def refuse():
        with run.removed_if_refused():
            run.write('train.txt', '1.jpg')
            raise ConfigError('too short')

    with pytest.raises(ConfigError):
        refuse()
    left = [path.name for path in tmp_path.rglob('*') if path.is_file()]
    assert left == (['mine.txt'] if made else [])
    assert (tmp_path / 'run').exists() == made


@pytest.mark.parametrize(
    ('marker', 'name'),
    [
        ('pretrain.py', 'train.txt'),
        ('finetune.py', 'val.json'),
        ('segment.py', 'segment/'),
        ('sweep.py', 'report.md'),
        # A script of the user's.
        ('finetune.py', 'finetune.py'),
    ],
)
def test_what_is_of_no_run_is_not_overwritten(tmp_path, marker, name):
    (tmp_path / name).mkdir() if name.endswith('/') else (tmp_path / name).write_text('import sys')
    for resume in (False, True):
        with pytest.raises(ConfigError, match=f'which holds {name.rstrip("/")} of no beit-mm run'):
            RunFolder(tmp_path, marker).begin(resume)
    assert [path.name for path in tmp_path.rglob('*')] == [name.rstrip('/')]


@pytest.mark.parametrize('resume', [False, True])
def test_what_a_start_has_left_is_overwritten(tmp_path, resume):
    # Of `> log.txt`.
    (tmp_path / 'log.txt').touch()
    run = RunFolder(tmp_path, 'pretrain.py')
    assert not run.begin(resume)
    with run.removed_if_refused():
        run.write('train.txt', '1.jpg')
        # As the folder is if the process is killed here.
        assert not RunFolder(tmp_path, 'pretrain.py').begin(resume)
    (tmp_path / 'pretrain').mkdir()
    for text in (fill_recipe('own/mae.py', dict(train_list=str(run.path / 'train.txt')), 'A test.'),
                 Config.fromfile(run.marker).pretty_text):  # fmt: skip
        run.write('pretrain.py', text)
        assert not RunFolder(tmp_path, 'pretrain.py').begin(resume)


@pytest.mark.parametrize(
    ('recipe', 'method', 'other'), [('mae', 'mae', 'beit'), ('pretrain', 'beit', 'mae')]
)
def test_the_command_that_began_a_run_goes_on_with_it(tmp_path, capsys, recipe, method, other):
    run = RunFolder(tmp_path, 'pretrain.py')
    run.write('pretrain.py', fill_recipe(f'own/{recipe}.py', {}, 'A test.'))
    assert run.known(minutes=3.0, method=method).max_iters
    assert '--minutes is of a run that begins' in capsys.readouterr().out
    with pytest.raises(ConfigError, match='--method cannot be changed by --resume'):
        run.known(method=other)
    assert not capsys.readouterr().out


def test_options_of_a_new_length_take_the_schedule_with_them(tmp_path):
    """In a run that begins and in one that is gone on with; what is refused changes nothing."""
    text = fill_recipe('own/pretrain.py', dict(max_iters=1000, warmup_iters=100), 'A test.')
    cfg = Config.fromstring(with_options(text, {'train_cfg.max_iters': 2000}), '.py')
    assert (cfg.param_scheduler[0].end, cfg.param_scheduler[1].T_max) == (200, 1800)
    run = RunFolder(tmp_path, 'pretrain.py')
    run.write('pretrain.py', text)
    with pytest.raises(ConfigError, match='--size and --arch cannot be changed by --resume'):
        run.known(size=128, arch='base', minutes=None)
    assert run.known(size=64, bands=None, no_data=None).image_size == 64
    with pytest.raises(ConfigError, match='optim_wrapper'):
        run.change({'optim_wraper.optimizer.lr': 1})
    assert (tmp_path / 'pretrain.py').read_text() == text
    run.change({'train_cfg.max_iters': 500})
    cfg = Config.fromfile(tmp_path / 'pretrain.py')
    assert (cfg.param_scheduler[0].end, cfg.param_scheduler[1].T_max) == (50, 450)


@pytest.mark.parametrize(
    ('options', 'said'),
    [
        (dict(work_dir='elsewhere'), 'has work_dir, and --out says it'),
        (dict(launcher='slurm'), 'has launcher; the command starts'),
        (
            {'optim_wrapper.type': 'OptimWrapper'},
            r'has optim_wrapper\.type=OptimWrapper, and on a GPU',
        ),
    ],
)
def test_options_that_the_command_would_overwrite_are_refused(monkeypatch, options, said):
    monkeypatch.setattr('beit_mm.commands.filling.this_machine', lambda: H100)
    text = fill_recipe('own/mae.py', {}, 'A test.')
    with pytest.raises(ConfigError, match=said):
        with_options(text, options)
    assert with_options(text, {'optim_wrapper.type': 'AmpOptimWrapper'})
    monkeypatch.setattr('beit_mm.commands.filling.this_machine', lambda: TWO_CORES)
    if 'optim_wrapper.type' in options:
        assert Config.fromstring(with_options(text, options), '.py').optim_wrapper.type


def test_a_folder_of_images_that_are_cut_off_is_told(tmp_path):
    """Their headers are whole."""
    rng = np.random.default_rng(0)
    for index in range(12):
        noise = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f'{index}.jpg')
        content = (tmp_path / f'{index}.jpg').read_bytes()
        (tmp_path / f'{index}.jpg').write_bytes(content[: len(content) // 2])
    (tmp_path / 'list.txt').write_text(''.join(f'{index}.jpg\n' for index in range(12)))
    where = dict(data_root=str(tmp_path), train_list=str(tmp_path / 'list.txt'))
    cfg = Config.fromstring(fill_recipe('own/dvae.py', where, 'A test.'), '.py')
    with pytest.raises(ConfigError, match='of 12 images none can be decoded'):
        seconds_a_step(cfg, TWO_CORES)


@pytest.mark.parametrize(
    ('arch', 'decoder'),
    [
        (None, (64, 2)),
        ('tiny', (128, 8)),
        ('small', (256, 8)),
        # The paper's.
        ('base', (512, 8)),
        ('large', (512, 8)),
        ('huge', (512, 8)),
    ],
)
def test_a_decoder_follows_its_encoder(arch, decoder):
    chosen = values_for_decoder(choose_sizes(1000, 64, TWO_CORES, arch=arch))
    assert (chosen['embed_dims'], chosen['num_layers']) == decoder
    assert chosen['embed_dims'] == 32 * chosen['num_heads']


@pytest.mark.parametrize(
    ('given', 'said'),
    [
        (dict(method='dino'), "--method is 'dino'; it must be one of beit, mae"),
        (dict(method='mae', tokenizer='t'), '--method mae predicts pixels: leave one of them out'),
        (dict(tokenizer=''), '--tokenizer is empty; it must be a folder or a file'),
    ],
)
def test_methods_that_cannot_be_are_told(tmp_path, given, said):
    from beit_mm.commands.pretraining import pretrain

    for index in range(12):
        save(tmp_path / f'photos/{index}.png')
    with pytest.raises(ConfigError, match=said):
        pretrain(tmp_path / 'photos', tmp_path / 'run', **given)
    assert not (tmp_path / 'run').exists()
