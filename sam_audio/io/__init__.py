"""Audio files in and out: streamed, sample-accurate, and written whole or not at all."""

from sam_audio.io.formats import OutputSpec, quantise, resolve_output
from sam_audio.io.reader import AudioReader, open_audio, read_audio
from sam_audio.io.writer import AudioWriter, WriterGroup

__all__ = [
    "AudioReader",
    "AudioWriter",
    "OutputSpec",
    "WriterGroup",
    "open_audio",
    "quantise",
    "read_audio",
    "resolve_output",
]
