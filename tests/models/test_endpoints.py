"""Endpoints: asked once, with patience, and no fault of a server becomes an answer or ends a run without a word."""

import base64
import io
import json
import re
import threading
import time

import numpy as np
import pytest
from helpers.endpoint import reply, served
from PIL import Image

from ubench_utils.cli import main
from ubench_utils.data.benchmark import load_benchmark
from ubench_utils.data.questions import build_questions
from ubench_utils.errors import UserError
from ubench_utils.evaluation.evaluate import evaluate
from ubench_utils.models.generators import endpoint
from ubench_utils.models.generators.endpoint import Endpoint
from ubench_utils.models.generators.reply import Failure, Item
from ubench_utils.models.load import open_model

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
    assert found[0].letters[:2] == pytest.approx((np.exp(-2.5), np.exp(-0.2) + np.exp(-3.0)))


@pytest.mark.parametrize(
    ("body", "text", "finish"),
    [
        (reply("B", finish="length"), "B", "length"),
        (reply("", finish="content_filter"), "", "filter"),
        (reply(None, refusal="I cannot"), "I cannot", "refusal"),
        (reply([{"type": "text", "text": "B"}, {"type": "text", "text": ")"}]), "B)", "stop"),
        (reply() | {"usage": None}, "B", "stop"),
        (reply("  „B“\n"), "  „B“\n", "stop"),
        (reply(None), "", "stop"),
        (reply("", finish="length", reasoning_content="Let me see: it"), "", "length"),
        (reply("C", finish=None), "C", "stop"),
        (reply("C", extra_field={"a": [1]}), "C", "stop"),
    ],
)
def test_odd_replies_are_replies(body, text, finish):
    found, _ = asked(ordinary(body))
    assert (found[0].text, found[0].finish) == (text, finish)


@pytest.mark.parametrize(
    "logprobs",
    [
        None,
        {"content": []},
        {"content": [{"token": "B", "logprob": -0.1, "top_logprobs": []}]},
        {"content": [{"token": "B", "logprob": -0.1, "top_logprobs": [{"token": "B", "logprob": -0.1}]}]},
        {"content": [{"token": "B", "top_logprobs": [{"token": "B"}, {"token": None, "logprob": -1}]}]},
        {"content": [{"token": "B", "top_logprobs": [{"token": t, "logprob": 5.0} for t in "AB"]}]},
        "none",
    ],
    ids=["null", "empty", "no list", "the chosen alone", "no numbers", "above 1", "text"],
)
def test_without_log_probabilities_letters_are_not_known(logprobs):
    body = reply()
    body["choices"][0]["logprobs"] = logprobs
    found = asked(ordinary(body))[0][0]
    assert found.letters == () and found.text == "B"


def test_the_first_token_of_a_thought_is_no_letter():
    assert asked(ordinary(reply(reasoning_content="A cell, so B.")))[0][0].letters == ()
    assert asked(ordinary(reply(reasoning=None)))[0][0].letters != ()


HTML = b"<html>busy</html>"


@pytest.mark.parametrize(
    ("body", "requests", "words"),
    [
        ((200, {}, HTML), 1, "no JSON: '<html>busy"),
        ((200, {"Content-Type": "text/html"}, HTML), 1, "no JSON: '<html>busy"),
        ((200, {}, b'{"choices": [{"mess'), 1, "no JSON"),
        ((200, {}, reply() | {"choices": []}), 1, "no choice in the reply"),
        ((200, {}, {"error": {"message": "upstream is down"}}), 1, "no choice in the reply .*upstream is down"),
        ((200, {}, reply() | {"choices": [{"index": 0, "finish_reason": "stop"}]}), 1, "AttributeError"),
        ((200, {}, reply("half a wor", finish="abort")), 1, "the server broke off"),
        ((200, {}, reply({"text": "B"})), 1, "content is no text"),
        ((200, {"Content-Length": 10_000}, reply()), 3, "RemoteProtocolError"),
        ((None, {}, b""), 3, "Error"),
        ((500, {}, {"error": {"message": "no"}}), 3, "500"),
        ((413, {}, {"error": {"message": "too large"}}), 1, "413"),
        ((413, {}, HTML), 1, "413|html"),
        ((400, {}, {"error": {"message": "bad image"}}), 1, "bad image"),
        ((422, {}, {"detail": [{"loc": ["body", "image"], "msg": "bad"}]}), 1, "422"),
        ((429, {"Retry-After": "600"}, {"error": {"message": "slow down"}}), 1, "slow down"),
        ((503, {}, {"error": {"message": "loading"}}), 3, "loading"),
    ],
    ids=[
        *("html", "html by its type", "cut json", "no choice", "an error with status 200", "no message", "aborted"),
        "an object for a text",
        *("half a body", "reset", "500", "413", "413 of a proxy", "400", "422", "429 for long", "503 for long"),
    ],
)
def test_what_is_no_reply_is_a_failure_with_its_reason(body, requests, words, monkeypatch):
    monkeypatch.setattr(endpoint, "PATIENCE", 0.0)
    found, got = asked(lambda request, before: body)
    assert isinstance(found[0], Failure) and re.search(words, found[0].reason) and "\n" not in found[0].reason
    assert len(got) == requests


def test_a_reply_that_takes_too_long_is_a_failure(monkeypatch):
    monkeypatch.setattr(endpoint, "TIMEOUT", 0.2)
    found, got = asked(lambda request, before: (time.sleep(0.5), (200, {}, reply()))[1])
    assert "Timeout" in found[0].reason and len(got) == 3


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_proxy_before_a_server_that_starts_is_waited_for(status, monkeypatch):
    monkeypatch.setattr(endpoint, "RETRIES", 0)
    found, got = asked(lambda request, before: (status, {}, HTML) if before < 4 else (200, {}, reply()))
    assert found[0].text == "B" and len(got) == 5


def test_a_server_that_is_busy_for_longer_than_the_client_waits_is_waited_for(monkeypatch):
    monkeypatch.setattr(endpoint, "RETRIES", 0)
    busy = (429, {"Retry-After": "0.3"}, {"error": {"message": "slow down"}})
    found, got = asked(lambda request, before: busy if before < 2 else (200, {}, reply()))
    assert found[0].text == "B" and len(got) == 3


def test_a_server_that_is_busy_or_stumbles_is_asked_again():
    answers = [(429, {"Retry-After": "0"}, {"error": {"message": "slow down"}}), (500, {}, {}), (200, {}, reply())]
    found, got = asked(lambda request, before: answers[before])
    assert found[0].text == "B" and len(got) == 3


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "refuses the key in OPENAI_API_KEY"),
        (403, "refuses the key"),
        (404, "there is no model 'm', or no chat/completions, at http://127.0.0.1:[0-9]*/v1 .404.$"),
        (405, "there is no model 'm'"),
        (402, "127.0.0.1 wants to be paid .*no"),
        (301, "redirects to https://elsewhere.org/v1; write that address, if you trust it"),
        (307, "redirects to https://elsewhere.org/v1"),
    ],
)
def test_what_no_patience_mends_ends_the_run_in_one_line(status, words):
    to = {"Location": "https://elsewhere.org/v1/chat/completions?token=1"} if status < 400 else {}
    with pytest.raises(UserError, match=words):
        asked(lambda request, before: (status, to, {"error": {"message": "no"}}), n=5)


def test_a_spent_quota_ends_the_run():
    body = {"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}
    with pytest.raises(UserError, match="wants to be paid .429 .*exceeded your quota"):
        asked(lambda request, before: (429, {"Retry-After": "600"}, body), n=5)


def test_an_address_without_v1_is_told():
    def answer(request, before):
        return 404, {}, {"error": {"message": "no"}}

    with served(answer) as (url, _), pytest.raises(UserError, match="; most addresses end in /v1"):
        list(Endpoint("m", url.removesuffix("/v1")).replies(items(1)))


@pytest.mark.parametrize(
    ("spec", "place"),
    [
        ("api:qwen@http://localhost:8000/v1", ("qwen", "http://localhost:8000/v1")),
        ("api:org/qwen:7b@q4@https://host.org/v1/", ("org/qwen:7b@q4", "https://host.org/v1")),
        ("api:m@http://[::1]:8000/v1", ("m", "http://[::1]:8000/v1")),
        ("api:m@2026@https://host.org", ("m@2026", "https://host.org")),
    ],
)
def test_model_and_address_are_read_from_the_string(spec, place):
    identity = open_model(spec).identity
    assert (identity["model"], identity["url"]) == place


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("api:m", "write api:MODEL@URL"),
        ("api:@http://localhost/v1", "write api:MODEL@URL"),
        ("api:m@ftp://localhost/v1", "write api:MODEL@URL"),
        ("api:m@http://", "write api:MODEL@URL"),
        ("api:m@http://host:port/v1", "write api:MODEL@URL"),
        ("api:m@http://me:secret@host/v1", "without user, password"),
        ("api:m@https://host/v1?key=secret", "without user, password"),
    ],
)
def test_an_address_that_is_none_or_holds_a_key_is_refused(spec, words):
    with pytest.raises(UserError, match=words) as refused:
        _ = open_model(spec).identity
    assert "secret" not in str(refused.value)


def test_a_parameter_that_is_refused_is_left_out_once():
    def answer(request, before):
        for name in ("logprobs", "max_tokens", "temperature"):
            if name in request:
                instead = "; use max_completion_tokens" if name == "max_tokens" else ""
                return 400, {}, {"error": {"message": f"'{name}' is not supported with this model{instead}"}}
        return 200, {}, reply()

    with served(answer) as (url, requests):
        asks = Endpoint("m", url)
        for _, one in asks.replies(items(4)):
            assert (one.text, one.refused, one.served) == ("B", ("logprobs", "temperature"), "served-name")
        last = requests[-1][0]
        assert last["max_completion_tokens"] == 2048 and not {"top_logprobs", "logprobs", "temperature"} & {*last}
        before = len(requests)
        list(asks.replies(items(1)))
        assert len(requests) == before + 1


def test_a_server_that_lists_fewer_tokens_is_asked_for_fewer():
    def answer(request, before):
        if request["top_logprobs"] > 5:
            return 422, {}, {"detail": "top_logprobs must be at most 5"}
        return 200, {}, reply()

    found, requests = asked(answer)
    assert found[0].refused == () and found[0].letters and requests[-1][0]["top_logprobs"] == 5


def test_failure_after_failure_ends_the_run():
    with pytest.raises(UserError, match="the last 6 questions all failed .*; what was answered before is kept"):
        asked(lambda request, before: (400, {}, {"error": {"message": "no"}}), n=20)


def test_a_server_that_starts_anew_is_waited_for():
    with served(ordinary(reply())) as (url, _):
        port = int(url.rsplit(":", 1)[1].split("/")[0])
    found = {}
    asking = threading.Thread(target=lambda: found.update(Endpoint("m", url).replies(items(3))))
    asking.start()
    time.sleep(0.5)
    with served(ordinary(reply()), port):
        asking.join(10)
    assert {at: one.text for at, one in found.items()} == {0: "B", 1: "B", 2: "B"}


@pytest.mark.parametrize("status", [200, 400, 401, 429])
def test_a_key_goes_to_the_address_and_nowhere_else(monkeypatch, cache, tmp_path, rows, parquet, capfd, status):
    monkeypatch.setenv("MY_KEY", "secret-of-mine")
    monkeypatch.setenv("OPENAI_API_KEY", "another-key")
    echo = {"error": {"message": "Incorrect API key provided: secret-of-mine", "code": "insufficient_quota"}}
    with served(lambda request, before: (status, {}, reply() if status == 200 else echo)) as (url, requests):
        own = {"hosted": {"spec": f"api:m@{url}", "endpoint": {"key_env": "MY_KEY"}}}
        (tmp_path / "models.yml").write_text(json.dumps(own))
        monkeypatch.setenv("UBENCH_MODELS", str(tmp_path / "models.yml"))
        out = tmp_path / "out"
        code = main(["evaluate", "--dataset", parquet(rows[::4]), "--models", "hosted", "--out", str(out)])
        assert {headers["authorization"] for _, headers in requests} == {"Bearer secret-of-mine"}
    assert code == (0 if status == 200 else 2)
    told = "".join(capfd.readouterr())
    assert "secret-of-mine" not in told and "another-key" not in told
    for path in [*cache.rglob("*"), *out.rglob("*")]:
        assert path.is_dir() or b"secret-of-mine" not in path.read_bytes(), path


def test_what_the_server_calls_itself_is_kept_with_the_replies(rows, parquet):
    """A second run, which asks nothing, tells it too, and that an alias changed meanwhile."""

    def answer(request, before):
        if "seed" in request:
            return 400, {}, {"error": {"message": "seed is not supported"}}
        name = "m-2026" if len(requests) > 40 else "m-2025"
        return 200, {}, reply() | {"model": name}

    with served(answer) as (url, requests):
        name, data = f"api:m@{url}", parquet(rows[::4])
        first = evaluate(data, [name]).record["models"][name]
        n = len(requests)
        second = evaluate(data, [name, "random"], precision="bfloat16").record["models"][name]  # that of others
        assert len(requests) == n and second["questions_asked_now"] == 0
    for passport in (first, second):
        assert passport["served"] == ["m-2025", "m-2026"] and passport["refused"] == ["seed"]
        notes = "\n".join(passport["notes"])
        assert "2 models answered under this name, as the server calls them: m-202" in notes
        assert re.search(r"does not take seed: ([0-9]+) of \1 questions were asked without it", notes)


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


def test_a_question_that_two_copies_of_an_image_ask_is_asked_once(rows, parquet):
    copies = [row | {"image_id": f"{row['image_id']}-{n}"} for row in rows[:3] for n in range(2)]
    with served(ordinary(reply())) as (url, requests):
        run = evaluate(parquet(copies), [f"api:m@{url}"])
        passport = run.record["models"][f"api:m@{url}"]
    assert len(run.predictions) == 2 * len(requests) == 2 * passport["questions_asked_now"]
    assert (passport["tokens_in"], passport["tokens_out"]) == (40 * len(requests), 2 * len(requests))


def test_half_a_character_and_odd_counts_end_no_run(rows, parquet):
    """A reply that was cut off within a sign of two halves comes with the first of them."""
    usage = {"prompt_tokens": -5, "completion_tokens": "many"}
    with served(ordinary(reply("B \ud83d", finish="length") | {"usage": usage})) as (url, _):
        run = evaluate(parquet(rows[:1]), [f"api:m@{url}"])
    passport = next(iter(run.record["models"].values()))
    assert set(run.predictions.reply) == {"B \ufffd"} and passport["tokens_in"] == passport["tokens_out"] == 0


def test_replies_without_a_count_of_tokens_are_counted(rows, parquet):
    """A cost that leaves them out would look complete."""
    counted = []

    def answer(request, before):
        found = reply()
        if "modality" in request["messages"][0]["content"][-1]["text"]:
            del found["usage"]
        else:
            counted.append(found)
        return 200, {}, found

    with served(answer) as (url, requests):
        name, data = f"api:m@{url}", parquet(rows[:2])
        passport = evaluate(data, [name]).record["models"][name]
        plan = open_model(name).plan(
            load_benchmark(data), build_questions(load_benchmark(data)), device="cpu", precision="float32"
        )
    assert 0 < len(counted) < len(requests) and passport["tokens_in"] == 40 * len(counted)
    n = f"{len(requests) - len(counted)} of {len(requests)} replies"
    assert f"{n} came without a count of tokens: tokens leave them out" in passport["notes"]
    assert len(plan.counted) == len(counted)


def test_what_will_be_asked_is_told_before_anything_is(rows, parquet, capsys, tmp_path, monkeypatch):
    data = parquet(rows[::4])
    told = []

    def answer(request, before):
        told.append(capsys.readouterr().err)
        return 200, {}, reply()

    with served(answer) as (url, requests):
        prices = {"price_in": 2, "price_out": 10, "currency": "EUR", "concurrency": 1, "max_tokens": 50}
        (tmp_path / "models.yml").write_text(json.dumps({"hosted": {"spec": f"api:m@{url}", "endpoint": prices}}))
        monkeypatch.setenv("UBENCH_MODELS", str(tmp_path / "models.yml"))
        where = ["--dataset", data, "--models", "hosted", "random"]
        for command in (["evaluate", "--out", str(tmp_path / "a")], ["report", "--out", str(tmp_path / "b")], ["run"]):
            assert main([*command, *where, "--dry-run"]) == 0
            words = capsys.readouterr().out
            assert not requests and not list(tmp_path.glob("[ab]"))
            n, images, sent = re.search(
                r"hosted: (\d+) questions, \1 to ask about (\d+) images, (\S+) MB", words
            ).groups()
            assert "tokens are counted by the server, and the cost with them" in words and "random: " in words
        run = evaluate(data, ["hosted"])
        bodies = [request["messages"][0]["content"] for request, _ in requests]
        assert f"{n} questions" in told[0] and int(n) == len(requests)
        assert float(sent) == pytest.approx(
            sum(len(a["image_url"]["url"]) + len(b["text"]) for a, b in bodies) / 1e6, abs=0.06
        )
        assert requests[0][0]["max_tokens"] == 50 and run.record["models"]["hosted"]["decoding"]["max_tokens"] == 50
        assert run.record["models"]["hosted"]["cost"] == {
            "amount": pytest.approx(len(requests) * (40 * 2 + 2 * 10) / 1e6),
            "currency": "EUR",
        }
        main(["evaluate", *where, "--out", str(tmp_path / "a"), "--dry-run"])
        assert f"hosted: {n} questions, nothing to ask" in capsys.readouterr().out
        main(["evaluate", "--dataset", parquet(rows[1::4], "b.parquet"), *where[2:], "--out", "x", "--dry-run"])
        assert "tokens are counted" in capsys.readouterr().out


def test_without_a_key_a_foreign_address_is_not_asked(rows, parquet):
    data = parquet(rows[::4])
    with pytest.raises(
        UserError, match="model 'api:m@https://example.org/v1': set OPENAI_API_KEY to the key of example.org"
    ):
        evaluate(data, ["api:m@https://example.org/v1"])


def test_concurrency_is_kept():
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
