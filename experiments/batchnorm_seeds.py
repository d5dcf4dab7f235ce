"""What does batch normalization change over several seeds, after the activation and before it?

The ten-digit network in three forms by the chapter's own calls, fastai's `Learner` and `fit_one_cycle`, 512 digits a batch, on the full MNIST
(five seeds) and on the 4,000 embedded digits (three); one row a run: losses, and accuracy on the validation digits of the source, by which
nothing is chosen. It takes one core half an hour: `python experiments/batchnorm_seeds.py` writes `convlab/static/batchnorm_seeds.csv`."""
from functools import lru_cache, partial

from common import F, nn, study
from fastai.learner import Learner
from fastai.metrics import accuracy
from fastai.torch_core import set_seed

from convlab.study.data import get_dls, mnist_path
from convlab.models import simple_cnn


def bn_conv(ni, nf, ks=3, act=True):
    "A convolution with its batch normalization before the activation, as in an early printing of the book."
    layers = [nn.Conv2d(ni, nf, ks, stride=2, padding=ks//2), nn.BatchNorm2d(nf)]
    return nn.Sequential(*layers, nn.ReLU()) if act else nn.Sequential(*layers)


def bn_before_relu():
    return nn.Sequential(bn_conv(1, 8, 5), bn_conv(8, 16), bn_conv(16, 32), bn_conv(32, 64),
                         bn_conv(64, 10, act=False), nn.Flatten())


nets = {'none': simple_cnn, 'Conv-ReLU-BN': partial(simple_cnn, norm=nn.BatchNorm2d), 'Conv-BN-ReLU': bn_before_relu}


@lru_cache
def loaders(digits): return get_dls(512, mnist_path(source='auto' if digits == 60_000 else 'embedded'))


def run(seed, digits, norm, rounds, lr):  # a round is 117 steps, on the full MNIST an epoch
    dls = loaders(digits)
    set_seed(seed, reproducible=True)
    dls.rng.seed(seed)
    learn = Learner(dls, nets[norm](), loss_func=F.cross_entropy, metrics=accuracy)
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(rounds*round(117/len(dls.train)), lr)
    return dict(zip(('train_loss', 'valid_loss', 'accuracy'), learn.recorder.values[-1]))


if __name__ == '__main__':
    runs = [(1, .06), (5, .1)]  # rounds, and the largest learning rate: the chapter's two runs
    def grid(digits): return [dict(digits=digits, norm=norm, rounds=rounds, lr=lr) for rounds, lr in runs for norm in nets]
    study(__file__, run, (grid(60_000), 5), (grid(4_000), 3))
