"""unmelt: generative models that factor over noise levels."""
