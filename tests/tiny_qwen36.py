"""Writes a Qwen3.6 of random weights: three layers of linear attention, one of full attention, eight experts.

    python tests/tiny_qwen36.py FOLDER VOCABULARY_SIZE END

It runs in vLLM's environment, which has torch and transformers.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch  # pyright: ignore[reportMissingImports]
import transformers  # pyright: ignore[reportMissingImports]

CONTEXT = 4096


def text_config(vocabulary_size: int, end: int) -> dict[str, Any]:
    return {
        "vocab_size": vocabulary_size,
        "hidden_size": 64,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 64,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "linear_key_head_dim": 128,
        "linear_value_head_dim": 128,
        "linear_conv_kernel_dim": 4,
        "moe_intermediate_size": 32,
        "shared_expert_intermediate_size": 32,
        "num_experts": 8,
        "num_experts_per_tok": 2,
        "layer_types": ["linear_attention"] * 3 + ["full_attention"],
        "max_position_embeddings": CONTEXT,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 1e7,
            "partial_rotary_factor": 0.25,
            "mrope_section": [4, 2, 2],
            "mrope_interleaved": True,
        },
        "eos_token_id": end,
        "tie_word_embeddings": False,
    }


def main() -> None:
    folder, vocabulary_size, end = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    vision = {
        "depth": 1,
        "hidden_size": 32,
        "num_heads": 2,
        "intermediate_size": 64,
        "out_hidden_size": 64,
        "patch_size": 16,
        "num_position_embeddings": 16,
    }
    ids = dict.fromkeys(
        ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id"), 0
    )
    torch.manual_seed(0)
    config = transformers.Qwen3_5MoeConfig(
        text_config=text_config(vocabulary_size, end), vision_config=vision, **ids
    )
    model = transformers.Qwen3_5MoeForConditionalGeneration(config).eval().float()
    # So small weights that every token looks alike would be no test.
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "visual" in name:
                continue
            if parameter.dim() >= 2:
                parameter.mul_(4.0)
            elif "norm" in name or "A_log" in name or "dt_bias" in name:
                parameter.add_(torch.randn_like(parameter) * 0.3)
    model.to(torch.bfloat16).save_pretrained(folder)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": end}))


if __name__ == "__main__":
    main()
