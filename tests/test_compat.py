"fastai beside a PyTorch whose torchvision operators cannot load, tried with stand-ins for torchvision."
import subprocess
import sys
from pathlib import Path

root = Path(__file__).parent.parent
nms = 'nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor'

describes = """
import torch
@torch.library.register_fake('torchvision::nms')
def fake(dets, scores, iou_threshold): return dets.new_empty(0)
@torch.library.register_fake('torchvision::qnms')
def fake(dets, scores, iou_threshold): return dets.new_empty(0)
"""
works = f"""
import torch
lib = torch.library.Library('torchvision', 'DEF')
lib.define({nms!r})
lib.define({'q'+nms!r})
lib.impl('nms', lambda dets, scores, iou_threshold: scores + 1, 'CPU')
""" + describes


def run(tmp_path, torchvision, code):
    "Run `code` in a new Python that finds `torchvision`, the text of a module, instead of the real one."
    package = tmp_path/'torchvision'
    package.mkdir()
    (package/'__init__.py').write_text(torchvision)
    done = subprocess.run([sys.executable, '-c', f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(root)!r}]\n{code}"],
                          capture_output=True, text=True)
    return done.stdout + done.stderr


def test_missing_operators_are_declared(tmp_path):
    out = run(tmp_path, describes, """
try: import torchvision
except RuntimeError as e: print('without it:', e)
from convlab import compat, operators
import torch, torchvision
print('declared', operators._lib is not None)
try: torch.ops.torchvision.nms(torch.rand(2,4), torch.rand(2), 0.5)
except NotImplementedError as e: print(e)""")
    assert 'without it: operator torchvision::nms does not exist' in out and 'declared True' in out and "Could not run 'torchvision::nms'" in out


def test_working_operators_are_left_alone(tmp_path):
    out = run(tmp_path, works, """
from convlab import compat, operators
import torch, torchvision
print('declared', operators._lib is not None)
print(torch.ops.torchvision.nms(torch.rand(2,4), torch.zeros(2), 0.5))""")
    assert 'declared False' in out and 'tensor([1., 1.])' in out


def test_other_failures_are_not_hidden(tmp_path):
    assert 'RuntimeError: something else' in run(tmp_path, "raise RuntimeError('something else')", 'from convlab import compat')
