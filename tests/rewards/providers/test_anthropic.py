"""What Anthropic's messages format has of its own."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embodied.errors import UserError
from rewards.providers.anthropic_http import AnthropicProvider, parse_reply


@pytest.fixture
def wire(anthropic):
    return anthropic


def test_the_request_is_in_the_format(ask, answer, server):
    ask(answer())
    path, headers, body = server.requests[0]
    assert path == "/v1/messages"
    assert headers["anthropic-version"] == "2023-06-01"
    assert body == {
        "model": "asked-model",
        "max_tokens": 4096,
        "system": "You write rewards.",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Write a reward."}]}],
    }


def test_several_system_texts_are_one_and_turns_keep_their_order(make, answer, server):
    server.script = [answer()]
    roles = ("system", "user", "system", "assistant", "user")
    make().complete([{"role": role, "content": f"{n}"} for n, role in enumerate(roles)])
    _, _, body = server.requests[0]
    assert body["system"] == "0\n\n2"
    turns = [(turn["role"], turn["content"][0]["text"]) for turn in body["messages"]]
    assert turns == [("user", "1"), ("assistant", "3"), ("user", "4")]


def test_no_system_text_sends_none(make, answer, server):
    server.script = [answer()]
    make().complete([{"role": "user", "content": "hello"}])
    assert "system" not in server.requests[0][2]


def test_text_blocks_are_joined_and_others_left_out():
    content = [
        {"type": "thinking", "thinking": "hm", "text": "not this"},
        {"type": "text", "text": "one "},
        {"type": "tool_use", "id": "x", "name": "y", "input": {}},
        {"type": "text", "text": "two"},
    ]
    body = {"content": content, "stop_reason": "max_tokens"}
    reply = parse_reply(json.dumps(body), "asked")
    assert (reply.text, reply.model, reply.usage) == ("one two", "asked", {})
    assert reply.stop == "max_tokens"


def test_cached_prompt_tokens_are_prompt_tokens():
    usage = {"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 200}
    usage |= {"cache_creation_input_tokens": 30, "service_tier": "standard"}
    body = {"content": [{"type": "text", "text": "x"}], "usage": usage}
    found = parse_reply(json.dumps(body), "asked").usage
    assert found == {"prompt_tokens": 240, "completion_tokens": 5}


def test_an_answer_without_text_tells_why_it_stopped():
    with pytest.raises(UserError, match=r"\(stop_reason refusal\)"):
        parse_reply('{"content": [], "stop_reason": "refusal"}', "asked")


def test_an_overloaded_service_is_asked_again_and_told(ask, answer, server):
    error = b'{"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}'
    assert ask(answer(529, error, Retry_After="3"), answer()).text == "hello"
    assert ask.waits == [3.0]
    with pytest.raises(UserError, match=r"HTTP 529 .*overloaded_error.*try again later"):
        ask(answer(529, error), max_retries=0)
    assert len(server.requests) == 3


def test_a_setting_of_the_other_format_is_refused():
    settings = {"base_url": "http://127.0.0.1/v1", "model": "m", "token_limit_name": "x"}
    with pytest.raises(UserError, match="unknown setting 'token_limit_name'; the anthropic"):
        AnthropicProvider(settings)


@given(st.text() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_any_body_is_parsed_or_refused(text):
    with pytest.raises(UserError):
        parse_reply(text, "model")


blocks = st.dictionaries(st.sampled_from(["type", "text", "x"]), st.sampled_from(["text", "", 3]))


@given(st.lists(blocks | st.none() | st.text()))
def test_any_content_is_joined_or_refused(content):
    texts = [
        b["text"]
        for b in content
        if isinstance(b, dict) and b.get("type") == "text" and "text" in b
    ]
    expected = "".join(text for text in texts if isinstance(text, str))
    body = json.dumps({"content": content})
    if expected:
        assert parse_reply(body, "model").text == expected
    else:
        with pytest.raises(UserError):
            parse_reply(body, "model")
