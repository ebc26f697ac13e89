"""Fetches the official code: the wheel of trinity-rft 0.6.0, by pip, once."""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

REQUIREMENT = "trinity-rft==0.6.0"
WHEEL = "trinity_rft-0.6.0-py3-none-any.whl"
SHA256 = "51ac0d789ccedbdd0578372dc45fd1480c6e5dfe53632ffd451feed827d0a6da"


def fetch_official(cache: Path) -> Path:
    """Downloads and unzips the wheel, unless the cache holds it already.

    Args:
      cache: folder; made if it is not there.

    Returns:
      The folder to give to `--official`.

    Raises:
      ValueError: in one sentence, if pip cannot get it or it is another file.
    """
    folder = cache / "trinity-rft-0.6.0"
    if folder.is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as work:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet"]
        done = subprocess.run(
            [*command, "--dest", work, REQUIREMENT], capture_output=True, text=True
        )
        wheel = Path(work) / WHEEL
        if done.returncode or not wheel.is_file():
            reason = (done.stderr.strip().splitlines() or ["no wheel came"])[-1]
            raise ValueError(f"pip could not download {REQUIREMENT}: {reason}")
        found = hashlib.sha256(wheel.read_bytes()).hexdigest()
        if found != SHA256:
            raise ValueError(
                f"{WHEEL} must have the SHA-256 {SHA256[:12]}..., got {found[:12]}...; "
                "it is not run."
            )
        unzipped = Path(work) / "unzipped"
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(unzipped)
        unzipped.rename(folder)
    return folder
