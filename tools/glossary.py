"""The glossary: its page, made from convlab/static/glossary.json, and links to it from each lesson's first use of one.

`python tools/glossary.py` rewrites the lessons' text in nbs/; run again, it changes nothing.
The page is one of the copies that `make badges` writes.
"""
import argparse
import json
import re
import sys
from itertools import groupby
from pathlib import Path

root = Path(__file__).resolve().parent.parent

# What is left alone: badges, links and pictures, code, formulas, headings, quotations (nbdev makes the first one
# a docstring), tables, HTML, addresses
kept = re.compile(r'(\[!\[[^\]]*\]\([^)]*\)\]\([^)]*\)|!?\[[^\]]*\]\([^)]*\)'
                  r'|```.*?```|``[^`]+``|`[^`]+`|\$\$.*?\$\$|\$[^$\n]+\$'
                  r'|^ {0,3}[#>|][^\n]*$|<[^>\n]+>|https?://\S+)', re.M | re.S)
ours = re.compile(r'\[([^\]]+)\]\(glossary\.(?:md|ipynb)#[^)]*\)')


def entries(root: Path = root) -> list[dict]:
    "Terms with aliases, a sentence, the lesson and heading that teach them; `marked` ones are linked only in italics."
    return json.loads((root/'convlab'/'static'/'glossary.json').read_text(encoding='utf-8'))


def anchor(heading: str) -> str:
    from convlab.course.quiz import anchor
    return anchor(heading)


def page(terms: list[dict]) -> str:
    """The glossary in Markdown, with a heading for each term.

    It is no notebook: JupyterLab opens a page at the word that a link names, but a notebook at its top."""
    def paragraph(t):
        others = [a for a in t['aliases'] if not plural(a, t)]
        also = f" Also: {', '.join(others)}." if others else ''
        return f"### {t['term']}\n\n{t['sentence']}{also} ([{t['lesson']}]({t['lesson']}.ipynb#{anchor(t['heading'])}))"

    def plural(a, t): return a.lower().startswith(t['term'].lower()) or a.endswith('s') and a[:-1] in t['aliases']
    parts = ['# Glossary', 'The words of the course, a sentence each, and where each is taught. '
             'The first use of a word in a lesson leads here.']
    for letter, some in groupby(sorted(terms, key=lambda t: t['term'].lower()), key=lambda t: t['term'][0].upper()):
        parts += [f'## {letter}', *map(paragraph, some)]
    return '\n\n'.join(parts) + '\n'


def linked(texts: list[str], terms: list[dict]) -> list[str]:
    "The Markdown cells of a lesson with the first use of each term linked, and no other."
    names = {n.lower(): t for t in terms for n in (t['term'], *t['aliases'])}
    words = '|'.join(re.escape(n).replace(r'\ ', r'\s+') for n in sorted(names, key=len, reverse=True))
    word = re.compile(rf'(?<![\w\-\\/.])(?:{words})(?![\w\-])', re.I)
    seen = set()

    def link(m):
        t = names[re.sub(r'\s+', ' ', m[0]).lower()]
        marked = m.string[max(0, m.start()-1):m.start()] == '*' == m.string[m.end():m.end()+1]
        if t['term'] in seen or t.get('marked') and not marked: return m[0]
        seen.add(t['term'])
        return f"[{m[0]}](glossary.md#{anchor(t['term'])})"

    def once(text):
        parts = kept.split(ours.sub(r'\1', text))
        return ''.join(p if i % 2 else word.sub(link, p) for i, p in enumerate(parts))
    return [once(t) for t in texts]


def lesson(text: str, terms: list[dict]) -> str:
    "The notebook `text`, JSON as nbdev writes it, with its links to the glossary."
    nb = json.loads(text)
    cells = [c for c in nb['cells'] if c['cell_type'] == 'markdown']
    for c, new in zip(cells, linked([''.join(c['source']) for c in cells], terms)): c['source'] = new.splitlines(True)
    return json.dumps(nb, sort_keys=True, indent=1, ensure_ascii=False) + '\n'


def differing(root: Path = root) -> dict:  # `{path: text}`
    "The lessons whose links are not as they should be, as they should be."
    both = {p: p.read_text(encoding='utf-8') for p in sorted((root/'nbs').glob('[0-9][0-9]_*.ipynb'))}
    return {p: new for p, text in both.items() if (new := lesson(text, entries(root))) != text}


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument('--check', action='store_true',
                    help='change nothing; fail if a lesson has not the links that it should have')
    check = ap.parse_args().check
    bad = differing()
    for path, text in bad.items():
        print(f'{path.relative_to(root)} {"lacks links to the glossary, or has old ones" if check else "rewritten"}')
        if not check: path.write_text(text, encoding='utf-8')
    sys.exit(bool(check and bad))


if __name__ == '__main__': main()
