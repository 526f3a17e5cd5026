"""A server as what answers: what it is sent, what becomes of its answers, and of everything that goes wrong."""

import json
import threading
from contextlib import closing, contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from mmrl.contracts.engine import Request
from mmrl.contracts.errors import ConfigError, UserError
from mmrl.contracts.types import Sample, StopReason
from mmrl.contracts.world import ALONE
from mmrl.engines import open_engine
from mmrl.engines.endpoint import EndpointEngine
from mmrl.policies.opening import load_policy
from mmrl.recipe.endpoint_engine import EndpointEngineSettings
from mmrl.recipe.policies.registry import policy_settings
from mmrl.recipe.rollout import SamplingConfig
from tests.support.chat_server import pictures, reply, serving
from tests.support.policy import text_sample

GREEDY = SamplingConfig(temperature=0.0, max_new_tokens=9)
KEY = "sk-CANARY"


@pytest.fixture(autouse=True)
def waits(monkeypatch):
    """Of tries, which nobody waits for."""
    monkeypatch.setenv("NO_PROXY", "*")
    waited = []
    monkeypatch.setattr("tenacity.nap.time", SimpleNamespace(sleep=waited.append))
    return waited


def policy_of(**keys):
    return load_policy(policy_settings(type="endpoint", path="tiny", **keys))


@contextmanager
def engine_of(server, policy=None, **keys):
    settings = EndpointEngineSettings(url=server.url, **{"timeout": 30.0, **keys})
    with closing(open_engine(settings, policy or policy_of())) as engine:
        yield engine


def ask(engine, policy, samples, sampling=GREEDY, n=1, seed=0):
    prompts = policy.prepare(samples)
    return engine.generate([Request(prompt, n) for prompt in prompts], sampling, seed)


def end_of(answer, question="a", **keys):
    """The line in which a server's answers end a run."""
    with serving(answer) as server, engine_of(server, **keys) as engine, pytest.raises(UserError) as error:
        ask(engine, policy_of(), [text_sample(question)])
    assert "\n" not in str(error.value)
    return str(error.value)


def shown(*parts, images=(), videos=(), **keys):
    content = [{"type": kind} if kind != "text" else {"type": "text", "text": "What is it?"} for kind in parts]
    messages = ({"role": "user", "content": content},)
    return Sample("s", messages, "ocr", {}, images=images, videos=videos, **keys)


def test_settings_and_questions_arrive_and_answers_come_back():
    sampling = SamplingConfig(temperature=0.5, top_p=0.9, top_k=7, max_new_tokens=9, stop=["END"])
    with serving(lambda body: f"seed {body['seed']}") as server, engine_of(server) as engine:
        policy = policy_of()
        first = ask(engine, policy, [text_sample("How many?"), text_sample("Why?")], sampling, n=2)
        again = ask(engine, policy, [text_sample("How many?"), text_sample("Why?")], sampling, n=2)
    texts = [[answer.text for answer in answers] for answers in first]
    assert texts == [[answer.text for answer in answers] for answers in again]
    assert len({text for each in texts for text in each}) == 4, "each answer has a seed of its own"
    assert (len(first[0][0].tokens), first[0][0].prompt_tokens, first[0][0].stop) == (3, 40, StopReason.END)
    (body,) = [body for body in server.bodies[:4] if f"seed {body['seed']}" == texts[0][0]]
    assert body == {
        "model": "tiny",
        "messages": [{"role": "user", "content": "How many?"}],
        "max_tokens": 9,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 7,
        "stop": ["END"],
        "seed": body["seed"],
    }


def test_pictures_are_sent_to_the_last_level_and_sized_as_the_policy_says():
    pixels = np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)
    sample = shown("image", "text", images=(Image.fromarray(pixels),))
    with serving(lambda body: "yes") as server, engine_of(server) as engine:
        ask(engine, policy_of(), [sample])
        (sent,) = pictures(server.bodies[0])
        assert np.array_equal(np.asarray(sent), pixels)
        policy = policy_of(image={"min_pixels": 56 * 56, "max_pixels": 84 * 84})
        (prompt,) = policy.prepare([sample])
        assert (prompt.sizes, prompt.pictures[0].size) == (((50, 30),), (84, 56))
        ask(engine, policy, [sample])
        assert pictures(server.bodies[1])[0].size == (84, 56)
    kinds = [part["type"] for part in server.bodies[0]["messages"][0]["content"]]
    assert kinds == ["image_url", "text"]


def test_frames_are_those_of_the_budget_in_order_with_their_times():
    frames = [Image.new("RGB", (56, 56), (level, 0, 0)) for level in (0, 50, 100, 150)]
    sample = shown("text", "video", videos=(frames,))
    policy = policy_of(video={"all_frames": True, "source_fps": 2.0}, params={"times": True})
    (prompt,) = policy.prepare([sample])
    assert prompt.frames == 4
    with serving(lambda body: "yes") as server, engine_of(server) as engine:
        ask(engine, policy, [sample])
    content = server.bodies[0]["messages"][0]["content"]
    assert [part["text"] for part in content if part["type"] == "text"][1:] == [
        f"<{second:.1f} seconds>" for second in (0, 0.5, 1, 1.5)
    ]
    assert [np.asarray(sent)[0, 0, 0] for sent in pictures(server.bodies[0])] == [0, 50, 100, 150]


def test_boxes_need_a_convention_and_are_then_the_models():
    picture = Image.new("RGB", (100, 50))
    sample = shown("image", "text", images=(picture,))
    sample = Sample("s", sample.messages, "detection", {"boxes": [[10, 10, 50, 40]]}, images=(picture,))
    policy = policy_of()
    with pytest.raises(ConfigError, match=r"policy\.params\.coordinates does not say how model 'tiny' writes them"):
        policy.localise(sample, policy.prepare([sample])[0])
    policy = policy_of(params={"coordinates": "norm1000"})
    local = policy.localise(sample, policy.prepare([sample])[0])
    assert (local.target["boxes"], local.coordinates) == ([[100, 200, 500, 800]], "norm1000")


def test_answers_that_the_limit_cut_are_told_apart_and_log_probs_arrive():
    given = {"content": [{"token": "a", "logprob": -0.5}, {"token": "b", "logprob": -1.0}]}
    with serving(lambda body: reply("a b", "length", logprobs=given)) as server:
        with engine_of(server, log_probs=True) as engine:
            ((answer,),) = ask(engine, policy_of(), [text_sample("Why?")])
            warm = SamplingConfig(temperature=0.5, max_new_tokens=9)
            with pytest.raises(ConfigError, match=r"log-probs at temperature 1, and 0\.5 is sampled"):
                ask(engine, policy_of(), [text_sample("Why?")], warm)
        with engine_of(server) as engine:
            ((plain,),) = ask(engine, policy_of(), [text_sample("Why?")])
    assert answer.truncated
    assert torch.equal(answer.log_probs, torch.tensor([-0.5, -1.0]))
    assert server.bodies[0]["logprobs"] is True
    assert (plain.log_probs, len(plain.tokens), "logprobs" in server.bodies[-1]) == (None, 3, False)
    assert "gives no log-probs; leave engine.log_probs out" in end_of(lambda body: "bare", log_probs=True)


def test_no_more_requests_are_held_at_once_than_allowed():
    with serving(lambda body: "yes") as server, engine_of(server, concurrency=3) as engine:
        ask(engine, policy_of(), [text_sample(str(i)) for i in range(12)])
    assert len(server.bodies) == 12
    assert 1 <= server.most <= 3


def test_lost_requests_are_asked_again(waits):
    statuses = iter([429, 503, 500])
    with serving(lambda body: next(statuses, "yes")) as server, engine_of(server, concurrency=1) as engine:
        answers = ask(engine, policy_of(), [text_sample("a"), text_sample("b")])
    assert [answer.text for (answer,) in answers] == ["yes", "yes"]
    assert (len(server.bodies), len(waits)) == (5, 3)
    assert waits[1] > waits[0]


def test_a_server_that_dies_ends_in_one_line(waits):
    with serving(lambda body: "yes") as server, engine_of(server, retries=2) as engine:
        policy = policy_of()
        ask(engine, policy, [text_sample("a")])
        server.die()
        with pytest.raises(UserError) as error:
            ask(engine, policy, [text_sample("b"), text_sample("c")])
    line = str(error.value)
    assert line.startswith(f"engine 'endpoint': {server.url} gave no answer in 3 tries: ConnectError")
    assert "\n" not in line


def test_what_a_server_refuses_of_one_request_is_that_requests_own_and_of_all_is_the_end():
    def answer(body):
        return 400 if body["messages"][0]["content"] == "long" else "yes"

    with serving(answer) as server, engine_of(server) as engine:
        (good,), (bad,) = ask(engine, policy_of(), [text_sample("short"), text_sample("long")])
        assert (good.failed, bad.text) == (None, "")
        assert "400" in bad.failed
        assert "the prompt is too long" in bad.failed
        ((later,),) = ask(engine, policy_of(), [text_sample("long")])
        assert later.failed is not None
    with serving(answer) as server, engine_of(server) as engine:
        ((only,),) = ask(engine, policy_of(), [text_sample("long")])
        assert "400" in only.failed
        assert server.bodies[-1]["messages"] == [{"role": "user", "content": "Hi"}]
    assert "refused all of 1 requests, first: 400 Bad Request" in end_of(lambda body: 400)
    assert "gave no answer: 401 Unauthorized" in end_of(lambda body: 401)


def test_what_the_servers_filter_takes_is_no_answer():
    with serving(lambda body: reply("", "content_filter")) as server, engine_of(server) as engine:
        ((answer,),) = ask(engine, policy_of(), [text_sample("a")])
    assert (answer.failed, len(answer.tokens), len(server.bodies)) == ("the server's filter took the answer", 0, 1)


def test_nothing_is_asked_or_waited_for_after_the_request_that_ended_the_run():
    def joined():
        return {thread for thread in threading.enumerate() if not thread.daemon}

    during, before = [], joined()

    def answer(body):
        during.append(joined())
        return 401

    with serving(answer) as server, engine_of(server, concurrency=1) as engine, pytest.raises(UserError, match="401"):
        ask(engine, policy_of(), [text_sample(str(i)) for i in range(5)])
    assert during == [before], "one request, and no thread that the interpreter would wait for"


@pytest.mark.parametrize("said", [{"choices": []}, {"choices": [{"message": "x", "finish_reason": "stop"}]}, [1]])
def test_what_is_no_chat_completion_is_said(said):
    assert "no chat completion" in end_of(lambda body: said)


def test_a_server_of_another_model_is_refused_at_the_start():
    with serving(lambda body: "yes", models=("tinny", "large")) as server:
        with pytest.raises(UserError, match=r"no such model: unknown model 'tiny'\. Did"), engine_of(server):
            pass
        with engine_of(server, check_model=False) as engine:
            ask(engine, policy_of(), [text_sample("a")])
        assert server.bodies[0]["model"] == "tiny"


def test_keys_come_from_the_environment_and_logins_are_masked(monkeypatch):
    monkeypatch.setenv("SERVER_KEY", KEY)
    with serving(lambda body: 401) as server:
        with engine_of(server, key_env="SERVER_KEY") as engine, pytest.raises(UserError) as error:
            ask(engine, policy_of(), [text_sample("a")])
        assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
        assert KEY not in str(error.value)
        settings = EndpointEngineSettings(url=server.url.replace("//", f"//me:{KEY}@"), check_model=False)
        with closing(open_engine(settings, policy_of())) as engine, pytest.raises(UserError) as error:
            ask(engine, policy_of(), [text_sample("a")])
        assert KEY not in str(error.value)
        both = EndpointEngineSettings(url=settings.url, key_env="SERVER_KEY")
        with pytest.raises(UserError, match="a login in the URL and a key in 'SERVER_KEY' exclude") as error:
            open_engine(both, policy_of())
        assert KEY not in str(error.value)
        monkeypatch.delenv("SERVER_KEY")
        with (
            pytest.raises(UserError, match="variable 'SERVER_KEY' is not set"),
            engine_of(server, key_env="SERVER_KEY"),
        ):
            pass
    with pytest.raises(ValueError, match="no http or https URL"):
        EndpointEngineSettings(url="localhost:8000")


def test_prefixes_and_weights_are_refused():
    with serving(lambda body: "yes") as server, engine_of(server) as engine:
        policy = policy_of()
        (prompt,) = policy.prepare([text_sample("a")])
        with pytest.raises(ConfigError, match="continues no prefix"):
            engine.generate([Request(prompt, prefix=torch.zeros(1))], GREEDY, 0)
        with pytest.raises(ConfigError, match="takes no weights"):
            engine.sync(policy, 1)
        with pytest.raises(ConfigError, match="has no gradients"):
            policy.log_probs(None)
    assert json.dumps(policy.config.model_dump(mode="json"))


def test_a_closed_engine_has_no_connection():
    engine = EndpointEngine(EndpointEngineSettings(url="http://127.0.0.1:9/v1", check_model=False))
    engine.start(policy_of(), ALONE)
    client = engine.client.client
    engine.close()
    assert client.is_closed
    with pytest.raises(RuntimeError, match="not started, or was closed"):
        engine.client  # noqa: B018
