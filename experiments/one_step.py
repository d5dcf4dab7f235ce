"""What does one step from random weights do to the loss, by learning rate and batch size? And ten?

One row a run: the loss of 2,000 training digits before, after one step and after ten, from PyTorch's own start and from Kaiming's.
It takes one core two minutes: `python experiments/one_step.py` writes `convlab/static/one_step.csv`."""
from common import digits, evaluate, kaiming, study, torch, train
from convlab.models import simple_cnn

rates = [.001, .003, .01, .03, .06, .1, .3, 1.]


def run(seed, start, bs, lr):
    x, y = digits()['train']
    torch.manual_seed(seed)
    net = simple_cnn()
    if start == 'Kaiming': kaiming(net)
    found = {}
    def look(name): found[name] = evaluate(net, x[:2000], y[:2000])[0]
    look('before')
    def after(i, net, loss):
        if i in (0, 9): look(f'after_{i+1}'), net.train()
    train(net, x, y, bs, 10, lr, seed, after=after)
    return found


if __name__ == '__main__':
    runs = study(__file__, run, (dict(start=['PyTorch', 'Kaiming'], bs=[64, 512], lr=rates), 20))
    print(runs.groupby(['start', 'bs', 'lr'])[['before', 'after_1', 'after_10']].median().round(3).to_string())
