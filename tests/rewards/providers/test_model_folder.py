"""What a folder of a local model may hold, and what its settings may be."""

import json
import socket
import sys

import pytest

from embodied.errors import UserError
from rewards.providers.transformers_chat import TransformersConfig, TransformersProvider

QUESTION = [{"role": "user", "content": "Hello there"}]

SETTINGS = [
    ({"path": ""}, "path is missing; the transformers provider takes: path"),
    ({"colour": 1}, "unknown setting 'colour'"),
    ({"path": "absent"}, "config.json is missing"),
    ({"dtype": "int3"}, "provider.dtype is 'int3'; set one of auto"),
    ({"temperature": 0.0}, "null decodes greedily"),
    ({"batch_size": 0}, "provider.batch_size is 0"),
    ({"max_tokens": 0}, "provider.max_tokens is 0"),
    ({"max_calls": 0}, "call cap"),
]


@pytest.mark.parametrize(("settings", "part"), SETTINGS)
def test_a_mistaken_setting_is_told(make_local, settings, part):
    with pytest.raises(UserError) as caught:
        make_local(**settings)
    assert part in str(caught.value)


def test_a_device_that_is_not_there_is_told(make_local):
    with pytest.raises(UserError, match="cannot use the model in"):
        make_local(device="warp").complete(QUESTION)


def test_weights_that_are_no_safetensors_are_not_read(folder):
    import torch

    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"holds no \*\.safetensors; other weights are not read"):
        TransformersProvider({"path": str(folder)})


def test_code_of_the_folder_is_not_run(folder, tmp_path):
    ran = tmp_path / "ran"
    (folder / "modeling_own.py").write_text(f"open({str(ran)!r}, 'w')\n")
    config = json.loads((folder / "config.json").read_text())
    own = {"AutoConfig": "modeling_own.C", "AutoModelForCausalLM": "modeling_own.M"}
    config |= {"auto_map": own, "model_type": "own"}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="cannot use the model in") as caught:
        TransformersProvider({"path": str(folder)}).complete(QUESTION)
    assert "\n" not in str(caught.value)
    assert not ran.exists()


@pytest.mark.parametrize(
    "change",
    [
        {"attn_implementation": "somebody/kernel"},
        {"text_config": {"_attn_implementation": "somebody/kernel:f"}},
        {"parts": [{"experts_implementation": {"": "somebody/kernel"}}]},
    ],
)
def test_kernels_of_a_hub_are_refused(folder, change):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(UserError, match="names an implementation on a hub"):
        TransformersProvider({"path": str(folder)})


def test_nothing_is_fetched(make_local, monkeypatch):
    """No name is looked up and no connection opened, from the import to the answer."""

    def refuse(*arguments, **_):
        raise AssertionError(f"the network was asked: {arguments}")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert make_local().complete(QUESTION).text


def spoil_weights(folder):
    (folder / "model.safetensors").write_bytes(b"\xff" * 100)


def spoil_config(folder):
    (folder / "config.json").write_text('{"model_type": "llama", "hidden_size": "many"}')


def no_tokenizer(folder):
    (folder / "tokenizer.json").write_text("{}")


@pytest.mark.parametrize("spoil", [spoil_weights, spoil_config, no_tokenizer])
def test_a_spoilt_folder_is_told(folder, spoil):
    spoil(folder)
    with pytest.raises(UserError, match="cannot use the model in") as caught:
        TransformersProvider({"path": str(folder)}).complete(QUESTION)
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_chat_template_is_told(folder):
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(UserError, match="has no chat template"):
        TransformersProvider({"path": str(folder)}).complete(QUESTION)


def test_a_template_that_refuses_is_told(folder):
    (folder / "chat_template.jinja").write_text("{{ raise_exception('no system role') }}")
    with pytest.raises(UserError, match=r"template refuses these messages .*no system role"):
        TransformersProvider({"path": str(folder)}).complete(QUESTION)


def test_what_to_install_is_told(make_local, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match=r"pip install 'embodied-stack\[transformers\]'"):
        make_local().complete(QUESTION)


def test_a_config_may_be_given_as_a_dataclass(tiny_model):
    assert TransformersProvider(TransformersConfig(str(tiny_model))).config.max_tokens == 4096
