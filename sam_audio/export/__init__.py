"""Sessions for audio workstations: stems in step with their mixture, as tracks, with spans as markers."""

from sam_audio.export.workstation import FORMATS, MarkedSpan, Session, Track, export, session_of

__all__ = ["FORMATS", "MarkedSpan", "Session", "Track", "export", "session_of"]
