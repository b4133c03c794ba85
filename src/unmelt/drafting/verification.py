"""Exact verification of a drafted block (Leviathan et al., 2023; Chen et al., 2023).

A drafter draws x_1 ... x_n, the verifier computes p_i = p(. | context, x_1 ... x_(i - 1)) for i = 1 ... n + 1 in one
pass. From left to right, with u_i uniform:

    accept x_i          if u_i < p_i(x_i) / q_i(x_i)
    else write y_i      drawn from (p_i - q_i)_+ / sum (p_i - q_i)_+, and drop the rest of the block
    all accepted        write one more, drawn from p_(n + 1)

For one position, P(write v) = min(p(v), q(v)) + (1 - sum min(p, q)) (p(v) - q(v))_+ / sum (p - q)_+ = p(v), because
1 - sum min(p, q) = sum (p - q)_+. So whatever q is, the law of the text is the verifier's. This needs three things:

    q_i is the law of x_i given all that decided before position i: the accepted tokens, and whatever else has entered
        an earlier q (`any_order` shows how blocks that were not drawn from left to right meet this)
    n, the length of the block, does not depend on x_n: that x_n is drafted at all may depend on the context and on
        x_1 ... x_(n - 1) only
    the noises of drafting, of accepting and of redrawing are independent (`streams`)

Temperature and top_p are part of p. At temperature 0 p is a point: x_i is accepted where it is the likeliest token, and
else that token is written. The text is then the verifier's greedy text. The expected number of accepted tokens is

    E[accepted] = sum over i of E[prod over j <= i of min(1, p_j(x_j) / q_j(x_j))],

which is the sum of b^i, b = sum min(p, q), where all laws are alike.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from unmelt.drafting.draft import Draft
from unmelt.guidance.nucleus import nucleus
from unmelt.guidance.temperature import tempered
from unmelt.posterior import Categorical, draw, no_distribution


class Verdict(NamedTuple):
    """What became of a block.

    Args:
        accepted: [rows], number of drafted tokens that are written.
        token: [rows], the token that is written after them.
    """

    accepted: Int64[Tensor, " rows"]
    token: Int64[Tensor, " rows"]


def written_law(
    logits: Float[Tensor, "rows n vocabulary"], temperature: float, top_p: float
) -> Float64[Tensor, "rows n vocabulary"]:
    """The law p that text is written with.

    Args:
        logits: Logits of the verifier.
        temperature: 1 is the verifier's own law, 0 its likeliest token.
        top_p: Share of each law to keep, the likeliest tokens first, after the temperature.

    Returns:
        Probabilities.

    Raises:
        UsageError: If logits are no distribution.
    """
    changed = logits if temperature == 1 else tempered(logits, temperature)
    law = Categorical(changed if top_p == 1 else nucleus(changed, top_p)).probabilities
    wrong = law[..., 0].isnan()
    if wrong.any():
        row, place = wrong.nonzero()[0].tolist()
        raise no_distribution(logits[row, place], [place], None)
    return law


def acceptance(p: Float64[Tensor, "*places"], q: Float64[Tensor, "*places"]) -> Float64[Tensor, "*places"]:
    """Probability of accepting a drafted token, min(1, p / q).

    Args:
        p: Its probability by the verifier.
        q: Its probability by the drafter, above 0.

    Returns:
        The probability.
    """
    return (p / q).clamp_max(1)


def residual(
    p: Float64[Tensor, "*places vocabulary"], q: Float64[Tensor, "*places vocabulary"]
) -> Float64[Tensor, "*places vocabulary"]:
    """The law of the token that replaces a rejected one, (p - q)_+ normalised.

    Args:
        p: The verifier's law.
        q: The drafter's law; 0 everywhere where nothing was drafted.

    Returns:
        The law; p itself where p = q, since nothing is rejected there but by rounding.
    """
    rest = (p - q).clamp_min(0)
    total = rest.sum(-1, keepdim=True)
    return torch.where(total > 0, rest / total.clamp_min(torch.finfo(rest.dtype).tiny), p)


def verify(
    p: Float64[Tensor, "rows more vocabulary"],
    draft: Draft,
    accept: Float64[Tensor, "rows k"],
    redraw: Float64[Tensor, " rows"],
) -> Verdict:
    """Accept a beginning of each row's block, and draw the token after it.

    Args:
        p: [rows, k + 1, vocabulary], the verifier's laws of the k drafted tokens and of the one after them.
        draft: The block, its laws, and the number of tokens that count in each row.
        accept: Quantiles in [0, 1), independent of those that the block was drawn with.
        redraw: Quantiles in [0, 1), independent of both.

    Returns:
        The number of accepted tokens and the token after them.
    """
    rows, k = draft.tokens.shape
    every, places = torch.arange(rows, device=p.device), torch.arange(k, device=p.device)
    drafted = draft.counts[:, None] > places
    p_token = p[:, :k].gather(2, draft.tokens[..., None])[..., 0]
    q_token = torch.where(drafted, draft.probabilities_of_tokens, 1.0)
    is_accepted = (accept < acceptance(p_token, q_token)) & drafted
    accepted = is_accepted.long().cumprod(1).sum(1)
    p_next = p[every, accepted]
    q_next = draft.law_at(accepted.clamp_max(max(k - 1, 0)), p.shape[-1]) if k else torch.zeros_like(p_next)
    law = residual(p_next, torch.where((accepted < draft.counts)[:, None], q_next, 0.0))
    return Verdict(accepted, draw(law, redraw))
