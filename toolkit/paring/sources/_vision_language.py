"""A vision-language model as a source hands it back, with how its images are prepared."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paring_runtimes.errors import SourceError

from ._language import LoadedLanguageModel

NAME, NEXT = "LlavaForConditionalGeneration", "LlavaNextForConditionalGeneration"
DESCRIPTION = "preprocessor_config.json"
BICUBIC = 3  # Pillow's number


@dataclass(frozen=True, eq=False)
class LoadedVisionLanguageModel(LoadedLanguageModel):
    """An image and token ids in, logits out. `model` is transformers' LLaVA or LLaVA-NeXT.

    Attributes:
        preparation: "shortest_edge" (pixels, or None to resize to the model's size as it is), "mean", "std".
        description: the file that says so, copied into an artifact.
        image_size: (height, width) of LLaVA-NeXT's images, where asked for; of prepared images, where the
            tower is DINOv2, which takes every size.
    """

    preparation: dict[str, Any] = field(default_factory=dict)
    description: Path | None = None
    image_size: tuple[int, int] | None = None

    def keep(self, folder: Path) -> None:
        """Write the image's preparation too."""
        super().keep(folder)
        if self.description is not None:
            shutil.copyfile(self.description, folder / DESCRIPTION)

    def token_ids(self) -> dict[str, Any]:
        """As of a language model; the language model's config speaks where the whole one's does not."""
        inner, own = self.config.text_config, super().token_ids()
        ends = getattr(inner, "eos_token_id", None)
        if not own["eos_token_ids"] and ends is not None:
            own["eos_token_ids"] = list(ends) if isinstance(ends, list) else [ends]
        for key in ("bos_token_id", "pad_token_id"):
            if own[key] is None:
                own[key] = getattr(inner, key, None)
        return own


def sees_and_speaks(folder: Path, spec: str) -> bool:
    """Whether a checkpoint's config states a LLaVA or LLaVA-NeXT.

    Raises:
        SourceError: it states another vision-language model.
    """
    stated = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    names = stated.get("architectures") or []
    if names in ([NAME], [NEXT]):
        return True
    generates = any(str(name).endswith("ForConditionalGeneration") for name in names)
    if generates and "vision_config" in stated:
        raise SourceError(
            f"{spec}: {names[0]} is no vision-language model that is known; known: {NAME}, {NEXT}"
        )
    return False


def prepared_side(folder: Path, config: Any) -> int:
    """Pixels a side of the tower's input: its config's, but DINOv2 takes what images are prepared to.

    Args:
        folder: the checkpoint.
        config: its config.
    """
    own, file = int(config.vision_config.image_size), folder / DESCRIPTION
    if config.vision_config.model_type != "dinov2" or config.architectures == [NEXT] or not file.is_file():
        return own
    told = json.loads(file.read_text(encoding="utf-8"))
    asked = told.get("crop_size") if told.get("do_center_crop") else told.get("size")
    side = asked.get("height") if isinstance(asked, dict) else asked
    return side if isinstance(side, int) else own


def preparation(folder: Path, size: int, spec: str, tiled: bool = False) -> dict[str, Any]:
    """What `preprocessor_config.json` says, in the runtime's terms.

    Args:
        folder: the checkpoint.
        size: side of the tower's input, in pixels.
        spec: for messages.
        tiled: the model is a LLaVA-NeXT, whose processor resizes to views of `size`.

    Raises:
        SourceError: there is no such file, or it asks for what the runtime does not do.
    """
    file = folder / DESCRIPTION
    if not file.is_file():
        raise SourceError(f"{spec}: has no {DESCRIPTION}, which says how images are prepared")
    told = json.loads(file.read_text(encoding="utf-8"))
    whole = told.get("size") or {}
    whole = {"shortest_edge": whole} if isinstance(whole, int) else whole
    edge = whole.get("shortest_edge")
    cut = told.get("crop_size", size) if told.get("do_center_crop") else size
    sides = [cut, cut] if isinstance(cut, int) else [cut.get("height"), cut.get("width")]
    exact = [whole.get("height", size), whole.get("width", size)]
    asked = {
        "do_pad": told.get("do_pad", False) and not tiled,  # there it fills up the tiles of a batch
        "no do_resize": not told.get("do_resize", True),
        "no do_rescale": not told.get("do_rescale", True),
        "no do_normalize": not told.get("do_normalize", True),
        "shortest_edge without do_center_crop": edge is not None and not told.get("do_center_crop"),
        f"resample {told.get('resample')}": told.get("resample", BICUBIC) != BICUBIC,
        f"rescale_factor {told.get('rescale_factor')}": abs(told.get("rescale_factor", 1 / 255) * 255 - 1)
        > 1e-6,
        f"a size other than {size}": sides != [size, size] or (edge is None and exact != [size, size]),
    }
    wrong = [name for name, found in asked.items() if found]
    if wrong:
        raise SourceError(f"{file}: {', '.join(wrong)}: images are not prepared like that here")
    return {
        "shortest_edge": None if tiled else edge,
        "mean": list(told["image_mean"]),
        "std": list(told["image_std"]),
    }
