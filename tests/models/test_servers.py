"""Real servers, in processes of their own on loopback, asked over HTTP as everybody asks them."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from helpers import llama_server
from helpers.endpoint import forwarded
from helpers.speakers import make

from ubench_utils.evaluation.evaluate import evaluate
from ubench_utils.models.generators import endpoint

pytest.importorskip("openai")
pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Random models never end by themselves."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr(endpoint, "PARAMETERS", endpoint.PARAMETERS | {"max_tokens": 6})
    monkeypatch.setattr(endpoint, "PAUSE", 0.2)


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def started(command, port, log):
    """A server's process, once it listens."""
    process = subprocess.Popen([sys.executable, *map(str, command)], stdout=log, stderr=log)
    for _ in range(600):
        if process.poll() is not None:
            raise AssertionError(f"the server ended with {process.returncode}")
        with socket.socket() as trial:
            if trial.connect_ex(("127.0.0.1", port)) == 0:
                return process
        time.sleep(0.1)
    process.kill()
    raise AssertionError("the server does not listen after a minute")


def test_a_server_that_is_killed_and_started_again_answers_every_question_once(tmp_path, rows, parquet):
    """llama.cpp's server: killed at once, half-way and under way; what was delivered is counted on the way."""
    pytest.importorskip("xllamacpp")
    pytest.importorskip("gguf")
    port, log = free_port(), (tmp_path / "log").open("wb")  # noqa: SIM115 (both servers write to it)
    command = [Path(llama_server.__file__), *llama_server.write(tmp_path), port]
    servers, delivered = [started(command, port, log)], []

    def kill_and_restart():
        while len(delivered) < 20:
            time.sleep(0.01)
        os.kill(servers[0].pid, signal.SIGKILL)
        servers[0].wait()
        time.sleep(0.5)
        servers.append(started(command, port, log))

    try:
        with forwarded(f"http://127.0.0.1:{port}/v1", delivered) as url:
            name, data = f"api:tiny@{url}", parquet(rows[::2])
            vandal = threading.Thread(target=kill_and_restart)
            vandal.start()
            run = evaluate(data, [name])
            vandal.join()
            passport = run.record["models"][name]
            n = passport["questions_asked_now"]
            assert len(servers) == 2 and n == len(run.predictions) > 40 and passport["questions_failed"] == 0
            assert len(delivered) == n and set(Counter(delivered).values()) == {1}
            again = evaluate(data, [name, "random"])
            assert len(delivered) == n and again.record["models"][name]["questions_asked_now"] == 0
    finally:
        for server in servers:
            server.kill()
            server.wait()
        log.close()
    done = (tmp_path / "log").read_text(errors="replace").count("stop processing")
    assert abs(done - n) <= endpoint.CONCURRENCY  # but for those that were under way when it was killed
    assert run.predictions.letter_mass.between(0, 1).all() and (run.predictions.finish == "length").mean() > 0.9
    assert passport["tokens_out"] >= n and passport["served"] == [str(tmp_path / "text.gguf")]
    assert run.predictions.reply.nunique() > 1  # it looks at what it is given


@pytest.mark.slow
def test_transformers_own_server_gives_no_probabilities_and_is_read_all_the_same(tmp_path, rows, parquet, monkeypatch):
    """It silently passes over the request for them."""
    pytest.importorskip("fastapi")
    pytest.importorskip("uvicorn")
    (tmp_path / "hub").mkdir()  # without it, it does not start
    for name, value in {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(endpoint, "CONCURRENCY", 2)
    folder, port = make("qwen2.5-vl", tmp_path / "model"), free_port()
    command = ["-m", "transformers.cli.transformers", "serve", "--host", "127.0.0.1", "--port", port, "--device", "cpu"]
    with (tmp_path / "log").open("wb") as log:
        server = started(command, port, log)
        try:
            name = f"api:{folder}@http://127.0.0.1:{port}/v1"
            run = evaluate(parquet(rows[::6]), [name, f"hf:{folder}"])
        finally:
            server.kill()
            server.wait()
    own = run.predictions[run.predictions.model == name]
    passport = run.record["models"][name]
    assert len(own) == passport["questions_asked_now"] and passport["questions_failed"] == 0
    assert own.letter_mass.isna().all() and own.p_answer.isna().all() and own.reply.str.len().gt(0).any()
    assert f"{len(own)} of {len(own)} replies came without probabilities of the letters" in passport["notes"]
    assert (own.reply == own.reply.str.strip()).all()  # so the benchmark's own rule reads another first character
