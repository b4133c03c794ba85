"""Methods that models of other libraries have, and what is written here in their place."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, NoReturn

from unmelt.errors import UsageError

METHODS: dict[str, str] = {
    "cuda": 'model.to("cuda") moves all weights',
    "cpu": 'model.to("cpu") moves all weights',
    "mps": 'model.to("mps") moves all weights',
    "half bfloat16 float double": "model.denoiser.{name}() changes the precision of its weights",
    "eval train": "a model is always ready to sample; model.fit() trains it",
    "generate predict p_sample p_sample_loop ddim_sample sample_loop": "model.sample(16) generates",
    "forward": "model.sample(16) generates, and model.denoiser(x_t, t, condition) is one call of the network",
    "parameters named_parameters state_dict load_state_dict requires_grad_ zero_grad": (
        "the weights are those of a module: model.denoiser.{name}"
    ),
    "compile": "um.train.Execution(compile=True) compiles training: model.fit(execution=...)",
    "unet network backbone model net": "the network is model.denoiser.backbone",
    "scheduler noise_scheduler schedule": "the schedule is model.denoiser.process.schedule, the sampler model.sampler",
    "process": "the process is model.denoiser.process",
    "shape": "the shape of a row is model.denoiser.shape, in model space",
    "vae autoencoder": "what encodes data is model.codec",
    "img2img": "model.edit(x, strength=0.5) edits data",
    "inpaint": "model.sample(guidance=lambda denoiser: um.inverse.Replacement(denoiser, values, known)) inpaints",
    "score log_prob nll likelihood": "model.log_likelihood(x) is log p(x)",
    "train_model train_loop fit_transform train_step": "model.fit() trains",
    "save_weights save_model save_checkpoint": "model.save(folder) writes a run folder",
    "load_weights load_checkpoint load_from_checkpoint": "um.load(folder) loads a model",
    "infill prompt tokenizer length": "models of text have it, such as um.recipe.text(folder=...)",
    "edit picture draw tune encode_images": "models of images and points have it, such as um.recipe.digits()",
    "show plot display imshow": "model.draw(model.sample(16)) makes a picture of samples",
    "push upload": 'model.push_to_hub("owner/name") uploads it',
    "load": "um.load(folder) loads a model",
}
"""Names of attributes, and a sentence on what to write; {name} is the attribute."""


class NotANetwork:
    """Base class of models: says what is written here in place of what a network or a pipeline of others has."""

    if not TYPE_CHECKING:  # a type checker would take every attribute to be there

        def __getattr__(self, name: str) -> NoReturn:
            """Raise the error for an attribute that there is not, with what to write in its place."""
            owner = type(self).__name__
            found = next((said for names, said in METHODS.items() if name in names.split()), "")
            if not found and not name.startswith("_"):
                public = [each for each in dir(type(self)) if not each.startswith("_")]
                near = difflib.get_close_matches(name.lower(), public, n=1, cutoff=0.7)
                found = f"model.{near[0]} is meant" if near else ""
            said = f": {found.format(name=name)}" if found else ""
            raise AttributeError(f"{owner!r} object has no attribute {name!r}{said}", name=name, obj=self)

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse to be called: a model is no network.

        Args:
            args: Anything.
            kwargs: Anything.

        Raises:
            UsageError: Always.
        """
        raise UsageError(
            "a model called like a network", "one of its verbs, or its denoiser on noisy data", "model.sample(16)"
        )
