"""Convolutional networks from one pixel to a trained network: the library of the course.

    import convlab
    convlab.arithmetic(model, (3,224,224))                 # what each layer costs
    convlab.receptive_field(model, (3,224,224), 'layer1')  # which pixels it sees

`dir(convlab)` lists the instruments. Each is imported when it is first used.
"""
import sys
from importlib import import_module, util
from types import ModuleType

__version__ = "0.2.0"
__source__ = "convlab-course[{extra}] @ git+https://github.com/convlab-course/convlab@main"  # what pip installs

_light = {  # where each instrument of the light core is
    'convolutions': 'out_size conv2d im2col conv_matrix',
    'models': 'conv simple_cnn n_params',
    'norms': 'BatchNorm2d',
    'arithmetic': 'arithmetic show_arithmetic totals',
    'trace.counting': 'count_rule',
    'receptive': 'receptive_field trace_precedents show_precedents projective_field gradient_probe '
                 'effective_receptive_field',
    'study.activations': 'record_activations',
    'draw.workbook': 'conv_workbook',
    'draw.kernel_lab': 'KernelLab',
    'draw.labs': 'StrideLab ValleyLab RingLab',
    'draw.way': 'WayLab',
}
_course = {  # and of those that need the extra `course`
    'study.data': 'mnist_path load_mnist get_dls',
    'study.sweep': 'sweep summarize paired show_means result_table',
    'training': 'fit one_cycle_schedule',
    'stats': 'ActivationStats',
}
_homes = {name: home for home, names in (_light | _course).items() for name in names.split()}
__all__ = [name for name, home in _homes.items() if home in _light or util.find_spec('fastai')]


def __getattr__(name):
    if name not in _homes: raise AttributeError(f"module 'convlab' has no attribute {name!r}")
    found = getattr(import_module(f'convlab.{_homes[name]}'), name)
    return globals().setdefault(name, found)  # importing `arithmetic` has put the module of this name here


def __dir__(): return [*__all__, '__version__']


class _Callable(ModuleType):  # a module that can be called as its function can
    def __call__(self, *args, **kwargs): return self.arithmetic(*args, **kwargs)


class _Package(ModuleType):
    def __setattr__(self, name, value):
        "`arithmetic` is an instrument and a module: whoever imports the module can go on calling the instrument."
        if name == 'arithmetic': value.__class__ = _Callable
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
