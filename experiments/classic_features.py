"""What were the features worth that people made by hand, before networks learned theirs?

Each kind, cut into numbers, goes to one linear classifier (multinomial logistic regression), which learns from 200, 2,000 or 50,000 digits; its
penalty is chosen on others, and it answers test digits, once. Five seeds. With 200 and 2,000 each has training, validation (500) and test digits
(1,000) that no other seed has, so that the intervals hold the luck of all three; 50,000 are all that there are to learn from, and each seed has its
own 2,000 to choose by and 2,000 to be tested on. The null models: random kernels in place of the kernels, of the same number and size, in the bank
also under the same bumps. The CNN has batch norm and 200 steps of 64 digits, or 600, or 2,000; its rate is chosen as the penalty is, out of four to six.
The kernels of its first layer, after 200 steps with the same digits, are also used as features. `cost`: seconds of one (busy) core to make the
features of 1,000 digits, and the little that the classifiers take to answer; the CNN's: to answer. It takes one core an hour and a quarter: `python experiments/classic_features.py` writes
`convlab/static/classic_features.csv`."""
import time
from functools import cache, lru_cache

from common import digits, evaluate, nn, study, torch, train

from convlab.classic import cells, classic_features, classifiers, energy, gabor_bank, halves, judge, respond
from convlab.models import simple_cnn

rates = {200: (.01, .03, .1, .3, 1., 3.), 2000: (.003, .01, .03, .1, .3), 50_000: (.003, .01, .03, .1)}  # by how many digits there are
networks = {'CNN': 200, 'CNN, 600 steps': 600, 'CNN, 2,000 steps': 2000}
everything = 50_000


def part(name, seed, n) -> tuple:  # images [N,1,28,28], normalized, and labels
    "The digits of a seed that learns from `n`: no other seed has them, but for the training digits if these are all."
    if name == 'test': return tuple(o[seed::5 if n == everything else 10] for o in digits()[name])  # it lies in order: one half is harder
    if name == 'train' and n == everything: return digits()[name]
    size = dict(train=2000, valid=2000 if n == everything else 500)[name]
    return tuple(o[size*seed:size*(seed+1)][:n if name == 'train' else None] for o in digits()[name])


def ink(x): return (x[:, 0]*.3081+.1307).clamp(0, 1)  # images [N,28,28], 0 to 1


def random_kernels(seed, *shape): return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@lru_cache(maxsize=1)
def cnn(seed, n, steps):
    "The network at the rate that the validation digits choose, that rate, and its accuracy on them."
    found = []
    for lr in rates[n]:
        torch.manual_seed(seed)
        net = simple_cnn(norm=nn.BatchNorm2d)
        train(net, *part('train', seed, n), 64, steps, lr, seed, '1cycle')
        found.append((evaluate(net, *part('valid', seed, n))[1], -lr, net))
    valid, lr, net = max(found, key=lambda o: o[:2])
    return net, -lr, valid


def function(seed, features, n):  # of images, that makes their features
    if features in classic_features: return classic_features[features]
    if features == 'random bank':
        bank = gabor_bank()
        bank = torch.complex(*random_kernels(seed, 2, *bank.shape))*bank.abs()
        bank -= bank.mean((1, 2), keepdim=True)
        return lambda x: cells(energy(x, bank))
    kernels = cnn(seed, n, 200)[0][0][0].weight.detach()[:, 0] if features == '8 learned kernels' else random_kernels(seed, *shapes[features])
    return lambda x: cells(halves(respond(x, kernels)))


shapes = {'4 random kernels': (4, 3, 3), '8 random kernels': (8, 5, 5)}


@cache
def learned(seed, features, n):  # the classifiers, one for each penalty
    x, y = part('train', seed, n)
    f = function(seed, features, n)
    return classifiers(torch.cat([f(o) for o in ink(x).split(2000)]), y)


def run(seed, features, learned_from):
    test = part('test', seed, learned_from)
    if features in networks:
        net, lr, valid = cnn(seed, learned_from, networks[features])
        start = time.process_time()
        found = dict(dims=256, chosen=lr, valid=valid, test=evaluate(net, *test)[1])
    else:
        # What all seeds have in common is learned once
        nets = learned(0 if features in classic_features and learned_from == everything else seed, features, learned_from)
        f, (x, y) = function(seed, features, learned_from), part('valid', seed, learned_from)
        valid, start = (f(ink(x)), y), time.process_time()
        test = f(ink(test[0])), test[1]
        found = dict(dims=test[0].shape[1], **judge(nets, valid, test))
    return dict(found, cost=(time.process_time()-start)*1000/len(test[1]))


if __name__ == '__main__':
    names = [k for k in classic_features if k != 'Haar wavelets']  # these tell exactly what raw pixels tell: a turn
    names += ['4 random kernels', '8 random kernels', 'random bank', '8 learned kernels', *networks]
    runs = study(__file__, run, (dict(learned_from=[200, 2000, everything], features=names), 5))
    print(runs.groupby(['learned_from', 'features'], sort=False)[['dims', 'valid', 'test', 'cost']].mean().round(4).to_string())
