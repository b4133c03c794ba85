"""What a process of tests/distill/test_students_of_processes.py runs: `torchrun spread_students.py OUT`.

Trains a student of every method and writes its weights, from the first process.
"""

import os
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from students import METHODS, fitted

from unmelt.train import distributed

if __name__ == "__main__":
    torch.set_num_threads(1)
    for cls in METHODS:
        weights = {name: value.contiguous() for name, value in fitted(cls()).denoiser.state_dict().items()}
        if distributed.is_main():
            save_file(weights, Path(sys.argv[1]) / f"{cls.__name__}.safetensors")
    os._exit(0)  # torch's threads now and then abort a process whose interpreter shuts down (see LOG.md)
