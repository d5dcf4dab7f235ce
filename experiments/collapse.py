"""How often does one epoch of the chapter's network end in collapse, with 1cycle and without?

`simple_cnn` by `fit` on all of MNIST, two batch sizes, four learning rates, ten seeds; one row a run: losses, and accuracy on the 10,000 test
digits, by which nothing is chosen. It takes one core a quarter of an hour: `python experiments/collapse.py` writes `convlab/static/collapse.csv`."""
from functools import lru_cache

from common import study

from convlab.study.data import get_dls
from convlab.models import simple_cnn
from convlab.training import fit

loaders = lru_cache(get_dls)


def run(seed, bs, lr, one_cycle):
    learn = fit(simple_cnn, loaders(bs), 1, lr, bool(one_cycle), stats=False, seed=seed, progress=False)
    return dict(zip(('train_loss', 'valid_loss', 'accuracy'), learn.recorder.values[-1]))


if __name__ == '__main__': study(__file__, run, (dict(bs=[64, 512], lr=[.01, .03, .06, .1], one_cycle=[0, 1]), 10))
