import json

import pytest

import rewards.providers.recorded as recorded
from embodied.errors import UserError
from rewards.images import image_part
from rewards.prompt import build_messages, prompt_hash
from rewards.providers.base import NoReplyError
from rewards.providers.recorded import RecordedProvider, keep_reply, write_record


def test_a_kept_reply_answers_exactly_its_prompt(task, tmp_path):
    path = write_record(tmp_path, task, "push the  cube", "my reply")
    messages = build_messages("push the cube", task)
    assert path.stem == prompt_hash(messages)
    reply = RecordedProvider(tmp_path).complete(messages)
    assert reply.text == "my reply"
    assert "before any training with it" in reply.statement
    record = json.loads(path.read_text())
    assert record["messages"] == messages
    assert (record["task"], record["instruction"]) == ("push", "push the cube")
    assert record["author"] == "the project's authors"


def test_a_missing_reply_tells_the_ways_out(task, tmp_path):
    write_record(tmp_path, task, "push the cube", "my reply")
    with pytest.raises(NoReplyError) as caught:
        RecordedProvider(tmp_path).complete(build_messages("throw the cube", task))
    message = str(caught.value)
    assert 'no recorded reply for the instruction "throw the cube" on task push' in message
    assert "provider=openai" in message
    assert "reward=file" in message
    assert message.endswith('recorded for this task: "push the cube"')


def test_an_empty_folder_has_nothing_recorded(task, tmp_path):
    with pytest.raises(NoReplyError, match="recorded for this task: none"):
        RecordedProvider(tmp_path / "absent").complete(build_messages("push", task))


def test_a_record_is_never_replaced(task, tmp_path):
    path = write_record(tmp_path, task, "push the cube", "my reply")
    with pytest.raises(UserError, match="never replaced"):
        write_record(tmp_path, task, "push the cube", "a better reply")
    assert json.loads(path.read_text())["reply"] == "my reply"


@pytest.mark.parametrize(
    "change",
    [
        {"messages": [{"role": "user", "content": "another prompt"}]},
        {"messages": 3},
        {"prompt_hash": "0" * 64},
        {"schema_version": 99},
        {"reply": 3},
        {"task": None},
    ],
)
def test_a_changed_record_is_refused(task, tmp_path, change):
    path = write_record(tmp_path, task, "push the cube", "my reply")
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(UserError, match="restore or remove"):
        RecordedProvider(tmp_path).complete(build_messages("push the cube", task))


def test_several_samples_of_one_prompt_are_kept_apart(task, tmp_path):
    messages = build_messages("push the cube", task)
    for sample in (0, 2):
        keep_reply(tmp_path, messages, f"reply {sample}", sample)
    provider = RecordedProvider(tmp_path)
    found = provider.complete_many([messages] * 3, None, [0, 1, 2])
    assert (found[0].text, found[2].text) == ("reply 0", "reply 2")
    assert isinstance(found[1], NoReplyError)
    assert provider.complete(messages, None, 2) == found[2]
    with pytest.raises(UserError, match="never replaced"):
        keep_reply(tmp_path, messages, "another", 2)
    assert provider.instructions("push") == ["push the cube"]


def test_a_dialogue_with_an_image_is_kept_without_its_bytes(task, tmp_path):
    image = tmp_path / "frame.png"
    image.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100_000))
    look = [{"type": "text", "text": "It looks like this."}, image_part(image)]
    dialogue = [*build_messages("push the cube", task), {"role": "user", "content": look}]
    path = keep_reply(tmp_path / "kept", dialogue, "a reply to it")
    assert path.stat().st_size < 20_000
    assert json.loads(path.read_text())["instruction"] == "push the cube"
    provider = RecordedProvider(tmp_path / "kept")
    assert provider.complete(dialogue).text == "a reply to it"
    image.write_bytes(image.read_bytes() + b"x")
    with pytest.raises(NoReplyError, match='no recorded reply for the instruction "push the cube"'):
        provider.complete(dialogue)


@pytest.fixture
def command(task, tmp_path, monkeypatch):
    monkeypatch.setattr(recorded, "FOLDER", tmp_path)
    monkeypatch.setattr(recorded.registry, "resolve", lambda kind, name: lambda: task)
    return recorded.main


def test_the_command_prints_the_prompt_and_its_hash(command, task, capsys):
    assert command(["push", "push the cube"]) == 0
    printed = capsys.readouterr().out
    messages = build_messages("push the cube", task)
    assert all(message["content"] in printed for message in messages)
    assert printed.rstrip().endswith(f"prompt_hash {prompt_hash(messages)}")


def test_the_command_keeps_a_reply_once(command, tmp_path, capsys):
    file = tmp_path / "reply.md"
    file.write_text("my reply")
    assert command(["push", "push the cube", "--reply", str(file)]) == 0
    assert len(RecordedProvider().instructions("push")) == 1
    assert command(["push", "push the cube", "--reply", str(file)]) == 2
    assert "never replaced" in capsys.readouterr().err


def test_the_command_tells_a_missing_file(command, tmp_path, capsys):
    assert command(["push", "push the cube", "--reply", str(tmp_path / "none.md")]) == 2
    assert "none.md" in capsys.readouterr().err
