import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embodied.errors import UserError
from rewards.providers.budget import Budget, Caps
from rewards.providers.http_status import retry_after_seconds
from rewards.providers.openai_http import (
    OpenAIConfig,
    OpenAIProvider,
    parse_reply,
)


@given(st.text() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_any_body_is_parsed_or_refused(text):
    with pytest.raises(UserError):
        parse_reply(text, "model")


@pytest.mark.parametrize("usage", [None, 3, {"prompt_tokens": "many"}, {"prompt_tokens": -1}])
def test_odd_usage_is_left_out(usage):
    body = {"choices": [{"message": {"content": "hello"}}], "usage": usage}
    assert parse_reply(json.dumps(body), "model").usage == {}


CONFIGS = [
    ({"base_url": "ftp://host/v1"}, "must look like"),
    ({"base_url": "host"}, "must look like"),
    ({"base_url": "http://host:port/v1"}, "must look like"),
    ({"base_url": "http://host/v1?key=1"}, "must look like"),
    ({"base_url": "http://user:secret@127.0.0.1/v1"}, "password"),
    ({"base_url": "http://example.com/v1", "key_env": "TEST_KEY"}, "unencrypted"),
    ({"base_url": ""}, "base_url is missing"),
    ({"model": ""}, "model is missing"),
    ({"modell": "m"}, "unknown setting 'modell'"),
    ({"max_calls": 0}, "call cap"),
    ({"max_cost": 1.0}, "needs prices"),
    ({"input_price": -1.0}, "prices"),
]


@pytest.mark.parametrize(("settings", "part"), CONFIGS)
def test_a_mistaken_setting_is_told(settings, part):
    with pytest.raises(UserError, match=part) as caught:
        OpenAIProvider({"base_url": "http://127.0.0.1/v1", "model": "m", **settings})
    assert "secret" not in str(caught.value)


def test_a_config_may_be_given_as_a_dataclass():
    provider = OpenAIProvider(OpenAIConfig("https://host/v1/", "m", key_env="TEST_KEY"))
    assert provider.url == "https://host/v1/chat/completions"


def test_retry_after_is_read():
    assert retry_after_seconds("12") == 12.0
    assert retry_after_seconds(None) is None
    assert retry_after_seconds("soon") is None
    later = datetime.now(UTC) + timedelta(hours=1)
    assert 3500 < retry_after_seconds(format_datetime(later, usegmt=True)) <= 3600
    assert retry_after_seconds("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0


@given(st.text())
def test_any_retry_after_is_read_or_ignored(text):
    found = retry_after_seconds(text)
    assert found is None or found >= 0


calls = st.lists(
    st.tuples(st.integers(0, 10_000), st.integers(1, 5_000), st.floats(0, 1), st.booleans()),
    max_size=30,
)


@given(calls, st.floats(0, 0.1), st.floats(0, 20), st.floats(0, 20))
def test_no_order_of_calls_passes_the_spend_cap(calls, cap, input_price, output_price):
    budget = Budget(Caps(1000, None, cap, None, input_price, output_price))
    spent = 0.0
    for size, longest, part, settled in calls:
        tokens = {"prompt_tokens": int(size * part), "completion_tokens": int(longest * part)}
        try:
            with budget.charge(size, longest) as charge:
                if settled:
                    charge.settle(tokens)
        except UserError:
            continue
        spent += (
            tokens["prompt_tokens"] * input_price + tokens["completion_tokens"] * output_price
        ) / 1e6
    assert spent <= cap * (1 + 1e-9) + 1e-12
    assert spent <= budget.cost + 1e-9
