"""Which part of 1cycle helps: its start, its top, its end, or the momentum that goes the other way?

The ten-digit network, Adam, 117 steps of 512 digits or 937 of 64 (60,000 digits either way, drawn from 50,000), 1cycle with one part
left out in turn, and a constant rate, each at several
rates.  One row a run: accuracy on 10,000 validation digits (choose by it) and on the test set (report it).
It takes one core about half an hour: `python experiments/schedule.py` writes `convlab/static/schedule.csv`."""
from common import digits, evaluate, study, torch, train
from convlab.models import simple_cnn

kinds = ['constant', '1cycle', 'no warm-up', 'no decay', 'no momentum cycle']


def grid(bs, rates): return dict(bs=[bs], steps=[60_000//bs], lr=rates, schedule=kinds)


def run(seed, bs, steps, lr, schedule):
    parts = digits()
    torch.manual_seed(seed)
    net = simple_cnn()
    loss = train(net, *parts['train'], bs, steps, lr, seed, schedule)
    (valid_loss, valid), (_, test) = evaluate(net, *parts['valid']), evaluate(net, *parts['test'])
    return dict(train_loss=loss, valid_loss=valid_loss, valid=valid, test=test, collapsed=test < .5)


if __name__ == '__main__':
    runs = study(__file__, run, (grid(512, [.01, .03, .06, .1]), 5), (grid(64, [.06]), 5), (grid(512, [.06]), 10))
    print(runs.groupby(['bs', 'lr', 'schedule'])[['valid', 'test', 'collapsed']].mean().round(4).to_string())
