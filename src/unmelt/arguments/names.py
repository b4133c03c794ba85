"""Arguments by the names that other libraries have for them, and what they are called here."""

import difflib
from collections.abc import Mapping, Sequence

SAME: dict[str, str] = {
    "steps": "grid",
    "beta_start": "beta_min",
    "beta_end": "beta_max",
    "num_inference_steps num_steps n_steps nfe sampling_steps inference_steps": "steps grid",
    "num_sampling_steps ddim_steps sample_steps": "steps grid",
    "num_timesteps max_steps num_train_steps train_steps max_train_steps iterations iters n_iter max_iters": "steps",
    "guidance_scale cfg cfg_scale scale w unconditional_guidance_scale cfg_weight guidance_weight": "guidance scale",
    "num_samples n_samples num_images num_images_per_prompt n count num num_return_sequences": "rows samples batch",
    "nsamples num_rows": "rows samples",
    "batch_size": "rows batch samples",
    "bs batchsize train_batch_size per_device_train_batch_size": "batch rows",
    "samples": "rows x",
    "rows": "samples",
    "generator rng random_state manual_seed random_seed seeds": "seed",
    "class_labels class_label class_id class labels classes y target cls category": "label",
    "prompt prompts text": "caption prompt texts label",
    "texts": "prompt",
    "captions": "caption",
    "cond conditioning conditions": "condition",
    "scheduler solver method sampling_method noise_scheduler": "sampler",
    "schedule timesteps sigmas time_steps": "grid",
    "guidance_interval cfg_interval": "interval",
    "max_new_tokens max_length max_tokens seq_len sequence_length context_length max_seq_len": "length tokens",
    "num_tokens gap": "tokens",
    "temp": "temperature",
    "top_k nucleus": "top_p",
    "mask_token placeholder": "marker",
    "learning_rate learningrate": "lr",
    "ema_decay ema_rate": "ema",
    "resolution image_resolution image_size img_size height width px": "size",
    "in_channels num_channels": "channels",
    "dim hidden_size hidden_dim model_channels d_model base_channels n_embd embed_dim": "width",
    "num_layers n_layers layers n_layer num_blocks": "depth blocks",
    "num_res_blocks": "blocks",
    "num_heads n_heads n_head": "heads",
    "vocab_size vocab": "vocabulary",
    "block_size": "block length",
    "cond_drop_prob p_uncond uncond_prob label_dropout class_dropout_prob": "drop",
    "val_split test_size validation_split val_fraction": "held_out",
    "mixed_precision amp dtype fp16 bf16": "precision",
    "dataset data path data_dir data_path root dataset_name train_data train_data_dir image_folder dir": "folder",
    "output output_dir output_path output_folder out_dir outdir outfile save save_dir save_to dest": "out",
    "logdir log_dir checkpoint_dir run_dir workdir": "out log_to",
    "folder": "out path",
    "pretrained_model_name_or_path repo_id model_id model_name": "name_or_folder folder",
    "map_location": "device",
    "save_steps checkpoint_every checkpointing_steps save_interval": "save_every",
    "sample_every sample_interval eval_every": "picture_every",
    "gradient_accumulation_steps grad_accum": "gradient_accumulation",
    "gradient_checkpointing grad_checkpointing": "activation_checkpointing",
    "torch_compile": "compile",
    "fsdp": "shard",
    "verbose progress disable_progress_bar silent": "quiet",
    "report_to log_with logger wandb tensorboard": "log_to",
    "image images init_image init x0 img inputs input": "x folder",
    "denoising_strength noise_strength t": "strength",
    "mask_image masks inpaint_mask": "mask",
    "control_image controlnet_cond control_images": "control",
    "controlnet_conditioning_scale adapter_conditioning_scale conditioning_scale": "control_scale",
    "num_resample jump_n_sample resample_steps resampling_steps resample": "resamples",
    "iterations max_iter iters epochs": "rounds",
    "n_probes num_probes hutchinson_samples": "probes",
    "num_draws": "draws",
    "lora lora_name": "adapter",
    "lora_alpha network_alpha": "alpha",
    "lora_dropout": "dropout",
    "target_modules": "targets",
    "use_dora dora": "decompose",
    "r lora_rank network_dim": "rank",
    "adapter_name": "name",
    "adapter_weights weights": "scales",
    "model denoise_fn unet": "denoiser",
}
"""What others call an argument: what it is called here, in the order in which a call is searched for it."""

DIFFERENCES: dict[tuple[str, str], str] = {
    ("top_k", "top_p"): "and is a share of probability from 0 to 1, not a number of tokens",
    ("prompt prompts text", "label"): "and is a class: this model learned no captions",
    ("max_new_tokens", "length"): "and counts the tokens of prompt and suffix too",
    ("beta_start beta_end", "beta_min beta_max"): "and is a rate over t from 0 to 1: 1000 times that of 1000 steps",
}
"""Arguments of others that mean something else than ours, and what ours is: no value is taken over."""

ELSEWHERE: dict[str, tuple[str, str]] = {
    "negative_prompt uncond negative": (
        "guidance away from another denoiser is a wrapping",
        "model.sample(16, guidance=lambda denoiser: um.guidance.Autoguidance(denoiser, worse, 2.0))",
    ),
    "height width size image_size resolution shape": (
        "the size of samples is that of the training data, chosen in the recipe",
        'um.recipe.images(folder="faces", size=64)',
    ),
    "eta noise churn s_churn": (
        "noise that a sampler adds is an argument of the sampler",
        "model.sample(16, sampler=um.sampler.DDIM(eta=1.0))",
    ),
    "order": ("the order is an argument of the sampler", "model.sample(16, sampler=um.sampler.DPMpp(order=2))"),
    "rho sigma_min sigma_max": (
        "noise levels belong to the grid",
        "model.sample(16, grid=um.grid.karras(20, rho=7.0))",
    ),
    "strength image init_image": ("data to begin with are given to edit", "model.edit(x, strength=0.5)"),
    "mask mask_image": (
        "a part of a picture is made anew by inpaint",
        "model.inpaint(x, mask)",
    ),
    "temperature top_p top_k max_new_tokens max_length suffix allowed": (
        "it is an argument of models of text; other samples are steered by guidance",
        "model.sample(16, label=3, guidance=2.0)",
    ),
    "repetition_penalty do_sample num_beams": (
        "what is drawn is steered by temperature, top_p and allowed",
        "model.sample(4, temperature=0.8, top_p=0.9)",
    ),
    "epochs num_epochs num_train_epochs n_epochs max_epochs": (
        "training is counted in steps: epochs * rows of data / batch",
        "um.recipe.digits(steps=1000)",
    ),
    "lr steps batch seed": (
        "how a model is trained is set in its recipe",
        "um.recipe.digits(steps=1000, batch=96, lr=4e-3)",
    ),
    "num_workers workers": ("data are read ahead without being asked", 'model.fit(out="runs/faces")'),
    "optimizer lr_scheduler weight_decay": (
        "the optimizer is part of the training settings",
        "model.training = dataclasses.replace(model.training, optimizer=um.train.AdamW())",
    ),
    "device cuda gpu": ("a model computes where its weights are", 'model.to("cuda").sample(16)'),
    "dtype torch_dtype fp16 half": ("the precision of samples is that of the weights", "model.denoiser.half()"),
    "return_dict output_type return_type": (
        "samples come as a tensor; draw makes a picture",
        "model.draw(model.sample(16))",
    ),
    "callback callback_on_step_end": ("every step is seen in a trajectory", "for frame in model.trajectory(16): ..."),
}
"""What others call an argument that has no counterpart in the call: what to do, and how that is written."""


def rename(word: str, accepted: Sequence[str], table: Mapping[str, str] = SAME) -> str | None:
    """The argument that has another name elsewhere.

    Args:
        word: The name that was given.
        accepted: The names that the call takes.
        table: What others call an argument, and what it is called here.

    Returns:
        What the argument is called here; None if it has no other name that the call takes.
    """
    found = [here for names, here in table.items() if word in names.split()]
    return next((name for names in found for name in names.split() if name in accepted), None)


def difference(word: str, here: str) -> str:
    """How an argument of others differs from the one that stands here in its place.

    Args:
        word: The name that was given.
        here: The name of the argument here.

    Returns:
        A clause; empty if the two mean the same.
    """
    known = ((pair, said) for pair, said in DIFFERENCES.items())
    return next((said for (theirs, ours), said in known if word in theirs.split() and here in ours.split()), "")


def elsewhere(word: str) -> tuple[str, str] | None:
    """What to do in place of an argument that the call has not.

    Args:
        word: The name that was given.

    Returns:
        (what to do, how it is written); None if nothing is known of the name.
    """
    return next((found for names, found in ELSEWHERE.items() if word in names.split()), None)


def misspelt(word: str, accepted: Sequence[str]) -> str | None:
    """The argument that was probably meant.

    Args:
        word: The name that was given.
        accepted: The names that the call takes.

    Returns:
        The most similar name; None if none is similar.
    """
    close = difflib.get_close_matches(word, accepted, n=1, cutoff=0.6)
    return close[0] if close else None
