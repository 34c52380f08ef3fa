"""Apache Kafka's own jars: pinned in `kafka.lock`, fetched once from Maven Central, kept in the user's cache folder.

The lock holds a line per jar: its sha256, its size in bytes, its path in a Maven repository. `make lock-kafka` runs
this module to write it anew, for the version named here.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b, sha256
from http.client import HTTPException
from pathlib import Path
from shutil import copyfileobj
from typing import TYPE_CHECKING, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from stream_recon.broker.errors import BrokerError

if TYPE_CHECKING:
    from collections.abc import Callable

    Progress = Callable[[str, int, int], None]
    """Called with what is being done, how much of it is done, and of how much (bytes; 0 where that is not known)."""

KAFKA_VERSION = "4.1.2"
LOCK = Path(__file__).with_name("kafka.lock")
REPOSITORY_VARIABLE = "STREAM_RECON_MAVEN_URL"
CONNECTIONS = 6
ATTEMPTS = 3
TIMEOUT_S = 30


class Jar(NamedTuple):
    """One line of the lock."""

    sha256: str
    size: int
    path: str

    @property
    def name(self) -> str:
        """The file's name."""
        return self.path.rpartition("/")[2]


def locked() -> tuple[Jar, ...]:
    """The jars as pinned."""
    lines = (line.split() for line in LOCK.read_text().splitlines())
    return tuple(Jar(digest, int(size), path) for digest, size, path in lines)


def lock_id() -> str:
    """A name for exactly these jars."""
    return f"kafka-{KAFKA_VERSION}-{blake2b(LOCK.read_bytes(), digest_size=4).hexdigest()}"


def fetch(folder: Path, progress: Progress) -> list[Path]:
    """Bring every pinned jar into `folder`, and check all that are there. Costs nothing but the check when they are.

    Raises:
        BrokerError: a jar cannot be fetched, or is not the pinned one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    jars = locked()
    wanted = [jar for jar in jars if not _is_right(folder / jar.name, jar)]
    if wanted:
        total = sum(jar.size for jar in wanted)
        done = 0
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            try:
                for size in pool.map(lambda jar: _fetch_one(jar, folder), wanted):
                    done += size
                    progress(f"Apache Kafka {KAFKA_VERSION} from Maven Central", done, total)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    return [folder / jar.name for jar in jars]


def _is_right(file: Path, jar: Jar) -> bool:
    return file.is_file() and file.stat().st_size == jar.size and sha256(file.read_bytes()).hexdigest() == jar.sha256


def _repository() -> str:
    told = os.environ.get(REPOSITORY_VARIABLE)
    if told:
        return told
    from jgo.constants import MAVEN_CENTRAL_URL  # noqa: PLC0415 - takes a while, and is needed once

    return str(MAVEN_CENTRAL_URL)


def _fetch_one(jar: Jar, folder: Path) -> int:
    url = f"{_repository()}/{jar.path}"
    part = folder / f"{jar.name}.part"
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with urlopen(url, timeout=TIMEOUT_S) as response, part.open("wb") as file:  # noqa: S310 - a pinned path
                copyfileobj(response, file)
        except (URLError, TimeoutError, ConnectionError, HTTPException) as error:
            if attempt == ATTEMPTS or isinstance(error, HTTPError):
                raise BrokerError(
                    f"cannot fetch {url}: {getattr(error, 'reason', error)}. The embedded broker needs Maven Central "
                    f"once; set {REPOSITORY_VARIABLE} to a mirror, or KAFKA_BOOTSTRAP_SERVERS to a broker you have."
                ) from error
        except OSError as error:
            raise BrokerError(f"cannot write {part}: {error.strerror}") from error
        else:
            break
    if not _is_right(part, jar):
        part.unlink()
        raise BrokerError(f"{url} is not the file that is pinned (its size or sha256 differs); it was thrown away")
    part.replace(folder / jar.name)
    return jar.size


def write_lock() -> None:
    """Resolve Kafka's dependencies and pin what Maven Central holds now."""
    import jgo  # noqa: PLC0415 - a developer's tool

    artifacts = jgo.resolve(f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}+org.slf4j:slf4j-simple:1.7.36")
    lines = []
    for artifact in artifacts:
        content = artifact.resolve().read_bytes()
        group = artifact.groupId.replace(".", "/")
        path = f"{group}/{artifact.artifactId}/{artifact.version}/{artifact.filename}"
        lines.append(f"{sha256(content).hexdigest()} {len(content)} {path}\n")
    LOCK.write_text("".join(sorted(lines, key=lambda line: line.split()[2])))


if __name__ == "__main__":
    write_lock()
