"""Which rate suits which batch size, for plain gradient descent, with momentum, and for Adam?

The ten-digit network from Kaiming's start, 200 updates of 16, 128 or 1,024 digits at a constant rate, seven rates for each optimizer, three seeds.
One row a run: the loss of 10,000 training digits at the end, validation and test accuracy. Rates are chosen on the validation digits.
It takes one core twenty minutes: `python experiments/optimizers.py` writes `convlab/static/optimizers.csv`."""
from common import F, batches, digits, evaluate, kaiming, study, torch

from convlab.models import simple_cnn

ways = {'SGD': (lambda p, lr: torch.optim.SGD(p, lr), [.003, .01, .03, .1, .3, 1., 3.]),
        'momentum': (lambda p, lr: torch.optim.SGD(p, lr, momentum=.9), [.0003, .001, .003, .01, .03, .1, .3]),
        'Adam': (lambda p, lr: torch.optim.Adam(p, lr), [.0001, .0003, .001, .003, .01, .03, .1])}


def run(seed, optimizer, bs, lr):
    parts = digits()
    torch.manual_seed(seed)
    net = kaiming(simple_cnn()).train().to(memory_format=torch.channels_last)
    opt = ways[optimizer][0](net.parameters(), lr)
    for xb, yb in batches(*parts['train'], bs, 200, seed):
        opt.zero_grad()
        F.cross_entropy(net(xb), yb).backward()
        opt.step()
    some = [o[:10_000] for o in parts['train']]
    (loss, _), (_, valid), (_, test) = evaluate(net, *some), *[evaluate(net, *parts[p]) for p in ('valid', 'test')]
    return dict(train_loss=loss, valid=valid, test=test, collapsed=test < .5)


if __name__ == '__main__':
    runs = study(__file__, run, *[(dict(optimizer=[name], bs=[16, 128, 1024], lr=rates), 3) for name, (_, rates) in ways.items()])
    print(runs.groupby(['optimizer', 'bs', 'lr'], sort=False)[['train_loss', 'valid', 'test']].mean().round(4).to_string())
