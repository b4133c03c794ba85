"""Policies: what is planned and carried out, against a model whose plans are known exactly."""

import numpy as np
import pytest
import torch

import unmelt as um
from unmelt.posterior import Point
from unmelt.sampler import Euler

HORIZON, FEATURES = 6, 2


class Scripted(torch.nn.Module):
    """Believes in one plan: action k is the newest observation plus k, or the held action before it plus 1."""

    process, shape = um.process.Gaussian(um.schedule.Straight()), (HORIZON, FEATURES)

    def __init__(self):
        super().__init__()
        self.one = torch.nn.Parameter(torch.zeros(1))
        self.backbone = um.backbone.StandardizedVector(
            um.backbone.MLP(shape=(2,), width=4, depth=1, vector_width=2 * FEATURES), (5.0, 5.0), (2.0, 2.0)
        )

    def forward(self, x_t, t, condition=None):
        newest = condition.vector[:, None, -FEATURES:]
        k = torch.arange(HORIZON)[:, None]
        known = (t == 0).sum(1)[:, None, None]
        last = x_t.gather(1, (known - 1).clamp_min(0).expand(-1, 1, FEATURES))
        plan = torch.where(known > 0, last + (k - known + 1), newest + k)
        return Point(torch.where((t == 0)[..., None], x_t, plan))


def scripted():
    return um.Model(
        denoiser=Scripted(), codec=um.codec.Affine(), modality=um.modality.Actions(), grid=um.grid.uniform(4)
    )


def test_a_new_plan_is_made_after_the_steps_that_are_carried_out():
    policy = um.Policy(scripted(), steps=2, act_steps=3, sampler=Euler())
    done = [policy.act([10.0 * k, 0.0])[0] for k in range(7)]
    np.testing.assert_allclose(done, [0, 1, 2, 30, 31, 32, 60], atol=1e-5)
    policy.reset()
    np.testing.assert_allclose(policy.act([7.0, 1.0]), [7, 1], atol=1e-5)


def test_held_actions_are_those_of_the_old_plan():
    policy = um.Policy(scripted(), steps=2, act_steps=3, hold=2, sampler=Euler())
    done = [policy.act([10.0 * k, 0.0])[0] for k in range(8)]
    # The second plan begins with what the first one had left, and goes on from there whatever is seen.
    np.testing.assert_allclose(done, [0, 1, 2, 3, 4, 5, 6, 7], atol=1e-5)


def test_environments_run_side_by_side():
    policy = um.Policy(scripted(), steps=1, act_steps=2, sampler=Euler())
    action = policy.act(np.array([[1.0, 2.0], [3.0, 4.0]]))
    np.testing.assert_allclose(action, [[1, 2], [3, 4]], atol=1e-5)
    with pytest.raises(um.UsageError, match="as many rows as before"):
        policy.act([1.0, 2.0])


def test_a_budget_chooses_the_steps(monkeypatch):
    now, model = [0.0], scripted()
    monkeypatch.setattr("unmelt.model.policy.time.perf_counter", lambda: now[0])
    plain = Scripted.forward

    def slow(self, x_t, t, condition=None):
        now[0] += 0.004
        return plain(self, x_t, t, condition)

    monkeypatch.setattr(Scripted, "forward", slow)
    assert um.Policy(model, budget=0.020, sampler=Euler()).steps == 4
    assert um.Policy(model, budget=0.066, sampler=Euler()).steps == 16
    with pytest.raises(um.UsageError, match=r"a plan of 1 steps takes 0\.004 s"):
        um.Policy(model, budget=0.001, sampler=Euler())


def test_what_cannot_be_is_refused():
    with pytest.raises(um.UsageError, match="a model of actions"):
        um.Policy(um.recipe.ring())
    with pytest.raises(um.UsageError, match="act_steps=9"):
        um.Policy(scripted(), act_steps=9)
    with pytest.raises(um.UsageError, match="with NaN in it"):
        um.Policy(scripted()).act([np.nan, 1.0])
    with pytest.raises(um.UsageError, match="an observation of shape"):
        um.Policy(scripted()).act([1.0, 2.0, 3.0])


@pytest.fixture
def demos(tmp_path):
    um.data.save_episodes(um.data.DiscRows().demonstrations(30), tmp_path / "demos.npz")
    return tmp_path / "demos.npz"


@pytest.mark.parametrize("network", ["mlp", "transformer"])
def test_the_recipe_trains_saves_and_acts(demos, tmp_path, network):
    settings = {"episodes": demos, "network": network, "horizon": 8, "width": 16, "depth": 1}
    model = um.recipe.policy(**settings, steps=4, batch=8, picture_every=0).fit(tmp_path / "run", quiet=True)
    again = um.load(tmp_path / "run")
    observation = model.held_out.observations[0].numpy()
    plain, loaded = um.Policy(model, steps=2), um.Policy(again, steps=2)
    for _ in range(6):  # one plan, and the beginning of the next
        action = plain.act(observation)
        assert action.shape == (2,)
        np.testing.assert_array_equal(action, loaded.act(observation))
    held = um.Policy(again, steps=2, hold=3, act_steps=2)
    first = held.plan(held.model.codec.decode(torch.zeros(1, 2, 2)).new_zeros(1, 2, 16))
    second = held.plan(torch.zeros(1, 2, 16), first[:, 2:5])
    assert torch.equal(second[:, :3], first[:, 2:5])
    assert again.sample(3, steps=2).shape == (3, 8, 2)
    again.picture(tmp_path / "plans.png")
    assert (tmp_path / "plans.png").stat().st_size > 1000


def test_the_script_takes_all_routes_and_an_average_of_two_hits_a_disc():
    env, rng = um.data.DiscRows(), um.rng.Stream(3)
    state = env.start(2000, rng)
    plan = env.script(state, rng)
    end = env.follow(state, plan)
    fine = env.success(end)
    assert fine.double().mean() > 0.99
    assert um.data.route_entropy(env.route(end)[fine]) > 0.99
    assert len(env.route(end)[fine].unique()) == 24
    mean = plan.mean(0, keepdim=True).expand_as(plan)
    assert env.success(env.follow(state, mean)).double().mean() < 0.05
    jittered = um.data.DiscRows(jitter=0.05)
    state = jittered.start(2000, rng)
    fine = jittered.success(jittered.follow(state, jittered.script(state, rng)))
    assert fine.double().mean() > 0.93
    swapped = jittered.script(state._replace(discs=state.discs.roll(1, 0)), rng)
    assert jittered.success(jittered.follow(state, swapped)).double().mean() < fine.double().mean() - 0.1
    demos = jittered.demonstrations(5, seed=1)
    assert demos[0].observations.shape == (32, 16)
    again = jittered.start(5, um.rng.Stream(1))
    for k, action in enumerate(demos[0].actions):  # replayed, the observations are those of the demonstration
        torch.testing.assert_close(jittered.observation(again)[0].float(), demos[0].observations[k], atol=1e-5, rtol=0)
        again = jittered.step(again, action.double().expand(5, 2))
