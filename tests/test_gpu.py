"""What needs a GPU: the densities of the CPU, draws that stay there, training, and the rows.

The rows of the results table read the file that an environment variable names:

    DEEPGEN_BINARIZED_MNIST=binarized_mnist.npz python -m pytest -m gpu -s tests/test_gpu.py
"""

import copy
import os
import runpy
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from backends import BACKENDS, make_backend
from gpu_rows import DATA_VARIABLE, ROWS
from registry import DISTRIBUTIONS
from registry_autoregressive import NETWORKS
from registry_models import PAIRS
from test_hierarchical import PAIRS as HIERARCHIES
from test_hierarchical import bits, build

pytestmark = pytest.mark.gpu

EXAMPLES = Path(__file__).parent.parent / "examples"
GPUS = {"pyro": "cuda", "numpyro": "gpu"}
FLOWS = (
    *("maf", "iaf", "realnvp", "nsf", "nsf-autoregressive", "planar", "sylvester"),
    *("bnaf", "gaussianization", "MixtureFlow"),
)
VAES = (
    *("vae-bits", "vae-convolutional-mixture", "vae-planar", "vae-iaf"),
    *("vae-sylvester-orthogonal", "vae-vamp-prior", "stacked_vae", "pixel_vae-bits"),
)
# an example and a small command line
SMALL = {
    "vae": "--network gated_convolutional --hidden-dim 16 --latent-dim 2 --num-samples 20 "
    "--num-evaluated 50 --num-warmup-epochs 1",
    "autoregressive": "--model pixel_cnn --hidden-dim 4 --num-blocks 2",
    "hierarchical_vae": "--hidden-dim 16 --num-layers 2",
    "vq_vae": "--channels 6 --codebook-decay 0.9",
    "video": "--model video_vq_vae --num-videos 40 --num-frames 3 --side 8 --hidden-dim 8 "
    "--num-blocks 2 --num-codes 8 --channels 8 --halvings 0 1 1 --num-shown 2 --labels",
}


def has_gpu(host: str) -> bool:
    """Whether the framework of a host sees the device that the tests are for."""
    if host == "pyro":
        import torch

        return GPUS[host] != "cuda" or torch.cuda.is_available()
    import jax

    try:
        return bool(jax.devices(GPUS[host]))
    except RuntimeError:
        return False


class TorchPlace:
    """A device of torch: what lies there, and what a pair does there."""

    def __init__(self, backend, kind: str):
        self.backend, self.device, self.keys = backend, backend.torch.device(kind), ()

    @contextmanager
    def active(self):
        # the host knows parameters by name, and would take those of the other device
        self.backend.pyro.clear_param_store()
        yield

    def put(self, value):
        return None if value is None else copy.deepcopy(value).to(self.device)

    def holds(self, value) -> bool:
        return value.device.type == self.device.type

    def numpy(self, array) -> np.ndarray:
        return array.detach().cpu().numpy()

    def leaves(self, params: dict) -> list:
        return list(params.values())

    def latent(self, pair, args) -> dict[str, np.ndarray]:
        """What the guide draws."""
        nodes = self.backend.pyro.poutine.trace(pair.guide).get_trace(*args).nodes
        return {
            name: self.numpy(node["value"])
            for name, node in nodes.items()
            if node["type"] == "sample" and not node["is_observed"] and not is_index(node)
        }

    def log_joint(self, pair, args, values) -> float:
        model = self.backend.pyro.condition(pair.model, values)
        trace = self.backend.pyro.poutine.trace(model).get_trace(*args)
        return float(trace.log_prob_sum().detach())

    def evidence(self, pair, result, args):
        infer = self.backend.load("infer")
        return infer.log_evidence(pair.model, pair.guide, 20, args=args, chunk=10)


class JaxPlace:
    """A device of JAX, with the same methods."""

    def __init__(self, backend, kind: str):
        self.backend, self.device = backend, backend.jax.devices(kind)[0]
        self.keys = (self.put(backend.key()),)

    def active(self):
        return self.backend.jax.default_device(self.device)

    def put(self, value):
        jax = self.backend.jax
        return jax.tree.map(
            lambda a: jax.device_put(a, self.device) if hasattr(a, "dtype") else a, value
        )

    def holds(self, value) -> bool:
        return value.devices() == {self.device}

    def numpy(self, array) -> np.ndarray:
        return np.asarray(array)

    def leaves(self, params: dict) -> list:
        return self.backend.jax.tree.leaves(params)

    def latent(self, pair, args) -> dict[str, np.ndarray]:
        handlers = self.backend.numpyro.handlers
        sites = handlers.trace(handlers.seed(pair.guide, *self.keys)).get_trace(*args)
        return {
            name: self.numpy(site["value"])
            for name, site in sites.items()
            if site["type"] == "sample" and not site["is_observed"]
        }

    def log_joint(self, pair, args, values) -> float:
        numpyro = self.backend.numpyro
        model = numpyro.handlers.seed(pair.model, *self.keys)
        return float(numpyro.infer.util.log_density(model, args, {}, values)[0])

    def evidence(self, pair, result, args):
        infer = self.backend.load("infer")
        options = {"args": args, "chunk": 10}
        return infer.log_evidence(*self.keys, pair.model, pair.guide, result.params, 20, **options)


def is_index(node: dict) -> bool:
    """Whether a site of Pyro is the choice of a minibatch."""
    return type(node["fn"]).__name__ == "_Subsample"


@pytest.fixture
def memory_is_shared(monkeypatch):
    """Both hosts in one process: JAX does not take the memory of the GPU at its start."""
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


@pytest.fixture(params=list(BACKENDS))
def places(request, memory_is_shared):
    """The CPU and the GPU of a host, in double precision."""
    if not has_gpu(request.param):
        pytest.skip(f"{request.param} sees no GPU")
    kind = TorchPlace if request.param == "pyro" else JaxPlace
    with make_backend(request.param).precision(64) as backend:
        yield kind(backend, "cpu"), kind(backend, GPUS[request.param])


def check_density(places, module, context=None):
    """Draws stay on the device, and both devices give those of the first one density."""
    points, found = None, []
    for place in places:
        with place.active():
            here = place.put(module)
            d = here() if context is None else here(place.put(context))
            draws = d.sample(*place.keys, (3,))
            assert place.holds(draws)
            points = place.numpy(draws) if points is None else points
            # a second distribution has no score that was kept
            d = here() if context is None else here(place.put(context))
            log_prob = d.log_prob(place.put(place.backend.array(points)))
            assert place.holds(log_prob)
            found.append(place.numpy(log_prob))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-8)


@pytest.mark.parametrize("name", FLOWS)
def test_flows(places, name):
    backend = places[0].backend
    (case,) = (case for case in DISTRIBUTIONS if str(case) == name)
    dim = 3 if case.takes_context else 0
    module = backend.perturbed(case.build(backend, 4, dim), 0.1)
    context = np.random.default_rng(0).standard_normal((5, dim))
    check_density(places, module, backend.array(context) if dim else None)


@pytest.mark.parametrize("case", NETWORKS, ids=str)
def test_autoregressive_networks(places, case):
    backend, gpu = places[0].backend, places[1]
    conditional = backend.load("distributions.conditionals").BernoulliConditional()
    module = backend.perturbed(case.distribution(backend, (4, 4), conditional), 0.1)
    check_density(places, module)
    mask = np.arange(16).reshape(4, 4) < 8
    with gpu.active():
        d, values = gpu.put(module)(), gpu.put(backend.array(mask))
        mask = backend.torch.as_tensor(mask) if backend.name == "pyro" else mask
        given = d.sample_given(*gpu.keys, gpu.put(mask), values, (3,))
        assert gpu.holds(given.value) and gpu.holds(given.log_weight)
    assert (gpu.numpy(given.value)[:, :2] == 1).all()


def vae_and_rows(backend, name: str):
    (case,) = (case for case in PAIRS if str(case) == name)
    return backend.perturbed(case.build(backend), 0.05), case.rows(backend, 12)[0]


def check_pair(places, pair, x, loss, checkpoint, has_evidence: bool = True):
    """One joint density on both devices; training goes on from its end; all stays there."""
    values, found = None, []
    for place in places:
        with place.active():
            here, args = place.put(pair), (place.put(x),)
            if values is None:
                values = place.latent(here, args)
            known = {name: place.put(place.backend.array(v)) for name, v in values.items()}
            found.append(place.log_joint(here, args, known))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-8)
    infer = place.backend.load("infer")
    options = {"kwargs": {"size": len(x)}, "batch_size": 6, "learning_rate": 1e-3}
    options |= {"held_out_args": args, "evaluate_every": 2, "progress": False}
    with place.active():
        assert place.holds(here.sample(*place.keys, 3))
        runs = [
            infer.fit(
                *(*place.keys, here.model, here.guide, 4),
                args=args,
                loss=loss(),
                checkpoint=checkpoint,
                **options,
            )
            for _ in range(2)
        ]
        assert all(place.holds(leaf) for leaf in place.leaves(runs[0].params))
        if has_evidence:
            assert np.isfinite(place.evidence(here, runs[1], args).log_evidence).all()
    assert len(runs[0].losses) == 4 and np.isfinite(runs[0].losses).all()
    np.testing.assert_array_equal(runs[1].losses, runs[0].losses)


@pytest.mark.parametrize("name", VAES)
def test_auto_encoders(places, name, tmp_path):
    backend = places[0].backend
    pair, x = vae_and_rows(backend, name)
    check_pair(places, pair, x, lambda: backend.load("infer").IWELBO(3), tmp_path / "fit")


@pytest.mark.parametrize("name", HIERARCHIES)
def test_hierarchies_and_codes(places, name, tmp_path):
    backend = places[0].backend
    pair = backend.perturbed(build(backend, name), 0.05)
    loss = backend.load("infer").BetaELBO
    check_pair(places, pair, bits(backend, name, 12), loss, tmp_path / "fit", "VQ" not in name)


@pytest.mark.parametrize("name", VAES)
def test_particles_run_together(places, name):
    """On Pyro a test run decides; it must decide as on the CPU."""
    backend = places[0].backend
    if backend.name != "pyro":
        pytest.skip("NumPyro maps over particles without a test run")
    from pyro_deepgen.infer._vectorize import plate_nesting_if_vectorizable

    pair, x = vae_and_rows(backend, name)
    found = []
    for place in places:
        with place.active():
            here, args = place.put(pair), (place.put(x),)
            found.append(plate_nesting_if_vectorizable(here.model, here.guide, args, {}))
    assert found[0] is not None and found[1] == found[0]


def run_example(topic: str, host: str, argv) -> dict:
    script = runpy.run_path(str(EXAMPLES / f"{topic}_{host}.py"))
    device = ["--device", GPUS[host]] if host == "pyro" else []
    return script["main"](script["parse_args"]([*argv, *device]))


@pytest.mark.parametrize("topic", SMALL)
def test_examples(topic, tmp_path, monkeypatch):
    """JAX goes to the GPU by itself; those of torch are told."""
    if not has_gpu("pyro"):
        pytest.skip("pyro sees no GPU")
    monkeypatch.syspath_prepend(EXAMPLES)
    argv = [*SMALL[topic].split(), "--num-epochs", "2", "--eval-every", "1", "--quiet"]
    result = run_example(topic, "pyro", [*argv, "--output", str(tmp_path)])
    assert np.isfinite(result["fit"].losses).all()
    assert all(path.exists() for path in result["paths"])


# a warning must not end a run of minutes
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("host", BACKENDS)
@pytest.mark.parametrize("row", ROWS, ids=str)
def test_rows_of_the_results(row, host, memory_is_shared, monkeypatch, capsys):
    data = os.environ.get(DATA_VARIABLE)
    if not data:
        pytest.skip(f"{DATA_VARIABLE} names no file of images")
    if not has_gpu(host):
        pytest.skip(f"{host} sees no GPU")
    monkeypatch.syspath_prepend(EXAMPLES)
    start = time.perf_counter()
    figure = row.figure(run_example(row.topic, host, row.argv(data)))
    minutes = (time.perf_counter() - start) / 60
    with capsys.disabled():
        print(
            f"\n{row.name}, {host}: {figure:.2f} nats in {minutes:.1f} minutes "
            f"(to reach {row.expected}, published {row.published})"
        )
    assert figure <= row.expected
