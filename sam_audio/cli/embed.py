"""``sam-audio embed FILE... --out emb.npz``"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from sam_audio.cli.shared import complain, each_file, outputs, show
from sam_audio.errors import UserError

if TYPE_CHECKING:
    from zipfile import ZipFile

    from sam_audio.types import Samples


def embed(
    files: Annotated[
        Optional[list[str]],
        typer.Argument(metavar="FILE...", help="Recordings, pictures or videos.", show_default=False),
    ] = None,
    out: Annotated[
        Optional[str],
        typer.Option("--out", "-o", metavar="FILE.npz", help="Where to write.", show_default=False),
    ] = None,
    text: Annotated[
        Optional[list[str]],
        typer.Option(metavar="TEXT", help="Embed this too. May be given several times.", show_default=False),
    ] = None,
    frames: Annotated[
        bool, typer.Option("--frames", help="Also one vector each 40 ms of every recording.")
    ] = False,
    model: Annotated[str, typer.Option(metavar="NAME|PATH", help="See: sam-audio models list.")] = "nano",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
) -> None:
    """Turn files and texts into vectors of one space; their dot products tell how well they match.

    The file holds paths (N) and embeddings (N, D).

    With --text also texts (M), text_embeddings (M, D) for sounds and text_video_embeddings (M, D) for pictures.

    With --frames also frames_0, frames_1, ... (frames, D), in the order of the paths.
    """
    if not files and not text:
        raise UserError("nothing is given to embed: sam-audio embed FILE... --out emb.npz")
    if out is None:
        raise UserError("no output is given: add --out emb.npz")
    if out == "-":
        raise UserError("embeddings cannot go to standard output: name a file, for example --out emb.npz")
    from zipfile import ZipFile

    import numpy as np

    from sam_audio.conditioning.embedding import load_embedder
    from sam_audio.finding.media import PICTURE, embed_file, kind_of, unit
    from sam_audio.io.target import writing
    from sam_audio.naming import check_prompts

    texts = check_prompts(text) if text else []
    with outputs([out], overwrite, files or []) as (file,):
        embedder = load_embedder(model)
        # Not numpy.savez: it would hold the frames of all files in memory.
        archive = ZipFile(file, "w")
        try:
            count = itertools.count()

            def work(path: str) -> Samples:
                _, vector = embed_file(embedder, path)
                rows = None
                if frames:
                    silent = np.zeros((0, embedder.dim), np.float32)
                    rows = silent if kind_of(path) == PICTURE else embedder.embed_audio_frames(path)
                if unit(vector) is None:
                    complain(f"{path} is silent, and its embedding means nothing", "warning")
                if rows is not None:
                    with writing(out):
                        _add(archive, f"frames_{next(count)}", rows)
                return vector

            done, errors = each_file(files or [], work, "embedding")
            if not done and not texts:
                raise typer.Exit(2)
            vectors = np.array([vector for _, vector in done], np.float32)
            tables: dict[str, Any] = {"paths": np.array([path for path, _ in done], np.str_)}
            tables["embeddings"] = vectors.reshape(len(done), embedder.dim)
            if texts:
                tables["texts"] = np.array(texts, np.str_)
                tables["text_embeddings"] = embedder.embed_text(texts, kind="audio")
                tables["text_video_embeddings"] = embedder.embed_text(texts, kind="video")
            with writing(out):
                for name, table in tables.items():
                    _add(archive, name, table)
        finally:
            with writing(out):
                archive.close()
    show(f"{out}  {len(done) + len(texts)} embeddings")
    if errors:
        raise typer.Exit(2)


def _add(archive: ZipFile, name: str, array: Any) -> None:
    from numpy.lib import format

    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
        format.write_array(member, array, allow_pickle=False)
