"""What a person sees on a terminal while a flow runs."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest
from cli_terminal import Terminal, on_terminal
from flows_for_cli import FLOWC

pytestmark = pytest.mark.slow


def test_the_terminal_of_these_tests() -> None:
    terminal = Terminal(rows=3, columns=5)
    terminal.feed("ab\r\ncd\x1b[1A\r\x1b[2Kxy\x1b[31mz\x1b[0m\n\rabcdefg")
    assert terminal.text == "xyz\nabcde\nfg"
    terminal.feed("\n\n\x1b[9A!")
    assert terminal.text.splitlines()[2] == "fg!"


def test_live_tree(flows: Path) -> None:
    seen: list[str] = []
    code, sent, terminal = on_terminal(
        [*FLOWC, "run", "fan.py", "--width", "6", "--nap", "0.5", "--flaky", "2"], cwd=str(flows), during=seen
    )
    assert code == 0, sent
    assert terminal.unknown == []
    running = [screen for screen in seen if re.search(r"FanFlow/1  running \d", screen)]
    assert running
    assert any(re.search(r"│ [⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏] work +━+ +\d/6 .*running", screen) for screen in running)
    lines = terminal.text.splitlines()
    assert "work/2 failed in attempt 1: RuntimeError: only once" in lines
    assert "work/5 | item 5" in lines
    assert "work/5 | to stderr 5" in lines
    # The last tree stays, once, below everything that was printed.
    assert terminal.text.count("FanFlow/1") == 1
    tree = lines[-5:]
    assert re.fullmatch(r"✓ FanFlow/1  done in [\d.]+s", tree[0])
    assert re.fullmatch(r"  ✓ start +foreach items +[\d.]+s", tree[1])
    assert re.fullmatch(r"  │ ✓ work +━{16}  6/6  [\d.]+s", tree[2])
    assert re.fullmatch(r"  ✓ join +join +[\d.]+s", tree[3])
    assert re.fullmatch(r"  ✓ end +[\d.]+s", tree[4])


def test_failure_on_a_terminal(flows: Path) -> None:
    code, sent, terminal = on_terminal([*FLOWC, "run", "fan.py", "--bad", "1"], cwd=str(flows))
    assert code == 1
    lines = terminal.text.splitlines()
    start = next(place for place, line in enumerate(lines) if line.startswith("✗ FanFlow/1  failed after "))
    assert re.match(r"  │ ✗ work .* [012]/3  [\d.]+s  1 failed", lines[start + 2])
    assert lines[start + 3 : start + 7] == ["  · join    join", "  · end", "", "work/1 failed: ValueError: bad item 1"]
    assert lines[-1] == "  to go on:    flowc resume 1"
    assert "\x1b[1;31mwork/1 failed" in sent


def test_no_color(flows: Path) -> None:
    code, sent, terminal = on_terminal([*FLOWC, "run", "hello.py"], cwd=str(flows), env={"NO_COLOR": "1"})
    assert code == 0
    assert "✓ HelloFlow/1  done in" in terminal.text
    assert not re.search(r"\x1b\[[0-9;]*(3[0-9]|9[0-7])m", sent)


def test_a_dumb_terminal_gets_lines(flows: Path) -> None:
    code, sent, _ = on_terminal([*FLOWC, "run", "hello.py"], cwd=str(flows), env={"TERM": "dumb"})
    assert code == 0
    assert "[1] start | hello world" in sent
    assert "\x1b" not in sent


def test_a_small_terminal(flows: Path) -> None:
    names = [*(f"s{n}" for n in range(30)), "end"]
    steps = "\n".join(
        f"    @step\n    def {name}(self):\n        self.next(self.{after})\n" for name, after in zip(names, names[1:])
    )
    first = "    @step\n    def start(self):\n        self.next(self.s0)\n"
    last = "    @step\n    def end(self):\n        time.sleep(0.5)\n"
    head = "import time\n\nfrom flowc import FlowSpec, step\n\n\nclass LongFlow(FlowSpec):\n"
    (flows / "long.py").write_text("\n".join([head, first, steps, last]))
    seen: list[str] = []
    code, sent, terminal = on_terminal([*FLOWC, "run", "long.py"], cwd=str(flows), rows=12, columns=60, during=seen)
    assert code == 0, sent
    assert any(re.search(r"… and \d+ more steps", screen) for screen in seen)
    assert len(terminal.text.splitlines()) == 33
    assert terminal.text.count("LongFlow/1") == 1


def test_tables_on_a_terminal(runs: Path) -> None:
    code, sent, terminal = on_terminal([*FLOWC, "runs"])
    assert code == 0
    assert re.search(r"FanFlow/1 +failed", terminal.text)
    assert "\x1b[31mfailed" in sent
    code, sent, terminal = on_terminal([*FLOWC, "show", "FanFlow/1"])
    assert code == 0
    assert re.search(r"✗ FanFlow/1  failed after [\d.]+s\n  ✓ start ", terminal.text)


def test_check_is_in_colour_on_a_terminal(flows: Path) -> None:
    (flows / "broken.py").write_text("import flowc\nclass\n")
    code, sent, _ = on_terminal([*FLOWC, "check", "broken.py"], cwd=str(flows))
    assert code == 1
    assert "\x1b[1;31merror[FC" in sent


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_interrupt_on_a_terminal_leaves_it_in_order(flows: Path) -> None:
    import threading
    import time

    def press() -> None:
        folder = flows / ".flowc/FanFlow/1/work/0/0/stdout.log"
        while not folder.exists():
            time.sleep(0.02)
        pid = int((flows / "pid").read_text())
        os.kill(pid, 2)

    thread = threading.Thread(target=press)
    thread.start()
    starter = "import os, sys; open('pid', 'w').write(str(os.getpid())); from flowc.cli import main; sys.exit(main())"
    code, sent, terminal = on_terminal([sys.executable, "-c", starter, "run", "fan.py", "--nap", "20"], cwd=str(flows))
    thread.join()
    assert code == 130
    assert "■ FanFlow/1  interrupted after" in terminal.text
    assert terminal.text.splitlines()[-1] == "  to go on:    flowc resume 1" or "flowc resume 1" in terminal.text
    assert sent.rindex("\x1b[?25h") > sent.rindex("\x1b[?25l")


def test_what_tasks_print_cannot_disturb_the_display(flows: Path) -> None:
    text = (flows / "hello.py").read_text()
    text = text.replace(
        "print(self.greeting)", r'print("\x1b[32mgreen\x1b[0m [bold]plain[/bold] :smile:\nbell\x07\x08!")'
    )
    (flows / "rude.py").write_text(text)
    code, sent, terminal = on_terminal([*FLOWC, "run", "rude.py"], cwd=str(flows))
    assert code == 0
    assert terminal.text.splitlines()[:2] == ["start | green [bold]plain[/bold] :smile:", "start | bell!"]
    assert "\x1b[32mgreen" in sent
    assert "\x07" not in sent
