"""What to sample with when nothing is said."""

from unmelt.sampler.stock.begin import DEPTH, begin, past, untaught
from unmelt.sampler.stock.choice import adams, learned, stock

__all__ = ["DEPTH", "adams", "begin", "learned", "past", "stock", "untaught"]
