"""Reading checkpoints: every wrapper, real ones of the Runner, hostile and damaged files, URLs."""

import argparse
import http.server
import io
import os
import pickle
import subprocess
import tarfile
import threading
from collections import OrderedDict, defaultdict
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn

from beit_mm.checkpoints import CheckpointError, downloads, load_state_dict
from beit_mm.checkpoints.reading import read_checkpoint


def random_weights(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return OrderedDict(
        {
            'blocks.0.weight': torch.randn(3, 4, generator=generator),
            'blocks.0.bias': nn.Parameter(torch.randn(3, generator=generator)),
            'index': torch.arange(5),
        }
    )


def save(content, path, **options):
    torch.save(content, path, **options)
    return str(path)


def assert_same_tensors(loaded, expected):
    assert loaded.keys() == expected.keys()
    for name, tensor in expected.items():
        assert loaded[name].dtype == tensor.dtype, name
        assert loaded[name].equal(tensor), name


# --- what is read -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    'wrappers',
    [
        [],
        ['state_dict'],
        ['model'],
        ['module'],
        ['model', 'module'],
        ['state_dict', 'model', 'module'],
    ],
)
@pytest.mark.parametrize('prefix', ['', 'module.'])
def test_wrappers_and_the_prefix_of_ddp_are_taken_off(tmp_path, wrappers, prefix):
    weights = random_weights()
    content = OrderedDict({prefix + name: tensor for name, tensor in weights.items()})
    for wrapper in reversed(wrappers):
        content = {wrapper: content, 'epoch': 7, 'optimizer': dict(state={}, param_groups=[])}
    assert_same_tensors(load_state_dict(save(content, tmp_path / 'a.pth')), weights)


def test_only_the_leading_module_is_a_prefix_of_ddp(tmp_path):
    weights = {'module.weight': torch.ones(1), 'head.module.weight': torch.ones(2)}
    wrapped = {f'module.{name}': tensor for name, tensor in weights.items()}
    assert_same_tensors(load_state_dict(save(wrapped, tmp_path / 'a.pth')), weights)
    # Not of DDP, which puts it before every name.
    assert_same_tensors(load_state_dict(save(weights, tmp_path / 'b.pth')), weights)


def test_a_tensor_without_a_name_is_refused(tmp_path):
    path = save({1: torch.ones(1), '1': torch.ones(2)}, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=r'a\.pth holds a tensor under 1'):
        load_state_dict(path)


def test_what_is_no_tensor_is_left_out(tmp_path):
    weights = random_weights()
    content = {**weights, '_metadata': dict(version=1), 'epoch': 3, 'lr': 0.1, 'names': ['a']}
    assert_same_tensors(load_state_dict(save(content, tmp_path / 'a.pth')), weights)


@pytest.mark.parametrize('path_type', [str, Path])
@pytest.mark.parametrize('zipped', [False, True])
def test_values_equal_those_of_torch_load(tmp_path, path_type, zipped):
    dtypes = ['float64', 'float32', 'float16', 'bfloat16', 'int64', 'int32', 'int16', 'int8']
    dtypes += ['uint8', 'bool', 'complex64']
    content = {
        name: (10 * torch.randn(3, 5, generator=torch.Generator().manual_seed(0))).to(
            getattr(torch, name)
        )
        for name in dtypes
    }
    base = torch.arange(24.0)
    content |= {
        'view': base.view(4, 6)[1:, ::2],
        'transposed': base.view(4, 6).T,
        'scalar': torch.tensor(3.5),
        'empty': torch.empty(0, 4),
        'parameter': nn.Parameter(torch.randn(2)),
    }
    path = path_type(tmp_path / 'a.pth')
    save(content, path, _use_new_zipfile_serialization=zipped)
    loaded = load_state_dict(path)
    assert_same_tensors(loaded, torch.load(path, weights_only=False))
    for name, tensor in content.items():
        assert loaded[name].shape == tensor.shape
        assert loaded[name].stride() == tensor.stride()
        assert loaded[name].device.type == 'cpu'


@pytest.mark.parametrize('zipped', [False, True])
def test_what_training_scripts_keep_beside_the_weights_does_no_harm(tmp_path, zipped):
    weights = random_weights()
    counts = defaultdict(set)
    counts['a'].add(1)
    content = dict(
        model=weights,
        # The authors' checkpoints carry their command line.
        args=argparse.Namespace(lr=1e-3, device=torch.device('cpu'), output_dir=Path('runs')),
        epoch=np.int64(3),
        best=np.float32(0.5),
        curve=np.arange(4.0),
        shape=torch.Size([2, 3]),
        dtype=torch.float16,
        counts=counts,
    )
    path = save(content, tmp_path / 'a.pth', _use_new_zipfile_serialization=zipped)
    assert_same_tensors(load_state_dict(path), weights)
    whole = read_checkpoint(path)
    assert whole['args'].lr == 1e-3
    # Its attributes without its class: no method of the file's choice can be called on it.
    assert type(whole['args']) is not argparse.Namespace
    assert whole['epoch'] == 3
    assert whole['curve'].tolist() == [0, 1, 2, 3]
    assert whole['counts'] == {'a': {1}}


class TinyModel(BaseModel):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 2)

    def forward(self, inputs, mode):
        return dict(loss=self.linear(inputs).square().mean())


class ScalarHook(Hook):
    """Logs what hooks and metrics put into the message hub: Python and NumPy numbers, arrays."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        runner.message_hub.update_scalar('train/python', 0.5)
        runner.message_hub.update_scalar('train/numpy', np.float64(0.25))
        runner.message_hub.update_info('array', np.arange(3))


def test_a_checkpoint_of_the_runner_is_read_with_its_message_hub(tmp_path):
    runner = Runner(
        model=TinyModel(),
        work_dir=str(tmp_path),
        train_dataloader=dict(
            dataset=[dict(inputs=torch.randn(2)) for _ in range(8)],
            batch_size=2,
            collate_fn=dict(type='default_collate'),
            sampler=dict(type='DefaultSampler', shuffle=True),
            num_workers=0,
        ),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3)),
        param_scheduler=dict(type='CosineAnnealingLR', T_max=4, by_epoch=False),
        custom_hooks=[ScalarHook(), dict(type='EMAHook')],
        experiment_name=f'reading-{tmp_path.name}',
        default_scope='mmengine',
    )
    runner.train()
    path = tmp_path / 'epoch_1.pth'
    everything = torch.load(path, weights_only=False)
    scalars = everything['message_hub']['log_scalars']
    assert isinstance(scalars['train/numpy'], HistoryBuffer)
    assert everything['optimizer']['state']

    weights = {name: tensor.cpu() for name, tensor in everything['state_dict'].items()}
    assert {'linear.weight', 'linear.bias'} <= weights.keys()
    assert_same_tensors(load_state_dict(path), weights)
    inert = read_checkpoint(path)['message_hub']['log_scalars']['train/numpy']
    assert not isinstance(inert, HistoryBuffer)


@pytest.mark.parametrize('prefix', ['', 'module.'])
def test_safetensors_files_are_read(tmp_path, prefix):
    weights = {name: tensor.detach() for name, tensor in random_weights().items()}
    path = tmp_path / 'a.safetensors'
    safetensors.torch.save_file({prefix + n: t for n, t in weights.items()}, path)
    assert_same_tensors(load_state_dict(path), weights)


@pytest.mark.parametrize('wrapper', ['ema_state_dict', 'model_ema', 'state_dict_ema'])
def test_averaged_weights_are_taken_when_asked_for(tmp_path, wrapper):
    weights, averaged = random_weights(0), random_weights(1)
    # mmengine counts the steps beside its averages, and wraps the model once more.
    content = {f'module.{name}': tensor for name, tensor in averaged.items()}
    path = save(dict(model=weights, **{wrapper: content}), tmp_path / 'a.pth')
    assert_same_tensors(load_state_dict(path), weights)
    assert_same_tensors(load_state_dict(path, ema=True), averaged)


def test_mmengine_keeps_the_averages_where_others_keep_the_weights(tmp_path):
    live, averaged = random_weights(0), random_weights(1)
    content = dict(
        meta=dict(mmengine_version='0.10.7'),
        state_dict=averaged,
        ema_state_dict={f'module.{name}': tensor for name, tensor in live.items()},
    )
    path = save(content, tmp_path / 'a.pth')
    assert_same_tensors(load_state_dict(path), averaged)
    assert_same_tensors(load_state_dict(path, ema=True), averaged)


def test_asking_for_averages_of_a_file_without_any_is_refused_by_name(tmp_path):
    path = save(dict(model=random_weights()), tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=r'a\.pth holds no averaged weights \(ema_state_dict'):
        load_state_dict(path, ema=True)


def test_a_container_that_holds_itself_is_refused_by_name(tmp_path):
    content = {}
    content['model'] = content
    path = save(content, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=r'a\.pth holds no tensors'):
        load_state_dict(path)


def test_a_module_without_its_parts_is_refused_by_name(tmp_path):
    module = nn.ReLU()
    del module.__dict__['_parameters']
    path = save(module, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=r'a\.pth is damaged or no checkpoint'):
        load_state_dict(path)


# --- hostile files ----------------------------------------------------------------------------


class CallOnLoad:
    """Pickles as a call, which a plain unpickler makes."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def zipped(content, path):
    torch.save(content, path)


def legacy(content, path):
    torch.save(content, path, _use_new_zipfile_serialization=False)


def bare(content, path):
    path.write_bytes(pickle.dumps(content))


WRITERS = [zipped, legacy, bare]


@pytest.mark.parametrize('write', WRITERS)
@pytest.mark.parametrize(
    ('make_payload', 'named'),
    [
        (lambda marker: CallOnLoad(os.system, f'touch {marker}'), f'{os.system.__module__}.system'),
        (lambda marker: CallOnLoad(os.mkdir, marker), f'{os.mkdir.__module__}.mkdir'),
        (lambda marker: CallOnLoad(eval, f'open({marker!r}, "w")'), 'builtins.eval'),
        (lambda marker: CallOnLoad(open, marker, 'w'), 'open'),
        # Pickles of protocol 2 call the module by its Python 2 name, `commands`.
        (lambda marker: CallOnLoad(subprocess.run, ['touch', marker]), '.run'),
        (lambda marker: CallOnLoad(torch.save, {}, marker), 'torch.serialization.save'),
        (lambda marker: CallOnLoad(np.save, marker, np.zeros(1)), 'save'),
    ],
    ids=['os.system', 'os.mkdir', 'eval', 'open', 'subprocess', 'torch.save', 'numpy.save'],
)
def test_a_file_that_asks_for_code_is_refused_and_nothing_runs(
    tmp_path, write, make_payload, named
):
    marker = tmp_path / 'ran'
    path = tmp_path / 'hostile.pth'
    # First, because a bare pickle of tensors is refused for the tensors already.
    write(dict(meta=make_payload(str(marker)), state_dict=random_weights()), path)
    with pytest.raises(CheckpointError) as error:
        load_state_dict(path)
    assert not marker.exists()
    assert str(path) in str(error.value)
    assert named in str(error.value)


def test_the_hostile_file_would_have_run(tmp_path):
    # Otherwise the test above shows nothing.
    marker = tmp_path / 'ran'
    path = tmp_path / 'hostile.pth'
    zipped(dict(meta=CallOnLoad(os.system, f'touch {marker}')), path)
    torch.load(path, weights_only=False)
    assert marker.exists()


@pytest.mark.parametrize('write', WRITERS)
def test_a_pickle_within_the_pickle_is_not_opened(tmp_path, write):
    # Plain pickles of tensors hold a whole checkpoint each, which torch opens without care.
    marker = tmp_path / 'ran'
    inner = tmp_path / 'inner.pth'
    zipped(CallOnLoad(os.mkdir, str(marker)), inner)
    payload = CallOnLoad(torch.storage._load_from_bytes, inner.read_bytes())
    path = tmp_path / 'hostile.pth'
    write(dict(state_dict=random_weights(), meta=payload), path)
    with pytest.raises(CheckpointError, match=r'torch\.storage\._load_from_bytes'):
        load_state_dict(path)
    assert not marker.exists()


def test_a_dotted_name_does_not_reach_the_attributes_of_what_is_allowed(tmp_path):
    # Protocol 4 lets a name have dots.
    path = tmp_path / 'hostile.pth'
    path.write_bytes(b'\x80\x04\x8c\x0bcollections\x8c\x14OrderedDict.fromkeys\x93\x8c\x02ab\x85R.')
    assert list(pickle.loads(path.read_bytes())) == ['a', 'b']
    with pytest.raises(CheckpointError, match=r'collections\.OrderedDict\.fromkeys'):
        load_state_dict(path)


@pytest.mark.parametrize('write', WRITERS)
def test_methods_of_what_is_allowed_are_not_called(tmp_path, write):
    # A bound method pickles as getattr of its object, here of a harmless array.
    marker, path = tmp_path / 'ran', tmp_path / 'hostile.pth'
    write(dict(meta=CallOnLoad(np.zeros(1).tofile, str(marker))), path)
    with pytest.raises(CheckpointError, match=r'hostile\.pth'):
        load_state_dict(path)
    assert not marker.exists()
    if write is zipped:
        torch.load(path, weights_only=False)
        assert marker.exists()


def test_the_class_of_an_inert_object_is_not_run(tmp_path, monkeypatch):
    ran = []
    monkeypatch.setattr(HistoryBuffer, '__setstate__', lambda *a: ran.append(a), raising=False)
    path = save(dict(model=random_weights(), log=HistoryBuffer([1.0], [1])), tmp_path / 'a.pth')
    load_state_dict(path)
    assert ran == []
    torch.load(path, weights_only=False)
    assert ran


def building(target: str, state: str) -> bytes:
    """A pickle that sets the attribute ``state`` of a global, 'module name', to 1."""
    return f'c{target.replace(" ", chr(10))}\n}}S{state!r}\nI1\nsb.'.encode()


@pytest.mark.parametrize(
    'target',
    ['torch._utils _rebuild_parameter', 'dall_e.encoder Encoder', 'argparse Namespace',
     'collections OrderedDict'],
)  # fmt: skip
def test_live_functions_and_types_keep_their_attributes(tmp_path, target):
    path = tmp_path / 'hostile.pth'
    path.write_bytes(building(target, 'dump_patches'))
    with pytest.raises(CheckpointError, match=r'hostile\.pth.*sets attributes of'):
        load_state_dict(path)
    assert not hasattr(torch._utils._rebuild_parameter, 'dump_patches')


def test_the_source_that_an_old_file_gives_for_a_class_is_not_written_anywhere(tmp_path):
    marker = tmp_path / 'ran'
    with io.BytesIO() as file:
        pickler = pickle.Pickler(file, protocol=2)
        pickler.persistent_id = lambda x: x.pid if isinstance(x, PersistentId) else None
        stand_in = argparse.Namespace(
            dump_patches=True, __name__=str(marker), __wrapped__=torch._utils._rebuild_parameter
        )
        for part in (torch.serialization.MAGIC_NUMBER, torch.serialization.PROTOCOL_VERSION, {}):
            pickle.dump(part, file, protocol=2)
        pickler.dump([PersistentId(('module', stand_in, 'a.py', 'def f(): pass'))])
        pickle.dump([], file, protocol=2)
        content = file.getvalue()
    path = tmp_path / 'hostile.pth'
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r'hostile\.pth'):
        load_state_dict(path)
    assert [each.name for each in tmp_path.iterdir()] == ['hostile.pth']


class PersistentId:
    def __init__(self, pid):
        self.pid = pid


@pytest.mark.parametrize('write', [zipped, legacy])
@pytest.mark.parametrize(
    'array', [np.array([{}, []], object), np.zeros(2, [('a', 'O')]), np.zeros(2, [('a', 'f4')])]
)
def test_arrays_of_objects_and_structures_are_refused(tmp_path, write, array):
    path = tmp_path / 'hostile.pth'
    write(dict(state_dict=random_weights(), meta=array), path)
    with pytest.raises(CheckpointError, match=r'hostile\.pth.*NumPy array of'):
        load_state_dict(path)


def test_byte_orders_of_a_file_do_not_change_numpys_own(tmp_path):
    swapped = np.arange(3.0).astype('>f8')
    path = save(dict(state_dict=random_weights(), meta=swapped), tmp_path / 'a.pth')
    assert read_checkpoint(path)['meta'].tolist() == [0, 1, 2]
    assert np.dtype('f8').isnative


def test_a_tar_archive_is_refused(tmp_path):
    path = tmp_path / 'old.pth'
    with tarfile.open(path, 'w') as archive:
        os.mkfifo(tmp_path / 'storages')
        archive.add(tmp_path / 'storages', 'storages')
    with pytest.raises(CheckpointError, match=r'old\.pth was refused: it is a tar archive'):
        load_state_dict(path)


class SavesOnLoad(nn.Module):
    """A TorchScript module whose own ``__setstate__`` writes a file."""

    def __init__(self, marker: str):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))
        self.marker = marker

    def forward(self, x):
        return x

    @torch.jit.export
    def __getstate__(self):
        return self.weight, self.marker, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[torch.Tensor, str, bool]):
        self.weight = state[0]
        self.marker = state[1]
        self.training = state[2]
        torch.save(self.weight, self.marker)


def test_a_torchscript_archive_is_refused_and_nothing_runs(tmp_path):
    # torch.load hands such an archive to torch.jit.load, past any unpickler of ours.
    marker, path = tmp_path / 'ran', tmp_path / 'scripted.pt'
    torch.jit.script(SavesOnLoad(str(marker))).save(str(path))
    with pytest.raises(CheckpointError, match=r'scripted\.pt'):
        load_state_dict(path)
    assert not marker.exists()


# --- damaged, missing and empty files -----------------------------------------------------------


@pytest.mark.parametrize('write', [zipped, legacy])
@pytest.mark.parametrize('share', [0.0, 0.1, 0.5, 0.9, 0.99])
def test_a_truncated_file_is_refused_by_name(tmp_path, write, share):
    path = tmp_path / 'truncated.pth'
    write(dict(state_dict={'weight': torch.randn(500)}), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError, match=r'truncated\.pth (is damaged|was refused)'):
        load_state_dict(path)


@pytest.mark.parametrize(
    'content',
    [b'<!DOCTYPE html><html>404</html>', b'\x00' * 100, bytes(range(256)), b'PK\x03\x04rubbish'],
    ids=['a page', 'zeros', 'all bytes', 'half a zip'],
)
def test_garbage_is_refused_by_name(tmp_path, content):
    path = tmp_path / 'garbage.pth'
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r'garbage\.pth'):
        load_state_dict(path)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ([1, 2, 3], r'holds a list, not tensors'),
        (torch.ones(3), r'holds a Tensor, not tensors by name'),
        ({}, r'holds no tensors'),
        (dict(state_dict={}), r'holds no tensors'),
        (dict(epoch=3), r'holds no tensors'),
    ],
)
def test_a_file_without_named_tensors_is_refused_by_name(tmp_path, content, message):
    path = save(content, tmp_path / 'other.pth')
    with pytest.raises(CheckpointError, match=r'other\.pth ' + message):
        load_state_dict(path)


def test_refusals_are_value_errors():
    # So that callers who catch ValueError, as the backbone's docs say, catch these.
    assert issubclass(CheckpointError, ValueError)


def test_a_missing_file_is_reported_by_name(tmp_path):
    for path in (tmp_path / 'missing.pth', tmp_path):
        with pytest.raises(FileNotFoundError) as error:
            load_state_dict(path)
        assert str(path) in str(error.value)


# --- URLs -------------------------------------------------------------------------------------


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A folder behind http://127.0.0.1, its address, and the paths that were asked for."""
    folder = tmp_path / 'served'
    folder.mkdir()
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(folder))

        def do_GET(self):
            asked.append(self.path)
            super().do_GET()

        def log_message(self, *args):
            """Quiet."""

    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    for name in ('no_proxy', 'NO_PROXY'):
        monkeypatch.setenv(name, '127.0.0.1')
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield folder, f'http://127.0.0.1:{server.server_port}', asked
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_url_is_downloaded_once_into_torchs_cache(served, tmp_path):
    folder, address, asked = served
    weights = random_weights()
    save(dict(state_dict=weights), folder / 'beit.pth')
    for _ in range(2):
        assert_same_tensors(load_state_dict(f'{address}/beit.pth'), weights)
    assert asked == ['/beit.pth']
    [cached] = (tmp_path / 'torch' / 'hub' / 'checkpoints').glob('*-beit.pth')
    assert cached.read_bytes() == (folder / 'beit.pth').read_bytes()


def test_a_url_of_nothing_is_reported_and_leaves_nothing_behind(served, tmp_path):
    folder, address, _ = served
    with pytest.raises(FileNotFoundError, match=f'{address}/beit.pth'):
        load_state_dict(f'{address}/beit.pth')
    # Once it is there, the failure must not have been remembered.
    save(random_weights(), folder / 'beit.pth')
    assert_same_tensors(load_state_dict(f'{address}/beit.pth'), random_weights())


def test_a_hostile_download_is_refused_too(served, tmp_path):
    folder, address, _ = served
    zipped(dict(meta=CallOnLoad(os.mkdir, str(tmp_path / 'ran'))), folder / 'hostile.pth')
    with pytest.raises(CheckpointError, match='mkdir'):
        load_state_dict(f'{address}/hostile.pth')
    assert not (tmp_path / 'ran').exists()


def test_two_urls_whose_last_parts_agree_are_two_checkpoints(served):
    folder, address, _ = served
    for seed, name in enumerate(('base', 'large')):
        (folder / name).mkdir()
        save(random_weights(seed), folder / name / 'latest.pth')
    assert_same_tensors(load_state_dict(f'{address}/base/latest.pth'), random_weights(0))
    assert_same_tensors(load_state_dict(f'{address}/large/latest.pth'), random_weights(1))


def test_what_follows_a_question_mark_is_not_the_files_ending(served):
    folder, address, _ = served
    safetensors.torch.save_file(random_weights(), folder / 'model.safetensors')
    loaded = load_state_dict(f'{address}/model.safetensors?download=true')
    assert_same_tensors(loaded, random_weights())


def test_what_was_downloaded_is_read_where_nothing_can_be_written(served, monkeypatch):
    folder, address, _ = served
    save(random_weights(), folder / 'beit.pth')
    load_state_dict(f'{address}/beit.pth')

    def refuse(path):
        raise PermissionError(path)

    monkeypatch.setattr(downloads, 'FileLock', refuse)
    assert_same_tensors(load_state_dict(f'{address}/beit.pth'), random_weights())
    with pytest.raises(FileNotFoundError, match=r'other\.pth could not be downloaded'):
        load_state_dict(f'{address}/other.pth')


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_weights_that_are_not_finite_are_refused(tmp_path, value):
    weights = dict(first=torch.ones(3), second=torch.tensor([1.0, value]), count=torch.tensor(3))
    torch.save(weights, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError, match=r"not finite in 'second'"):
        load_state_dict(tmp_path / 'a.pth')
