"""Names that a layer of a block or backbone may not have, since its module is kept under its name: `train`, `parameters`.

Out: why a name is taken, or None. The front end imports no torch, so the names are written out; a test compares them.
"""

from __future__ import annotations

MODULE = frozenset(
    {
        *("T_destination", "add_module", "apply", "bfloat16", "buffers", "call_super_init", "children", "compile"),
        *("cpu", "cuda", "double", "dump_patches", "eval", "extra_repr", "float", "forward", "get_buffer"),
        *("get_extra_state", "get_parameter", "get_submodule", "half", "ipu", "load_state_dict", "modules", "mtia"),
        *("named_buffers", "named_children", "named_modules", "named_parameters", "parameters"),
        *("register_backward_hook", "register_buffer", "register_forward_hook", "register_forward_pre_hook"),
        *("register_full_backward_hook", "register_full_backward_pre_hook", "register_load_state_dict_post_hook"),
        *("register_load_state_dict_pre_hook", "register_module", "register_parameter"),
        *("register_state_dict_post_hook", "register_state_dict_pre_hook", "requires_grad_", "set_extra_state"),
        *("set_submodule", "share_memory", "state_dict", "to", "to_empty", "train", "training", "type", "xpu"),
        *("zero_grad",),
    }
)
"""What every `torch.nn.Module` has."""

MODEL = frozenset(
    {
        *("default_cfg", "feature_info", "forward_features", "forward_head", "forward_intermediates"),
        *("get_classifier", "global_pool", "grad_checkpointing", "group_matcher", "head_hidden_size", "in_chans"),
        *("init_non_persistent_buffers", "init_weights", "network", "no_weight_decay", "num_classes", "num_features"),
        *("num_prefix_tokens", "of_origin", "origin", "pretrained_cfg", "program", "prune_intermediate_layers"),
        *("reset_classifier", "set_grad_checkpointing", "set_input_size"),
    }
)
"""What a backbone has besides, as timm's models do."""

ARGUMENTS = frozenset(
    {
        *("checkpoint_path", "features_only", "img_size", "name", "out_indices", "pretrained", "program", "weights"),
    }
)
"""What `create_model` takes besides a backbone's formals."""


def taken_by_modules(name: str, in_backbone: bool) -> str | None:
    """Why no layer may have this name."""
    if name.startswith("_"):
        return "names of layers do not begin with `_`"
    if name in MODULE:
        return "torch.nn.Module has an attribute of that name"
    return "a model has an attribute of that name" if in_backbone and name in MODEL else None
