from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from sage_cli.log_reader import LogReader, chosen_logs, readable
from sage_common.errors import NotFoundError


def line(second: int, event: str) -> str:
    return f'{{"event": "{event}", "level": "info", "timestamp": "2026-01-02T03:04:{second:02d}.000000Z"}}\n'


def test_a_json_line_becomes_time_level_event_and_fields() -> None:
    shown = readable(
        '{"event": "lease lost", "level": "warning", "timestamp": "2026-01-02T03:04:05.678Z", "key": "main", '
        '"reason": "another holds it", "epoch": 3, "service": "scheduler", "instance": "s-1"}'
    )
    assert shown.endswith('warning lease lost key=main reason="another holds it" epoch=3')
    assert ":04:05.678 " in shown


@pytest.mark.parametrize("text", ["", "plain words", "{not json", '{"no": "event"}', "[1]"])
def test_any_other_line_is_left_as_it_is(text: str) -> None:
    assert readable(text) == text


def test_lines_of_several_files_come_in_the_order_of_their_times(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text(line(1, "one") + line(4, "four") + "  a traceback\n")
    (tmp_path / "b.log").write_text(line(2, "two") + line(3, "three") + line(5, "five"))
    shown = list(LogReader(chosen_logs(tmp_path, None), raw=False).last(5))
    assert [text.split()[-1] for text in shown] == ["two", "three", "four", "traceback", "five"]
    assert shown[0].startswith("b | ")


def test_the_nats_servers_own_lines_take_their_place(tmp_path: Path) -> None:
    (tmp_path / "gateway.log").write_text(line(1, "before") + line(3, "after"))
    (tmp_path / "nats.log").write_text("[7] 2026/01/02 03:04:02.500000 [INF] between\n")
    shown = list(LogReader(chosen_logs(tmp_path, None), raw=False).last(5))
    assert [text.split()[-1] for text in shown] == ["before", "between", "after"]


def test_one_process_or_all_replicas_of_a_service_can_be_chosen(tmp_path: Path) -> None:
    for name in ("llm-coordinator", "llm-coordinator-2", "gateway"):
        (tmp_path / f"{name}.log").touch()
    assert [file.stem for file in chosen_logs(tmp_path, "llm_coordinator")] == ["llm-coordinator", "llm-coordinator-2"]
    assert [file.stem for file in chosen_logs(tmp_path, "llm-coordinator-2")] == ["llm-coordinator-2"]
    with pytest.raises(NotFoundError, match="did you mean 'gateway'"):
        chosen_logs(tmp_path, "gatway")


def test_no_logs_at_all_say_how_to_get_some(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="sage up"):
        chosen_logs(tmp_path, None)


async def test_following_shows_whole_lines_only_and_goes_on_after_a_rotation(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text("old\n")
    shown: asyncio.Queue[str] = asyncio.Queue()
    following = asyncio.create_task(LogReader([path], raw=True).follow(shown.put_nowait))
    await asyncio.sleep(0)
    try:
        with path.open("a") as file:
            file.write("first\nhalf")
            file.flush()
            assert await asyncio.wait_for(shown.get(), 10) == "first"
            file.write(" done\n")
        assert await asyncio.wait_for(shown.get(), 10) == "half done"
        path.rename(tmp_path / "a.log.1")
        path.write_text("after\n")
        assert await asyncio.wait_for(shown.get(), 10) == "after"
    finally:
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following
