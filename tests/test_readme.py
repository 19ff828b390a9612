"""The README's code runs as printed."""

import re
from pathlib import Path

import pytest

README = (Path(__file__).parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


NAMES = [f"{'numpyro' if 'numpyro' in block else 'pyro'}-{i}" for i, block in enumerate(BLOCKS)]


@pytest.mark.compiles
@pytest.mark.parametrize("index", range(len(BLOCKS)), ids=NAMES)
def test_block_runs(index, capsys):
    exec(compile(BLOCKS[index], f"README block {index}", "exec"), {})


def test_the_readme_has_both_hosts():
    assert sum("numpyro_deepgen" in block for block in BLOCKS) >= 2
    assert sum("import pyro," in block for block in BLOCKS) >= 2
