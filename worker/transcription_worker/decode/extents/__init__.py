"""How far a file reaches, by container: one small parser each, reading heads and tails, never decoding.

Truncated uploads are found here, for the decoders do not tell: libsndfile returns what there is of a cut WAV, MP3 or
Ogg without an error, FFmpeg does for nearly everything. What no parser can know is listed in docs/audio-formats.md.
"""
