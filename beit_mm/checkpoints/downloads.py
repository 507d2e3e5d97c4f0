"""Files behind http(s) URLs: fetched once, and held against their checksums."""

import hashlib
import re
from pathlib import Path
from urllib.parse import urldefrag, urlsplit

import torch
from filelock import FileLock

from .checkpoint_error import CheckpointError

# OpenMMLab and torchvision end a file's name in the first 8 digits of its SHA-256. Eight decimal
# ones are a date, unless a date is before them.
SUM_IN_NAME = re.compile(r'-(?=\d*[a-f]|(?<=_\d{8}-))([0-9a-f]{8})\.[a-z]\w*$')
BLOCK = 1 << 20


def download(url: str) -> Path:
    """The file behind an http(s) URL, in torch's hub cache, fetched if it is not there.

    Args:
        url: May end in ``#sha256=`` and all or the first digits of the file's checksum, which are
            compared whenever it is read. Without, the 8 digits that end the names of OpenMMLab's
            files (``-ab79e626.pth``) are compared after the download.

    Raises:
        FileNotFoundError: If it cannot be fetched.
        CheckpointError: If it has another checksum; what was fetched is removed then.
    """
    address, wanted = _checksum_of(url)
    name = Path(urlsplit(address).path).name
    # Many a checkpoint is called latest.pth: the digest keeps those of two places apart.
    digest = hashlib.sha256(address.encode()).hexdigest()[:8]
    cached = Path(torch.hub.get_dir()) / 'checkpoints' / f'{digest}-{name}'
    if cached.is_file():
        if wanted:
            _compare(cached, wanted, address)
        return cached
    in_name = SUM_IN_NAME.search(name)
    try:
        _fetch(address, cached, wanted or (in_name[1] if in_name else ''))
    except OSError as error:
        raise FileNotFoundError(f'{address} could not be downloaded: {error}') from error
    return cached


def _checksum_of(url: str) -> tuple[str, str]:
    """The address and the checksum that a URL asks for, '' if it asks for none."""
    address, fragment = urldefrag(url)
    if not fragment:
        return address, ''
    key, _, digits = fragment.partition('=')
    if key != 'sha256' or not re.fullmatch('[0-9a-f]{8,64}', digits.lower()):
        raise CheckpointError(
            f'{url}: #{fragment} is no checksum; write #sha256= and 8 to 64 hexadecimal digits'
        )
    return address, digits.lower()


def _fetch(address: str, target: Path, wanted: str) -> None:
    """Download a file, unless another process of this machine does it meanwhile."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f'{target}.lock'):
        if target.is_file():
            return
        # Under another name until it is known to be the file that was meant.
        fetched = target.with_name(f'{target.name}.unchecked')
        torch.hub.download_url_to_file(address, str(fetched))
        if wanted:
            _compare(fetched, wanted, address)
        fetched.replace(target)


def _compare(path: Path, wanted: str, address: str) -> None:
    """Remove what was downloaded if its checksum does not begin with what is wanted."""
    found = sha256_of(path)
    if not found.startswith(wanted):
        path.unlink()
        raise CheckpointError(
            f'{address}: the SHA-256 of what was downloaded begins with {found[: len(wanted)]}, it '
            f'should with {wanted}; it was removed. If it is the right file all the same, add '
            f'#sha256={found}'
        )


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open('rb') as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()
