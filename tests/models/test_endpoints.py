"""Endpoints: asked once, with patience, and no fault of a server becomes an answer or ends a run without a word."""

import base64
import io
import json

import numpy as np
import pytest
from helpers.endpoint import reply, served
from PIL import Image

from ubench_utils.errors import UserError
from ubench_utils.evaluation.evaluate import evaluate
from ubench_utils.models.generators import endpoint
from ubench_utils.models.generators.endpoint import Endpoint
from ubench_utils.models.generators.reply import Failure, Item

openai = pytest.importorskip("openai")
pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """No key, and servers that are away are given up soon."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    for name, value in {"PATIENCE": 3.0, "PAUSE": 0.05, "TIMEOUT": 2.0, "RETRIES": 2, "CONCURRENCY": 2}.items():
        monkeypatch.setattr(endpoint, name, value)
    monkeypatch.setattr(openai._base_client, "INITIAL_RETRY_DELAY", 0.01)  # of the client between two tries


def items(n=1):
    image = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))
    return [Item(at, (image,), f"question {at}") for at in range(n)]


def asked(answer, n=1):
    """Replies of a server by number, and the requests that it got."""
    with served(answer) as (url, requests):
        return dict(Endpoint("m", url).replies(items(n))), requests


def ordinary(body):
    return lambda request, before: (200, {}, body)


def test_a_question_is_sent_as_image_and_prompt_and_read():
    found, requests = asked(ordinary(reply()))
    (request, headers) = requests[0]
    image, text = request["messages"][0]["content"]
    assert text == {"type": "text", "text": "question 0"} and request["model"] == "m"
    assert request["temperature"] == 0 and headers["authorization"] == "Bearer none"
    kind, _, encoded = image["image_url"]["url"].partition(";base64,")
    assert kind == "data:image/png"
    assert np.array_equal(
        np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded)))), np.asarray(items()[0].images[0])
    )
    assert (found[0].text, found[0].finish, found[0].tokens_in, found[0].tokens_out) == ("B", "stop", 40, 2)
    assert found[0].letters[:2] == pytest.approx((np.exp(-2.5), np.exp(-0.1) + np.exp(-3.0)))


@pytest.mark.parametrize(
    ("body", "text", "finish"),
    [
        (reply("B", finish="length"), "B", "length"),
        (reply("", finish="content_filter"), "", "filter"),
        (reply(None, refusal="I cannot"), "I cannot", "refusal"),
        (reply([{"type": "text", "text": "B"}, {"type": "text", "text": ")"}]), "B)", "stop"),
        (reply() | {"usage": None}, "B", "stop"),
        (reply("  „B“\n"), "  „B“\n", "stop"),
    ],
)
def test_odd_replies_are_replies(body, text, finish):
    found, _ = asked(ordinary(body))
    assert (found[0].text, found[0].finish) == (text, finish)


def test_without_log_probabilities_letters_are_not_known():
    body = reply()
    body["choices"][0]["logprobs"] = None
    assert asked(ordinary(body))[0][0].letters == ()


@pytest.mark.parametrize(
    ("body", "requests"),
    [
        ((200, {}, b"<html>busy</html>"), 1),
        ((200, {}, b'{"choices": [{"mess'), 1),
        ((200, {}, reply() | {"choices": []}), 1),
        ((200, {"Content-Length": 10_000}, reply()), 3),
        ((500, {}, {"error": {"message": "no"}}), 3),
        ((413, {}, {"error": {"message": "too large"}}), 1),
        ((400, {}, {"error": {"message": "bad image"}}), 1),
        ((429, {"Retry-After": "600"}, {"error": {"message": "quota"}}), 1),
    ],
    ids=["html", "cut json", "no choice", "half a body", "500", "413", "400", "429 for long"],
)
def test_what_is_no_reply_is_a_failure_with_its_reason(body, requests, monkeypatch):
    monkeypatch.setattr(endpoint, "PATIENCE", 0.0)
    found, got = asked(lambda request, before: body)
    assert isinstance(found[0], Failure) and found[0].reason and "\n" not in found[0].reason
    assert len(got) == requests


def test_a_server_that_is_busy_or_stumbles_is_asked_again():
    answers = [(429, {"Retry-After": "0"}, {"error": {"message": "slow down"}}), (500, {}, {}), (200, {}, reply())]
    found, got = asked(lambda request, before: answers[before])
    assert found[0].text == "B" and len(got) == 3


@pytest.mark.parametrize(
    ("status", "words"),
    [(401, "refuses the key in OPENAI_API_KEY"), (403, "refuses the key"), (404, "there is no model 'm'")],
)
def test_what_no_patience_mends_ends_the_run_in_one_line(status, words):
    with pytest.raises(UserError, match=words):
        asked(lambda request, before: (status, {}, {"error": {"message": "no"}}), n=5)


def test_a_parameter_that_is_refused_is_left_out_once():
    def answer(request, before):
        for name in ("logprobs", "max_tokens", "temperature"):
            if name in request:
                instead = "; use max_completion_tokens" if name == "max_tokens" else ""
                return 400, {}, {"error": {"message": f"'{name}' is not supported with this model{instead}"}}
        return 200, {}, reply()

    with served(answer) as (url, requests):
        asks = Endpoint("m", url)
        assert all(one.text == "B" for _, one in asks.replies(items(4)))
        assert asks.refused == {"logprobs", "max_tokens", "temperature"} and asks.served == {"served-name"}
        last = requests[-1][0]
        assert last["max_completion_tokens"] == 2048 and not {"top_logprobs", "logprobs", "temperature"} & {*last}
        before = len(requests)
        list(asks.replies(items(1)))
        assert len(requests) == before + 1


def test_failure_after_failure_ends_the_run():
    with pytest.raises(UserError, match="the last 6 questions all failed .*; what was answered before is kept"):
        asked(lambda request, before: (400, {}, {"error": {"message": "no"}}), n=20)


def test_a_server_that_starts_anew_is_waited_for():
    import threading
    import time

    with served(ordinary(reply())) as (url, _):
        port = int(url.rsplit(":", 1)[1].split("/")[0])
    found = {}
    asking = threading.Thread(target=lambda: found.update(Endpoint("m", url).replies(items(3))))
    asking.start()
    time.sleep(0.5)
    from http.server import ThreadingHTTPServer

    made = ThreadingHTTPServer.__init__
    try:
        ThreadingHTTPServer.__init__ = lambda self, address, handler: made(self, ("127.0.0.1", port), handler)
        with served(ordinary(reply())):
            asking.join(10)
    finally:
        ThreadingHTTPServer.__init__ = made
    assert {at: one.text for at, one in found.items()} == {0: "B", 1: "B", 2: "B"}


def test_a_key_goes_to_the_address_and_nowhere_else(monkeypatch, cache, tmp_path, rows, parquet):
    monkeypatch.setenv("OPENAI_API_KEY", "secret-of-mine")
    with served(ordinary(reply())) as (url, requests):
        run = evaluate(parquet(rows[::4]), [f"api:m@{url}"])
        assert {headers["authorization"] for _, headers in requests} == {"Bearer secret-of-mine"}
    run.save(tmp_path / "out")
    for path in [*cache.rglob("*"), *(tmp_path / "out").rglob("*")]:
        assert path.is_dir() or b"secret-of-mine" not in path.read_bytes(), path
    assert run.record["models"][f"api:m@{url}"]["served"] == ["served-name"]


def test_every_question_is_asked_once_over_a_run_that_failed_half_way(rows, parquet):
    def answer(request, before):
        return (200, {}, reply()) if broken["ok"] or len(seen) % 3 else (413, {}, {"error": {"message": "no"}})

    broken, seen = {"ok": False}, []

    def counted(request, before):
        seen.append(
            request["messages"][0]["content"][1]["text"] + request["messages"][0]["content"][0]["image_url"]["url"]
        )
        return answer(request, before)

    with served(counted) as (url, _):
        name, data = f"api:m@{url}", parquet(rows[::4])
        first = evaluate(data, [name]).record["models"][name]
        assert 0 < first["questions_failed"] < len(seen) and "asked again next time" in "".join(first["notes"])
        broken["ok"], n = True, len(seen)
        second = evaluate(data, [name]).record["models"][name]
        assert len(seen) == n + first["questions_failed"] and second["questions_failed"] == 0
        evaluate(data, [name])
        assert len(seen) == n + first["questions_failed"]
    assert len({*seen}) == n


def test_without_a_key_a_foreign_address_is_not_asked(rows, parquet):
    data = parquet(rows[::4])
    with pytest.raises(
        UserError, match="model 'api:m@https://example.org/v1': set OPENAI_API_KEY to the key of example.org"
    ):
        evaluate(data, ["api:m@https://example.org/v1"])
    with pytest.raises(UserError, match="write api:MODEL@URL"):
        evaluate(data, ["api:m"])


def test_concurrency_is_kept():
    import threading
    import time

    lock, now, most = threading.Lock(), [0], [0]

    def answer(request, before):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.05)
        with lock:
            now[0] -= 1
        return 200, {}, reply()

    found, _ = asked(answer, n=12)
    assert len(found) == 12 and most[0] == 2 and json.dumps(sorted(found)) == json.dumps(list(range(12)))
