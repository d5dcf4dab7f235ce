"Packaging: every fact comes from settings.ini."
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
ini = ConfigParser()
ini.read(here/'settings.ini', encoding='utf-8')
cfg = ini['DEFAULT']

setup(
    version=cfg['version'],
    description=cfg['description'],
    long_description=(here/'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    url=f"https://github.com/{cfg['user']}/{cfg['repo']}",
    license=cfg['license'],
    keywords=['convolutional networks', 'deep learning', 'course', 'fastai', 'pytorch'],
    classifiers=['Programming Language :: Python :: 3', 'Intended Audience :: Education'],
    python_requires=f">={cfg['min_python']}",
    packages=find_packages(include=[cfg['lib_path'], cfg['lib_path'] + '.*']),
    package_dir={'': '.'},  # so that `pip install -e` writes a .pth: the folder above a clone does not hide the library
    package_data={cfg['lib_path']: ['static/**/*']},
    install_requires=cfg['requirements'].split(),
    extras_require={extra: cfg[extra].split() for extra in ('course', 'xlsx', 'dev')},
    entry_points={'nbdev': [f"{cfg['lib_path']}={cfg['lib_path']}._modidx:d"],
                  'console_scripts': [cfg['console_scripts']]},
)
