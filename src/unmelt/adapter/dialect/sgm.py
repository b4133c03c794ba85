"""Names of a U-Net's layers in the original code of Stable Diffusion ("sgm" for SDXL), from those of diffusers.

input_blocks.0.0                    conv_in
input_blocks.n.0, .n.1              resnet and attention of the n-th place on the way down, counted through all blocks
input_blocks.n.0.op                 the downsampler, which has a place of its own
middle_block.0, .1, .2              resnet, attention, resnet
output_blocks.n.0, .n.1             resnet and attention of the n-th place on the way up
output_blocks.n.2.conv              the upsampler, in the place of its block's last resnet; .1 without attention
"""

from collections import defaultdict

from unmelt.adapter.dialect.place import Layers, Place

_RESNET = {
    "conv1": "in_layers.2",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
_ENDS = {
    "conv_in": "input_blocks.0.0",
    "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
}


def sgm(layers: Layers) -> dict[str, Place]:
    """The layers by their names in the original code.

    Args:
        layers: The layers of a U-Net by diffusers' names.

    Returns:
        A place for each layer that has such a name; none for other networks.
    """
    modules = _modules(layers)
    found: dict[str, Place] = {}
    for name in layers:
        if (other := _ENDS.get(name)) is not None:
            found[other] = Place(layers=(name,))
        parts = name.split(".")
        count = 3 if parts[0] == "mid_block" else 4
        if (place := modules.get(".".join(parts[:count]))) is not None:
            rest = ".".join(parts[count:])
            rest = {"resnets": _RESNET.get(rest, rest), "downsamplers": "op"}.get(parts[count - 2], rest)
            found[f"{place}.{rest}"] = Place(layers=(name,))
    return found


def _modules(layers: Layers) -> dict[str, str]:
    """The place of each resnet, attention and resampler."""
    sizes: dict[str, dict[int, set[str]]] = {"down_blocks": defaultdict(set), "up_blocks": defaultdict(set)}
    for name in layers:
        parts = name.split(".")
        if parts[0] in sizes and len(parts) > 3 and parts[1].isdigit():
            sizes[parts[0]][int(parts[1])].add(".".join(parts[2:4]))
    places = {"mid_block.resnets.0": "middle_block.0", "mid_block.resnets.1": "middle_block.2"}
    places["mid_block.attentions.0"] = "middle_block.1"
    at = 1
    for block, inside in sorted(sizes["down_blocks"].items()):
        at = _walk(places, f"down_blocks.{block}", "input_blocks", inside, at)
        if "downsamplers.0" in inside:
            places[f"down_blocks.{block}.downsamplers.0"] = f"input_blocks.{at}.0"
            at += 1
    at = 0
    for block, inside in sorted(sizes["up_blocks"].items()):
        at = _walk(places, f"up_blocks.{block}", "output_blocks", inside, at)
        position = 2 if "attentions.0" in inside else 1
        places[f"up_blocks.{block}.upsamplers.0"] = f"output_blocks.{at - 1}.{position}"
    return places


def _walk(places: dict[str, str], block: str, blocks: str, inside: set[str], at: int) -> int:
    """Number the resnets of a block, each with its attention; returns the next number."""
    count = sum(each.startswith("resnets.") for each in inside)
    for number in range(count):
        places[f"{block}.resnets.{number}"] = f"{blocks}.{at + number}.0"
        places[f"{block}.attentions.{number}"] = f"{blocks}.{at + number}.1"
    return at + count
