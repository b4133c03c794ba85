"""Verifiers and drafters that are random tables, small enough to enumerate every draft and every branch."""

import itertools
import math
from collections import Counter

import torch

from unmelt.backbone.kv_cache import KVCache
from unmelt.drafting import Draft, Reading, acceptance, residual

V, N = 3, 4
"""Tokens, and tokens of a text."""


def generator(seed):
    return torch.Generator().manual_seed(seed)


def random_logits(*shape, seed=0, spread=1.5, ruled_out=0.0):
    """Logits in float64, some of them -inf; the last token is always possible."""
    of = generator(seed)
    logits = spread * torch.randn(*shape, dtype=torch.float64, generator=of)
    out = torch.rand(shape, generator=of) < ruled_out
    out[..., -1] = False
    return logits.masked_fill(out, -torch.inf)


class TableVerifier:
    """Logits of the next token for every beginning of a text."""

    shortest_prompt, vocabulary = 0, V

    def __init__(self, seed=0, length=N, **how):
        self.length = length
        self.tables = [random_logits(V**n, V, seed=100 * seed + n, **how) for n in range(length)]

    def logits(self, text):
        """Logits of the token after a text."""
        return self.tables[len(text)][number(text)]

    def init_cache(self, rows, length):
        return KVCache.empty(rows=rows, layers=1, heads=1, length=length, features=1)

    def read(self, x, begin, n, cache, layers=()):
        logits = torch.zeros(len(x), n, V, dtype=torch.float64)
        for row, (text, first) in enumerate(zip(x.tolist(), begin.tolist(), strict=True)):
            for k in range(min(n, x.shape[1] - first)):
                logits[row, k] = self.logits(text[: first + k])
        return Reading(logits, cache)

    def retain(self, cache, begin):
        return cache.appended(begin, begin)


def number(text):
    return sum(token * V**k for k, token in enumerate(reversed(text)))


class TableDrafter:
    """Independent marginals of a block, another table for every text."""

    layers = ()

    def __init__(self, seed=0, **how):
        self.seed, self.how = seed, how

    def law(self, text, k):
        return random_logits(k, V, seed=7000 * self.seed + 100 * len(text) + number(text), **self.how).softmax(-1)

    def __call__(self, x, lengths, hidden, k, rng):
        from unmelt.posterior import draw

        texts = [row[:n] for row, n in zip(x.tolist(), lengths.tolist(), strict=True)]
        law = torch.stack([self.law(text, k) for text in texts])
        tokens = draw(law, rng.uniform((len(x), k), torch.float64))
        return Draft(tokens, torch.full_like(lengths, k), law.log())


def marginal_drafts(drafter, k):
    """(text) -> every draft: its probability, its tokens, the law of each."""

    def drafts(text):
        law = drafter.law(text, k)
        for tokens in itertools.product(range(V), repeat=k):
            chance = math.prod(law[i, token].item() for i, token in enumerate(tokens))
            if chance > 0:
                yield chance, tokens, law

    return drafts


def branches(p, tokens, q):
    """Every way that verification can end: its probability, the accepted tokens, and the law of the one after them.

    p is [k + 1, V], q is [k, V]; the probabilities are those of the code's own acceptance and residual.
    """
    reached = 1.0
    for place, token in enumerate(tokens):
        chance = acceptance(p[place, token], q[place, token]).item()
        if chance < 1:
            yield reached * (1 - chance), tokens[:place], residual(p[place], q[place])
        reached *= chance
        if reached == 0:
            return
    yield reached, tokens, p[len(tokens)]


def law_of_text(verifier, law, drafts, length=N, end=None):
    """The exact law of the written text, {text: probability}; `law` makes probabilities of logits."""
    done, ahead = {}, {(): 1.0}
    while ahead:
        text, chance = min(ahead.items(), key=lambda each: len(each[0]))
        del ahead[text]
        room = length - len(text) - 1
        for of_draft, tokens, q in drafts(text):
            tokens, q = tokens[:room], q[:room]
            p = torch.stack([law(verifier.logits([*text, *tokens[:k]])) for k in range(len(tokens) + 1)])
            for of_branch, accepted, after in branches(p, tokens, q):
                for last, of_last in enumerate(after.tolist()):
                    whole = (*text, *accepted, last)
                    if end in whole:
                        whole = whole[: whole.index(end) + 1]
                    total = chance * of_draft * of_branch * of_last
                    where = done if len(whole) == length or end in whole else ahead
                    if total > 0:
                        where[whole] = where.get(whole, 0.0) + total
    return done


def own_law(verifier, law, length=N, end=None):
    """The law of the verifier's text, a token a pass."""
    done, ahead = {}, {(): 1.0}
    while ahead:
        text, chance = ahead.popitem()
        for token, of_token in enumerate(law(verifier.logits(text)).tolist()):
            whole = (*text, token)
            if of_token > 0:
                (done if len(whole) == length or token == end else ahead)[whole] = chance * of_token
    return done


def far(found, truth):
    """Total variation."""
    return sum(abs(found.get(each, 0.0) - truth.get(each, 0.0)) for each in {*found, *truth}) / 2


def chi_square(rows, law):
    """Pearson's statistic of texts that were written; its mean is the number of possible texts - 1."""
    found = Counter(map(tuple, rows))
    assert set(found) <= set(law)
    return sum((found[text] - len(rows) * chance) ** 2 / (len(rows) * chance) for text, chance in law.items())
