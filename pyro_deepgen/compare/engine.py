"""The methods this host can run, by name, and what the comparison needs of the host."""

from .context import HOST, Context, check_model, make_context, session, versions
from .engine_guides import GUIDES, run_guide
from .engine_mcmc import run_flow_mcmc, run_neutra, run_nuts
from .engine_user import user_method
from .importance_method import run_importance
from .results import Method

__all__ = [
    "HOST",
    "METHODS",
    "Context",
    "check_model",
    "make_context",
    "session",
    "user_method",
    "versions",
]

METHODS = {
    "nuts": Method("nuts", "mcmc", run_nuts, "the host's NUTS, several chains", discrete=True),
    **{
        name: Method(name, "guide", run_guide(name), spec.description)
        for name, spec in GUIDES.items()
    },
    **{
        name: Method(name, "mcmc", run_neutra(name, guide), f"the host's NUTS through {guide}")
        for name, guide in {"neutra": "iaf", "neutra_nsf": "nsf"}.items()
    },
    "flow_mcmc": Method(
        "flow_mcmc",
        "mcmc",
        run_flow_mcmc("flow_mcmc", "nsf"),
        "the host's NUTS in turns with proposals of nsf",
    ),
    "importance": Method(
        "importance",
        "guide",
        run_importance("importance", run_guide("nsf"), "nsf"),
        "draws of nsf, resampled by their importance weights",
    ),
}
