"""The command line. Nothing heavy is imported until a command needs it: `caretta --help` must answer at once."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

from flows import commands, imports
from flows.commands import COULD_NOT_RUN

INTERRUPTED = 130


def main(argv: list[str] | None = None) -> int:
    """Runs one command and returns its exit code: 0 all ok, 3 some failed, 1 could not run (2: argparse's own)."""
    # Start-up is mostly imports of torch, three times as long without bytecode on disk, whatever the environment says.
    sys.dont_write_bytecode = False
    arguments = parser().parse_args(argv)
    try:
        code: int = arguments.command(arguments)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return _complain("stopped; run it again to go on where it was", INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone: nobody to tell
        return COULD_NOT_RUN
    except MemoryError:
        return _complain("out of memory; split the text into smaller files or free memory")
    except ImportError as error:
        return _complain(f"a part of it is not there ({error}); run uv sync")
    except (ValueError, OSError) as error:  # what every error class of the project is, with a sentence as its message
        return _complain(_sentence(error))


def parser() -> argparse.ArgumentParser:
    """Every command with its arguments."""
    top = argparse.ArgumentParser(
        prog="caretta", description="Text to speech as a chain of small models whose every result is kept."
    )
    commands_ = top.add_subparsers(metavar="COMMAND", required=True)
    for add in (_add_say, _add_convert, _add_batch, _add_plan, _add_show, _add_cache, _add_lists, _add_training):
        add(commands_)
    return top


def _add_say(to: Any) -> None:
    say = _command(to, "say", commands.say, "speak a text into a sound file")
    say.add_argument("text", nargs="?", help="the text; '-' (or nothing, with a pipe) reads it from standard input")
    say.add_argument("--file", metavar="F", help="read the text from a UTF-8 file")
    say.add_argument("-o", "--output", default="out.wav", help="sound file: .wav, .flac, .ogg or .opus (out.wav)")
    _synthesis_options(say)


def _add_convert(to: Any) -> None:
    convert = _command(to, "convert", commands.convert, "say again in another voice what a sound file says")
    convert.add_argument("input", metavar="IN", help="sound file of any length and rate")
    convert.add_argument("-o", "--output", default="out.wav", help="sound file: .wav, .flac, .ogg or .opus (out.wav)")
    convert.add_argument("--voice", required=True, help="a speaker of the model, or the sound file of a named voice")
    convert.add_argument("--from", dest="source", default="", metavar="SPEAKER",
                         help="who speaks in IN, of the model's (default: who sounds most like it)")  # fmt: skip
    convert.add_argument("--pipeline", default="vits", help="a route with a stage vits (default: vits)")
    convert.add_argument("--preset", help="of the route")
    convert.add_argument("--seed", type=int, default=0, help="another seed, another noise (default: 0)")
    convert.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    _sets(convert)


def _add_batch(to: Any) -> None:
    batch = _command(to, "batch", commands.batch, "speak every line of a corpus; goes on where it was")
    _corpus_options(batch)
    batch.add_argument("--export", action="append", default=[], metavar="KIND",
                       help="also write a training corpus: ljspeech, melotts, nemo, melle, audiofolder, or jsonl "
                       "(of nemo, beside the sounds); repeatable")  # fmt: skip
    batch.add_argument("--redo", nargs="+", default=[], metavar="ID", help="another reading of these lines, kept")
    batch.add_argument("--pick", nargs="+", default=[], metavar="ID=CANDIDATE",
                       help="this candidate (from 0) instead of the judges' choice, kept; ID:SENTENCE=CANDIDATE in "
                       "a longer text")  # fmt: skip
    batch.add_argument("--runner", default="auto", choices=["auto", "inline", "threads", "processes", "ray"],
                       help="where stages run (inline: in this process, without Prefect; auto: inline for a few "
                       "sentences, else processes on CPUs and threads on accelerators)")  # fmt: skip
    batch.add_argument("--address", metavar="URL", help="of a Ray cluster, for --runner ray (default: one of its own)")


def _add_plan(to: Any) -> None:
    plan = _command(to, "plan", commands.plan, "say what a batch would compute, and how long that takes")
    _corpus_options(plan, out=False)


def _add_show(to: Any) -> None:
    show = _command(to, "show", commands.show, "tell where an utterance came from")
    show.add_argument("target", nargs="?", metavar="WAV|ID", help="a sound file, an id of --out, or a key")
    show.add_argument("--diff", nargs=2, metavar=("A", "B"), help="say in one line why two utterances differ")
    show.add_argument("--out", default="out", metavar="DIR", help="output folder in which to look for ids (out)")
    show.add_argument("--json", action="store_true", help="print the records as JSON")
    _sets(show)


def _add_cache(to: Any) -> None:
    cache = _command(to, "cache", commands.cache, "look after the artifact store")
    cache.add_argument("action", choices=["stats", "verify", "gc"], help="count; read and check everything; clean up")
    cache.add_argument("--days", type=float, help="gc: also remove entries older than this")
    _sets(cache)


def _add_lists(to: Any) -> None:
    _command(to, "voices", commands.voices, "list the named voices")
    _command(to, "models", commands.models, "list the starter models")


def _add_training(to: Any) -> None:
    prepare = _command(to, "prepare", commands.prepare, "make a training corpus")
    prepare.add_argument("config", metavar="CONFIG")
    _sets(prepare)
    export = _command(to, "export", commands.export, "lay a prepared corpus out as other programs take it")
    export.add_argument("manifest", metavar="MANIFEST", help="the manifest.jsonl of a prepared corpus")
    export.add_argument("--to", required=True, metavar="KIND", help="ljspeech, melotts, nemo, melle or audiofolder")
    export.add_argument("--out", required=True, metavar="DIR", help="folder of the list and its sounds")
    export.add_argument("--speaker", metavar="NAME", help="only this speaker")
    vits = _command(to, "import-vits", imports.vits, "make a checkpoint of stage vits of a transformers VitsModel's")
    vits.add_argument("folder", metavar="FOLDER", help="with config.json, model.safetensors, vocab.json, "
                      "tokenizer_config.json, as of facebook/mms-tts-eng")  # fmt: skip
    vits.add_argument("out", metavar="OUT", help="folder of the checkpoint, new")
    vits.add_argument("--licence", default="", help="of the weights (default: unknown)")
    train = _command(to, "train", commands.train, "train models in the order of their needs; goes on where it was")
    train.add_argument("configs", nargs="+", metavar="NAME|all|FOLDER|FILE",
                       help="of configs/train: codes, 8gb/vocoder, tortoise …; all = the starter models")  # fmt: skip
    train.add_argument("--minutes", type=float, help="stop cleanly after so many minutes")
    train.add_argument("--init-from", metavar="CHECKPOINT",
                       help="fine-tune: start from the weights in this folder, matched by name")  # fmt: skip
    _sets(train)
    evaluate = _command(to, "evaluate", commands.evaluate, "measure intelligibility, speed and the rest")
    evaluate.add_argument("config", metavar="CONFIG")
    _sets(evaluate)


def _command(to: Any, name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = to.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    command.set_defaults(command=run)
    return command


def _sets(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override, e.g. diffusion.steps=8; repeatable"
    )


def _corpus_options(command: argparse.ArgumentParser, out: bool = True) -> None:
    command.add_argument(
        "list", metavar="LIST", help=".txt (a text per line), .jsonl or .csv (id, text, optionally voice)"
    )
    command.add_argument("--out", required=out, default="out", metavar="DIR",
                         help="folder of DIR/<id>.wav and DIR/manifest.jsonl")  # fmt: skip
    command.add_argument("--book", action="store_true", help="LIST is one long text (.txt, .md): a file per chapter")
    command.add_argument("--format", default="wav", help="wav (default), flac, ogg or opus")
    _synthesis_options(command)


def _synthesis_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--voice", default="rms", help="a named voice or a sound file of 1 to 30 s (default: rms)")
    command.add_argument("--preset", help="ultra_fast, fast (default), standard or high_quality; vits: steady, too")
    command.add_argument("--pipeline", default="tortoise", help="the route (default: tortoise)")
    command.add_argument("--seed", type=int, default=0, help="another seed, another reading (default: 0)")
    command.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    _sets(command)


def _complain(sentence: str, code: int = COULD_NOT_RUN) -> int:
    print(f"caretta: {sentence}", file=sys.stderr)
    return code


def _sentence(error: Exception) -> str:
    """An error's message on one line; an error of the system names its file."""
    if isinstance(error, OSError) and error.strerror:
        name = f"{error.filename}: " if error.filename else ""
        return f"{name}{error.strerror}; mend that and run again"
    return " ".join(str(error).split()) or type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
