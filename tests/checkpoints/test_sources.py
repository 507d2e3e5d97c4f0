"""What weights may be called: each form found, each slip told with the nearest right form."""

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import mmengine
import mmpretrain
import mmseg
import pytest
import safetensors.torch
import timm
import torch
from mmengine.hub import get_config
from mmengine.runner import CheckpointLoader
from mmpretrain.apis.model import ModelHub

from beit_mm.checkpoints import CheckpointError, check_source, load_state_dict, locate
from beit_mm.checkpoints.downloads import SUM_IN_NAME
from beit_mm.checkpoints.hub import hub_name_of_timm
from beit_mm.checkpoints.model_index import url_of_model
from beit_mm.engine.running.public_weights import read_safely

WEIGHTS = {'first.weight': torch.arange(6.0).reshape(2, 3), 'second.bias': torch.ones(4)}
COMMIT = '0123456789abcdef0123456789abcdef01234567'


def assert_weights(found):
    assert found.keys() == WEIGHTS.keys()
    assert all(found[name].equal(tensor) for name, tensor in WEIGHTS.items())


def write_folder(folder: Path, form: str) -> None:
    """Weights as transformers writes them: safetensors or pickles, whole or in two files."""
    name, ending = ('pytorch_model', 'bin') if 'pickled' in form else ('model', 'safetensors')
    write = torch.save if ending == 'bin' else safetensors.torch.save_file
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'config.json').write_text(json.dumps(dict(model_type='beit')))
    if 'sharded' not in form:
        write(WEIGHTS, folder / f'{name}.{ending}')
        return
    places = {
        key: f'{name}-0000{number}-of-00002.{ending}' for number, key in enumerate(WEIGHTS, start=1)
    }
    for key, file in places.items():
        write({key: WEIGHTS[key]}, folder / file)
    index = dict(metadata=dict(total_size=40), weight_map=places)
    (folder / f'{name}.{ending}.index.json').write_text(json.dumps(index))


FORMS = ['one', 'sharded', 'pickled', 'pickled and sharded']


# --- files and folders ------------------------------------------------------------------------


@pytest.mark.parametrize('form', FORMS)
def test_a_folder_and_each_of_its_faces(tmp_path, form):
    write_folder(tmp_path, form)
    assert_weights(load_state_dict(tmp_path))
    face = next(iter([*tmp_path.glob('*.index.json'), *tmp_path.glob('*model.*')]))
    assert_weights(load_state_dict(str(face)))


def test_home_and_names_with_colons(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    for name in ('a.pth', 'timm:a.pth', 'b.pth#ema'):
        torch.save(WEIGHTS, tmp_path / name)
        assert_weights(load_state_dict(f'~/{name}'))
    monkeypatch.chdir(tmp_path)
    assert_weights(load_state_dict('timm:a.pth'))


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(weight_map={'a': '../a.bin'}), r"has a in '\.\./a\.bin', which is no file beside it"),
        (dict(weight_map={'a': '/etc/passwd'}), 'which is no file beside it'),
        (dict(weight_map={'a': ['b']}), 'which is no file beside it'),
        (dict(weight_map={}), 'it has no weight_map'),
        ([], 'holds a list, not values by name'),
        (dict(weight_map={'other': 'model-00001-of-00002.safetensors'}), 'lacks other'),
    ],
)
def test_an_index_of_another_form_is_refused_by_name(tmp_path, change, message):
    write_folder(tmp_path, 'sharded')
    (tmp_path / 'model.safetensors.index.json').write_text(json.dumps(change))
    with pytest.raises(CheckpointError, match=message) as error:
        load_state_dict(tmp_path)
    assert str(tmp_path) in str(error.value)


def test_missing_and_damaged_parts_are_told_by_name(tmp_path):
    write_folder(tmp_path, 'pickled and sharded')
    second = tmp_path / 'pytorch_model-00002-of-00002.bin'
    second.write_bytes(second.read_bytes()[:100])
    with pytest.raises(CheckpointError, match=r'00002-of-00002\.bin is damaged'):
        load_state_dict(tmp_path)
    second.unlink()
    with pytest.raises(FileNotFoundError, match=r'00002-of-00002.bin: no such file'):
        load_state_dict(tmp_path)
    (tmp_path / 'pytorch_model.bin.index.json').write_text('{')
    with pytest.raises(CheckpointError, match='is damaged or no JSON'):
        load_state_dict(tmp_path)


def test_a_part_that_asks_for_code_is_refused(tmp_path):
    class Call:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / 'ran'),)

    write_folder(tmp_path, 'pickled and sharded')
    torch.save(Call(), tmp_path / 'pytorch_model-00002-of-00002.bin')
    with pytest.raises(CheckpointError, match='mkdir'):
        load_state_dict(tmp_path)
    assert not (tmp_path / 'ran').exists()


# --- slips ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('given', 'right'),
    [
        ('hf_hub:microsoft/beit', 'hf-hub:microsoft/beit'),
        ('hfhub:microsoft/beit', 'hf-hub:microsoft/beit'),
        ('hf-hub://microsoft/beit', 'hf-hub:microsoft/beit'),
        ('hf:microsoft/beit', 'hf-hub:microsoft/beit'),
        ('huggingface:microsoft/beit', 'hf-hub:microsoft/beit'),
        ('HF-HUB:microsoft/beit', 'hf-hub:microsoft/beit'),
        ('tim:beit_base', 'timm:beit_base'),
        ('timm::beit_base', 'timm:beit_base'),
        ('mmpretrain:beit', 'mmpretrain::beit'),
        ('mmpretrian::beit', 'mmpretrain::beit'),
        ('mmsegmentation::beit', 'mmseg::beit'),
        ('mmcls::beit', 'mmpretrain::beit'),
        ('https:/host/a.pth', 'https://host/a.pth'),
        ('htpps://host/a.pth', 'https://host/a.pth'),
        ('file:///a/b.pth', '/a/b.pth'),
    ],
)
def test_a_misspelt_form_is_told_with_the_right_one(given, right):
    with pytest.raises(CheckpointError) as error:
        check_source(given)
    message = str(error.value)
    assert message.startswith(f'{given}: did you mean {right}? only files, folders, hf-hub:')
    assert '\n' not in message


@pytest.mark.parametrize(
    ('given', 'hint'),
    [
        ('microsoft/beit-base', 'hf-hub:microsoft/beit-base, of the Hugging Face hub?'),
        ('microsoft/beit-base@v1.0', 'hf-hub:microsoft/beit-base@v1.0, of the Hugging Face hub?'),
        ('beit_base_patch16_224', 'timm:beit_base_patch16_224?'),
        ('beit_base_patch16_224.in22k_ft_in22k', 'timm:beit_base_patch16_224.in22k_ft_in22k?'),
        ('epoch_80.pth', 'epoch_800.pth?'),
    ],
)
def test_a_file_that_is_not_there_is_told_with_what_was_meant(tmp_path, monkeypatch, given, hint):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'epoch_800.pth').touch()
    with pytest.raises(FileNotFoundError) as error:
        locate(given)
    assert str(error.value) == f'{given}: no such checkpoint; did you mean {hint}'


@pytest.mark.parametrize('given', ['a' * 300, '', 'nothing.pth', 'no/such/file.pth', 'C:a'])
def test_other_names_of_nothing_are_told_plainly(given):
    with pytest.raises(FileNotFoundError, match=r'no such checkpoint$'):
        check_source(given)


def test_torchvision_has_no_other_models():
    for given in ('torchvision:vit_b_17', 'torchvision://resnet50'):
        with pytest.raises(CheckpointError, match=f'{given}: torchvision has no such .* vit_b_16'):
            locate(given)


# --- the Hugging Face hub ---------------------------------------------------------------------


def in_cache(cache: Path, repo: str, form: str, revision: str = 'main') -> None:
    """A model as huggingface_hub keeps it once it has been fetched."""
    root = cache / f'models--{repo.replace("/", "--")}'
    write_folder(root / 'snapshots' / COMMIT, form)
    (root / 'refs').mkdir(exist_ok=True)
    (root / 'refs' / revision).write_text(COMMIT)


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """The cache of a machine that must not go to the hub."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path))
    return tmp_path


@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize('revision', ['', '@v1.0', f'@{COMMIT}'])
def test_a_model_of_the_hub_from_its_cache(offline, form, revision):
    in_cache(offline, 'org/beit', form, revision.lstrip('@') or 'main')
    assert_weights(load_state_dict(f'hf-hub:org/beit{revision}'))
    path = locate(f'hf-hub:org/beit{revision}')
    assert (path.parent / 'config.json').is_file()


def test_the_runner_reads_them_too(offline, monkeypatch):
    monkeypatch.setattr(CheckpointLoader, '_schemes', dict(CheckpointLoader._schemes))
    in_cache(offline, 'org/beit', 'sharded')
    read_safely()
    assert_weights(CheckpointLoader.load_checkpoint('hf-hub:org/beit')['state_dict'])


def test_a_model_of_timm_from_the_cache(offline):
    in_cache(offline, 'timm/beit_base_patch16_224.in22k_ft_in22k', 'one')
    assert_weights(load_state_dict('timm:beit_base_patch16_224.in22k_ft_in22k'))


@pytest.mark.parametrize(
    ('given', 'kind', 'message'),
    [
        ('hf-hub:org/none', FileNotFoundError,
         'hf-hub:org/none is not in the cache .*, and the Hugging Face hub was not reached, as '
         'HF_HUB_OFFLINE says'),
        ('hf-hub:org/beit@other', FileNotFoundError, 'hf-hub:org/beit@other is not in the cache'),
        ('hf-hub:a/b/c', CheckpointError, "'a/b/c' is no name of the hub, which are ORG/NAME"),
        ('hf-hub:', CheckpointError, 'hf-hub:: a name must follow'),
    ],
)  # fmt: skip
def test_what_the_cache_has_not_is_told_in_a_line(offline, given, kind, message):
    in_cache(offline, 'org/beit', 'one')
    with pytest.raises(kind, match=message) as error:
        locate(given)
    assert '\n' not in str(error.value)


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of the hub as huggingface_hub asks for: files of one model at one commit."""

    folder: Path
    private = False

    def answer(self, body: bool) -> None:
        parts = self.path.strip('/').split('/')
        path = self.folder / parts[-1]
        code = 'RepoNotFound' if parts[:2] != ['org', 'beit'] else 'EntryNotFound'
        if parts[3:4] == ['gone']:
            code = 'RevisionNotFound'
        there = code == 'EntryNotFound' and path.is_file()
        content = path.read_bytes() if there else b''
        self.send_response(200 if there else 404)
        if there:
            self.send_header('ETag', f'"{hashlib.sha1(content).hexdigest()}"')
            self.send_header('X-Repo-Commit', COMMIT)
        else:
            self.send_header('X-Error-Code', code)
        self.send_header('Content-Length', str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def do_HEAD(self):
        self.answer(False)

    def do_GET(self):
        self.answer(True)

    def log_message(self, *args):
        """Quiet."""


@pytest.fixture
def serve():
    """Start a server on this machine for a handler; its address."""
    servers = []

    def start(handler):
        server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        servers.append((server, thread))
        return f'http://127.0.0.1:{server.server_port}'

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


# In a process of its own: huggingface_hub reads where the hub is when it is imported.
ASK = """
import sys, time
from beit_mm.checkpoints import load_state_dict
# It waits between its tries.
time.sleep = lambda seconds: None
for source in sys.argv[1:]:
    try:
        print(sorted(load_state_dict(source)))
    except (FileNotFoundError, ValueError) as error:
        print(type(error).__name__, error)
"""


def ask(cache: Path, address: str, *sources: str, **environment: str) -> list[str]:
    variables = {
        **os.environ, 'HF_HOME': str(cache), 'HF_ENDPOINT': address, 'no_proxy': '127.0.0.1',
        'NO_PROXY': '127.0.0.1', 'HF_HUB_DISABLE_XET': '1', 'HF_HUB_DISABLE_PROGRESS_BARS': '1',
        'HF_HUB_OFFLINE': '0', **environment,
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, '-c', ASK, *sources], env=variables, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_hub_that_answers_and_one_that_does_not(tmp_path, serve):
    handler = type('Handler', (Hub,), dict(folder=tmp_path / 'model'))
    write_folder(tmp_path / 'model', 'sharded')
    address = serve(handler)
    cache, names = tmp_path / 'cache', str(sorted(WEIGHTS))
    lines = ask(
        cache, address, 'hf-hub:org/beit', f'hf-hub:org/beit@{COMMIT}', 'hf-hub:org/none',
        'hf-hub:org/beit@gone',
    )  # fmt: skip
    assert lines[:2] == [names, names]
    assert lines[2].startswith(
        'FileNotFoundError hf-hub:org/none: the Hugging Face hub has no model'
    )
    assert lines[3] == "FileNotFoundError hf-hub:org/beit@gone: org/beit has no revision 'gone'"
    assert len(lines) == 4
    # Away from the network what was fetched is there, and nothing else is.
    away = ask(cache, 'http://127.0.0.1:9', 'hf-hub:org/beit', 'hf-hub:org/other')
    assert away[0] == names
    assert away[1].startswith('FileNotFoundError hf-hub:org/other is not in the cache')
    assert away[1].endswith('and the Hugging Face hub was not reached')
    offline = ask(cache, address, 'hf-hub:org/beit', 'hf-hub:org/other', HF_HUB_OFFLINE='1')
    assert offline[0] == names
    assert offline[1].endswith('as HF_HUB_OFFLINE says')


def test_a_model_without_weights_is_told(tmp_path, serve):
    (tmp_path / 'model').mkdir()
    handler = type('Handler', (Hub,), dict(folder=tmp_path / 'model'))
    [line] = ask(tmp_path / 'cache', serve(handler), 'hf-hub:org/beit')
    assert line.startswith(
        'FileNotFoundError hf-hub:org/beit has no weights there: none of model.s'
    )


def test_without_the_package_a_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, 'huggingface_hub', None)
    with pytest.raises(
        ImportError, match=r'hf-hub:org/beit takes huggingface_hub .*beit-mm\[hub\]'
    ):
        locate('hf-hub:org/beit')


# --- timm -------------------------------------------------------------------------------------


@pytest.mark.parametrize('name', timm.list_pretrained('beit*'))
def test_timm_says_where_its_models_are(name):
    assert hub_name_of_timm(name) == timm.get_pretrained_cfg(name).hf_hub_id
    assert hub_name_of_timm(name).startswith('timm/beit')


def test_timms_default_tag_and_without_timm_the_name(monkeypatch):
    assert hub_name_of_timm('beit_base_patch16_224').startswith('timm/beit_base_patch16_224.in22k')
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    assert hub_name_of_timm('beit_new.some_tag') == 'timm/beit_new.some_tag'


@pytest.mark.parametrize('name', ['beit_bse_patch16_224', 'beit_base_patch16_224.nonsense'])
def test_models_that_timm_has_not_are_told_with_near_ones(name):
    with pytest.raises(CheckpointError, match=f'timm:{name}: .* near ones are beit_base_patch16'):
        locate(f'timm:{name}')


# --- MMPretrain and MMSegmentation ------------------------------------------------------------


def test_urls_are_those_that_mmpretrain_itself_lists():
    ModelHub._register_mmpretrain_models()
    listed = {name: info for name, info in ModelHub._models_dict.items() if 'beit' in name}
    assert len(listed) > 5
    for name, info in listed.items():
        if info.weights:
            assert url_of_model('mmpretrain', info.name) == info.weights, name


def test_configs_are_found_as_mmengine_finds_them():
    name = 'beit/benchmarks/beit-base-p16_8xb64_in1k.py'
    expected = get_config(f'mmpretrain::{name}', pretrained=True).model_path
    stem = name.removesuffix('.py')
    for form in (name, stem, f'configs/{name}', stem.rpartition('/')[2]):
        assert url_of_model('mmpretrain', form) == expected


def test_mmsegmentations_models_are_found():
    # mmengine looks for it under the name of one of its two distributions.
    [file] = Path(mmseg.__file__).parent.glob('.mim/configs/beit/metafile.y*ml')
    models = mmengine.load(file)['Models']
    assert len(models) == 2
    for model in models:
        assert url_of_model('mmseg', model['Name']) == model['Weights']


@pytest.mark.parametrize(
    ('given', 'kind', 'message'),
    [
        ('mmpretrain::beit-base-p16_beit-in21k-pre', CheckpointError,
         'lists no such model; near ones are .*beit-base-p16_beit-in21k-pre_3rdparty_in1k'),
        ('mmpretrain::nothing-like-it-at-all', CheckpointError, 'near ones are none'),
        ('mmseg::beit-base_upernet', CheckpointError, 'beit-base_upernet_8xb2-160k_ade20k-640x640'),
    ],
)  # fmt: skip
def test_models_that_are_not_listed_are_told_with_near_ones(given, kind, message):
    with pytest.raises(kind, match=message) as error:
        locate(given)
    assert '\n' not in str(error.value)


def test_a_model_without_weights_and_a_package_that_is_not_there(monkeypatch):
    ModelHub._register_mmpretrain_models()
    without = next(info.name for info in ModelHub._models_dict.values() if not info.weights)
    with pytest.raises(CheckpointError, match='mmpretrain lists no weights of this model'):
        url_of_model('mmpretrain', without)
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    with pytest.raises(ImportError, match=r'needs the package mmpretrain: pip install onedl-'):
        locate('mmpretrain::beit')


def test_an_index_beside_the_package_is_found(tmp_path, monkeypatch):
    """As in a clone that is installed in place."""
    (tmp_path / 'mmpretrain').mkdir()
    (tmp_path / 'mmpretrain/__init__.py').touch()
    (tmp_path / 'model-index.yml').write_text('Import:\n  - a.yml\n  - missing.yml\n')
    model = dict(Name='x', Config='configs/x/y.py', Weights='https://host/x.pth')
    mmengine.dump(dict(Models=[model]), tmp_path / 'a.yml')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, 'mmpretrain')
    assert url_of_model('mmpretrain', 'x/y.py') == 'https://host/x.pth'
    (tmp_path / 'model-index.yml').unlink()
    with pytest.raises(CheckpointError, match='installed without its list of models'):
        url_of_model('mmpretrain', 'x')
    assert mmpretrain.__version__


# --- URLs and checksums -----------------------------------------------------------------------


@pytest.fixture
def served(tmp_path, monkeypatch, serve):
    """A folder behind an address, with one file of weights, and its checksum."""
    folder = tmp_path / 'served'
    folder.mkdir()

    class Files(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(folder))

        def log_message(self, *args):
            """Quiet."""

    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    for name in ('no_proxy', 'NO_PROXY'):
        monkeypatch.setenv(name, '127.0.0.1')
    torch.save(WEIGHTS, folder / 'a.pth')
    digest = hashlib.sha256((folder / 'a.pth').read_bytes()).hexdigest()
    return folder, serve(Files), digest


def fetched(tmp_path):
    return [p for p in tmp_path.glob('torch/hub/checkpoints/*') if p.suffix != '.lock']


def test_a_checksum_in_openmmlabs_name_is_compared(served, tmp_path):
    folder, address, digest = served
    right = f'beit_20221128-{digest[:8]}.pth'
    wrong = f'beit_20221128-{digest[8:16]}.pth'
    for name in (right, wrong):
        (folder / name).write_bytes((folder / 'a.pth').read_bytes())
    assert_weights(load_state_dict(f'{address}/{right}'))
    assert [p.name.partition('-')[2] for p in fetched(tmp_path)] == [right]
    with pytest.raises(CheckpointError) as error:
        load_state_dict(f'{address}/{wrong}')
    assert str(error.value) == (
        f'{address}/{wrong}: the SHA-256 of what was downloaded begins with {digest[:8]}, it '
        f'should with {digest[8:16]}; it was removed. If it is the right file all the same, add '
        f'#sha256={digest}'
    )
    assert [p.name.partition('-')[2] for p in fetched(tmp_path)] == [right]
    # As the message says.
    assert_weights(load_state_dict(f'{address}/{wrong}#sha256={digest}'))


@pytest.mark.parametrize('length', [8, 20, 64])
def test_a_checksum_in_the_url_is_compared_always(served, tmp_path, length):
    _, address, digest = served
    url = f'{address}/a.pth#sha256={digest[:length].upper()}'
    for _ in range(2):
        assert_weights(load_state_dict(url))
    # What lies in the cache has been changed since.
    [cached] = fetched(tmp_path)
    cached.write_bytes(cached.read_bytes() + b'.')
    with pytest.raises(CheckpointError, match=r'SHA-256 .* it was removed'):
        load_state_dict(url)
    assert fetched(tmp_path) == []
    assert_weights(load_state_dict(url))
    # One file, with and without the checksum.
    assert_weights(load_state_dict(f'{address}/a.pth'))
    assert len(fetched(tmp_path)) == 1


@pytest.mark.parametrize('fragment', ['sha256=xyz', 'sha256=abc', 'md5=0123456789', 'ema'])
def test_a_fragment_that_is_no_checksum_is_refused(served, tmp_path, fragment):
    _, address, _ = served
    with pytest.raises(CheckpointError, match=f'#{fragment} is no checksum; write #sha256='):
        load_state_dict(f'{address}/a.pth#{fragment}')
    assert fetched(tmp_path) == []


@pytest.mark.parametrize(
    ('name', 'digits'),
    [
        ('beit-base_3rdparty_in1k_20221114-c0a4df23.pth', 'c0a4df23'),
        ('upernet_beit-base_8x2_640x640_160k_ade20k-eead221d.pth', 'eead221d'),
        ('vit_20221128-12345678.pth', '12345678'),
        # Dates, and names that are no checksums.
        ('beit-20231005.pth', None),
        ('beit-20231005.safetensors', None),
        ('beit-deadbee.pth', None),
        ('beit-deadbeef1.pth', None),
        ('beit_deadbeef.pth', None),
        ('beit-deadbeef', None),
    ],
)
def test_which_names_hold_a_checksum(name, digits):
    match = SUM_IN_NAME.search(name)
    assert (match and match[1]) == digits


def test_every_published_beit_has_its_checksum_in_its_name():
    for package in (mmpretrain, mmseg):
        root = Path(package.__file__).parent / '.mim'
        for file in root.glob('configs/beit*/metafile.y*ml'):
            for model in mmengine.load(file)['Models']:
                assert SUM_IN_NAME.search(model['Weights']), model
