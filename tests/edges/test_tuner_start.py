"""How the tuner starts: its key, its lock, its folder, and what it says when it cannot."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import sys
from pathlib import Path

import openai
import pytest

from tests.tuner import ROOT, Tuner


async def start(*arguments: str, program: tuple[str, ...] = ("-m", "tests.fake_engine")) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of a tuner that is expected to end by itself."""
    inherited = {name: value for name, value in os.environ.items() if name != "TUNER_API_KEY"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *program, *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env=inherited,
    )
    try:
        output, errors = await asyncio.wait_for(process.communicate(), 30)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, output.decode(), errors.decode()


async def test_a_key_is_made_once_and_is_its_owners_secret(data_dir: Path) -> None:
    """Without TUNER_API_KEY: random, kept with mode 0600, the same at the next start."""
    async with Tuner(data_dir) as first:
        assert first.key.startswith("sk-tuner-") and len(first.key) > 40
        assert stat.S_IMODE((first.folder / "key").stat().st_mode) == 0o600
        assert stat.S_IMODE(first.folder.stat().st_mode) == 0o700
    async with Tuner(data_dir) as second:
        assert second.key == first.key
        assert [model.id async for model in second.client.models.list()] == ["tiny"]


@pytest.mark.parametrize("given", ["", "mine-and-secret"])
async def test_it_says_what_to_do_next_to_people(data_dir: Path, given: str) -> None:
    """On stderr, with lines to paste; a key that was given is repeated nowhere. Stdout is for machines."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.fake_engine", "--data-dir", str(data_dir)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env=os.environ | {"TUNER_API_KEY": given},
    )
    assert process.stdout and process.stderr
    said = b""
    try:
        async with asyncio.timeout(30):
            while b"Ctrl-C" not in said:
                said += await process.stderr.readline()
    finally:
        process.terminate()
        rest, _ = await asyncio.wait_for(process.communicate(), 30)
    printed = dict(line.split("=", 1) for line in rest.decode().splitlines())
    assert list(printed) == (["TUNER_BASE_URL"] if given else ["TUNER_API_KEY", "TUNER_BASE_URL"])
    for name, value in printed.items():
        assert f"export {name}={value}\n" in said.decode()
    assert b"mine-and-secret" not in said + rest


async def test_a_given_key_is_used_and_kept_nowhere(data_dir: Path) -> None:
    """With TUNER_API_KEY nothing is made, and the key is not written down."""
    async with Tuner(data_dir, environment={"TUNER_API_KEY": "mine"}) as tuner:
        assert await tuner.client.models.list()
        job = await tuner.until((await tuner.job()).id, "succeeded")
        assert job.fine_tuned_model
        assert not (tuner.folder / "key").exists()
        files = [path for path in tuner.folder.rglob("*") if path.is_file()]
        assert files and not any(b'"mine"' in path.read_bytes() for path in files)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "example.com"])
async def test_it_is_reachable_from_elsewhere_only_with_a_key_of_yours(data_dir: Path, host: str) -> None:
    """Exit status 2, before anything is written or listens."""
    status, output, errors = await start("--data-dir", str(data_dir), "--host", host)
    assert (status, output) == (2, "") and "TUNER_API_KEY" in errors
    assert not data_dir.exists()  # noqa: ASYNC240


async def test_a_second_tuner_on_the_same_folder_is_refused(data_dir: Path) -> None:
    """It says why, and the first works on."""
    async with Tuner(data_dir) as tuner:
        status, output, errors = await start("--data-dir", str(data_dir))
        assert (status, output) == (1, "")
        assert "another tuner uses" in errors and str(tuner.folder) in errors
        assert await tuner.upload()


async def test_a_taken_port_is_named(data_dir: Path) -> None:
    """A sentence, not a traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        status, output, errors = await start("--data-dir", str(data_dir), "--port", port)
    assert (status, output) == (1, "") and f"port {port} is taken" in errors and "Traceback" not in errors


async def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """A file where the folder should be."""
    (tmp_path / "data").write_text("I am a file")
    status, output, errors = await start("--data-dir", str(tmp_path / "data"))
    assert (status, output) == (1, "") and str(tmp_path / "data") in errors and "Traceback" not in errors


@pytest.mark.parametrize("base", ["nothing", "=path", "a:b=path", "../x=path", "name="])
async def test_a_base_is_given_as_name_and_path(data_dir: Path, base: str) -> None:
    """Its name is part of the names of models, so it has no colon and no slash."""
    status, _, errors = await start("--data-dir", str(data_dir), "--base", base)
    assert status == 2 and "NAME=PATH" in errors


async def test_without_its_packages_it_says_how_to_get_them(data_dir: Path) -> None:
    """The extra `tuner` is not part of the core."""
    program = "import sys; sys.modules['xllamacpp'] = None; from bot.local.tuner.__main__ import main; sys.exit(main())"
    status, output, errors = await start("--data-dir", str(data_dir), program=("-c", program))
    assert (status, output) == (1, "") and "xllamacpp" in errors and "make setup-models" in errors


async def test_it_ends_when_the_process_that_started_it_is_gone(data_dir: Path) -> None:
    """With --exit-with-parent a killed bot leaves no tuner behind."""
    command = [sys.executable, "-m", "tests.fake_engine", "--data-dir", str(data_dir), "--exit-with-parent"]
    program = f"import subprocess, time; subprocess.Popen({command!r}); time.sleep(60)"
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    assert parent.stdout
    key = (await asyncio.wait_for(parent.stdout.readline(), 30)).decode().strip().partition("=")[2]
    url = (await asyncio.wait_for(parent.stdout.readline(), 30)).decode().strip().partition("=")[2]
    async with openai.AsyncOpenAI(base_url=url, api_key=key, max_retries=0) as client:
        assert (await client.models.list()).data == []
        parent.kill()
        await parent.wait()
        assert await asyncio.wait_for(parent.stdout.read(), 10) == b"", "its stdout closes when it ends"
        with pytest.raises(openai.APIConnectionError):
            await client.models.list()
