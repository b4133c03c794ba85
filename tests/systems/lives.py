"""What a process of test_killed_and_resumed.py runs: one of the systems, slowly, for as long as it lives."""

import dataclasses
import os

import torch
from killing import Slow
from systems.parts import latent_model, policy_model, sound_model, student_model, video_model

import unmelt as um

STEPS, EVERY = 60, 7


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


def live(out, name):
    torch.set_num_threads(1)
    os.setpgrp()
    model, train_step, adapter = SYSTEMS[name]()
    model.source = Slow(model.source, 0.006)
    model.training = dataclasses.replace(model.training, steps=STEPS, save_every=EVERY)
    model.fit(out, device="cpu", quiet=True, train_step=train_step, adapter=adapter)
