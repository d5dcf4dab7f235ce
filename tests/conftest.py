import gc
import os
from collections import Counter
from pathlib import Path

import pytest

root = Path(__file__).parent.parent
os.environ.setdefault('MPLBACKEND', 'agg')
needs_fork = pytest.mark.skipif(not hasattr(os, 'fork'), reason='processes cannot fork here')
gc.disable()  # while the tests' modules are imported: hundreds of thousands of objects, and none of them garbage


def pytest_collection_finish(session):
    gc.freeze()  # nor later: they are not looked through again and again
    gc.enable()


def pytest_runtest_setup(item):
    "The same random numbers for a test, whichever tests ran before it."
    import torch  # here: the process that hands out the tests needs none, and waits for it seconds
    torch.manual_seed(0)


@pytest.fixture(scope='session')
def full_data():
    "The folder with fast.ai's two archives, as CONVLAB_DATA names it."
    data = os.environ.get('CONVLAB_DATA')
    if not data: pytest.skip('CONVLAB_DATA does not name a folder with the full MNIST')
    return Path(data)


def pytest_terminal_summary(terminalreporter):
    "What was left out here, and why, in one line."
    why = Counter(r.longrepr[2].removeprefix('Skipped: ') for r in terminalreporter.stats.get('skipped', []))
    if why: terminalreporter.write_line('Left out: ' + '; '.join(f'{n} ({reason})' for reason, n in why.items()))
