"""The public surface: names, twins, layers, and what importing does."""

import ast
import importlib
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from backends import BACKENDS
from registry import covered_names

ROOT = Path(__file__).parent.parent
PACKAGES = {name: backend.package for name, backend in BACKENDS.items()}
HOST_FRAMEWORKS = {
    "pyro": {"torch", "pyro"},
    "numpyro": {"jax", "numpyro", "equinox", "optax", "diffrax"},
}
WITH_CASES = ["distributions", "distributions.transforms", "nn"]
PUBLIC = [*WITH_CASES, "distributions.conditionals", "models", "infer", "compare", "io"]
# a module imports only from the layers before its own, or from its own folder
LAYERS = ["_numerics", "ops", "nn", "distributions.transforms", "distributions", "infer", "models"]
TOP = ["compare", "compression", "io", "__main__"]


def python_files(package: str) -> dict[str, Path]:
    folder = ROOT / package
    return {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*.py"))}


def imports(path: Path) -> list[tuple[int, str]]:
    """The ``(level, module)`` of every import statement, wherever it stands."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(0, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            if node.module:
                found.append((node.level, node.module))
            else:
                found += [(node.level, alias.name) for alias in node.names]
    return found


def exported(package: str, subpackage: str) -> dict[str, object]:
    module = importlib.import_module(f"{package}.{subpackage}")
    return {name: getattr(module, name) for name in module.__all__}


@pytest.mark.parametrize("host", PACKAGES)
def test_every_exported_name_has_a_case(host):
    names = set()
    for subpackage in WITH_CASES:
        prefix = subpackage.rsplit(".")[-1]
        names |= {f"{prefix}.{name}" for name in exported(PACKAGES[host], subpackage)}
    assert names == covered_names()


@pytest.mark.parametrize("subpackage", PUBLIC)
def test_names_are_sorted_and_the_same_in_both_packages(subpackage):
    lists = []
    for package in PACKAGES.values():
        module = importlib.import_module(f"{package}.{subpackage}")
        assert list(module.__all__) in (sorted(module.__all__), constants_first(module.__all__))
        lists.append(module.__all__)
    assert lists[0] == lists[1]


def constants_first(names: list[str]) -> list[str]:
    kinds = {name: 0 if name.isupper() else 1 + name[0].islower() for name in names}
    return sorted(names, key=lambda name: (kinds[name], name))


# what a host's own base class adds, and where it keeps parameters
HOSTS_OWN = {
    ("AutoFlow", "prefix"),
    ("FlowIndependence", "params"),
    ("coverage", "params"),
    ("importance_resample", "params"),
    ("save_guide", "params"),
    ("latent_statistics", "params"),
    ("log_evidence", "params"),
    ("muon", "params"),
    ("refine", "params"),
}


def parameters(function, owner: str = "") -> list[tuple]:
    """Name, default and kind of the parameters, apart from the random key."""
    found = []
    for p in inspect.signature(function).parameters.values():
        default = p.default.__name__ if callable(p.default) else p.default
        if p.name != "rng_key" and (owner, p.name) not in HOSTS_OWN:
            found.append((p.name, default, p.kind))
    return found


# the hosts themselves give these methods other parameters
HOST_METHODS = {"expand", "log_abs_det_jacobian", "log_prob", "sample"}


def has_parameters(member) -> bool:
    return inspect.isfunction(member) or (
        inspect.isclass(member) and not issubclass(member, Exception)
    )


@pytest.mark.parametrize("subpackage", PUBLIC)
def test_parameters_and_defaults_are_the_same_in_both_packages(subpackage):
    ours, theirs = (exported(package, subpackage) for package in PACKAGES.values())
    for name, member in ours.items():
        if not has_parameters(member):
            continue
        assert parameters(member, name) == parameters(theirs[name], name), name
        # methods of guides are those of the host
        if not inspect.isclass(member) or subpackage not in WITH_CASES:
            continue
        shared = set(vars(member)) & set(vars(theirs[name])) - HOST_METHODS
        for method in sorted(shared):
            one, other = vars(member)[method], vars(theirs[name])[method]
            if inspect.isfunction(one) and not method.startswith("_"):
                assert parameters(one) == parameters(other), f"{name}.{method}"


def test_random_keys_come_first():
    for subpackage in ("distributions", "distributions.transforms", "nn"):
        for member in exported("numpyro_deepgen", subpackage).values():
            names = list(inspect.signature(member).parameters)
            assert "rng_key" not in names[1:]


def test_both_packages_have_the_same_files():
    """Files whose name starts with an underscore may be one host's own."""
    trees = [
        {name for name in python_files(package) if not Path(name).name.startswith("_")}
        for package in PACKAGES.values()
    ]
    assert trees[0] == trees[1]


def uses_host(path: Path) -> bool:
    hosts = set().union(*HOST_FRAMEWORKS.values())
    return any(level == 0 and name.split(".")[0] in hosts for level, name in imports(path))


def test_files_without_a_host_are_identical():
    ours, theirs = (python_files(package) for package in PACKAGES.values())
    # an __init__ may name its own package in its example
    shared = [name for name in ours if name in theirs and Path(name).name != "__init__.py"]
    compared = []
    for name in shared:
        if not uses_host(ours[name]) and not uses_host(theirs[name]):
            assert ours[name].read_bytes() == theirs[name].read_bytes(), name
            compared.append(name)
    assert {"_numerics/checks.py", "_numerics/files.py", "_numerics/masks.py"} <= set(compared)


@pytest.mark.parametrize("host", PACKAGES)
def test_a_package_never_imports_the_other_host(host):
    (other,) = set(PACKAGES) - {host}
    foreign = HOST_FRAMEWORKS[other] | {PACKAGES[other]}
    for name, path in python_files(PACKAGES[host]).items():
        for level, module in imports(path):
            assert level or module.split(".")[0] not in foreign, name


def layer_of(parts: tuple[str, ...]) -> str:
    """The layer of a module given by its path inside the package."""
    joined = ".".join(parts)
    if joined.startswith("distributions.transforms"):
        return "distributions.transforms"
    return parts[0] if parts else ""


def resolve(importer: tuple[str, ...], level: int, module: str) -> tuple[str, ...]:
    """The path inside the package that a relative import names."""
    base = importer[: len(importer) - level]
    return (*base, *module.split("."))


@pytest.mark.parametrize("package", PACKAGES.values())
def test_modules_import_downwards_only(package):
    for name, path in python_files(package).items():
        importer = (package, *Path(name).with_suffix("").parts)
        own = layer_of(importer[1:])
        for level, module in imports(path):
            if level == 0:
                assert module.split(".")[0] != package, f"{name}: imports are relative"
                continue
            target = layer_of(resolve(importer, level, module)[1:])
            if target == own or own in TOP or name == "__init__.py":
                continue
            # siblings of a folder's __init__ and the private parts of a file are its own layer
            assert target in LAYERS, f"{name} imports {target}"
            assert LAYERS.index(target) < LAYERS.index(own), f"{name} imports {target}"


@pytest.mark.parametrize("package", PACKAGES.values())
def test_modules_are_short_and_say_what_they_export(package):
    for name, path in python_files(package).items():
        text = path.read_text()
        assert len(text.splitlines()) <= 400, name
        tree = ast.parse(text)
        assert ast.get_docstring(tree), name
        if Path(name).name not in ("__init__.py", "__main__.py"):
            assert re.search(r"^__all__ = ", text, re.MULTILINE), name


SNAPSHOTS = {
    "pyro": """
import warnings, arviz, numpy, scipy.special, sklearn.datasets, torch, tqdm, pyro
from torch.distributions import Distribution
def state():
    return (
        torch.get_default_dtype(), torch.is_grad_enabled(), Distribution._validate_args,
        dict(pyro.settings.get()), torch.get_rng_state().tolist(), list(warnings.filters),
        numpy.random.get_state()[1].tolist(), torch.get_num_threads(), dict(pyro.get_param_store()),
    )
""",
    "numpyro": """
import warnings, arviz, equinox, jax, numpy, numpyro, optax, scipy.special, sklearn.datasets, tqdm
import numpyro.distributions.distribution as d
def state():
    return (
        dict(jax.config.values), d._VALIDATION_ENABLED, d.Distribution._validate_args,
        len(numpyro.primitives._PYRO_STACK), list(warnings.filters),
        numpy.random.get_state()[1].tolist(),
    )
""",
}

IMPORT_WITHOUT_THE_OTHER = """
import importlib, sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Blocked())
{snapshot}
before = state()
for name in {names!r}:
    importlib.import_module(name)
changed = [(a, b) for a, b in zip(before, state()) if a != b]
assert not changed, changed
"""


@pytest.mark.parametrize("host", PACKAGES)
def test_importing_needs_one_host_and_changes_none_of_its_settings(host):
    (other,) = set(PACKAGES) - {host}
    package = PACKAGES[host]
    modules = [package, *(f"{package}.{name}" for name in PUBLIC)]
    code = IMPORT_WITHOUT_THE_OTHER.format(
        blocked=sorted(HOST_FRAMEWORKS[other] | {PACKAGES[other]}),
        snapshot=SNAPSHOTS[host],
        names=modules,
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr
