"""Model sources, with real timm and transformers models of small size."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
transformers = pytest.importorskip("transformers")

from safetensors.torch import load_file, save_file  # noqa: E402

from paring.sources import LoadedGraph, digest, load_model, sources  # noqa: E402
from paring_runtimes.errors import SourceError  # noqa: E402

TIMM = "timm:test_vit"
TINY = {
    "hidden_size": 32,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "image_size": 32,
    "patch_size": 8,
}
ASSETS = Path(__file__).parents[2] / "toolkit" / "paring" / "assets"


def run(loaded, batch: int = 2, size: int | None = None):
    with torch.inference_mode():
        return loaded.model(*loaded.example(batch, size).values())


def vit_folder(folder: Path, **options: object) -> Path:
    torch.manual_seed(1)
    config = transformers.ViTConfig(**TINY, num_labels=5)
    transformers.ViTForImageClassification(config).save_pretrained(folder, **options)
    return folder


def test_every_source_says_what_it_is() -> None:
    found = sources()
    assert set(found) == {"embedded", "gguf", "hf", "nir", "onnx", "py", "spikegpt", "timm"}
    for name, source in found.items():
        assert source.HELP.startswith(name)
        assert source.why_not() is None


def test_listing_sources_imports_no_framework() -> None:
    code = (
        "import sys\nfrom paring.sources import sources\n[s.why_not() for s in sources().values()]\n"
        "assert not {'torch', 'timm', 'transformers', 'onnx'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("tim:resnet18", "did you mean 'timm'"),
        ("vit_tiny_patch16_224", "did you mean 'timm:vit_tiny_patch16_224'"),
        ("google/vit", "did you mean 'hf:google/vit'"),
        ("some/model.onnx", "did you mean 'onnx:some/model.onnx'"),
        ("some/model.gguf", "did you mean 'gguf:some/model.gguf'"),
        ("some/graph.nir", "did you mean 'nir:some/graph.nir'"),
        ("gguf:none.gguf", "no such file"),
        ("timm:vit_tny_patch16_224", r"no such model \(did you mean 'vit_tiny_patch16_224'\?\)"),
        ("embedded:resnet", "the embedded models are"),
        ("hf:nobody/nothing", "not in the local cache, and it could not be downloaded"),
        ("hf:no such name", "no name of a repository"),
        ("py:none.py:make", "no such file: none.py"),
        ("py:no_such_module:make", "no module 'no_such_module'"),
        ("py:make", "the form is py:FILE.py:FACTORY"),
        ("onnx:none.onnx", "no such file"),
    ],
)
def test_wrong_specs(spec: str, expected: str) -> None:
    with pytest.raises(SourceError, match=expected):
        load_model(spec)


def test_unknown_permission_is_refused() -> None:
    with pytest.raises(SourceError, match=r"unknown 'pickles' \(did you mean 'pickle'\?\)"):
        load_model(TIMM, allow=frozenset({"pickles"}))


@pytest.mark.skipif(
    not (ASSETS / "fashion_vit.safetensors").exists(), reason="the weights have not been trained"
)
def test_embedded_knows_its_data() -> None:
    from paring.data import load_data

    loaded = load_model("embedded")
    data = load_data("embedded", limit=200)
    assert not loaded.random_weights
    assert loaded.preprocess is not None
    with torch.inference_mode():
        logits = loaded.model(torch.from_numpy(loaded.preprocess.apply(data.images)))
    assert (logits.argmax(1).numpy() == data.labels).mean() > 0.8


def test_timm_random_weights_follow_the_seed() -> None:
    state = torch.get_rng_state()
    first, same = load_model(TIMM, image_size=32, seed=1), load_model(TIMM, image_size=32, seed=1)
    other = load_model(TIMM, image_size=32, seed=2)
    assert torch.equal(torch.get_rng_state(), state)
    assert first.random_weights
    assert not first.model.training
    assert first.input_shape == (3, 32, 32)
    assert first.output_names == ("logits",)
    assert run(first).shape == (2, 1000)
    assert digest(first.model) == digest(same.model) != digest(other.model)


def test_timm_image_sizes() -> None:
    loaded = load_model(TIMM, image_size=(32, 48), any_image_size=True)
    assert loaded.input_shape == (3, 32, 48)
    assert run(loaded, 1, 64).shape == (1, 1000)
    with pytest.raises(SourceError, match="image size 60x60 is not divided by the patch, 16x16"):
        load_model(TIMM, image_size=60)
    with pytest.raises(SourceError, match=r"fails on images \[1, 3, 64, 64\]"):
        load_model("timm:mixer_s32_224", image_size=64)
    assert load_model("timm:resnet18", image_size=64).input_shape == (3, 64, 64)


def test_timm_weights_set_classes_and_channels(tmp_path: Path) -> None:
    theirs = timm.create_model("test_vit", num_classes=7, in_chans=1).eval()
    save_file(theirs.state_dict(), tmp_path / "w.safetensors")
    loaded = load_model(TIMM, weights=tmp_path / "w.safetensors")
    assert not loaded.random_weights
    assert loaded.input_shape == (1, 160, 160)
    assert loaded.preprocess is not None
    assert loaded.preprocess.channels == 1
    assert digest(loaded.model) == digest(theirs)


def test_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    state = timm.create_model("test_vit").state_dict()
    del state["blocks.0.norm1.bias"]
    state["extra"] = torch.zeros(1)
    state["norm.weight"] = torch.zeros(3)
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(SourceError) as caught:
        load_model(TIMM, weights=tmp_path / "w.safetensors")
    message = str(caught.value)
    assert "1 missing: blocks.0.norm1.bias" in message
    assert "1 unexpected: extra" in message
    assert "1 of another shape: norm.weight is [3] and should be [64]" in message


def test_damaged_weights(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    save_file({"a": torch.zeros(100)}, file)
    file.write_bytes(file.read_bytes()[:-7])
    with pytest.raises(SourceError, match="damaged safetensors file"):
        load_model(TIMM, weights=file)
    for content in (b"", b"text of some length"):
        file.write_bytes(content)
        with pytest.raises(SourceError, match="no safetensors file, or a damaged one"):
            load_model(TIMM, weights=file)
    with pytest.raises(SourceError, match="no such file"):
        load_model(TIMM, weights=tmp_path / "none")


@pytest.mark.parametrize("name", ["w.bin", "w.pt", "w.safetensors", "w"])
@pytest.mark.parametrize("zipped", [True, False])
def test_pickles_are_refused_whatever_their_name(tmp_path: Path, name: str, zipped: bool) -> None:
    state = timm.create_model("test_vit").state_dict()
    file = tmp_path / name
    torch.save({"state_dict": state}, file, _use_new_zipfile_serialization=zipped)
    with pytest.raises(SourceError, match="is a pickle, which can run code") as caught:
        load_model(TIMM, weights=file)
    assert "--allow pickle" in str(caught.value)
    assert "\n" not in str(caught.value)
    loaded = load_model(TIMM, weights=file, allow=frozenset({"pickle"}))
    assert torch.equal(loaded.model.state_dict()["norm.bias"], state["norm.bias"])


class Evil:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return (Path.write_text, (self.target, "ran"))


def test_an_allowed_pickle_still_runs_no_code(tmp_path: Path) -> None:
    file, target = tmp_path / "w.pt", tmp_path / "ran"
    torch.save({"a": Evil(target)}, file)
    with pytest.raises(SourceError, match="holds more than weights"):
        load_model(TIMM, weights=file, allow=frozenset({"pickle"}))
    assert not target.exists()


def test_safetensors_by_any_name(tmp_path: Path) -> None:
    save_file(timm.create_model("test_vit").state_dict(), tmp_path / "w.bin")
    assert not load_model(TIMM, weights=tmp_path / "w.bin").random_weights


@pytest.mark.parametrize(
    ("model", "config", "outputs"),
    [
        ("ViTForImageClassification", "ViTConfig", ("logits",)),
        ("ViTModel", "ViTConfig", ("last_hidden_state",)),
        ("DeiTForImageClassification", "DeiTConfig", ("logits",)),
        ("DeiTForImageClassificationWithTeacher", "DeiTConfig", ("logits",)),
        ("Dinov2ForImageClassification", "Dinov2Config", ("logits",)),
        ("Dinov2Model", "Dinov2Config", ("last_hidden_state",)),
        ("CLIPVisionModel", "CLIPVisionConfig", ("last_hidden_state", "pooler_output")),
    ],
)
def test_transformers_models(tmp_path: Path, model: str, config: str, outputs: tuple) -> None:
    theirs = getattr(transformers, model)(getattr(transformers, config)(**TINY)).eval()
    theirs.save_pretrained(tmp_path / "m")
    loaded = load_model(f"hf:{tmp_path / 'm'}")
    assert type(loaded.model.model).__name__ == model
    assert loaded.name == "m"
    assert loaded.input_shape == (3, 32, 32)
    assert loaded.output_names == outputs
    assert not loaded.random_weights
    assert loaded.hf_config.architectures == [model]
    images = loaded.example(2)["pixel_values"]
    with torch.inference_mode():
        found, expected = loaded.model(images), theirs(images)
    found = found if isinstance(found, tuple) else (found,)
    for name, value in zip(outputs, found, strict=True):
        torch.testing.assert_close(value, expected[name])


def test_transforms_reach_into_a_transformers_model(tmp_path: Path) -> None:
    from paring.transforms import discover

    prune = discover()["token_prune"]
    loaded = load_model(f"hf:{vit_folder(tmp_path)}")
    config = prune.Config(keep_ratio=0.5, blocks=(1,))
    assert prune.check(loaded.model, config) == []
    assert prune.apply(loaded.model, config) is loaded.model
    assert run(loaded).shape == (2, 5)


def test_transformers_image_sizes(tmp_path: Path) -> None:
    loaded = load_model(f"hf:{vit_folder(tmp_path)}", image_size=48)
    assert loaded.input_shape == (3, 48, 48)
    assert run(loaded).shape == (2, 5)
    anything = load_model(f"hf:{tmp_path}", any_image_size=True)
    assert run(anything, 1, 64).shape == (1, 5)
    with pytest.raises(SourceError, match="not divided by the patch, 8x8"):
        load_model(f"hf:{tmp_path}", image_size=42)


def test_transformers_folder_without_weights_is_random(tmp_path: Path) -> None:
    weights = load_file(vit_folder(tmp_path) / "model.safetensors")
    (tmp_path / "model.safetensors").rename(tmp_path / "kept")
    first, same = load_model(f"hf:{tmp_path}", seed=4), load_model(f"hf:{tmp_path}", seed=4)
    assert first.random_weights
    assert digest(first.model) == digest(same.model)
    given = load_model(f"hf:{tmp_path}", weights=tmp_path / "kept")
    assert not given.random_weights
    assert given.source_files == (tmp_path / "config.json", tmp_path / "kept")
    torch.testing.assert_close(given.model.model.state_dict(), weights)


def test_transformers_pickle_is_refused(tmp_path: Path) -> None:
    spec = f"hf:{vit_folder(tmp_path, safe_serialization=False)}"
    assert (tmp_path / "pytorch_model.bin").exists()
    with pytest.raises(SourceError, match=r"pytorch_model\.bin: is a pickle"):
        load_model(spec)
    loaded = load_model(spec, allow=frozenset({"pickle"}))
    assert not loaded.random_weights
    assert loaded.source_files[1].name == "pytorch_model.bin"


def test_transformers_weights_must_be_whole(tmp_path: Path) -> None:
    file = vit_folder(tmp_path) / "model.safetensors"
    state = load_file(file)
    del state["classifier.bias"]
    save_file(state, file, metadata={"format": "pt"})
    with pytest.raises(SourceError, match=r"1 weights .* are not in its file: classifier\.bias"):
        load_model(f"hf:{tmp_path}")
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(SourceError, match="weights cannot be loaded"):
        load_model(f"hf:{tmp_path}")


def test_remote_code_is_refused(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    (tmp_path / "code.py").write_text(f"open({str(ran)!r}, 'w')\n", encoding="utf-8")
    (tmp_path / "config.json").write_text(
        '{"model_type": "odd", "auto_map": {"AutoConfig": "code.Config"}}', encoding="utf-8"
    )
    with pytest.raises(SourceError, match="--allow remote-code"):
        load_model(f"hf:{tmp_path}")
    assert not ran.exists()


def test_transformers_models_that_do_not_fit(tmp_path: Path) -> None:
    small = {key: TINY[key] for key in list(TINY)[:4]}
    transformers.BertConfig(**small, architectures=["BertModel"]).save_pretrained(tmp_path)
    with pytest.raises(SourceError, match="BertModel takes input_ids, attention_mask"):
        load_model(f"hf:{tmp_path}")
    (tmp_path / "config.json").write_text('{"model_type": "nothing"}', encoding="utf-8")
    with pytest.raises(SourceError, match="transformers cannot read its config"):
        load_model(f"hf:{tmp_path}")
    (tmp_path / "config.json").unlink()
    with pytest.raises(SourceError, match=r"no config\.json"):
        load_model(f"hf:{tmp_path}")


def test_transformers_preprocessing_is_read(tmp_path: Path) -> None:
    vit_folder(tmp_path)
    processor = transformers.ViTImageProcessor(image_mean=[0.1, 0.2, 0.3], image_std=[0.5, 0.5, 0.6])
    processor.save_pretrained(tmp_path)
    found = load_model(f"hf:{tmp_path}").preprocess
    assert found is not None
    assert found.mean == (0.1, 0.2, 0.3)
    assert found.std == (0.5, 0.5, 0.6)
    assert found.size == (32, 32)


FACTORIES = """
import torch
from torch import nn
from neighbour import WIDTH

class Net(nn.Module):
    def __init__(self, shape=None):
        super().__init__()
        if shape: self.input_shape = shape
        self.conv = nn.Conv2d(2, WIDTH, 3)
    def forward(self, images):
        return self.conv(images).mean((2, 3))

def make_net(): return Net((2, 8, 8))
def make_bare(): return Net()
def make_text(): return "model"
def make_error(): raise RuntimeError("out of luck")
class Pair(Net):
    def forward(self, images): return images, super().forward(images)
def make_pair(): return Pair((2, 8, 8))
class Two(Net):
    def forward(self, left, right): return left
def make_two(): return Two((2, 8, 8))
class Mapping(Net):
    def forward(self, images): return {"a": images}
def make_mapping(): return Mapping((2, 8, 8))
NUMBER = 3
"""


@pytest.fixture
def factories(tmp_path: Path) -> Path:
    (tmp_path / "neighbour.py").write_text("WIDTH = 4\n", encoding="utf-8")
    file = tmp_path / "nets.py"
    file.write_text(FACTORIES, encoding="utf-8")
    return file


def test_python_file(factories: Path, tmp_path: Path) -> None:
    loaded = load_model(f"py:{factories}:make_net")
    assert loaded.input_name == "images"
    assert loaded.input_shape == (2, 8, 8)
    assert loaded.output_names == ("output",)
    assert run(loaded).shape == (2, 4)
    assert str(tmp_path) not in sys.path
    assert load_model(f"py:{factories}:make_bare", image_size=6).input_shape == (2, 6, 6)
    assert load_model(f"py:{factories}:make_pair").output_names == ("output_0", "output_1")
    save_file(loaded.model.state_dict(), tmp_path / "w.safetensors")
    again = load_model(f"py:{factories}:make_net", weights=tmp_path / "w.safetensors", seed=9)
    assert digest(again.model) == digest(loaded.model)


def test_python_example_inputs(factories: Path) -> None:
    with factories.open("a", encoding="utf-8") as file:
        file.write("\ndef example_inputs(): return torch.zeros(1, 2, 9, 7)\n")
    assert load_model(f"py:{factories}:make_bare").input_shape == (2, 9, 7)


def test_python_module(factories: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(factories.parent)
    assert load_model("py:nets:make_net").name == "make_net"
    monkeypatch.delitem(sys.modules, "nets")


@pytest.mark.parametrize(
    ("factory", "expected"),
    [
        ("make_nat", r"'make_nat' does not exist \(did you mean 'make_net'\?\)"),
        ("NUMBER", "'NUMBER' is not callable"),
        ("make_text", r"make_text\(\) returned str, not an nn.Module"),
        ("make_error", r"make_error\(\) raised RuntimeError: out of luck"),
        ("make_bare", "attribute input_shape = .* or say --image-size"),
        ("make_two", "forward needs left, right"),
        ("make_mapping", "returns dict; a tensor or a tuple"),
    ],
)
def test_wrong_factories(factories: Path, factory: str, expected: str) -> None:
    with pytest.raises(SourceError, match=expected):
        load_model(f"py:{factories}:{factory}")


def test_python_file_that_fails(tmp_path: Path) -> None:
    file = tmp_path / "broken.py"
    file.write_text("def f(:\n", encoding="utf-8")
    with pytest.raises(SourceError, match="raised SyntaxError"):
        load_model(f"py:{file}:f")
    file.write_text("import surely_not_there\n", encoding="utf-8")
    with pytest.raises(SourceError, match="No module named 'surely_not_there'"):
        load_model(f"py:{file}:f")


def write_onnx(file: Path, **options: object) -> bytes:
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    weight = numpy_helper.from_array(torch.ones(3, 1, 1).numpy(), "w")
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node("Add", ["x", "w"], ["y"])],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["b", 3, "h", "w"])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            [weight],
        )
    )
    onnx.save(model, file, **options)
    return file.read_bytes()


def test_onnx(tmp_path: Path) -> None:
    file = tmp_path / "m.onnx"
    content = write_onnx(file)
    loaded = load_model(f"onnx:{file}")
    assert isinstance(loaded, LoadedGraph)
    assert loaded.model is None
    assert [spec.name for spec in loaded.graph.outputs] == ["y"]
    (spec,) = loaded.graph.inputs
    named = [size for size in spec.shape if isinstance(size, str)]
    fixed = load_model(f"onnx:{file}?" + "&".join(f"{name}=8" for name in named))
    assert isinstance(fixed, LoadedGraph)
    assert fixed.graph.inputs[0].shape == tuple(8 if isinstance(size, str) else size for size in spec.shape)
    for told, why in (
        ("side=x", "NAME=NUMBER is needed"),
        ("nothing=3", "neither an input nor an open size"),
    ):
        with pytest.raises(SourceError, match=why):
            load_model(f"onnx:{file}?{told}")
    with pytest.raises(SourceError, match="not by image_size"):
        load_model(f"onnx:{file}", image_size=8)
    for length in (0, len(content) // 2, len(content) - 1):
        file.write_bytes(content[:length])
        with pytest.raises(SourceError, match="truncated"):
            load_model(f"onnx:{file}")


def test_onnx_without_its_weights_file(tmp_path: Path) -> None:
    file = tmp_path / "m.onnx"
    write_onnx(file, save_as_external_data=True, location="m.data", size_threshold=0)
    assert load_model(f"onnx:{file}").source_files == (file, tmp_path / "m.data")
    (tmp_path / "m.data").write_bytes(b"short")
    with pytest.raises(SourceError, match=r"weights file m\.data has 5 bytes, 12 are needed"):
        load_model(f"onnx:{file}")
    (tmp_path / "m.data").unlink()
    with pytest.raises(SourceError, match=r"m\.data is missing"):
        load_model(f"onnx:{file}")


def test_digest_sees_names_shapes_and_values() -> None:
    layer = torch.nn.Linear(2, 3)
    before = digest(layer)
    assert digest(torch.nn.Sequential(layer)) != before
    with torch.no_grad():
        layer.bias[0] += 1
    assert digest(layer) != before
    assert digest(layer.to(torch.bfloat16)) not in ("", before)


def test_examples_come_from_the_generator() -> None:
    loaded = load_model(TIMM, image_size=32)
    draws = [loaded.example(3, generator=torch.Generator().manual_seed(s))["pixel_values"] for s in (1, 1, 2)]
    assert draws[0].shape == (3, 3, 32, 32)
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_random_weights_hold_no_zero_biases() -> None:
    model = load_model("timm:vit_tiny_patch16_224").model
    assert model is not None
    assert all(parameter.any() for parameter in model.parameters())
