"""One task at a time beside training, and copies that keep a tensor's layout."""

import threading

import pytest
import torch

from gandist.distributed.background import Background, arrival, to_host


def test_a_task_does_not_hold_up_who_starts_it() -> None:
    go, work = threading.Event(), Background("test")
    started = work.start(lambda: go.wait(30))
    work.check()
    assert not started.done()
    go.set()
    work.close()
    assert started.result() is True


def test_the_next_task_waits_for_the_one_before() -> None:
    done: list[int] = []
    go, work = threading.Event(), Background("test")

    def first() -> None:
        assert go.wait(30)
        done.append(1)

    work.start(first)
    threading.Timer(0.05, go.set).start()
    work.start(lambda: done.append(2))
    assert done[0] == 1, "start came back only once the first was done"
    work.close()
    assert done == [1, 2]


def test_what_a_task_raises_comes_out_of_the_next_call_once() -> None:
    work = Background("test")

    def fail() -> None:
        raise OSError("full")

    for call in (work.wait, work.check, lambda: work.start(int)):
        work.start(fail).exception()
        with pytest.raises(OSError, match="full"):
            call()
        work.check()
    work.start(fail)
    with pytest.raises(OSError, match="full"):
        work.close()
    with pytest.raises(RuntimeError, match="after shutdown"):
        work.start(int)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_copy_keeps_the_layout_and_its_room(layout: torch.memory_format) -> None:
    live = torch.randn(3, 4, 5, 6).to(memory_format=layout).requires_grad_()
    first = to_host(live)
    assert first.stride() == live.stride()
    assert not first.requires_grad
    before = live.detach().clone()
    with torch.no_grad():
        live += 1
    assert torch.equal(first, before)
    assert to_host(live, first).data_ptr() == first.data_ptr()
    assert torch.equal(first, live)


def test_room_of_another_kind_is_left_alone() -> None:
    live = torch.randn(2, 3)
    for other in (torch.zeros(3, 2), torch.zeros(3, 2).T, torch.zeros(2, 3, dtype=torch.float64)):
        copied = to_host(live, other)
        assert torch.equal(copied, live)
        assert copied.dtype == live.dtype
        assert torch.equal(other, torch.zeros_like(other))


def test_on_a_cpu_there_is_nothing_to_wait_for() -> None:
    arrival(torch.device("cpu"))()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_copy_from_a_gpu_has_arrived_after_its_event() -> None:
    live = torch.zeros(1 << 24, device="cuda")
    for value in range(3):
        live.fill_(value)
        copied = to_host(live)
        assert copied.is_pinned()
        arrived = arrival(live.device)
        live.fill_(-1)  # in stream order: after the copy
        waiting = Background("test")
        waiting.start(arrived)
        waiting.close()
        assert (copied == value).all()
