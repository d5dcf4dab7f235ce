import os
from pathlib import Path

import pytest
import torch

root = Path(__file__).parent.parent
os.environ.setdefault('MPLBACKEND', 'agg')
needs_fork = pytest.mark.skipif(not hasattr(os, 'fork'), reason='processes cannot fork here')


def pytest_runtest_setup(item):
    "The same random numbers for a test, whichever tests ran before it."
    torch.manual_seed(0)


@pytest.fixture(scope='session')
def full_data():
    "The folder with fast.ai's two archives, as CONVLAB_DATA names it."
    data = os.environ.get('CONVLAB_DATA')
    if not data: pytest.skip('CONVLAB_DATA does not name a folder with the full MNIST')
    return Path(data)
