"""Train the ten-digit network with and without batch normalization, over several seeds.

writes `convlab/static/batchnorm_seeds.csv`, one row a run, which notebook `09_batchnorm` reads. The calls are the
chapter's own: fastai's `Learner` and `fit_one_cycle`, batch size 512. Runs that the table has are not repeated, so this
can be stopped at any time. It takes about half an hour of one core: `python experiments/batchnorm_seeds.py`.
"""
import csv

from convlab.all import *

table = Path(__file__).resolve().parent.parent/'convlab'/'static'/'batchnorm_seeds.csv'
names = 'digits norm rounds lr seed train_loss valid_loss accuracy'.split()
settings = [(1, 0.06), (5, 0.1)]  # rounds of 117 steps, and largest learning rate: the chapter's two runs


def bn_conv(ni, nf, ks=3, act=True):
    "A convolution with its batch normalization before the activation, as in an early printing of the book."
    layers = [nn.Conv2d(ni, nf, ks, stride=2, padding=ks//2), nn.BatchNorm2d(nf)]
    return nn.Sequential(*layers, nn.ReLU()) if act else nn.Sequential(*layers)


def bn_before_relu():
    return nn.Sequential(bn_conv(1, 8, 5), bn_conv(8, 16), bn_conv(16, 32), bn_conv(32, 64),
                         bn_conv(64, 10, act=False), nn.Flatten())


nets = {'none': simple_cnn, 'Conv-ReLU-BN': partial(simple_cnn, norm=nn.BatchNorm2d), 'Conv-BN-ReLU': bn_before_relu}


def train(dls, net, rounds, lr, seed):
    "`[train loss, valid loss, accuracy]` at the end. On the full MNIST a round is an epoch."
    set_seed(seed, reproducible=True)
    dls.rng.seed(seed)
    learn = Learner(dls, nets[net](), loss_func=F.cross_entropy, metrics=accuracy)
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(rounds*round(117/len(dls.train)), lr)
    return [f'{v:.4f}' for v in learn.recorder.values[-1]]


def done():
    if not table.exists(): return set()
    with table.open() as f: return {tuple(r[k] for k in names[:5]) for r in csv.DictReader(f)}


def add(row):
    new = not table.exists()
    with table.open('a', newline='') as f: csv.writer(f, lineterminator='\n').writerows([names, row] if new else [row])


def main():
    for source, seeds in (('auto', 5), ('embedded', 3)):
        dls = get_dls(512, mnist_path(source=source))
        for seed, (rounds, lr), net in itertools.product(range(seeds), settings, nets):
            key = len(dls.train_ds), net, rounds, lr, seed
            if tuple(map(str, key)) not in done(): add([*key, *train(dls, net, rounds, lr, seed)])


if __name__ == '__main__': main()
