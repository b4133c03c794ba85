"""Any condition from the facade, a guidance scale for each row, and rows that know different things in one batch."""

import pytest
import torch
from systems.parts import Observed, latent_model, policy_model

import unmelt as um
from unmelt.sampler import State, advance


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("policy")
    policy_model().fit(folder, device="cpu", quiet=True)
    return um.load(folder, device="cpu")


def test_any_condition_reaches_the_network(policy):
    _, seen = Observed().batch(0, 4)
    together = policy.sample(4, condition=seen, seed=1)
    for row in range(4):
        alone = policy.sample(1, condition=seen[row : row + 1], seed=[um.rng.fold(1, row)])
        torch.testing.assert_close(together[row : row + 1], alone, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(together, policy.sample(4, seed=1), atol=1e-3)
    one = policy.sample(4, condition=seen[:1], seed=1)  # one row of a condition is for all rows
    torch.testing.assert_close(one[:1], together[:1], rtol=1e-4, atol=1e-5)
    frames = list(policy.trajectory(4, condition=seen, seed=1))
    assert torch.equal(frames[-1].x, together)
    assert policy.log_likelihood(together, condition=seen).value.shape == (4,)
    assert policy.edit(together, strength=0.3, condition=seen).shape == together.shape


def test_a_request_is_the_arguments_and_can_be_cut_by_rows(policy):
    _, seen = Observed().batch(0, 5)
    request = policy.request(5, condition=seen, guidance=[1.0, 2.0, 0.5, 3.0, 1.0], steps=3, seed=4)
    assert isinstance(request, um.SampleRequest)
    whole = policy.sample(request)
    assert torch.equal(whole, policy.sample(5, condition=seen, guidance=[1.0, 2.0, 0.5, 3.0, 1.0], steps=3, seed=4))
    parts = torch.cat([policy.sample(request[:2]), policy.sample(request[2:])])
    torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-5)


def test_a_guidance_scale_for_each_row(policy):
    _, seen = Observed().batch(0, 3)
    scales = [1.0, 2.5, 0.0]
    together = policy.sample(3, condition=seen, guidance=scales, seed=1)
    for row, scale in enumerate(scales):
        seed = [um.rng.fold(1, row)]
        alone = policy.sample(1, condition=seen[row : row + 1], guidance=scale, seed=seed)
        torch.testing.assert_close(together[row : row + 1], alone, rtol=1e-4, atol=1e-5)
    for wrong in ([1.0, 2.0], [1.0, float("nan"), 2.0]):
        with pytest.raises(um.UsageError, match="guidance scale"):
            policy.sample(3, condition=seen, guidance=wrong)
    with pytest.raises(um.UsageError, match="without a label"):
        policy.sample(3, guidance=scales)


def test_rows_with_a_label_beside_rows_with_a_vector():
    with um.rng.seeded(1):
        backbone = um.backbone.MLP(shape=(2,), width=16, depth=1, vector_width=3, classes=4)
        torch.nn.init.normal_(backbone.out.weight, std=0.3)
        torch.nn.init.normal_(backbone.modulation.weight, std=0.3)
    denoiser = um.denoiser.NetworkDenoiser(backbone, um.process.Gaussian(um.schedule.Cosine()), um.prediction.V(), (2,))
    sampler, times = um.sampler.DPMpp(2), um.grid.cosine(6)(denoiser.process.schedule)
    known = {
        "label": um.Condition(label=torch.tensor([3, 1])),
        "vector": um.Condition(vector=torch.randn(1, 3)),
        "nothing": None,
    }
    rows = {"label": 2, "vector": 1, "nothing": 2}

    def begin(name):
        rng = um.rng.RowSeeds.of(sum(map(ord, name)), rows[name])
        x = denoiser.process.prior((rows[name], 2), rng)
        return sampler.init(denoiser, x, times[0].expand(rows[name]), rng.advance(), known[name])

    with torch.no_grad():
        alone = {}
        for name in known:
            state = begin(name)
            for s in times[1:]:
                state = sampler.step(denoiser, state, s.expand(rows[name]))
            alone[name] = state.x
        early = begin("label")
        early = sampler.step(denoiser, early, times[1].expand(2))
        together = State.join([early, begin("vector"), begin("nothing")])  # in flight, beside rows that begin
        for s in times[1:]:
            together = advance(denoiser, sampler, together, torch.where(together.t > s, s, together.t))
    torch.testing.assert_close(together.x, torch.cat([alone[name] for name in known]), rtol=1e-5, atol=1e-5)


def test_labels_join_a_condition(policy):
    model = latent_model()
    scale = um.Condition(guidance_scale=torch.tensor([2.0, 1.0]))
    x = model.sample(2, label=[0, 1], condition=scale, guidance=lambda d: um.guidance.CFG(d, 1.0), seed=3)
    expected = model.sample(2, label=[0, 1], guidance=[2.0, 1.0], seed=3)
    torch.testing.assert_close(x, expected, rtol=1e-5, atol=1e-5)
    with pytest.raises(um.UsageError, match="a label and a condition with a label"):
        model.sample(2, label=1, condition=um.Condition(label=torch.tensor([0, 1])))
    with pytest.raises(um.UsageError, match="a condition of 3 rows for 2 rows"):
        model.sample(2, condition=um.Condition(label=torch.tensor([0, 1, 2])))
