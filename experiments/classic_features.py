"""What were the features worth that people made by hand, before networks learned theirs?

Each kind, cut into numbers, goes to one linear classifier (multinomial logistic regression), which learns from 200 digits; its penalty is chosen on
500 others, and it answers 1,000 test digits, once. Four kinds also learn from 2,000. Five seeds, and each has training, validation and test digits
that no other seed has, so that the intervals hold the luck of all three. The null models: random kernels in place of the kernels, of the same
number and size, in the bank also under the same bumps. The CNN has batch norm and 200 steps of 64 digits (from 200 digits also 600), its rate is
chosen in the same way; its first layer's kernels are also used as features. `cost`: seconds of one (busy) core to make the features of 1,000
digits; the CNN's: to answer. It takes one core eight minutes: `python experiments/classic_features.py` writes
`convlab/static/classic_features.csv`."""
import time
from functools import lru_cache

from common import digits, evaluate, nn, study, torch, train

from convlab.classic import cells, classic_features, energy, gabor_bank, halves, judge, respond
from convlab.models import simple_cnn

rates = .01, .03
networks = {'CNN': 200, 'CNN, 600 steps': 600}
more = 'raw pixels', 'edge kernels', 'Gabor energy', 'CNN'  # learn from 2,000 digits too


def parts(seed, n) -> dict:  # images [N,28,28], 0 to 1, and labels
    "A seed's own digits, `n` of them to learn from."
    found = {}
    for name, size in dict(train=2000, valid=500, test=1000).items():
        x, y = (o[size*seed:size*(seed+1)][:n if name == 'train' else None] for o in digits()[name])
        found[name] = (x[:, 0]*.3081+.1307).clamp(0, 1), y
    return found


def random_kernels(seed, *shape): return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@lru_cache(maxsize=4)
def cnn(seed, n, steps=200):
    "The network at the rate that the validation digits choose, that rate, and its accuracy on them."
    found = []
    x, y = (o[2000*seed:2000*seed+n] for o in digits()['train'])
    for lr in rates:
        torch.manual_seed(seed)
        net = simple_cnn(norm=nn.BatchNorm2d)
        train(net, x, y, 64, steps, lr, seed, '1cycle')
        found.append((evaluate(net, *(o[500*seed:500*(seed+1)] for o in digits()['valid']))[1], -lr, net))
    valid, lr, net = max(found, key=lambda o: o[:2])
    return net, -lr, valid


def function(seed, features):  # of images, that makes their features
    if features in classic_features: return classic_features[features]
    if features == 'random bank':
        bank = gabor_bank()
        bank = torch.complex(*random_kernels(seed, 2, *bank.shape))*bank.abs()
        bank -= bank.mean((1, 2), keepdim=True)
        return lambda x: cells(energy(x, bank))
    kernels = cnn(seed, 200)[0][0][0].weight.detach()[:, 0] if features == '8 learned kernels' else random_kernels(seed, *shapes[features])
    return lambda x: cells(halves(respond(x, kernels)))


shapes = {'4 random kernels': (4, 3, 3), '8 random kernels': (8, 5, 5)}


def computed(seed, features, n):  # what the features of a seed's digits are, and the cost
    f, made = function(seed, features), {}
    for name, (x, y) in parts(seed, n).items():
        start = time.process_time()
        made[name] = f(x).contiguous(), y
    return made, time.process_time()-start  # of the last part, the test digits


def run(seed, features, learned_from):
    if features in networks:
        net, lr, valid = cnn(seed, learned_from, networks[features])
        x, y = (o[1000*seed:1000*(seed+1)] for o in digits()['test'])
        start = time.process_time()
        test = evaluate(net, x, y)[1]
        return dict(dims=256, chosen=lr, valid=valid, test=test, cost=time.process_time()-start)
    made, cost = computed(seed, features, learned_from)
    return dict(dims=made['train'][0].shape[1], **judge(**made), cost=cost)


if __name__ == '__main__':
    names = [k for k in classic_features if k != 'Haar wavelets']  # these tell exactly what raw pixels tell: a turn
    names += ['4 random kernels', '8 random kernels', 'random bank', 'CNN', '8 learned kernels', 'CNN, 600 steps']
    runs = study(__file__, run, (dict(features=names, learned_from=[200]), 5), (dict(features=list(more), learned_from=[2000]), 5))
    print(runs.groupby(['learned_from', 'features'], sort=False)[['dims', 'valid', 'test', 'cost']].mean().round(4).to_string())
