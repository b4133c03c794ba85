"""What is measured: the U-Net of the digits recipe as a plain EDM network, so that every library can drive it."""

import unmelt as um

SD = 0.75
"""Standard deviation of the pixels."""


def digits() -> um.Model:
    """The digits model without the Gaussian it refines: one channel in, EDM's preconditioning, its loss."""
    model = um.recipe.digits()
    training = model.training
    assert training is not None
    inner = um.config.describe(model.denoiser.backbone) | {"channels": 1}
    with um.rng.seeded(training.seed):
        backbone = um.config.build(inner)
    prediction = um.prediction.Preconditioned(SD)
    return um.Model(
        denoiser=um.denoiser.Network(backbone, model.denoiser.process, prediction, model.denoiser.shape, data_sd=SD),
        codec=model.codec,
        sampler=model.sampler,
        grid=model.grid,
        objective=um.objective.Regression(
            times=um.objective.Stratified(um.objective.LogNormalSigma(-0.8, 1.2)),
            weight=um.objective.EDMWeight(SD),
            drop=0.1,
        ),
        training=training,
        classes=model.classes,
        source=model.source,
        held_out=model.held_out,
    )
