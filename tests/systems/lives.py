"""What a process of test_killed_and_resumed.py runs: one of the systems, slowly, for as long as it lives."""

import dataclasses
import os
import time

import torch
from systems.parts import latent_model, policy_model, sound_model, student_model, video_model

import unmelt as um

STEPS, EVERY = 60, 7


class Slow:
    """A source that takes its time, so that there is something to interrupt."""

    def __init__(self, source):
        self.source = source

    def __getattr__(self, name):
        return getattr(self.source, name)

    def batch(self, step, rows):
        time.sleep(0.006)
        return self.source.batch(step, rows)


def adapted():
    model = policy_model()
    model.add_adapter("style", um.adapter.LoRA(rank=2), seed=3)
    return model


SYSTEMS = {
    "two_networks": lambda: (*student_model(), None),
    "sound": lambda: (sound_model(), None, None),
    "policy": lambda: (policy_model(), None, None),
    "video": lambda: (video_model(), None, None),
    "adapter": lambda: (adapted(), None, "style"),
    "latents": lambda: (latent_model(), None, None),
}


def live(name, out):
    torch.set_num_threads(1)
    os.setpgrp()
    model, train_step, adapter = SYSTEMS[name]()
    model.source = Slow(model.source)
    model.training = dataclasses.replace(model.training, steps=STEPS, save_every=EVERY)
    model.fit(out, device="cpu", quiet=True, train_step=train_step, adapter=adapter)
