"""The command line: what it prints, its JSON, its exit statuses and its sentences."""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from halfulp.cli.app import COMMANDS, run


def halfulp(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = run(list(arguments))
    found = capsys.readouterr()
    return status, found.out, found.err


def as_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    status, out, err = halfulp(capsys, *arguments, "--json")
    assert (status, err) == (0, "")
    return json.loads(out)


def test_explain_json(capsys: pytest.CaptureFixture[str]) -> None:
    found = as_json(capsys, "explain", "1.12156456132", "--via", "float32", "--to", "float16")
    wanted = ("format", "code", "bits", "value", "error", "error_ulps", "direction", "tie")
    assert [tuple(r[k] for k in wanted) for r in found["results"]] == [
        ("float32", "0x3f8f8f6d", "00111111100011111000111101101101",
         "1.12156450748443603515625", "-0.00000005383556396484375", "-0.45160544256", "down", False),
        ("float16", "0x3c7c", "0011110001111100", "1.12109375", "-0.00047075748443603515625",
         "-0.4820556640625", "down", False),
    ]  # fmt: skip


def test_add_json(capsys: pytest.CaptureFixture[str]) -> None:
    found = as_json(capsys, "add", "1.125:float16", "0.12457275190625:float16")
    assert found["exact"] == "1.24957275390625"
    result = found["result"]
    assert (result["value"], result["bits"]) == ("1.25", "0011110100000000")
    mixed = as_json(capsys, "add", "1.125:float32", "0.12457275190625:float16")
    assert mixed["result"]["value"] == "1.24957275390625"
    assert mixed["format"] == "float32"


@pytest.mark.parametrize(
    ("gradient", "steps", "target", "nearest", "master"),
    [
        ("0.00041999", 1, "float16", "1.125", "1.125420093536376953125"),
        ("0.00041999", 10, "float16", "1.125", "1.12920093536376953125"),
        ("0.00041999", 50, "float16", "1.125", "1.14600467681884765625"),
        ("0.00041999", 100, "float16", "1.125", "1.1670093536376953125"),
        ("0.00041999", 101, "float16", "1.125", "1.167429447174072265625"),
        ("0.00041999", 100, "float32", "1.166997432708740234375", "1.166997432708740234375"),
        ("-0.00041999", 100, "float16", "1.125", "1.0829906463623046875"),
        ("0.12457275190625", 101, "float16", "13.75", "13.70684814453125"),
    ],
)  # fmt: skip
def test_walk_json(
    capsys: pytest.CaptureFixture[str],
    gradient: str,
    steps: int,
    target: str,
    nearest: str,
    master: str,
) -> None:
    found = as_json(
        capsys, "walk", "--weight", "1.125", "--gradient", gradient, "--steps", str(steps),
        "--format", target,
    )  # fmt: skip
    by_name = {s["name"]: s for s in found["strategies"]}
    assert (by_name["nearest"]["final"], by_name["master"]["final"]) == (nearest, master)
    assert found["prediction"]["final"] == nearest
    assert set(by_name) == {"nearest", "master", "kahan", "stochastic", "exact"}
    if target == "float16" and gradient == "0.00041999" and steps == 100:
        assert (by_name["nearest"]["lost"], by_name["nearest"]["stall_step"]) == (100, 0)
        assert by_name["master"]["stored"] == "1.1669921875"
        assert by_name["exact"]["final"] == "1.166999"
        assert found["prediction"]["stall_step"] == 0


def test_digits(capsys: pytest.CaptureFixture[str]) -> None:
    assert halfulp(capsys, "digits", "0.1", "--base", "2") == (0, "0.0(0011)\n", "")
    assert halfulp(capsys, "digits", "0.0(0011)", "--from", "2") == (0, "0.1\n", "")
    assert halfulp(capsys, "digits", "-0.5", "--base", "2") == (0, "-0.1\n", "")
    assert as_json(capsys, "digits", "1/3")["repeating"] == "3"


def test_formats(capsys: pytest.CaptureFixture[str]) -> None:
    rows = as_json(capsys, "formats")["formats"]
    assert {"name": "float16", "max": "65504"}.items() <= rows[3].items()
    sheet = as_json(capsys, "formats", "p3109_k8p4se")
    assert (sheet["format"], sheet["codes"], sheet["nan_codes"]) == ("p3109_k8p4se", 256, 1)
    assert "half an ulp" in halfulp(capsys, "formats", "float16")[1]


def test_multiply(capsys: pytest.CaptureFixture[str]) -> None:
    found = as_json(capsys, "multiply", "1.9:float16", "-1.9:float16")
    assert (found["exact"], found["result"]["value"]) == ("-3.611484527587890625", "-3.611328125")
    assert found["operands"][1]["text"] == "-1.9:float16"


@pytest.mark.parametrize(
    "arguments",
    [
        ("explain", "-1.1", "--to", "float16"), ("add", "1.125:float16", "-1.5:float16"),
        ("explain", "-inf", "--to", "float16"), ("explain", "-.5", "--to", "float16"),
        ("add", "--in", "float16", "-1", "-2"), ("digits", "-1/3"),
        ("walk", "--weight", "-1", "--gradient", "-0.1", "--steps", "3"),
        ("explain", "nan", "--via", "float64,float32", "--to", "float16,float8_e4m3fn"),
        ("formats",), ("formats", "e4m3b7"), ("add", "1.1:float64", "1e-5:float32"),
        ("explain", "1/3", "--to", "e11m100"), ("formats", "e15m112"),
        ("walk", "--weight", "1e300", "--gradient", "1e-300", "--steps", "3", "--format", "float64"),
        ("add", "1:float8_e8m0fnu", "1:float4_e2m1fn", "--in", "float16"), ("explain", "-∞", "--to", "half"), ("add", "inf:float16", "-inf:float16"),
    ],
)  # fmt: skip
def test_text_fits_eighty_columns(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    status, out, err = halfulp(capsys, *arguments)
    assert (status, err) == (0, "")
    assert out.strip()
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("explain", "1", "--to", "floot16"), "did you mean float16"),
        (("explain", "1", "--to", "float16", "--rounding", "nearest"), "did you mean nearest_"),
        (("explain", "one", "--to", "float16"), "is no number"),
        (("explain", "1"), "Missing option '--to'"),
        (("explain", "1e999999999", "--to", "float16"), "exponent beyond"),
        (("explain", "1", "--to", ""), "name a format"),
        (("explain", "1/" * 3000 + "1", "--to", "float16"), "is no number"),
        (("explain", "1", "--to", "x" * 100_000), "unknown format"),
        (("digits", "1/1000000007", "--limit", "1000000000000"), "limit is"),
        (("walk", "--weight", "1", "--gradient", "1", "--steps", "9" * 25), "allowed are 0 to"),
        (("walk", "--weight", "1", "--gradient", "1", "--steps", "3", "--strategies", ""),
         "no strategy"),
        (("explain", "1", "2", "--to", "float16"), "unexpected extra argument"),
        (("explain", "1", "--to", "float16", "--overflow", "wrap"), "unknown overflow"),
        (("explain", "1", "--to", "float16", "--hmtl", "x"), "No such option"),
        (("explain", "1", "--to", "float16", "--html", "/no/such/folder/x.html"), "does not exist"),
        (("explain", "1", "--to", "float16", "--html", "/"), "it is a folder"),
        (("add", "1", "2"), "--in"),
        (("walk", "--weight", "1", "--gradient", "1", "--steps", "-5"), "steps is -5"),
        (("walk", "--weight", "1", "--gradient", "1", "--steps", "x"), "not a valid integer"),
        (("walk", "--weight", "inf", "--gradient", "1", "--steps", "5"), "weight is inf"),
        (("walk", "--weight", "1", "--gradient", "nan", "--steps", "5"), "gradient is nan"),
        (("walk", "--weight", "1", "--gradient", "1", "--steps", "5", "--strategies", "kahn"),
         "did you mean kahan"),
        (("digits", "0.1", "--base", "37"), "2 to 36"),
        (("digits", "12", "--from", "2"), "no digit of base 2"),
        (("digits", "inf"), "has no digits"),
        (("formats", "fp9"), "unknown format"),
        (("explian",), "did you mean explain"),
        (("--wat",), "No such option"),
    ],
)  # fmt: skip
def test_mistakes_get_one_sentence_and_exit_two(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], says: str
) -> None:
    status, out, err = halfulp(capsys, *arguments)
    assert (status, out) == (2, "")
    assert says in err
    assert err.startswith("halfulp: ")
    assert len(err) < 500
    assert err.count("\n") == 1


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = halfulp(capsys)
    assert status == 0
    assert all(command in out for command in COMMANDS)
    for command in COMMANDS:
        if command not in ("compare", "demo"):
            assert "Usage: halfulp" in halfulp(capsys, command, "--help")[1]
    assert halfulp(capsys, "--version")[1].startswith("halfulp 0.")


def test_a_page_is_written_whole(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    status, out, _ = halfulp(capsys, "explain", "<b>1", "--to", "float16", "--html", str(page))
    assert (status, page.exists()) == (2, False)
    status, out, _ = halfulp(
        capsys, "explain", "1.12156456132", "--to", "float16", "--html", str(page)
    )
    text = page.read_text()
    assert (status, "1.12109375" in text, "<script" in text) == (0, True, False)
    assert "1.12109375" in out
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    code = "from halfulp.cli.app import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )


def test_as_a_real_process() -> None:
    ran = command("explain", "1.12156456132", "--to", "float16")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "1.12109375" in ran.stdout
    assert "\x1b" not in ran.stdout
    failed = command("explain", "x", "--to", "float16")
    assert (failed.returncode, failed.stdout) == (2, "")
    assert "Traceback" not in failed.stderr


def test_pages_go_to_regular_files_only(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "real.html").write_text("old")
    (tmp_path / "link.html").symlink_to(tmp_path / "real.html")
    for name, says in (("pipe", "no regular file"), ("x" * 300, "cannot write")):
        status, out, err = halfulp(
            capsys, "explain", "1", "--to", "float16", "--html", str(tmp_path / name)
        )
        assert (status, out, says in err) == (2, "", True)
    assert (tmp_path / "pipe").is_fifo()
    assert run(["explain", "1", "--to", "float16", "--html", str(tmp_path / "link.html")]) == 0
    assert (tmp_path / "link.html").is_symlink()
    assert "float16" in (tmp_path / "real.html").read_text()
    long = tmp_path / ("y" * 245 + ".html")
    assert run(["explain", "1", "--to", "float16", "--html", str(long)]) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        ["pipe", "real.html", "link.html", long.name]
    )


def test_terminals_without_arrows_and_full_disks() -> None:
    import os

    code = "from halfulp.cli.app import main; main()"
    arguments = [sys.executable, "-c", code, "explain", "1.1", "--to", "float16"]
    latin = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    ran = subprocess.run(arguments, capture_output=True, env=latin, check=False)
    assert (ran.returncode, ran.stderr, b"1.099609375" in ran.stdout) == (0, b"", True)
    if Path("/dev/full").exists():
        with open("/dev/full", "w") as full:
            ran = subprocess.run(arguments, stdout=full, stderr=subprocess.PIPE, check=False)
        assert ran.returncode == 2
        assert ran.stderr.startswith(b"halfulp: cannot write the output")
        assert ran.stderr.count(b"\n") == 1
    ran = subprocess.run(
        f"'{sys.executable}' -c '{code}' formats >&-", shell=True, capture_output=True, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("arguments", "says", "unsaid"),
    [
        (("5e-8", "--rounding", "toward_zero"), "takes it to zero", "not more than half"),
        (("1e6", "--rounding", "toward_zero"), "does not leave the range", "rounds to the largest"),
        (("3", "--to", "float8_e8m0fnu"), "its code is even", "last kept bit"),
        (("2^-130", "--to", "float8_e8m0fnu"), "there is no zero", "toward zero"),
        (("-3.5", "--to", "float8_e8m0fnu", "--overflow", "torch"), "no place", "left over"),
        (("1.1", "--via", "float8_e4m3", "--to", "float32"), "sees only", "tie of"),
        (("0",), "2^-24", "2^-10"),
    ],
)  # fmt: skip
def test_explanations_say_true_things(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], says: str, unsaid: str
) -> None:
    chosen = arguments if "--to" in arguments else (*arguments, "--to", "float16")
    text = " ".join(halfulp(capsys, "explain", *chosen)[1].split())
    assert says in text
    assert unsaid not in text


def test_a_narrow_result_of_wide_operands_is_no_promotion(
    capsys: pytest.CaptureFixture[str],
) -> None:
    wide = ("add", "1.1:float32", "1.1:float16")
    assert "where both are exact" in halfulp(capsys, *wide)[1]
    assert "where both are exact" not in halfulp(capsys, *wide, "--in", "float8_e5m2")[1]


def test_sheets_count_and_tell_what_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert as_json(capsys, "formats", "e4m3_nosub")["finite_numbers"] == 225
    assert as_json(capsys, "formats", "float16")["finite_numbers"] == 2 * 31743 + 1
    assert "the tie moves it" in halfulp(capsys, "formats", "float8_e8m0fnu")[1]
    assert "at weight 1.0" not in halfulp(capsys, "formats", "e4m3b20")[1]


def test_a_closed_pipe_is_no_error() -> None:
    code = "from halfulp.cli.app import main; main()"
    ran = subprocess.run(
        f"{sys.executable} -c '{code}' digits 1/1999 | head -c 1", shell=True,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (ran.stdout, ran.stderr) == ("0", "")


@pytest.mark.parametrize(
    "code",
    [
        "import halfulp",
        "from halfulp.cli.app import run; run(['explain', '1.1', '--via', 'float32', '--to', 'float16'])",
        "from halfulp.cli.app import run; run(['add', '1:float16', '2:float16'])",
        "import halfulp; halfulp.predict(1, '0.001', 'float16', 10**15)",
    ],
)  # fmt: skip
def test_the_start_needs_no_framework(code: str) -> None:
    heavy = ("numpy", "numba", "torch", "ml_dtypes", "plotly", "typer")
    check = (
        f"{code}\nimport sys; print([m for m in {heavy!r} if m in sys.modules], file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=False)
    assert ran.stderr == "[]\n"


def test_public_names_are_kept() -> None:
    import halfulp as hu

    promised = {
        "Format", "format", "formats", "cast", "encode", "decode", "explain", "add", "mul", "walk",
        "predict", "training", "HalfulpError",
    }  # fmt: skip
    assert promised <= set(dir(hu))
    for name in promised - {"training"}:
        assert getattr(hu, name) is not None
    with pytest.raises(AttributeError, match="no attribute"):
        hu.nothing  # noqa: B018


def test_no_module_hides_a_public_function() -> None:
    """Importing a module sets its name on the package, over a function of that name."""
    import halfulp as hu

    public = set(dir(hu)) - {"training", "widgets"}
    assert not public & {module.name for module in pkgutil.iter_modules(hu.__path__)}


README = Path(__file__).parent.parent / "README.md"


def test_the_readme_shows_what_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    block = README.read_text().split("```")[1].strip().splitlines()
    command, *shown = (line.rstrip() for line in block)
    printed = halfulp(capsys, *command.split()[2:])[1].splitlines()
    assert shown[-1].strip() == "…"
    assert printed[: len(shown) - 1] == shown[:-1]


# Commands that need the extras, or a log: tested with them.
NEED_MORE = ("compare", "memory", "demo", "lint", "watch", "report", "lab")


def test_the_commands_of_the_readme_run(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [line for line in README.read_text().splitlines() if line.startswith("| `halfulp ")]
    commands = [line.split("`")[1].split()[1:] for line in lines]
    assert {c[0] for c in commands} == set(COMMANDS)
    for arguments in commands:
        if arguments[0] not in NEED_MORE:
            chosen = [a for a in arguments if not a.startswith("[")]
            assert halfulp(capsys, *chosen)[0] == 0
