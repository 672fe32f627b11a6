"""``sam-audio judge MIX STEM... --prompt TEXT``"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from sam_audio.cli.shared import complain, progress, prompts_option, show_json
from sam_audio.errors import AudioReadError, PromptError, UserError

if TYPE_CHECKING:
    from judge.types import Judgement
    from sam_audio.selection.judging import Pair

USAGE = 'sam-audio judge MIX STEM... -p "dog barking"'


def judge(
    files: Annotated[
        Optional[list[str]],
        typer.Argument(
            metavar="MIX STEM...",
            help="A mixture and its stems; or folders of them, laid out as separate writes them.",
            show_default=False,
        ),
    ] = None,
    prompt: Annotated[
        Optional[list[str]],
        prompts_option("What was asked for, once or for each stem.", "names of the stems"),
    ] = None,
    mixture: Annotated[
        Optional[Path],
        typer.Option(
            metavar="FILE|DIR",
            help="The mixture, or the folder of mixtures named like the tracks; all files are stems then.",
            show_default="the first file",
        ),
    ] = None,
    model: Annotated[str, typer.Option(metavar="NAME|PATH", help="nano, or a published Judge.")] = "nano",
    device: Annotated[
        str, typer.Option("--device", "-d", help="Of a published Judge: auto, cpu, cuda or mps.")
    ] = "auto",
    json_scores: Annotated[bool, typer.Option("--json", help="Print the scores as JSON.")] = False,
) -> None:
    """Say how good separated sounds are, without knowing the true ones.

    Four scores from 1 to 5, and how likely it is that the sound is in the mixture at all: overall; recall, how much
    of the sound is in the stem; precision, how little else; faithfulness, how unharmed it is.

    JSON of one stem is one object with mixture, stem, prompt, the four scores and present; of several stems or
    folders it is {"stems": [...], "errors": [...]}.
    """
    tasks, single = _tasks(files or [], mixture, prompt or [])
    from sam_audio.devices import choose_device
    from sam_audio.selection.judging import judge_files, load_judge

    loaded = load_judge(model, choose_device(device))
    judged: list[tuple[Pair, Judgement]] = []
    errors: list[dict[str, str]] = []
    with progress("judging") as advance:
        for number, pair in enumerate(tasks):
            stem = "" if isinstance(pair, UserError) else str(pair.stem)
            advance(number, len(tasks), stem)
            try:
                if isinstance(pair, UserError):
                    raise pair
                judged.append((pair, judge_files(loaded, pair)))
            except UserError as error:
                if single:
                    raise
                errors.append({"stem": stem, "message": str(error)})
                complain(str(error))
    answers = [_answer(pair, judgement) for pair, judgement in judged]
    if json_scores:
        show_json(answers[0] if single else {"stems": answers, "errors": errors})
    elif judged:
        from judge.report import print_table

        print_table(((str(pair.stem), judgement) for pair, judgement in judged), sys.stdout)
    if errors:
        raise typer.Exit(2)


def _answer(pair: Pair, judgement: Judgement) -> dict[str, Any]:
    from dataclasses import asdict

    told = {"mixture": str(pair.mixture), "stem": str(pair.stem), "prompt": pair.prompt}
    return told | asdict(judgement)


# ---- which stem belongs to which mixture ---------------------------------------------------------------


def _tasks(
    files: Sequence[str], mixture: Path | None, prompts: Sequence[str]
) -> tuple[list[Pair | UserError], bool]:
    """What is to be judged, and whether it is but one stem that was named itself.

    Raises:
        UserError: nothing can be judged, or prompts do not fit.
    """
    from sam_audio.naming import check_prompts
    from sam_audio.selection.judging import Pair

    paths = [Path(file) for file in files]
    if any(str(path) == "-" for path in [*paths, mixture]):
        raise UserError("standard input cannot be judged: name files")
    if mixture is None and (len(paths) > 1 or (paths and not paths[0].is_dir())):
        mixture, *paths = paths
    if not paths:
        raise UserError(f"no stem is given: {USAGE}")
    stems = [stem for path in paths for stem in _stems(path)]
    if prompts:
        prompts = check_prompts(prompts)
        if len(prompts) not in (1, len(stems)):
            raise PromptError(
                f"there are {len(stems)} stems and {len(prompts)} prompts: give one for all, or one for each"
            )
        prompts = list(prompts) * (len(stems) if len(prompts) == 1 else 1)
    tasks: list[Pair | UserError] = []
    for number, stem in enumerate(stems):
        try:
            tasks.append(
                Pair(_mixture_of(stem, mixture), stem, prompts[number] if prompts else prompt_of(stem))
            )
        except UserError as error:
            tasks.append(error)
    return tasks, len(paths) == 1 and not paths[0].is_dir()


def _stems(path: Path) -> list[Path]:
    """The stem itself, or all below a folder but residuals.

    Raises:
        AudioReadError: the folder holds none.
    """
    from sam_audio.finding.media import AUDIO, kind_of
    from sam_audio.naming import RESIDUAL

    if not path.is_dir():
        return [path]
    below = [p for p in sorted(path.rglob("*")) if p.is_file() and kind_of(p) == AUDIO and p.stem != RESIDUAL]
    if not below:
        raise AudioReadError(f"{path} holds no stems: name a folder that separate has written")
    return below


def _mixture_of(stem: Path, mixture: Path | None) -> Path:
    """The mixture that was named, or the one that is called like the stem's folder.

    Args:
        stem: SOMEWHERE/separated/TRACK/STEM.wav.
        mixture: a file or a folder; None looks for TRACK in SOMEWHERE.

    Raises:
        AudioReadError: there is none, or more than one.
    """
    from sam_audio.finding.media import AUDIO, VIDEO, kind_of

    if mixture is not None and not mixture.is_dir():
        return mixture
    folder = Path(os.path.abspath(stem)).parent
    place = folder.parent.parent if mixture is None else mixture
    try:
        fits = [p for p in sorted(place.iterdir()) if p.stem == folder.name and kind_of(p) in (AUDIO, VIDEO)]
    except OSError as error:
        raise AudioReadError(f"{place} cannot be read ({error.strerror}): check its permissions") from None
    if not fits:
        raise AudioReadError(
            f"{place} holds no recording called {folder.name}, of which {stem} would be a stem: "
            "name it with --mixture"
        )
    if len(fits) > 1:
        raise AudioReadError(f"both {fits[0]} and {fits[1].name} could be the mixture of {stem}: name one")
    return fits[0]


def prompt_of(stem: Path) -> str:
    """What a stem was asked for by, as far as the name that `separate` gave it tells.

    >>> prompt_of(Path("separated/mix/dog-barking.wav"))
    'dog barking'
    """
    name, _, number = stem.stem.rpartition("-")
    repeated = number.isdigit() and stem.with_stem(name).exists()  # guitar-2 beside guitar
    return (name if repeated else stem.stem).replace("-", " ").strip() or stem.stem
