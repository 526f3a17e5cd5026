"""How the judge reward asks its server: what is tried again and after how long, limits, and keys that stay secret."""

import base64
import logging
import subprocess
import sys

import pytest

from tests.support.judge_server import YES
from vision_rewards import get_reward
from vision_rewards.chat import MAX_REPLY
from vision_rewards.judging import JudgeError, Passing

TARGET = {"question": "What does the sign say?", "answer": "EXIT 24"}
KEY = "sk-CANARY"


def problem_of(judge):
    """What a judge that is set to raise says, which is one line."""
    with pytest.raises(JudgeError) as error:
        judge("the exit", TARGET)
    message = str(error.value)
    assert "\n" not in message
    assert KEY not in message
    return message


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 529])
def test_statuses_that_pass_are_tried_again(serve, clean, status):
    server = serve(status, YES)
    assert server.judge()("the exit", TARGET).score == 1
    assert (len(server.requests), len(clean)) == (2, 1)


@pytest.mark.parametrize("status", [301, 304, 307, 400, 401, 403, 404, 422])
def test_statuses_that_stay_are_not_tried_again(serve, clean, status):
    server = serve(status, YES)
    assert server.judge()("the exit", TARGET).reason == f"judge_http_{status}"
    assert (len(server.requests), clean) == (1, [])


@pytest.mark.parametrize(
    ("header", "low", "high"),
    [("7", 7, 7), (" 0 ", 0, 0), ("86400", 60, 60), ("-3", 2, 3), ("1e9", 2, 3), ("", 2, 3), (None, 2, 3)],
)
def test_retry_after_replaces_the_wait_within_bounds(serve, clean, header, low, high):
    headers = {} if header is None else {"Retry-After": header}
    assert serve((429, "", headers), YES).judge(backoff=2)("the exit", TARGET).score == 1
    assert low <= clean[0] <= high


def test_waits_double_up_to_a_limit_and_differ(serve, clean):
    server = serve(503)
    server.judge(backoff=8, retries=5, cache=None)("the exit", TARGET)
    first = list(clean)
    assert [low <= wait <= min(low + 4, 60) for low, wait in zip((8, 16, 32, 60, 60), first)] == [True] * 5
    clean.clear()
    server.judge(backoff=8, retries=5, cache=None)("the exit", TARGET)
    assert first[:3] != clean[:3]


def test_server_that_says_nothing_is_given_up(serve, clean):
    server = serve(YES)
    server.gate.clear()
    message = problem_of(server.judge(timeout=0.05, retries=2, on_failure="raise"))
    assert "judge_unreachable: ReadTimeout" in message
    assert len(clean) == 2


def test_reply_that_breaks_off_is_asked_for_again(serve, clean):
    server = serve((200, YES, {"Content-Length": "100000"}), YES)
    assert server.judge()("the exit", TARGET).score == 1
    assert len(server.requests) == 2


def test_endless_reply_is_cut(serve, clean):
    message = problem_of(serve(b" " * (MAX_REPLY + 1)).judge(on_failure="raise"))
    assert f"longer than {MAX_REPLY} bytes" in message
    assert clean == []


def test_compression_is_not_asked_for(serve):
    server = serve(YES)
    server.judge()("the exit", TARGET)
    assert server.requests[0][1]["Accept-Encoding"] == "identity"
    packed = serve((200, b"\x1f\x8b\x08", {"Content-Encoding": "gzip"}))
    assert packed.judge()("the exit", TARGET).reason == "judge_unreadable"


def test_blanks_around_a_key_are_not_part_of_it(serve, monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", f" {KEY}\n")
    server = serve(YES)
    assert server.judge(api_key_env="JUDGE_KEY")("the exit", TARGET).score == 1
    assert server.requests[0][1]["Authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("key", [f"{KEY}\n{KEY}", f"{KEY}\u00e9", f"{KEY}\x7f"])
def test_key_that_can_be_none_is_refused_without_showing_it(serve, monkeypatch, key):
    monkeypatch.setenv("JUDGE_KEY", key)
    server = serve(YES)
    message = problem_of(server.judge(api_key_env="JUDGE_KEY", on_failure="raise"))
    assert "'JUDGE_KEY' holds characters that no key has" in message
    assert server.requests == []


@pytest.mark.parametrize("status", [401, 429])
def test_no_message_or_log_shows_a_key(serve, monkeypatch, caplog, capfd, status):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("JUDGE_KEY", KEY)
    server = serve(status)
    problem_of(server.judge(api_key_env="JUDGE_KEY", on_failure="raise"))
    endpoint = server.url.replace("//", f"//user:{KEY}@")
    assert f"judge_http_{status}" in problem_of(get_reward("judge", endpoint=endpoint, model="m", on_failure="raise"))
    assert server.requests[-1][1]["Authorization"] == "Basic " + base64.b64encode(f"user:{KEY}".encode()).decode()
    assert "httpx" in caplog.text
    assert KEY not in caplog.text
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("endpoint", ["http://host:port/v1", "http://ho\x00st/v1"])
def test_endpoint_of_no_form_is_one_line(endpoint):
    assert "judge_unconfigured" in problem_of(get_reward("judge", endpoint=endpoint, model="m", on_failure="raise"))


def test_a_page_in_place_of_an_answer_is_said(serve):
    assert "the server's body is no JSON" in problem_of(serve(b"<html>").judge(on_failure="raise"))


def test_a_login_in_the_url_beside_a_key_is_refused(monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", "k")
    judge = get_reward(
        "judge", endpoint=f"http://me:{KEY}@localhost:9", model="m", api_key_env="JUDGE_KEY", on_failure="raise"
    )
    assert "judge_unconfigured: a login in the URL and a key in 'JUDGE_KEY' exclude each other" in problem_of(judge)


def test_texts_of_failures_are_one_line():
    assert str(Passing("judge_unreachable", "a\nb\r\n  c")) == "a b c"


def test_function_whose_connection_breaks_is_asked_again(clean):
    replies = [ConnectionResetError("reset"), YES]

    def policy(messages):
        reply = replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply

    assert get_reward("judge", policy=policy)("the exit", TARGET).score == 1
    assert len(clean) == 1


def test_client_is_loaded_when_a_judge_is_asked_and_writes_nothing_of_its_own():
    code = (
        "import sys; from vision_rewards import get_reward\n"
        "judge = get_reward('judge', endpoint='http://127.0.0.1:1', model='m', retries=1, backoff=0)\n"
        "print({'httpx', 'httpcore', 'stamina', 'tenacity'} & set(sys.modules))\n"
        "print(judge('the exit', {'answer': 'EXIT 24'}).reason)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (ended.stdout, ended.stderr) == ("set()\njudge_unreachable\n", "")
