"""Work beside other work."""

import threading
from functools import partial

import pytest

from sam_audio.beside import Beside


def test_pieces_are_done_in_order_on_another_thread():
    done = []
    with Beside(2) as beside:
        for n in range(50):
            beside.do(lambda n=n: done.append((n, threading.current_thread())))
    assert [n for n, _ in done] == list(range(50))
    assert {thread for _, thread in done}.isdisjoint({threading.current_thread()})


def test_what_a_piece_raises_ends_the_work_and_reaches_the_caller():
    done = []

    def fail():
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"), Beside(1) as beside:
        beside.do(fail)
        for n in range(100):
            beside.do(partial(done.append, n))
    assert done == []
    with pytest.raises(OSError, match="the disk is full"), Beside(1) as beside:
        beside.do(fail)  # the last one is told of, too


def test_leaving_by_an_exception_lets_go_of_what_was_not_begun():
    begun, go, done = threading.Event(), threading.Event(), []

    def slow():
        begun.set()
        assert go.wait(10)

    with pytest.raises(KeyboardInterrupt), Beside(5) as beside:
        beside.do(slow)
        for n in range(4):
            beside.do(partial(done.append, n))
        assert begun.wait(10)
        threading.Timer(0.1, go.set).start()
        raise KeyboardInterrupt
    assert done == []
