"""Kept replies: asked once whatever is killed, and a damaged row or file is asked again, with a word."""

import multiprocessing
import os
import signal
import sqlite3
import time

import pytest

from ubench_utils.engine.replies import open_replies
from ubench_utils.errors import UserError

pytestmark = pytest.mark.usefixtures("cache")


def test_what_was_kept_is_known_and_nothing_else():
    with open_replies("a") as replies:
        replies.keep({"1": {"text": "B", "letters": [0.25, 0.5]}, "2": {"text": "„é\0\n"}})
    with open_replies("a") as replies:
        keys = ["1", "2", "3", *(str(n) for n in range(10, 3000))]
        assert replies.known(keys) == {"1": {"text": "B", "letters": [0.25, 0.5]}, "2": {"text": "„é\0\n"}}
        replies.keep({"1": {"text": "C"}})
        assert replies.known(["1"]) == {"1": {"text": "C"}}
    with open_replies("b") as replies:
        assert replies.known(["1"]) == {}


def test_a_damaged_row_and_one_under_a_foreign_key_are_asked_again(cache, capsys):
    with open_replies("a") as replies:
        replies.keep({key: {"text": key} for key in "xyz"})
    with sqlite3.connect(cache / "replies" / "a.sqlite") as connection:
        connection.execute("UPDATE replies SET content = '{\"text\": \"q\"}' WHERE key = 'x'")
        connection.execute("UPDATE replies SET key = 'w' WHERE key = 'y'")
    connection.close()
    with open_replies("a") as replies:
        assert replies.known(["w", "x", "y", "z"]) == {"z": {"text": "z"}}
    assert "2 kept replies are damaged; asking again" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"no database at all" * 100, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_file_that_is_no_database_is_moved_aside(cache, capsys, content):
    (cache / "replies").mkdir(parents=True)
    (cache / "replies" / "a.sqlite").write_bytes(content)
    with open_replies("a") as replies:
        replies.keep({"1": {"text": "B"}})
    with open_replies("a") as replies:
        assert replies.known(["1"]) == {"1": {"text": "B"}}
    assert "damaged and moved aside" in capsys.readouterr().err
    assert [path.read_bytes() for path in (cache / "replies").glob("*.aside")] == [content]


def test_a_cache_that_cannot_be_written_is_told_in_one_line(cache):
    cache.mkdir()
    (cache / "replies").write_text("a file")
    with pytest.raises(UserError, match="cannot write to the cache .*; set UBENCH_CACHE"), open_replies("a"):
        pass


def _write(first, n):
    with open_replies("shared") as replies:
        for at in range(first, first + n):
            replies.keep({str(at): {"text": str(at)}})


def test_a_killed_writer_leaves_whole_rows_and_others_go_on():
    context = multiprocessing.get_context("fork")
    killed, other = context.Process(target=_write, args=(0, 10**6)), context.Process(target=_write, args=(10**7, 50))
    killed.start(), other.start()
    time.sleep(0.5)
    os.kill(killed.pid, signal.SIGKILL)
    killed.join(), other.join()
    with open_replies("shared") as replies:
        known = replies.known([str(at) for at in (*range(10**5), *range(10**7, 10**7 + 50))])
    assert other.exitcode == 0 and all(reply == {"text": key} for key, reply in known.items())
    numbers = sorted(int(key) for key in known)
    assert sum(number >= 10**7 for number in numbers) == 50
    first = [number for number in numbers if number < 10**7]
    assert first and first == list(range(len(first)))
