"""Train the ten-digit network with and without batch normalization, over several seeds, on the full MNIST.

    CONVLAB_DATA=... python bench/batchnorm_seeds.py

writes `convlab/static/batchnorm_seeds.csv`, one row an epoch. Notebook `09_batchnorm` reads that table and
repeats some of its runs. The calls are the chapter's own: fastai's `Learner` and `fit_one_cycle`, batch size 512.
"""
import argparse
import csv
from pathlib import Path

from convlab.all import *

dest = Path(__file__).resolve().parent.parent/'convlab'/'static'/'batchnorm_seeds.csv'
runs = [(1, 0.06), (5, 0.1)]  # epochs and largest learning rate, of the chapter's two runs


def bn_conv(ni, nf, ks=3, act=True):
    "A convolution with its batch normalization before the activation, the book's first printing."
    layers = [nn.Conv2d(ni, nf, ks, stride=2, padding=ks//2), nn.BatchNorm2d(nf)]
    return nn.Sequential(*layers, nn.ReLU()) if act else nn.Sequential(*layers)


def bn_before_relu():
    return nn.Sequential(bn_conv(1, 8, 5), bn_conv(8, 16), bn_conv(16, 32), bn_conv(32, 64),
                         bn_conv(64, 10, act=False), nn.Flatten())


nets = {'none': simple_cnn, 'Conv-ReLU-BN': partial(simple_cnn, norm=nn.BatchNorm2d), 'Conv-BN-ReLU': bn_before_relu}


def train(dls, net, epochs, lr, seed):
    "`[train loss, valid loss, accuracy]` of every epoch."
    set_seed(seed, reproducible=True)
    dls.rng.seed(seed)
    learn = Learner(dls, nets[net](), loss_func=F.cross_entropy, metrics=accuracy)
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(epochs, lr)
    return learn.recorder.values


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument('--seeds', type=int, default=5)
    seeds = ap.parse_args().seeds
    dls = get_dls(512)
    if len(dls.train_ds) != 60_000: raise SystemExit('the table is about the full MNIST: set CONVLAB_DATA or go online')
    with dest.open('w', newline='') as f:
        out = csv.writer(f, lineterminator='\n')
        out.writerow('norm epochs lr seed epoch train_loss valid_loss accuracy'.split())
        for seed, (epochs, lr), net in itertools.product(range(seeds), runs, nets):
            for i, row in enumerate(train(dls, net, epochs, lr, seed)):
                out.writerow([net, epochs, lr, seed, i, *(f'{v:.4f}' for v in row)])
            print(f'seed {seed}, {net}, {epochs} epochs at {lr}: {row[-1]:.4f}', flush=True)
            f.flush()


if __name__ == '__main__': main()
