"""Parts by name: what to write for a sampler, a grid, a schedule and so on that somebody calls by a word.

A part is an object, `um.sampler.DDIM()`, where other libraries have a string, "ddim". The words here are those of this
library and those of the field. They only serve error messages; `tests/test_arguments.py` evaluates every call.
"""

import difflib
import re
from collections.abc import Mapping, Sequence

PARTS: dict[str, dict[str, str]] = {
    "Sampler": {
        "dpmpp dpmpp2m dpmsolver dpmsolverpp dpmsolvermultistepscheduler": "um.sampler.DPMpp(order=2)",
        "dpmpp3m dpmpp3": "um.sampler.DPMpp(order=3)",
        "dpmppsde dpmpp2msde dpmpp2sde sdedpmsolver dpmsde": "um.sampler.DPMpp(order=2, eta=1.0)",
        "dpmpp2s dpmpp2sa dpmsolversinglestep dpmsolversinglestepscheduler dpmppsingle": "um.sampler.DPMppSingle()",
        "ddim ddimscheduler": "um.sampler.DDIM()",
        "ddpm ddpmscheduler ancestral eulera eulerancestral eulerancestraldiscretescheduler": "um.sampler.Ancestral()",
        "euler eulerdiscretescheduler flowmatcheulerdiscretescheduler flow ode": "um.sampler.Euler()",
        "heun edm heundiscretescheduler": "um.sampler.Heun()",
        "churn stochasticheun edmstochastic": "um.sampler.Churn()",
        "adams ab adamsbashforth": "um.sampler.Adams(order=3)",
        "adaptive rk45 dopri5 adaptiveheun": "um.sampler.Adaptive(tolerance=0.001)",
        "deis deismultistepscheduler": "um.sampler.DEIS(order=3)",
        "lms plms pndm pndmscheduler lmsdiscretescheduler": "um.sampler.LMS(order=4)",
        "rk4 rungekutta": "um.sampler.RK4()",
        "unipc unipcmultistepscheduler": "um.sampler.UniPC(order=3)",
        "sasolver sa sde sasolverscheduler": "um.sampler.SASolver(order=3)",
        "jump lcm lcmscheduler consistency meanflow": "um.sampler.Jump()",
        "langevin annealedlangevin": "um.sampler.Langevin()",
        "leapfrog midpoint": "um.sampler.Leapfrog()",
        "predictorcorrector pc": "um.sampler.PredictorCorrector()",
        "restart repaint": "um.sampler.Restart()",
        "tuned": "um.sampler.Tuned()",
        "unmask maskgit confidence mdlm": "um.sampler.tokens.Unmask()",
        "greedy": "um.sampler.tokens.Unmask(um.sampler.tokens.Confidence())",
        "autoregressive lefttoright ar": "um.sampler.tokens.Unmask(um.sampler.tokens.LeftToRight(), cache=True)",
        "remask remdm": "um.sampler.tokens.Remask()",
        "firsthitting fhs": "um.sampler.tokens.FirstHitting()",
    },
    "Grid": {
        "karras edm karrassigmas rho": "um.grid.karras(20)",
        "uniform linear linspace leading trailing": "um.grid.uniform(20)",
        "cosine": "um.grid.cosine(20)",
        "logsnr exponential polyexponential loguniform": "um.grid.log_snr(20)",
        "balanced default": "um.grid.balanced(20)",
        "fixed custom timesteps": "um.grid.fixed((1.0, 0.5, 0.0))",
        "relativelevels sigmas levels": "um.grid.relative_levels((1.0, 0.5, 0.0))",
    },
    "Spacing": {
        "karras edm": "um.grid.Karras()",
        "uniform linear": "um.grid.Uniform()",
        "cosine": "um.grid.Cosine()",
        "logsnr exponential": "um.grid.LogSNR()",
        "balanced": "um.grid.Balanced()",
        "fixed": "um.grid.Fixed((1.0, 0.5, 0.0))",
        "relativelevels": "um.grid.RelativeLevels((1.0, 0.5, 0.0))",
    },
    "Schedule": {
        "cosine squaredcoscapv2 cos iddpm": "um.schedule.Cosine()",
        "linear linearbeta ddpm vp variancepreserving scaledlinear": "um.schedule.LinearBeta()",
        "ve varianceexploding edm karras smld ncsn": "um.schedule.VarianceExploding(0.002, 80.0)",
        "straight flowmatching flow rectifiedflow ot fm rf optimaltransport": "um.schedule.Straight()",
        "exponential": "um.schedule.Exponential()",
    },
    "TokenSchedule": {
        "linear loglinear tokenlinear mdlm": "um.schedule.TokenLinear()",
        "cosine tokencosine maskgit": "um.schedule.TokenCosine()",
        "polynomial tokenpolynomial": "um.schedule.TokenPolynomial()",
        "geometric tokengeometric sedd": "um.schedule.TokenGeometric()",
    },
    "Gaussian": {"gaussian normal continuous": "um.process.Gaussian(um.schedule.Cosine())"},
    "Tokens": {
        "mask masked absorbing absorb mdlm": "um.process.Mask(vocabulary=256)",
        "uniform sedd d3pm": "um.process.Uniform(vocabulary=256)",
        "blend gidd": "um.process.Blend(vocabulary=256)",
    },
    "Mask": {"mask masked absorbing absorb": "um.process.Mask(vocabulary=256)"},
    "Prediction": {
        "v vprediction": "um.prediction.V()",
        "noise eps epsilon": "um.prediction.Noise()",
        "x0 sample xstart x": "um.prediction.X0()",
        "score": "um.prediction.Score()",
        "flowvelocity velocity flow flowprediction u": "um.prediction.FlowVelocity()",
        "preconditioned edm f": "um.prediction.Preconditioned(0.5)",
    },
    "Codec": {
        "affine images none identity": "um.codec.Affine.images()",
        "vae autoencoder": "um.codec.Affine.images()",
    },
    "Tokenizer": {
        "bytes byte char characters": "um.codec.Bytes()",
        "bpe gpt2 tiktoken": "um.codec.BPE.learned(['some text'], 300)",
        "symbols": "um.codec.Symbols('abc')",
    },
    "TextEncoder": {
        "hashed captions": "um.encoder.HashedCaptionEncoder()",
        "languagemodel clip t5": "um.encoder.LanguageModelEncoder('folder')",
    },
    "Planner": {
        "languagemodel llm lm": "um.planner.LanguageModelPlanner('folder')",
        "layout cells": "um.planner.LayoutPlanner()",
    },
    "Modality": {
        "images image pictures": "um.modality.Images()",
        "points point": "um.modality.Points()",
        "text texts": "um.modality.Text()",
        "sound audio": "um.modality.Sound(16_000)",
    },
    "Objective": {
        "regression mse l2 diffusion flowmatching": "um.objective.Regression()",
        "anyorder masked mdlm": "um.objective.AnyOrder()",
        "nelbo elbo vlb": "um.objective.NELBO()",
        "nexttoken ar crossentropy": "um.objective.NextToken()",
    },
    "Times": {
        "stratified lowdiscrepancy": "um.objective.Stratified(um.objective.Uniform())",
        "uniform": "um.objective.Uniform()",
        "logitnormal sd3": "um.objective.LogitNormal()",
        "lognormalsigma lognormal edm": "um.objective.LogNormalSigma()",
        "perframe": "um.objective.PerFrame(um.objective.Uniform(), frames=4)",
        "knownprefix": "um.objective.KnownPrefix(um.objective.Uniform(), frames=4)",
    },
    "Weight": {
        "flat flatweight simple none": "um.objective.FlatWeight()",
        "edm edmweight": "um.objective.EDMWeight()",
        "minsnr minsnrgamma": "um.objective.MinSNR()",
        "elbo elboweight": "um.objective.ELBOWeight()",
    },
    "Coupling": {
        "independent none": "um.objective.Independent()",
        "optimaltransport ot minibatchot": "um.objective.OptimalTransport()",
    },
    "Order": {
        "confidence maskgit": "um.sampler.tokens.Confidence()",
        "margin": "um.sampler.tokens.Margin()",
        "negativeentropy entropy": "um.sampler.tokens.NegativeEntropy()",
        "random": "um.sampler.tokens.Random()",
        "lefttoright ar": "um.sampler.tokens.LeftToRight()",
    },
    "Pace": {
        "scheduled schedule": "um.sampler.tokens.Scheduled()",
        "threshold": "um.sampler.tokens.Threshold()",
        "entropybound eb": "um.sampler.tokens.EntropyBound()",
    },
    "Training": {"training": "um.train.Training(steps=1000)"},
    "Optimizer": {"adamw adam sgd": "um.train.AdamW()", "muon": "um.train.Muon()"},
    "LRSchedule": {
        "cosine": "um.train.lr_schedule.Cosine()",
        "cosinerestarts sgdr warmrestarts cyclic": "um.train.lr_schedule.CosineRestarts()",
        "trapezoid linear constant wsd": "um.train.lr_schedule.Trapezoid()",
        "inverseroot inversesqrt": "um.train.lr_schedule.InverseRoot()",
    },
    "Execution": {"execution compile": "um.train.Execution(compile=True)"},
    "Condition": {"condition label": "um.Condition(label=torch.tensor([3]))"},
    "Operator": {
        "inpainting inpaint mask": "um.inverse.Inpainting(known)",
        "downsample superresolution": "um.inverse.Downsample(2)",
        "blur deblur": "um.inverse.Blur(torch.ones(3) / 3)",
        "matrix": "um.inverse.Matrix(torch.eye(2))",
    },
    "Distillation": {
        "consistency consistencymodel consistencydistillation cm ect lcm": "um.distill.Consistency()",
        "continuousconsistency scm scd sct": "um.distill.ContinuousConsistency()",
        "adversarial add ladd gan r3gan adversarialdiffusiondistillation": "um.distill.Adversarial()",
        "distributionmatching dmd dmd2 distributionmatchingdistillation": "um.distill.DistributionMatching()",
        "drifting drift driftingmodel": "um.distill.Drifting()",
        "meanflow imf": "um.distill.MeanFlow()",
        "progressive progressivedistillation pd": "um.distill.Progressive()",
        "autoregressivehead hydra ssmd": "um.distill.AutoregressiveHead()",
        "reflow rectifiedflow 2rectifiedflow instaflow": "um.distill.Reflow()",
        "sdtt selfdistillationthroughtime": "um.distill.SDTT()",
        "shortcut shortcutmodel": "um.distill.Shortcut()",
    },
    "LoRA": {"lora": "um.adapter.LoRA(rank=8)", "dora": "um.adapter.LoRA(rank=8, decompose=True)"},
    "SampleRequest": {"request": "model.request(16)"},
    "Source": {"arrays array tensor": "um.data.Arrays(x)", "images folder": "um.data.images('faces', 32)[0]"},
    "Denoiser": {"denoiser": "model.denoiser"},
    "Random": {"stream generator": "um.rng.Stream(0)"},
}
"""For each kind of part, the call that makes one, by the words it is known under (letters and digits alone)."""


def call_of(kind: str, word: str = "") -> str | None:
    """What to write for a part.

    Args:
        kind: The class that is needed, such as "Sampler".
        word: What the part is called: any words, or the name of a class. Empty for any part of the kind.

    Returns:
        The call that makes the part of the most similar name, or the first of its kind; None for an unknown kind.
    """
    if kind not in PARTS:
        return None
    return _nearest(PARTS[kind], word, 0.5) or next(iter(PARTS[kind].values()))


def _nearest(table: Mapping[str, str], word: str, cutoff: float) -> str | None:
    """The entry of the words that are most similar to one; None if none is."""
    entries = {name: entry for names, entry in table.items() for name in names.split()}
    plain = _letters(word)
    if plain in entries or not plain:
        return entries.get(plain)
    inside = sorted((name for name in entries if len(name) > 2 and name in plain), key=len)
    close = difflib.get_close_matches(plain, entries, n=1, cutoff=cutoff)
    return entries[inside[-1] if inside else close[0]] if inside or close else None


def _letters(word: str) -> str:
    return re.sub(r"[^a-z0-9]", "", word.lower().replace("++", "pp"))


MODULES: dict[str, tuple[str, ...]] = {
    "sampler": ("Sampler",),
    "tokens": ("Order", "Pace", "Sampler"),
    "grid": ("Grid", "Spacing"),
    "schedule": ("Schedule", "TokenSchedule"),
    "process": ("Gaussian", "Tokens"),
    "prediction": ("Prediction",),
    "codec": ("Codec", "Tokenizer"),
    "encoder": ("TextEncoder",),
    "planner": ("Planner",),
    "modality": ("Modality",),
    "objective": ("Objective", "Times", "Weight", "Coupling"),
    "train": ("Optimizer", "LRSchedule"),
    "lr_schedule": ("LRSchedule",),
    "inverse": ("Operator",),
    "distill": ("Distillation",),
}
"""The kinds of parts that each module has."""

OTHERS: dict[str, dict[str, str]] = {
    "unmelt": {
        "pipeline ddpmpipeline diffusionpipeline ddimpipeline autopipeline": "um.load(folder)",
        "fit train_model trainer": "model.fit(out=folder)",
        "generate": "model.sample(16)",
        "save savemodel": "model.save(folder)",
        "unet": "um.backbone.UNet",
    },
    "recipe": {
        "mnist emnist fashionmnist": "um.recipe.digits()",
        "cifar10 cifar100 cifar imagenet celeba faces folder photos": "um.recipe.images(folder=...)",
        "books tinystories wikitext shakespeare": "um.recipe.text(folder=...)",
    },
    "rng": {"generator manualseed seed": "um.rng.Stream(0)"},
    "metric": {"fid frechetinceptiondistance frechet": "um.metric.frechet_distance"},
    "backbone": {"unet2dmodel unet2dconditionmodel unet": "um.backbone.UNet"},
    "guidance": {"classifierfree classifierfreeguidance cfgscale": "um.guidance.CFG"},
}
"""What other names of a module stand for."""


def _names(call: str, name: str) -> bool:
    return _letters(call.partition("(")[0].rpartition(".")[2]) == _letters(name)


def of_module(module: str, name: str, public: Sequence[str]) -> list[str]:
    """What was probably meant by a name that a module does not have.

    Args:
        module: The module's full name, such as "unmelt.sampler".
        name: The name that it does not have.
        public: The names that it has.

    Returns:
        What to write instead, such as "um.sampler.DDIM", the most likely first; none if nothing is similar.
    """
    path, short = module.replace("unmelt", "um", 1), module.rpartition(".")[2]
    same = [f"{path}.{one}" for one in public if _letters(one) == _letters(name)]
    if same:
        return same
    tables = [OTHERS.get(short, {}), *(PARTS[kind] for kind in MODULES.get(short, ()))]
    if module == "unmelt":  # a part without its module
        exact = [found for table in PARTS.values() if (found := _nearest(table, name, 1.0)) and _names(found, name)]
        if exact:
            return exact[:1]
    known = [found for table in tables if (found := _nearest(table, name, 0.75)) is not None]
    if known:
        return list(dict.fromkeys(known))
    letters = {_letters(one): one for one in public}
    return [f"{path}.{letters[one]}" for one in difflib.get_close_matches(_letters(name), letters, n=1, cutoff=0.6)]
