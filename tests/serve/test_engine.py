"""An engine's rows are those of `model.sample`, whatever shares their batches; turns are fair, and room is bounded."""

import gc
import random
import threading
import weakref

import pytest
import torch
from systems.parts import latent_model

import unmelt as um
from unmelt.serve import CancelledError, Engine, EngineLimits, OverloadedError
from unmelt.serve.job import Batch
from unmelt.shipped import PLACE

SMALL = EngineLimits(batch=4, rows=12, queue=40)


@pytest.fixture(scope="module")
def digits():
    return um.load("digits", "cpu")


@pytest.fixture(scope="module")
def captioned():
    with um.rng.seeded(0):
        model = um.recipe.scenes(size=24, captions=9, width=8)
        for parameter in model.denoiser.parameters():
            torch.nn.init.normal_(parameter, std=0.05)
    return model


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    (folder / "books").mkdir()
    (folder / "books" / "a.txt").write_text("the sea is blue and deep. " * 40, encoding="utf-8")
    sizes = {"vocabulary": 0, "length": 16, "width": 16, "depth": 1, "heads": 2, "batch": 4, "picture_every": 0}
    return um.recipe.text(folder=folder / "books", steps=3, **sizes).fit(folder / "run", device="cpu", quiet=True)


def played(engine, arrivals):
    """Results of (model, request) pairs that arrive at random moments."""
    chance, jobs, waiting = random.Random(0), [], list(arrivals)
    while waiting or not all(job.is_finished for job in jobs):
        while waiting and (chance.random() < 0.4 or not engine.tick()):
            try:
                jobs.append(engine.submit(*waiting[0]))
            except OverloadedError:
                break
            waiting.pop(0)
        engine.tick()
    return [job.result(0.0) for job in jobs]


def calls(model):
    """Rows of each network call from now on."""
    sizes = []
    handle = model.denoiser.register_forward_hook(lambda module, given, out: sizes.append(len(given[0])))
    return sizes, handle


@pytest.mark.parametrize("deterministic", [False, True])
def test_rows_are_those_of_sample_whatever_shares_their_batches(digits, captioned, deterministic):
    heun = um.sampler.Heun()
    arrivals = [
        (digits, digits.request(3, label=3, guidance=2.0, steps=4, seed=1)),
        (digits, digits.request(5, label=[1, 2, 3, 4, 5], guidance=[1.0, 2.0, 3.0, 0.0, 1.5], steps=9, seed=2)),
        (digits, digits.request(1, steps=20, seed=[7])),
        (captioned, captioned.request(2, caption=["two red stars", "a cat left of a very small dog"], steps=3, seed=3)),
        (digits, digits.request(2, label=9, steps=4, seed=5)),
        (digits, digits.request(2, label=8, guidance=3.0, interval=(0.2, 0.7), steps=6, seed=6)),
        (digits, digits.request(2, label=7, sampler=heun, steps=5, seed=8)),
        (captioned, captioned.request(1, caption="a house", guidance=2.0, steps=5, seed=9)),
        (captioned, captioned.request(1, size=(32, 24), steps=2, seed=9)),
        (digits, digits.request(2, label=1, guidance=lambda denoiser: um.guidance.APG(denoiser, 4.0), steps=3)),
    ]
    made = played(Engine(SMALL, deterministic=deterministic), arrivals)
    for (model, request), x in zip(arrivals, made, strict=True):
        torch.testing.assert_close(x, model.sample_request(request), rtol=1e-4, atol=1e-5)


def test_text_and_students_are_served_too(text):
    latents = latent_model()
    student = um.load(PLACE / "lab" / "jump_student", "cpu")
    arrivals = [
        (text, text.request(2, prompt="the sea", steps=4, seed=1)),
        (text, text.request(1, prompt="the", suffix="deep.", length=14, steps=7, seed=2)),
        (student, student.request(3, steps=1, seed=3)),
        (text, text.request(1, prompt="blue", temperature=0.5, seed=4)),
        (student, student.request(2, steps=4, seed=5)),
        (latents, latents.request(2, steps=3, seed=6)),
    ]
    made = played(Engine(SMALL), arrivals)
    for (model, request), x in zip(arrivals, made, strict=True):
        torch.testing.assert_close(x, model.sample_request(request), rtol=1e-4, atol=1e-5)


def test_deterministic_rows_are_the_same_bit_for_bit(digits):
    limits = EngineLimits(batch=8, rows=64)
    asked = digits.request(2, label=3, guidance=2.0, steps=9, seed=1)
    alone = played(Engine(limits, deterministic=True), [(digits, asked)])[0]
    others = [(digits, digits.request(1 + k % 3, label=k, guidance=1.0 + k, steps=9, seed=10 + k)) for k in range(6)]
    for place in (0, 3, 6):
        crowd = [*others[:place], (digits, asked), *others[place:]]
        assert torch.equal(played(Engine(limits, deterministic=True), crowd)[place], alone)


def test_rows_at_different_times_share_network_calls(digits):
    sampler = um.sampler.DPMpp(order=2)
    requests = [digits.request(1, label=k, sampler=sampler, steps=10 + k, seed=k) for k in range(4)]
    engine = Engine(SMALL)
    jobs = []
    sizes, handle = calls(digits)
    for request in requests:
        jobs.append(engine.submit(digits, request))
        engine.tick()
    engine.run()
    handle.remove()
    assert all(job.is_finished for job in jobs)
    assert sum(sizes) == 10 + 11 + 12 + 13
    assert len(sizes) == 3 + 13  # the last to come begins when the first has taken three steps
    assert max(sizes) == 4


def ticks_until(engine, job):
    count = 0
    while not job.is_finished:
        assert engine.tick()
        count += 1
    return count


def test_a_short_job_does_not_wait_for_long_ones_and_long_ones_go_on(digits):
    engine = Engine(EngineLimits(batch=4, rows=100))
    sampler = um.sampler.Euler()
    long = [engine.submit(digits, digits.request(4, sampler=sampler, steps=50, seed=k)) for k in range(3)]
    for _ in range(10):
        engine.tick()
    short = engine.submit(digits, digits.request(1, sampler=sampler, steps=4, seed=9))
    assert ticks_until(engine, short) <= 5 * 4  # rounds of at most four batches
    for _ in range(60):  # short jobs keep coming
        engine.submit(digits, digits.request(1, sampler=sampler, steps=4, seed=9))
        for _ in range(4):
            engine.tick()
    assert all(job.is_finished for job in long)
    assert all(job.result(0.0).isfinite().all() for job in long)


def test_a_round_gives_every_part_one_turn(digits):
    """Kinds that share no batch take turns, and what fills a batch does not count against it."""
    engine = Engine(EngineLimits(batch=2, rows=100))
    seen = []
    kinds = [um.sampler.Euler(), um.sampler.Heun(), um.sampler.DPMpp(order=2)]
    for number, (sampler, rows) in enumerate(zip([*kinds, kinds[0]], (2, 1, 2, 1), strict=True)):
        engine.submit(
            digits,
            digits.request(rows, sampler=sampler, steps=6, seed=number),
            on_step=lambda state, number=number: seen.append(number),
        )
    for _ in range(4 * 6):
        engine.tick()
    for first in range(0, 4 * 6, 4):
        assert sorted(seen[first : first + 4]) == [0, 1, 2, 3]


def test_a_cancelled_job_frees_its_rows_before_the_next_step(digits):
    engine = Engine(SMALL)
    keeps = engine.submit(digits, digits.request(2, label=1, steps=6, seed=1))
    gives_up = engine.submit(digits, digits.request(6, label=2, steps=6, seed=2))
    waits = engine.submit(digits, digits.request(12, label=2, steps=6, seed=2))
    engine.tick()
    assert (engine.rows_in_flight, engine.rows_waiting) == (8, 12)
    gives_up.cancel()
    waits.cancel()
    sizes, handle = calls(digits)
    engine.tick()
    handle.remove()
    assert sizes == [2]
    assert (engine.rows_in_flight, engine.rows_waiting) == (2, 0)
    engine.run()
    for job in (gives_up, waits):
        with pytest.raises(CancelledError):
            job.result(0.0)
    keeps.cancel()  # too late
    torch.testing.assert_close(keeps.result(0.0), digits.sample(2, label=1, steps=6, seed=1), rtol=1e-4, atol=1e-5)


def test_room_is_bounded(digits):
    engine = Engine(EngineLimits(batch=2, rows=4, queue=5))
    with pytest.raises(um.UsageError, match="at most 4 in a request"):
        engine.submit(digits, digits.request(5))
    with pytest.raises(um.UsageError, match="at most 2 rows"):
        engine.submit(digits, digits.request(3, guidance=lambda denoiser: um.guidance.APG(denoiser, 2.0), label=1))
    jobs = [engine.submit(digits, digits.request(4, steps=2, seed=0))]
    engine.tick()
    jobs.append(engine.submit(digits, digits.request(4, steps=2, seed=1)))
    with pytest.raises(OverloadedError, match="4 rows are waiting, of at most 5"):
        engine.submit(digits, digits.request(2))
    while not jobs[0].is_finished:
        assert engine.rows_in_flight <= 4
        engine.tick()
    engine.run()
    assert jobs[1].result(0.0).shape == (4, 1, 8, 8)
    assert (engine.rows_in_flight, engine.rows_waiting) == (0, 0)
    with pytest.raises(TimeoutError):
        engine.submit(digits, digits.request(1)).result(0.01)
    with pytest.raises(um.UsageError, match="batch <= rows"):
        EngineLimits(batch=5, rows=4)


def test_a_request_that_fails_takes_no_other_with_it(digits):
    engine = Engine(SMALL)
    bad = engine.submit(digits, digits.request(1, label=1, guidance=lambda denoiser: _Breaks(denoiser), seed=1))
    worse = engine.submit(digits, digits.request(1, label=1, guidance=lambda denoiser: _Spoils(denoiser), seed=1))
    good = engine.submit(digits, digits.request(1, label=1, steps=5, seed=1))
    engine.run()
    with pytest.raises(ZeroDivisionError):
        bad.result(0.0)
    with pytest.raises(um.UsageError, match="not finite"):
        worse.result(0.0)
    assert good.result(0.0).isfinite().all()
    assert engine.rows_in_flight == 0


def test_a_callback_that_fails_takes_no_other_job_with_it(digits):
    engine = Engine(SMALL)
    first = engine.submit(digits, digits.request(1, label=1, steps=5, seed=1))
    bad = engine.submit(digits, digits.request(1, label=2, steps=5, seed=2), on_step=lambda state: 1 / 0)
    last = engine.submit(digits, digits.request(1, label=3, steps=5, seed=3))
    engine.run()
    with pytest.raises(ZeroDivisionError):
        bad.result(0.0)
    for job, label in ((first, 1), (last, 3)):
        wanted = digits.sample(1, label=label, steps=5, seed=label)
        torch.testing.assert_close(job.result(0.0), wanted, rtol=1e-4, atol=1e-5)
    assert engine.rows_in_flight == 0


@pytest.mark.parametrize("deterministic", [False, True])
def test_a_large_picture_counts_for_the_rows_that_it_is_as_large_as(captioned, deterministic):
    """Pictures of 24 pixels count for 1, of 48 for 4: a batch of 8 has two of them, and no network call more."""
    engine = Engine(EngineLimits(batch=8, rows=16, queue=16), deterministic=deterministic)
    request = captioned.request(3, caption="a cat", size=48, steps=2, seed=1)
    sizes, handle = calls(captioned)
    job = engine.submit(captioned, request)
    engine.run()
    handle.remove()
    assert sizes == ([2, 2, 2, 2] if deterministic else [2, 1, 2, 1])
    torch.testing.assert_close(job.result(0.0), captioned.sample_request(request), rtol=1e-4, atol=1e-5)
    for wrong, said in ((captioned.request(1, size=96), "count for 16"), (captioned.request(5, size=48), "at most 4")):
        with pytest.raises(um.UsageError, match=said):
            engine.submit(captioned, wrong)
    engine.submit(captioned, captioned.request(4, size=48))
    with pytest.raises(OverloadedError, match="16 rows are waiting"):
        engine.submit(captioned, captioned.request(1))


class _Breaks:
    def __init__(self, denoiser):
        self.denoiser, self.process, self.shape = denoiser, denoiser.process, denoiser.shape

    def __call__(self, x_t, t, condition=None):
        raise ZeroDivisionError


class _Spoils(_Breaks):
    def __call__(self, x_t, t, condition=None):
        return um.posterior.Point(torch.full_like(x_t, float("nan")))


def test_jobs_come_from_many_threads(digits):
    engine, stop = Engine(EngineLimits(batch=8, rows=64, queue=64)), threading.Event()
    worker = threading.Thread(target=engine.run, args=(stop,))
    worker.start()
    found = {}

    def asks(number):
        request = digits.request(1, label=number, steps=3 + number, seed=number)
        found[number] = engine.submit(digits, request).result(60.0)

    askers = [threading.Thread(target=asks, args=(number,)) for number in range(8)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    stop.set()
    worker.join(10)
    assert not worker.is_alive()
    for number, x in found.items():
        wanted = digits.sample(1, label=number, steps=3 + number, seed=number)
        torch.testing.assert_close(x, wanted, rtol=1e-4, atol=1e-5)
    assert len(found) == 8


def test_nothing_of_a_job_that_is_over_stays_in_memory(digits):
    """Without waiting for the garbage collector, which comes late where there are few and large objects."""
    engine = Engine(SMALL)
    gc.collect()
    gc.disable()
    try:
        jobs = [engine.submit(digits, digits.request(2, label=3, steps=3 + k, seed=k)) for k in range(4)]
        for _ in range(3):
            engine.tick()
        states = [weakref.ref(each) for part in engine._parts for each in (part.state.x, part.batch)]
        jobs[3].cancel()
        engine.run()
        assert all(job.is_finished for job in jobs)
        assert not any(each() for each in states)
        batches = [each for each in gc.get_objects() if type(each) is Batch]
        assert batches == []
    finally:
        gc.enable()


def test_rows_with_and_without_guidance_share_a_network_call(digits):
    engine = Engine(SMALL)
    asked = {"label": 3, "steps": 4, "seed": 1}
    requests = [digits.request(1, guidance=scale, **asked) for scale in (1.0, 3.0)]
    sizes, handle = calls(digits)
    jobs = [engine.submit(digits, request) for request in requests]
    engine.run()
    handle.remove()
    assert sizes == [3] * 4  # both as they are, and one under the null condition
    for job, request in zip(jobs, requests, strict=True):
        torch.testing.assert_close(job.result(0.0), digits.sample_request(request), rtol=1e-4, atol=1e-5)
