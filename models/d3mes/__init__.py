"""D3MES: new molecules in three dimensions by diffusion (arXiv 2501.07077)."""

from ditkernels.models.d3mes.api import generate_molecules
from ditkernels.models.d3mes.config import D3MESConfig
from ditkernels.models.d3mes.model import D3MES
from ditkernels.models.d3mes.sampler import sample

__all__ = ["D3MES", "D3MESConfig", "generate_molecules", "sample"]
