"""Files of stores: a web server that fails, S3 as moto plays it, and copies in bounded space."""

import errno
import multiprocessing
import os
import random
import signal
import time
import zlib
from pathlib import Path

import fsspec
import pytest
from failing_server import serving
from mmengine.fileio import BaseStorageBackend, register_backend
from s3_server import s3_bucket

from beit_mm.datasets.sources import stores
from beit_mm.datasets.sources.store_cache import StoreCache, parse_size
from beit_mm.datasets.sources.stores import (
    StoreError,
    exists,
    list_files,
    look_up,
    open_whole,
    read_bytes,
    read_range,
)

CONTENT = random.Random(0).randbytes(100_000)


@pytest.fixture(autouse=True)
def settings(tmp_path, monkeypatch):
    monkeypatch.setenv('BEIT_MM_CACHE', str(tmp_path / 'cache'))
    monkeypatch.setattr(stores, 'FIRST_PAUSE', 0.001)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / 'served'
    folder.mkdir()
    for number in range(20):
        (folder / f'{number:02d}.bin').write_bytes(CONTENT[number * 100 :])
    return folder


def of_servers(server) -> list[str]:
    return [fault for _, _, fault in server.asked]


@pytest.mark.parametrize('seed', range(5))
def test_a_server_that_fails_half_of_the_time_gives_every_byte(folder, seed, monkeypatch):
    monkeypatch.setenv('BEIT_MM_STORE_TRIES', '20')
    rng = random.Random(seed)
    with serving(folder, share=0.5, seed=seed) as server:
        for path in sorted(folder.iterdir()):
            whole = path.read_bytes()
            assert read_bytes(f'{server.url}/{path.name}') == whole
            begin, length = rng.randrange(len(whole) - 1000), rng.randrange(1, 1000)
            part = whole[begin : begin + length]
            found = read_range(f'{server.url}/{path.name}', begin, length, zlib.crc32(part))
            assert found == part
            assert look_up(f'{server.url}/{path.name}').size == len(whole)
            assert not exists(f'{server.url}/{path.name}.idx')
        assert {'', 'drop', 'unavailable', 'short'} == set(of_servers(server))
        # What has been read lies on the disk now.
        before = len(server.asked)
        assert read_bytes(f'{server.url}/03.bin') == CONTENT[300:]
        assert len(server.asked) == before


def test_a_server_that_knows_no_parts_sends_the_whole_file(folder):
    with serving(folder, ranges=False) as server:
        assert read_range(f'{server.url}/00.bin', 500, 20) == CONTENT[500:520]
        assert read_range(f'{server.url}/00.bin', 0, 20) == CONTENT[:20]


@pytest.mark.parametrize('read', [read_bytes, lambda url: read_range(url, 0, 10)])
def test_what_fails_for_good_is_a_line_with_address_and_tries(folder, read, monkeypatch):
    monkeypatch.setenv('BEIT_MM_STORE_TRIES', '3')
    with serving(folder, always=['07.bin']) as server:
        url = f'{server.url}/07.bin'
        with pytest.raises(
            StoreError, match=f'^{url} cannot be read, tried 3 times: .*503'
        ) as told:
            read(url)
        assert '\n' not in str(told.value)
        assert len(server.asked) == 3
        # Nothing changes where there is no file: it is asked for once.
        with pytest.raises(FileNotFoundError, match=r'nothing\.bin: there is no such file'):
            read(f'{server.url}/nothing.bin')
        assert len(server.asked) == 4
        assert not exists(f'{server.url}/nothing.bin')
        # A server that fails has not said that there is no such file.
        with pytest.raises(StoreError, match='tried 3 times'):
            exists(url)
        with pytest.raises(StoreError, match='tried 3 times: its checksum is another'):
            read_range(f'{server.url}/08.bin', 0, 10, crc32=1)


@pytest.mark.parametrize(('status', 'tries', 'said'), [(429, 3, '3 times'), (403, 1, 'once')])
def test_what_may_be_answered_later_is_asked_for_again(folder, status, tries, said, monkeypatch):
    monkeypatch.setenv('BEIT_MM_STORE_TRIES', '3')
    with serving(folder, always=['07.bin'], status=status) as server:
        with pytest.raises(StoreError, match=f'tried {said}: {status}'):
            read_bytes(f'{server.url}/07.bin')
        assert len(server.asked) == tries


def test_a_part_behind_the_end_is_no_part(folder):
    with pytest.raises(StoreError, match='5 bytes came in place of 10'):
        read_range(folder / '00.bin', len(CONTENT) - 5, 10)
    fsspec.filesystem('memory').pipe_file('/a/b.bin', CONTENT)
    with pytest.raises(StoreError, match='5 bytes came in place of 10'):
        read_range('memory://a/b.bin', len(CONTENT) - 5, 10)


def test_the_disk_memory_and_files_are_read_at_once(folder, tmp_path):
    fsspec.filesystem('memory').pipe_file('/a/b.bin', b'first')
    assert read_bytes('memory://a/b.bin') == b'first'
    fsspec.filesystem('memory').pipe_file('/a/b.bin', b'second')
    assert read_bytes('memory://a/b.bin') == b'second'
    assert read_bytes(f'file://{folder}/00.bin') == read_bytes(folder / '00.bin') == CONTENT
    assert not (tmp_path / 'cache').exists()


def test_schemes_that_fsspec_has_not_are_mmengines():
    class Odd(BaseStorageBackend):
        def get(self, path):
            return path.encode()

        def get_text(self, path):
            return path

    register_backend('odd', Odd, force=True, prefixes='odd')
    assert read_bytes('odd://a/b.jpg') == b'odd://a/b.jpg'
    assert read_range('odd://a/b.jpg', 4, 3) == b'//a'


@pytest.fixture(scope='module')
def bucket():
    """An S3 server of this process with a bucket; its address in the environment."""
    with s3_bucket('of-stores') as url:
        yield url


def test_a_bucket_is_read_listed_and_kept(bucket, monkeypatch):
    fs = fsspec.filesystem('s3')
    for number in range(3):
        fs.pipe_file(f'of-stores/some/{number}.tar', CONTENT[number:])
    fs.pipe_file('of-stores/some/3.txt', b'')
    listed = list_files(f'{bucket}/some', ('.tar',))
    assert [file.url for file in listed] == [f'{bucket}/some/{n}.tar' for n in range(3)]
    assert [file.size for file in listed] == [len(CONTENT) - n for n in range(3)]
    # What others have written since is there too.
    another = fsspec.filesystem('s3', skip_instance_cache=True)
    another.pipe_file('of-stores/some/4.tar', CONTENT)
    assert len(list_files(f'{bucket}/some', ('.tar',))) == 4
    assert listed[1] == look_up(f'{bucket}/some/1.tar')
    assert read_range(f'{bucket}/some/1.tar', 99, 1000) == CONTENT[100:1100]
    monkeypatch.setattr(stores, 'PART', 3000)
    with open_whole(*listed[2]) as file:
        assert file.read() == CONTENT[2:]
    assert read_bytes(f'{bucket}/some/0.tar') == CONTENT
    fs.rm('of-stores/some', recursive=True)
    # Both are on the disk; another version of the shard is not.
    assert read_bytes(f'{bucket}/some/0.tar') == CONTENT
    open_whole(*listed[2]).close()
    with pytest.raises(FileNotFoundError, match='no such file'):
        open_whole(listed[2].url, listed[2].size, 'another')


def test_a_shard_with_another_checksum_is_fetched_again_and_never_kept(folder, monkeypatch):
    monkeypatch.setenv('BEIT_MM_STORE_TRIES', '2')
    with serving(folder) as server:
        url = f'{server.url}/00.bin'
        with pytest.raises(StoreError, match='tried 2 times: its checksum is'):
            open_whole(url, len(CONTENT), '1', sha256='0' * 64)
        assert of_servers(server) == ['', '']
        with open_whole(url, len(CONTENT), '1') as file:
            assert file.read() == CONTENT


@pytest.mark.parametrize(
    ('text', 'size'), [('20GB', 20 * 10**9), ('1.5 gib', 1.5e9), ('300', 300), ('0', 0)]
)
def test_sizes_are_written_as_people_do(text, size):
    assert parse_size(text) == size


def test_no_size_is_no_cache(folder, monkeypatch, tmp_path):
    monkeypatch.setenv('BEIT_MM_CACHE_SIZE', '0')
    with serving(folder) as server:
        assert open_whole(f'{server.url}/00.bin', len(CONTENT), '') is None
        assert [read_bytes(f'{server.url}/00.bin') for _ in range(2)] == 2 * [CONTENT]
        assert len(server.asked) == 2
    # Nor is where none can be written.
    monkeypatch.delenv('BEIT_MM_CACHE_SIZE')
    (tmp_path / 'file').touch()
    monkeypatch.setenv('BEIT_MM_CACHE', str(tmp_path / 'file/below'))
    with serving(folder) as server:
        assert open_whole(f'{server.url}/00.bin', len(CONTENT), '') is None
        assert [read_bytes(f'{server.url}/00.bin') for _ in range(2)] == 2 * [CONTENT]
        assert len(server.asked) == 2
    monkeypatch.setenv('BEIT_MM_CACHE_SIZE', 'much')
    with pytest.raises(ValueError, match='BEIT_MM_CACHE_SIZE is'):
        read_bytes('http://127.0.0.1:1/a')


# ----------------------------------------------------------------------------------------------
# The cache
# ----------------------------------------------------------------------------------------------


def bytes_in(folder: Path) -> int:
    """Of the copies, those included that are being written."""
    sizes = []
    for path in folder.glob('*/*'):
        try:
            sizes.append(path.stat().st_size)
        except FileNotFoundError:
            continue
    return sum(sizes)


def content_of(key: str) -> bytes:
    rng = random.Random(key)
    return rng.randbytes(rng.randrange(1000, 20_000))


def test_what_nobody_has_read_for_longest_goes_first(tmp_path):
    cache = StoreCache(tmp_path, 1000)
    for number in range(9):
        cache.put(str(number), bytes(100))
        os.utime(cache._path(str(number)), (number, number))
    with cache.find('0') as file:
        assert file.read() == bytes(100)
    left = tmp_path / 'total.of-a-killed-process.tmp'
    left.touch()
    cache.put('large', bytes(300))
    assert not left.exists()
    kept = [n for n in range(9) if cache._path(str(n)).exists()]
    # Room is made to nine tenths.
    assert kept == [0, 4, 5, 6, 7, 8]
    assert cache.open('larger than all', 1001, lambda file: pytest.fail('fetched')) is None


def test_a_failed_copy_leaves_nothing(tmp_path):
    cache = StoreCache(tmp_path, 1000)

    def fail(file):
        file.write(b'half')
        raise ConnectionError

    with pytest.raises(ConnectionError):
        cache.open('a', 100, fail)
    assert bytes_in(tmp_path) == 0


def test_where_the_disk_is_full_nothing_is_kept(tmp_path):
    cache = StoreCache(tmp_path, 1000)

    def fail(file):
        file.write(b'half')
        raise OSError(errno.ENOSPC, 'no space left')

    assert cache.open('a', 100, fail) is None
    assert bytes_in(tmp_path) == 0


def test_where_nothing_can_be_written_nothing_is_kept_and_what_is_there_is_read(
    tmp_path, monkeypatch
):
    cache = StoreCache(tmp_path, 1000)
    cache.put('there', b'whole')
    # The folder of a copy cannot be made.
    cache._path('other').parent.touch()
    assert cache.open('other', 5, lambda file: pytest.fail('fetched')) is None

    def refuse(path):
        raise OSError(errno.EROFS, 'read-only file system')

    monkeypatch.setattr(os, 'utime', refuse)
    with cache.open('there', 5, lambda file: pytest.fail('fetched')) as file:
        assert file.read() == b'whole'


def hammer(folder, seed, number, log):
    """Read keys by chance, in another process; fetching takes its time."""
    cache, rng = StoreCache(folder, 100_000), random.Random(seed)
    for _ in range(number):
        key = str(rng.randrange(30))
        expected = content_of(key)

        def fetch(file, expected=expected, key=key):
            with log.open('a') as told:
                told.write(f'{key}\n')
            for begin in range(0, len(expected), 4096):
                file.write(expected[begin : begin + 4096])
                time.sleep(0.0005)

        file = cache.open(key, len(expected), fetch)
        # While others write there may be no room.
        if file is not None:
            with file:
                assert file.read() == expected


def test_many_processes_and_kills_leave_whole_copies_in_bounded_space(tmp_path):
    folder, log = tmp_path / 'cache', tmp_path / 'log'
    context, rng = multiprocessing.get_context('fork'), random.Random(0)
    lasting = [context.Process(target=hammer, args=(folder, k, 150, log)) for k in range(2)]
    for process in lasting:
        process.start()
    most = killed = 0
    while any(process.is_alive() for process in lasting) or killed < 10:
        victim = context.Process(target=hammer, args=(folder, rng.random(), 10_000, log))
        victim.start()
        end = time.monotonic() + rng.uniform(0.02, 0.2)
        while time.monotonic() < end:
            most = max(most, bytes_in(folder))
        os.kill(victim.pid, signal.SIGKILL)
        victim.join()
        killed += 1
    assert [process.exitcode for process in lasting] == [0, 0]
    # The look is no instant: what was moved while it went on may be counted twice.
    assert 50_000 < most <= 120_000
    assert bytes_in(folder) <= 100_000
    hammer(folder, 3, 100, log)
    whole = {StoreCache(folder, 1)._path(str(key)): content_of(str(key)) for key in range(30)}
    found = [path for path in folder.glob('*/*') if path.suffix != '.partial']
    assert found
    assert all(path.read_bytes() == whole[path] for path in found)
    # What the killed have left goes when room is made.
    StoreCache(folder, 100)._make_room(100)
    assert bytes_in(folder) == 0


def test_processes_that_want_the_same_file_fetch_it_once(tmp_path):
    log = tmp_path / 'log'
    context = multiprocessing.get_context('fork')
    workers = [context.Process(target=hammer, args=(tmp_path, 7, 1, log)) for _ in range(4)]
    for process in workers:
        process.start()
    for process in workers:
        process.join()
    assert len(log.read_text().split()) == 1
