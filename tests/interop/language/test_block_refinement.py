"""Block by block with a threshold of confidence, our sampler writes the tokens that diffusers' LLaDA2 pipeline writes.

The pipeline takes any module that gives logits; LLaDA2's own class is not one of transformers. Here it is a small
LLaDA, whose logits of the mask and of unused numbers are -inf as in a `LanguageNetwork`: the pipeline itself would
let a model write its mask.
"""

from types import SimpleNamespace

import pytest
import torch
from interop.language_models import llada_folder
from torch import nn

import unmelt as um
from unmelt.interop import from_transformers
from unmelt.sampler.tokens import Confidence, Threshold, Unmask

pipelines = pytest.importorskip("diffusers.pipelines.llada2.pipeline_llada2")
schedulers = pytest.importorskip("diffusers.schedulers.scheduling_block_refinement")

BLOCK = 8


class Theirs(nn.Module):
    """The model as the pipeline calls it: tokens, a mask of padding and positions in, logits out."""

    def __init__(self, network):
        super().__init__()
        self.network, self.dtype, self.device = network, torch.float32, torch.device("cpu")

    def forward(self, x, attention_mask=None, position_ids=None):
        assert attention_mask.all()
        masks = torch.where(x == self.network.mask_token, self.network.vocabulary, x)
        return SimpleNamespace(logits=self.network(masks, torch.zeros(len(x))))


@pytest.mark.parametrize("steps", [8, 4])
@pytest.mark.parametrize("threshold", [0.05, 0.3, 0.999])
def test_tokens_are_those_of_the_pipeline(tmp_path, steps, threshold):
    llada_folder(tmp_path)
    model = from_transformers(tmp_path, length=32)
    prompt = "the cold sea"
    known = torch.tensor([model.tokenizer.encode(prompt)])
    pipeline = pipelines.LLaDA2Pipeline(
        model=Theirs(model.denoiser.backbone),
        scheduler=schedulers.BlockRefinementScheduler(block_length=BLOCK),
        tokenizer=None,
    )
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline(
        input_ids=known,
        gen_length=32 - known.shape[1],
        block_length=BLOCK,
        num_inference_steps=steps,
        sampling_method="greedy",
        threshold=threshold,
        editing_threshold=None,
        eos_early_stop=False,
        mask_token_id=model.denoiser.backbone.mask_token,
        output_type="seq",
    ).sequences
    calls = []

    def counted(denoiser):
        window = um.denoiser.BlockWindow(denoiser, BLOCK)

        class Counted:
            process, shape = window.process, window.shape

            def __call__(self, x_t, t, condition=None):
                calls.append(int(window.process.masked(x_t).sum()))
                return window(x_t, t, condition)

        return Counted()

    sampler = Unmask(Confidence(), Threshold(threshold, minimum=BLOCK // steps), block=BLOCK)
    request = model.request(1, prompt=prompt, temperature=0.0, steps=1, sampler=sampler, guidance=counted)
    ours = model.sample_request(request)
    assert torch.equal(ours[:, : known.shape[1]], known)
    assert torch.equal(ours[:, known.shape[1] :], theirs)
    slowest = 32 - known.shape[1]
    assert len(calls) < slowest / 2 if threshold < 0.1 else len(calls) >= slowest / 4
    with torch.no_grad():  # the window counts: with masks of later blocks in sight the tokens are others
        whole = model.sample_request(model.request(1, prompt=prompt, temperature=0.0, steps=1, sampler=sampler))
    assert not torch.equal(whole, ours)


def test_rows_at_different_blocks_are_read_as_if_alone(tmp_path):
    llada_folder(tmp_path)
    model = from_transformers(tmp_path, length=20)
    mask, x = model.denoiser.process.mask, torch.randint(0, 200, (4, 20), generator=torch.Generator().manual_seed(0))
    for row, first in enumerate((0, 9, 19, 20)):
        x[row, first:] = mask
    window = um.denoiser.BlockWindow(model.denoiser, BLOCK)
    with torch.no_grad():
        together = window(x, torch.zeros(4)).logits
        for row, end in enumerate((8, 16, 20, 20)):
            alone = model.denoiser(x[row : row + 1, :end], torch.zeros(1)).logits
            torch.testing.assert_close(together[row : row + 1, :end], alone, atol=1e-5, rtol=1e-5)
    with pytest.raises(um.UsageError, match="block=0"):
        um.denoiser.BlockWindow(model.denoiser, 0)
