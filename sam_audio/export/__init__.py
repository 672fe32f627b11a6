"""What can be made of finished stems: videos with another sound, and sessions for audio workstations.

Every module here is an exporter of the hook ``exporters``; a new one is a file, and a line in `sam_audio.builtin`.
They are imported to list what there is, so that anything heavy is imported where it is used.
"""
