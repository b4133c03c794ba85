"""What to sample with when nothing is said."""

from unmelt.sampler.stock.begin import begin, past, untaught
from unmelt.sampler.stock.choice import adams, learned, stock

__all__ = ["adams", "begin", "learned", "past", "stock", "untaught"]
