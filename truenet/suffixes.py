"""Which file names are audio, and what is written under them.

Plain Python: commands look here before anything heavy is imported.
"""

SUFFIXES = {  # to libsndfile's format and the subtype that is meant by the name alone
    ".wav": ("WAV", "PCM_16"),
    ".wave": ("WAV", "PCM_16"),
    ".flac": ("FLAC", "PCM_16"),
    ".ogg": ("OGG", "VORBIS"),
    ".oga": ("OGG", "VORBIS"),
    ".opus": ("OGG", "OPUS"),
    ".mp3": ("MP3", "MPEG_LAYER_III"),
    ".aif": ("AIFF", "PCM_16"),
    ".aiff": ("AIFF", "PCM_16"),
    ".aifc": ("AIFF", "PCM_16"),
    ".au": ("AU", "PCM_16"),
    ".snd": ("AU", "PCM_16"),
    ".caf": ("CAF", "PCM_16"),
    ".w64": ("W64", "PCM_16"),
    ".rf64": ("RF64", "PCM_16"),
    ".voc": ("VOC", "PCM_16"),
    ".sph": ("NIST", "PCM_16"),
}
CONTAINERS = frozenset(  # read through PyAV
    f".{name}"
    for name in (
        *("m4a", "m4b", "mp4", "m4v", "mov", "mkv", "webm", "mka", "aac"),
        *("wma", "wmv", "3gp", "amr", "ac3", "avi", "mpg"),
    )
)
READABLE = frozenset(SUFFIXES) | CONTAINERS
