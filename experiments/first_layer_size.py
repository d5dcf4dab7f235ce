"""Does a first layer of 5 by 5 kernels learn more than one of 3 by 3, and is it the size or the number of weights?

The ten-digit network with first kernels of 3, 5 or 7 pixels, 117 updates of 512 digits, Adam with 1cycle, four rates, six seeds. A first layer
with eight 3 by 3 kernels makes 8 numbers from 9 pixels, the book's argument against it; `channels` 4 makes 4 numbers of them instead, so that the two
reasons come apart. One row a run: accuracy on the validation digits (choose the rate by it) and on the test set (report it).
It takes one core twelve minutes: `python experiments/first_layer_size.py` writes `convlab/static/first_layer_size.csv`."""
from common import digits, evaluate, study, torch, train

from convlab.models import n_params, simple_cnn


def run(seed, ks0, channels, lr):
    parts = digits()
    torch.manual_seed(seed)
    net = simple_cnn((1, channels, 16, 32, 64, 10), ks0=ks0)
    train(net, *parts['train'], 512, 117, lr, seed, '1cycle')
    valid, test = [evaluate(net, *parts[p])[1] for p in ('valid', 'test')]
    return dict(weights=n_params(net), valid=valid, test=test, collapsed=test < .5)


if __name__ == '__main__':
    runs = study(__file__, run, (dict(ks0=[3, 5, 7], channels=[4, 8], lr=[.01, .03, .06, .1]), 6))
    print(runs.groupby(['channels', 'ks0', 'lr'])[['valid', 'test', 'collapsed']].mean().round(4).to_string())
