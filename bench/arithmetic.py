"""Time and memory of `arithmetic` beside torchinfo, TorchLens and the model's own forward pass: three networks for
photographs, and a language model of seven billion parameters on the device `meta`.

Each measurement has a process of its own; the tools take turns, and the table has medians over the rounds, as ratios
to convlab. Seconds are those of a second call (the first one imports things); memory is how far the process grew at its
peak. `python bench/arithmetic.py`; `--rounds 5`, `--models resnet50 seven_billion`. TorchLens is measured where it is
installed, or in the folder that `--torchlens` names (`pip install --no-deps --target FOLDER torchlens graphviz`)."""
import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
import warnings
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn


class Block(nn.Module):
    "A layer of a decoder as in Llama: attention over the tokens before, and a gated network."
    def __init__(self, n, hidden, heads):
        super().__init__()
        self.heads, self.norm1, self.norm2 = heads, nn.RMSNorm(n), nn.RMSNorm(n)
        self.query, self.key, self.value, self.out = (nn.Linear(n, n, bias=False) for _ in range(4))
        self.gate, self.up = nn.Linear(n, hidden, bias=False), nn.Linear(n, hidden, bias=False)
        self.down = nn.Linear(hidden, n, bias=False)

    def forward(self, x):
        y = self.norm1(x)
        q, k, v = (f(y).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.query, self.key, self.value))
        x = x + self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))
        y = self.norm2(x)
        return x + self.down(F.silu(self.gate(y))*self.up(y))


def language_model(layers=32, n=4096, hidden=11008, heads=32, words=32000):
    return nn.Sequential(nn.Embedding(words, n), *(Block(n, hidden, heads) for _ in range(layers)),
                         nn.RMSNorm(n), nn.Linear(n, words, bias=False))


def build(name):
    "A model in evaluation mode, and a batch of one for it."
    if name == 'seven_billion':
        with torch.device('meta'): return language_model().eval(), torch.zeros(1, 128, dtype=torch.long)
    from convlab import compat  # noqa: F401  makes torchvision importable
    from torchvision import models
    return models.get_model(name, weights=None).eval(), torch.rand(1, 3, 224, 224)


def forward(model, x):
    with torch.no_grad(): model(x)


def by_convlab(model, x):
    from convlab.arithmetic import arithmetic, totals
    tot = totals(arithmetic(model, inputs=x))
    return tot['params'], tot['multiplications']


def by_torchinfo(model, x):
    import torchinfo
    info = torchinfo.summary(model, input_data=x, device=x.device, verbose=0)
    return info.total_params, info.total_mult_adds


def by_torchlens(model, x):
    import torchlens
    trace = torchlens.trace(model, x)
    return trace.num_params, trace.total_macs


tools = dict(convlab=by_convlab, torchinfo=by_torchinfo, torchlens=by_torchlens, forward=forward)


def peak():  # of this process, in MB
    try:
        status = Path('/proc/self/status').read_text()
        return int(status.split('VmHWM:')[1].split()[0])/1024
    except (OSError, IndexError): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1024


def forget_peak():  # where the system can; else what building the model took hides what is smaller
    try: Path('/proc/self/clear_refs').write_text('5')
    except OSError: pass


def measure(tool, name):
    "What one process finds out about one tool and one model."
    warnings.simplefilter('ignore')
    torch.set_num_threads(1)
    model, x = build(name)
    if next(model.parameters()).is_meta: x = x.to('meta')
    forget_peak()
    before, seconds, said = peak(), [], None
    for _ in range(2):
        start = time.perf_counter()
        try: said = tools[tool](model, x)
        except Exception as e: return dict(error=f'{type(e).__name__}: {e}'.replace('\n', ' ')[:100])
        seconds.append(time.perf_counter()-start)
    return dict(seconds=seconds[1], first=seconds[0], megabytes=peak()-before, said=said)


def in_own_process(tool, name, folder):
    env = os.environ | {'PYTHONPATH': os.pathsep.join(filter(None, [os.environ.get('PYTHONPATH'), folder]))}
    done = subprocess.run([sys.executable, __file__, '--one', tool, name], capture_output=True, text=True, env=env)
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines: return dict(error=f'the process ended with {done.returncode}')
    return json.loads(lines[-1])


def report(name, found):
    "Medians of one model as ratios to convlab."
    def median(tool, key): return statistics.median(r[key] for r in found[tool])
    ours = {k: median('convlab', k) for k in ('seconds', 'megabytes')} if 'error' not in found['convlab'][0] else None
    print(f'\n{name}')
    for tool, runs in found.items():
        if wrong := next((r['error'] for r in runs if 'error' in r), None):
            print(f'  {tool:10} {wrong}')
            continue
        ratios = [f'{median(tool, k)/max(ours[k], 1e-9):6.2f} times' if ours else '' for k in ('seconds', 'megabytes')]
        said = ', '.join(f"{'no' if n is None else format(n, ',')} {what}"
                         for n, what in zip(runs[0]['said'] or (), ('parameters', 'MACs')))
        print(f"  {tool:10} {median(tool, 'seconds'):7.2f} s {ratios[0]}  "
              f"{median(tool, 'megabytes'):8,.0f} MB {ratios[1]}   {said}", flush=True)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument('--models', nargs='*', default=['resnet50', 'vit_b_16', 'swin_t', 'seven_billion'])
    ap.add_argument('--rounds', type=int, default=3)
    ap.add_argument('--torchlens', default='', help='a folder in which TorchLens is installed')
    ap.add_argument('--one', nargs=2, metavar=('TOOL', 'MODEL'), help=argparse.SUPPRESS)
    args = ap.parse_args()
    if args.one: return print(json.dumps(measure(*args.one)))
    for name in args.models:
        found = {tool: [] for tool in tools}
        for _ in range(args.rounds):
            for tool in tools:
                failed = found[tool] and 'error' in found[tool][0]
                if not failed: found[tool].append(in_own_process(tool, name, args.torchlens))
        report(name, found)


if __name__ == '__main__': main()
