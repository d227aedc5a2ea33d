"""The network evaluated many times: every number that does not change is computed once.

Per network (:class:`Layers`): weights, packed. Per batch (:class:`Inputs`): the conditioner, the tables of pairs,
merged projections. Per time, molecule and step: :class:`Engine`. :class:`Engines` makes them for batch after batch.
"""

from ditkernels.models.ditmc.engine.engine import Engine
from ditkernels.models.ditmc.engine.engines import Engines, Evaluator
from ditkernels.models.ditmc.engine.inputs import Inputs
from ditkernels.models.ditmc.engine.layers import Layers

__all__ = ["Engine", "Engines", "Evaluator", "Inputs", "Layers"]
