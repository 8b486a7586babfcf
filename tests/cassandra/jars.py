"""The jars of the Cassandra that tests run: fetched once by Maven into the user's cache, kept by what pom.xml says.

Invariant: a folder that `fetched` returns is complete; it appears under its name only when everything is in it.
"""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

_POM = Path(__file__).with_name("pom.xml")
_FETCH_SECONDS = 600.0
# Cassandra 5.0 runs on these and on no others.
_JAVA_VERSIONS = frozenset({11, 17})
# Where Debian keeps a Java that may not be the one on the path.
_JAVA_HOMES = Path("/usr/lib/jvm")


class CassandraMissing(Exception):
    """Cassandra can't run here; the message says what is missing."""


def java() -> str:
    """The program of a Java that Cassandra runs on: of JAVA_HOME, on the path, or Debian's. Raises CassandraMissing."""
    home = os.environ.get("JAVA_HOME")
    found = [str(Path(home) / "bin" / "java")] if home else []
    found += [path] if (path := shutil.which("java")) else []
    found += sorted(str(path) for path in _JAVA_HOMES.glob("*/bin/java"))
    seen = {path: _version(path) for path in dict.fromkeys(found)}
    for path, version in seen.items():
        if version in _JAVA_VERSIONS:
            return path
    others = ", ".join(f"{path} is {version}" for path, version in seen.items() if version)
    raise CassandraMissing(f"Java 17 is missing (Debian: openjdk-17-jre-headless){'; ' if others else ''}{others}")


def _version(program: str) -> int:
    """The major version of a Java; 0 if it is none."""
    try:
        said = subprocess.run([program, "-version"], capture_output=True, text=True, timeout=30, check=False).stderr
    except OSError:
        return 0
    match = re.search(r'version "(\d+)', said)
    return int(match[1]) if match else 0


def fetched() -> Path:
    """The folder with all jars, which the first call on a machine fetches. Raises CassandraMissing."""
    digest = hashlib.sha256(_POM.read_bytes()).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "perdure"
    folder = cache / f"cassandra-{digest}"
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as making:
            _fetch(Path(making))
            # Another process may have been first; what it made is the same.
            if not folder.is_dir():
                (Path(making) / "jars").rename(folder)
    return folder


def _fetch(folder: Path) -> None:
    """Fill `folder`/jars."""
    program = shutil.which("mvn")
    if program is None:
        raise CassandraMissing("Maven is missing (Debian: maven), which fetches Cassandra")
    shutil.copy(_POM, folder / "pom.xml")
    # Strict checksums: a jar that was damaged on its way is refused, not kept.
    command = [program, "--batch-mode", "--quiet", "--strict-checksums", "--file", str(folder / "pom.xml")]
    command += ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={folder / 'jars'}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_FETCH_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise CassandraMissing(f"Maven could not fetch Cassandra within {_FETCH_SECONDS:.0f} s") from None
    if done.returncode or not any(folder.glob("jars/cassandra-all-*.jar")):
        said = (done.stdout + done.stderr)[-1500:].strip()
        raise CassandraMissing(f"Maven could not fetch Cassandra:\n{said}")
