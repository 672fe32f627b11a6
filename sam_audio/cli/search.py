"""``sam-audio search TEXT FOLDER|INDEX``"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from sam_audio.cli.shared import clock, complain, progress, prompts_option, show, show_json
from sam_audio.errors import UserError

if TYPE_CHECKING:
    from sam_audio.conditioning.embedding import Embedder
    from sam_audio.finding.index import Hit
    from sam_audio.types import Samples

_SHOWN_PROBLEMS = 5


def search(
    text: Annotated[
        Optional[str],
        typer.Argument(
            metavar="TEXT", help="What to look for; not needed with the options below.", show_default=False
        ),
    ] = None,
    where: Annotated[
        Optional[str],
        typer.Argument(metavar="FOLDER|INDEX", help="A folder of sounds, or an index.", show_default=False),
    ] = None,
    prompt: Annotated[
        Optional[str],
        prompts_option("The same as TEXT."),
    ] = None,
    like: Annotated[
        Optional[str],
        typer.Option(
            metavar="FILE",
            help="Look for what resembles this sound; of a video, its sound. Pictures will do.",
            show_default=False,
        ),
    ] = None,
    picture: Annotated[
        Optional[str],
        typer.Option(
            metavar="FILE",
            help="Look for what resembles this picture; of a video, its pictures.",
            show_default=False,
        ),
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, metavar="N", help="How many answers.")] = 10,
    index: Annotated[
        Optional[Path],
        typer.Option(metavar="PATH", help="Where the index is kept.", show_default="cache folder"),
    ] = None,
    no_update: Annotated[
        bool, typer.Option("--no-update", help="Ask the index as it is, without looking for changed files.")
    ] = False,
    model: Annotated[str, typer.Option(metavar="NAME|PATH", help="See: sam-audio models list.")] = "nano",
    json_hits: Annotated[bool, typer.Option("--json", help="Print the answers as JSON.")] = False,
) -> None:
    """Find sounds, pictures and videos in a folder by describing them, by an example, or by both.

    What is found resembles all that is given: text, sound and picture have the same weight.

    The folder is indexed by the first search; later ones only look at what is new or changed in it.

    Long recordings are indexed in stretches of 10 s, so that answers say where.
    """
    if where is None and (prompt, like, picture) != (None, None, None):
        text, where = None, text
    if text is not None and prompt is not None:
        raise UserError(
            f"there are two texts, {text} and --prompt {prompt}: give one of them, and the folder"
        )
    text = prompt if text is None else text
    if where is None:
        raise UserError(
            'a search needs something to look for and a folder: sam-audio search "dog barking" FOLDER'
        )
    if os.path.isfile(where):
        raise UserError(f"{where} is a file: name a folder of sounds, or an index")
    if not os.path.isdir(where):
        raise UserError(f"{where} does not exist: name a folder of sounds, or an index")
    from sam_audio.conditioning.embedding import load_embedder
    from sam_audio.finding.index import SearchIndex, Update, default_index_dir, is_index
    from sam_audio.naming import check_prompts

    if text is not None:
        (text,) = check_prompts([text])
    if is_index(where):
        if index is not None:
            raise UserError(f"{where} is an index itself: leave out --index, or name the folder of sounds")
        place, root = Path(where), None
    else:
        place, root = index or default_index_dir(where, model), where
        if no_update and not is_index(place):
            raise UserError(f"{where} has not been indexed yet: leave out --no-update")
    embedder = load_embedder(model)
    # first: an example that cannot be read is no reason to index
    query = _query(embedder, text, like, picture)
    found = SearchIndex(place, root, model, version=getattr(embedder, "version", ""))
    if no_update:
        update = Update()
    else:
        with progress("indexing") as advance:
            update = found.update(embedder, advance)
    hits = found.search(query, k)
    _show_problems(update.problems)
    if json_hits:
        show_json(
            {
                "query": {"text": text, "like": like, "picture": picture},
                "index": str(place),
                "segments": len(found),
                "hits": [vars(hit) for hit in hits],
                "errors": [{"path": path, "message": message} for path, message in update.problems],
            }
        )
    elif hits:
        _show_hits(hits)
    if not hits:
        raise UserError(f"{found.root} holds nothing that could be indexed: name a folder of sounds")


def _query(embedder: Embedder, text: str | None, like: str | None, picture: str | None) -> dict[str, Samples]:
    """One unit vector (D,) for each kind of media: the direction between those of all that is given."""
    from sam_audio.finding.media import AUDIO, PICTURE, VIDEO, embed_file, embed_pictures, text_kind, unit

    examples = []
    if like is not None:
        example = unit(embed_file(embedder, like)[1])
        if example is None:
            raise UserError(f"{like} is silent, and nothing resembles silence: choose another example")
        examples.append(example)
    if picture is not None:
        example = unit(embed_pictures(embedder, picture))
        if example is None:
            raise UserError(f"{picture} shows nothing that could be looked for: choose another example")
        examples.append(example)
    queries = {}
    for kind in (AUDIO, PICTURE, VIDEO):
        texts = [] if text is None else [embedder.embed_text([text], kind=text_kind(kind))[0]]
        parts = [*texts, *examples]
        query = unit(sum(parts[1:], parts[0]))
        if query is None:
            raise UserError("what is asked for contradicts itself: leave out a text or an example")
        queries[kind] = query
    return queries


def _show_hits(hits: list[Hit]) -> None:
    times = ["" if hit.start_s is None else f"{clock(hit.start_s)}-{clock(hit.end_s or 0.0)}" for hit in hits]
    width = max(map(len, times))
    for hit, time in zip(hits, times, strict=True):
        show(f"{hit.score:6.3f}  {time:>{width}}  {hit.path}")


def _show_problems(problems: list[tuple[str, str]]) -> None:
    for _, message in problems[:_SHOWN_PROBLEMS]:
        complain(f"skipped: {message}", "warning")
    more = len(problems) - _SHOWN_PROBLEMS
    if more > 0:
        complain(f"{more} more files could not be read: --json lists them", "warning")
