"""What a job will take on a cluster that is described, from rates measured on this machine."""

from __future__ import annotations

from fastface.planning.measure import measure_rates
from fastface.planning.model import Cluster, Job, Stage, memory_of_caller, predict
from fastface.planning.rates import Rates, load_rates, save_rates

__all__ = [
    "Cluster",
    "Job",
    "Rates",
    "Stage",
    "load_rates",
    "measure_rates",
    "memory_of_caller",
    "predict",
    "save_rates",
]
