"""The law of a block whose tokens were drawn in several passes, in any order.

A pass draws the tokens of some places independently, each from its belief given all tokens of earlier passes. The law
that verification needs for place i is that of x_i given everything that decided before i, from left to right: the
tokens x_1 ... x_(i - 1), and all tokens that their beliefs had seen. Let pass(i) be the pass that drew place i.

    no j < i has pass(j) > pass(i):     q_i = the belief that x_i was drawn from
    some j < i has pass(j) > pass(i):   q_i = a point at x_i

In the first case, everything that decided before i was drawn in pass(i) or earlier, and contains all tokens of earlier
passes, which are what the belief at i is given; tokens of the same pass are independent of x_i. In the second case x_i
itself has already decided: the belief at j had seen it, and p_j / q_j depends on it. Given that, it is no longer
random, and a point is its law; the belief at i would not be, as it was computed without x_j. A point is accepted with
probability p_i(x_i), and rejected ones are redrawn from p_i without x_i.

Left to right, in passes of any size, all laws are the beliefs. Which places a pass draws may depend on beliefs and on
tokens of earlier passes, and not on the tokens that it draws: a rule that draws first and then keeps the likeliest
draws has another law. A place that is drawn twice (remasking) has one too, and there is none here.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float64, Int64
from torch import Tensor


def law_of_passes(
    beliefs: Float64[Tensor, "rows k vocabulary"],
    tokens: Int64[Tensor, "rows k"],
    passes: Int64[Tensor, "rows k"],
) -> Float64[Tensor, "rows k vocabulary"]:
    """The laws of drafted tokens for verification from left to right.

    Args:
        beliefs: Log-probabilities that each token was drawn from, in the pass that drew it.
        tokens: The tokens.
        passes: Number of the pass that drew each.

    Returns:
        Log-probabilities: the beliefs, or points where an earlier place was drawn in a later pass.
    """
    has_decided = passes < passes.cummax(1).values
    point = F.one_hot(tokens, beliefs.shape[-1]).to(beliefs).log()
    return torch.where(has_decided[..., None], point, beliefs)
