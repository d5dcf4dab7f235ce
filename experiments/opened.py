"""Does a training whose activations open once and stay open end better than one that opens and shuts again?

The ten-digit network, 117 updates of 512 digits, five rates, with 1cycle and constant, six seeds. After each update the standard deviation of
what each ReLU is given is noted on one fixed batch. A layer *falls* when it drops below half of the largest value that it has had so far;
`falls` counts, over the four layers, how often one did that anew, `open` is the share of units of the last such layer that pass gradient at the end.
One row a run, with validation and test accuracy and test loss.
It takes one core ten minutes: `python experiments/opened.py` writes `convlab/static/opened.csv`."""
from collapse_steps import look
from common import digits, evaluate, study, torch, train

from convlab.models import simple_cnn


def falls(spread):  # how often; `spread`: of one layer, one number a step
    "How often a series drops below half of its largest value so far, having been above it before."
    top, low, count = 0., False, 0
    for s in spread:
        top = max(top, s)
        count += s < top/2 and not low
        low = s < top/2
    return count


def run(seed, lr, schedule):
    parts = digits()
    torch.manual_seed(seed)
    net, seen = simple_cnn(), []
    same = parts['train'][0][:512]
    def after(i, net, loss): seen.append(look(net, same))
    train(net, *parts['train'], 512, 117, lr, seed, schedule, after)
    (_, valid), (loss, test) = [evaluate(net, *parts[p]) for p in ('valid', 'test')]
    return dict(falls=sum(falls([row[f'std_{i}'] for row in seen]) for i in (1, 2, 3, 4)), open=seen[-1]['pass_4'],
                least_open=min(row[f'pass_{i}'] for row in seen for i in (1, 2, 3, 4)), valid=valid, test=test, loss=loss, collapsed=test < .5)


if __name__ == '__main__':
    runs = study(__file__, run, (dict(lr=[.003, .01, .03, .06, .1], schedule=['constant', '1cycle']), 6))
    print(runs.groupby(['schedule', 'lr'])[['falls', 'open', 'least_open', 'test', 'collapsed']].mean().round(3).to_string())
