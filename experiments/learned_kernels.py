"""The first layer's kernels of networks that learned the ten digits, before and after.

Six seeds of the ten-digit network with batch norm; 200 steps of 64 digits, 1cycle to .03. One row for each of the eight kernels of 5 by 5,
before training and after it. It takes one core half a minute: `python experiments/learned_kernels.py` writes `convlab/static/learned_kernels.csv`, which lesson
`11_classic_features` holds against Gabor kernels."""
from functools import lru_cache

from common import digits, evaluate, nn, study, torch, train

from convlab.models import simple_cnn


@lru_cache(maxsize=1)
def trained(seed):
    "Kernels before and after training, and the accuracy on 2,000 validation digits."
    torch.manual_seed(seed)
    net = simple_cnn(norm=nn.BatchNorm2d)
    def kernels(): return net[0][0].weight.detach().clone().flatten(1)
    before = kernels()
    train(net, *digits()['train'], 64, 200, .03, seed, '1cycle')
    return dict(before=before, after=kernels()), evaluate(net, *(o[:2000] for o in digits()['valid']))[1]


def run(seed, kernel, training):
    kernels, valid = trained(seed)
    return dict(valid=valid, **{f'w{i}': round(v, 4) for i, v in enumerate(kernels[training][kernel].tolist())})


if __name__ == '__main__':
    runs = study(__file__, run, (dict(kernel=list(range(8)), training=['before', 'after']), 6))
    print(runs.groupby('training').valid.mean())
