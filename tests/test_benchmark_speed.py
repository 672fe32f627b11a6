import importlib.util
import sys
import wave
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "speed.py"


@pytest.fixture(scope="module")
def speed():
    spec = importlib.util.spec_from_file_location("speed", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["speed"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["speed"]


def test_the_recording_is_as_long_as_asked_and_always_the_same(speed, tmp_path):
    first = speed.write_recording(tmp_path / "a.wav", 10.5)
    with wave.open(str(first)) as file:
        assert (file.getnframes(), file.getnchannels()) == (round(10.5 * speed.RATE), 2)
    assert first.read_bytes() == speed.write_recording(tmp_path / "b.wav", 10.5).read_bytes()


def test_a_process_is_measured(speed, tmp_path):
    code = (
        "import sys, time; open(sys.argv[1], 'w').write('x'); time.sleep(0.2); print(len(bytearray(2**27)))"
    )
    done = speed.run([sys.executable, "-c", code, str(tmp_path / "out")], tmp_path)
    assert done.output.strip() == str(2**27)
    assert 0 < done.first_file_s < done.wall_s
    assert done.wall_s > 0.2
    assert done.peak_mib > 128


def test_a_failing_process_ends_the_benchmark(speed):
    with pytest.raises(SystemExit, match="failed"):
        speed.run([sys.executable, "-c", "raise ValueError"])


def test_insert_keeps_the_rest_of_the_page(speed, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{speed.BEGIN}\nold\n{speed.END}\nafter\n")
    speed.insert(page, "new")
    assert page.read_text() == f"before\n{speed.BEGIN}\nnew\n{speed.END}\nafter\n"
    page.write_text("no markers")
    with pytest.raises(SystemExit, match="lacks the markers"):
        speed.insert(page, "new")
