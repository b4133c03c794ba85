"""unmelt: generative models that factor over noise levels.

Destroy data on a schedule, learn the way back, generate by a few global refinements. The names below stand in the
order of the book:

    schedule, posterior, condition, process   how data melts, and what can be believed about it
    backbone, denoiser, objective             networks, what their output means, what training minimises
    adapter                                   small changes of a trained network
    sampler, grid, guidance, inverse          the way back, steering on it, and finding what was measured
    drafting                                  blocks of tokens for a causal model that verifies them
    likelihood                                how probable
    distill                                   fifty steps into one to four
    codec, encoder, control, data, train      around it: data, captions and files in, learning
    scene, planner                            what stands where in a picture, and plans of it made of free prompts
    metric, picture, modality                 scores, pictures, and which of them each kind of data gets
    Model, TextModel, SpeechModel             all of it together; recipe, load
    CodecModel, VocoderModel, DrafterModel    what generative models work with
    fill_chorale                              a melody in, four voices out
    Policy, World                             models of actions and of frames at work
    interop, load_diffusers                   models of diffusers, in and out
    serve                                     many requests, advanced together

Each is imported when it is first used.
"""

from typing import TYPE_CHECKING

from unmelt.public_names import publish

if TYPE_CHECKING:
    from unmelt import (
        adapter,
        backbone,
        codec,
        compare,
        config,
        control,
        data,
        denoiser,
        diagnose,
        distill,
        drafting,
        encoder,
        guidance,
        interop,
        inverse,
        likelihood,
        metric,
        modality,
        objective,
        picture,
        planner,
        posterior,
        process,
        recipe,
        rng,
        sampler,
        scene,
        schedule,
        serve,
        train,
    )
    from unmelt.condition import Condition
    from unmelt.denoiser import prediction
    from unmelt.errors import UsageError
    from unmelt.interop import load_diffusers
    from unmelt.model import (
        CodecModel,
        DrafterModel,
        Model,
        Policy,
        SampleFrame,
        SampleRequest,
        SpeechModel,
        TextFrame,
        TextModel,
        VocoderModel,
        World,
        fill_chorale,
        from_pretrained,
        load,
    )
    from unmelt.sampler import Grid, State, grid, sample, trajectory

__version__ = "0.2.0"

__all__ = [
    "CodecModel",
    "Condition",
    "DrafterModel",
    "Grid",
    "Model",
    "Policy",
    "SampleFrame",
    "SampleRequest",
    "SpeechModel",
    "State",
    "TextFrame",
    "TextModel",
    "UsageError",
    "VocoderModel",
    "World",
    "adapter",
    "backbone",
    "codec",
    "compare",
    "config",
    "control",
    "data",
    "denoiser",
    "diagnose",
    "distill",
    "drafting",
    "encoder",
    "fill_chorale",
    "from_pretrained",
    "grid",
    "guidance",
    "interop",
    "inverse",
    "likelihood",
    "load",
    "load_diffusers",
    "metric",
    "modality",
    "objective",
    "picture",
    "planner",
    "posterior",
    "prediction",
    "process",
    "recipe",
    "rng",
    "sample",
    "sampler",
    "scene",
    "schedule",
    "serve",
    "train",
    "trajectory",
]

publish(__name__)
