"""An S3 server of this process, as moto plays it."""

from collections.abc import Iterator
from contextlib import contextmanager

import fsspec
import pytest
from moto.server import ThreadedMotoServer


@contextmanager
def s3_bucket(name: str) -> Iterator[str]:
    """An empty bucket; its server's address is in the environment meanwhile."""
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in dict(
            ENDPOINT_URL=f'http://{host}:{port}', ACCESS_KEY_ID='a', SECRET_ACCESS_KEY='b',
            DEFAULT_REGION='us-east-1',
        ).items():  # fmt: skip
            patch.setenv(f'AWS_{variable}', value)
        fsspec.get_filesystem_class('s3').clear_instance_cache()
        fsspec.filesystem('s3').mkdir(name)
        yield f's3://{name}'
        fsspec.get_filesystem_class('s3').clear_instance_cache()
    server.stop()
