"""ONNX Runtime's build for browsers, which comes with the package: where it is from, and how another gets there.

npm pack onnxruntime-web@1.30.0
python -m sam_audio.web.runtime onnxruntime-web-1.30.0.tgz
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import sys
import tarfile
from io import BytesIO
from pathlib import Path

VERSION = "1.30.0"
# of the archive, as npm tells it
INTEGRITY = "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
# with what of them the page needs, and its digest
FILES = {
    "ort.wasm.min.mjs": "219e6a1fc8a9938268d18efca3c91d310bd2f4a59bbd13744df5b2b7fc6cee3b",
    "ort-wasm-simd-threaded.mjs": "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b",
    "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
FOLDER = Path(__file__).parent / "runtime"
PACKED = FOLDER / "ort-wasm-simd-threaded.wasm.gz"  # a quarter of its size; the page unpacks it


def content(name: str) -> bytes:
    """One of FILES, as it came."""
    path = FOLDER / name
    return path.read_bytes() if path.exists() else gzip.decompress(PACKED.read_bytes())


def bundle(archive: bytes) -> None:
    """Takes FILES out of the npm package into the folder.

    Raises:
        ValueError: it is another archive than that of INTEGRITY.
    """
    if f"sha512-{base64.b64encode(hashlib.sha512(archive).digest()).decode()}" != INTEGRITY:
        raise ValueError(f"not onnxruntime-web {VERSION}: change VERSION, INTEGRITY and FILES with it")
    with tarfile.open(fileobj=BytesIO(archive)) as package:
        for name in FILES:
            member = package.extractfile(f"package/dist/{name}")
            assert member is not None
            if name == PACKED.stem:
                PACKED.write_bytes(gzip.compress(member.read(), mtime=0))
            else:
                (FOLDER / name).write_bytes(member.read())


if __name__ == "__main__":
    bundle(Path(sys.argv[1]).read_bytes())
